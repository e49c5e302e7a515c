"""Our own commands, as a benchmark runs them."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from persistence.history import RunHistory, load_run

ROOT = Path(__file__).resolve().parents[2]
LAST_LINES = 10


def run(*arguments: str) -> None:
    """Run `python -m ...` to its end.

    Raises:
        RuntimeError: It has failed; the text has the last lines that it wrote.
    """
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[-LAST_LINES:])
        raise RuntimeError(f"python -m {' '.join(arguments)} ended with {done.returncode}:\n{said}")


def federated(workspace: Path, rounds: int, *flags: str) -> RunHistory:
    """Run the coordinated mode to its end, with nothing besides the rounds, and return its record."""
    job = ["--plain", "--no-alone", "--no-picture", "--rounds", str(rounds), *flags]
    run("federation", "start", *job, "--workspace", str(workspace))
    return load_run(workspace / "training.db")


def ends_of(history: RunHistory) -> list[float]:
    """Return when each round was on disk, in seconds since 1970."""
    return [one.row.ended_unix for one in history.rounds]


def median_gap(times: Sequence[float]) -> float:
    """Return the middle of the times from one to the next."""
    return statistics.median(after - before for before, after in pairwise(times))
