"""Our own commands, as a benchmark runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
