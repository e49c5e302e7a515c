"""Operating-system processes of ours: how they are begun, what they say when they end.

A process that we start ends with us, whatever happens to us: its stdin, a pipe that only we hold, comes to
its end (`trioactor.end_with_parent`).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

PARENT_VARIABLE = "FEDERATION_STARTED_BY"
"""Tells a process who started it, and that it is to end with that one."""

ERROR_PREFIX = "error: "
"""How the last line of a process that fails begins."""

# Between the request to end and the end by force. Who gets the request has had time to end by itself; and
# Ctrl-C has to have ended everything within 2 s.
GRACE_SECONDS = 0.6


def environment_of_children() -> dict[str, str]:
    """Return the environment of the processes of a run: ours without our settings, and one BLAS thread each.

    What a launcher was told by its environment it hands on as flags.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEDERATION_")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **threads}


def error_in(log: str) -> str:
    """Return the last error that lines of a log tell of, without the word; empty when there is none."""
    lines = log.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith(ERROR_PREFIX)]
    if not starts:
        return ""
    return " ".join(line.strip() for line in lines[starts[-1] :]).removeprefix(ERROR_PREFIX).strip()


def log_is_lost(path: Path, error: OSError) -> str:
    """Return in a line that a log can no longer be written, and what that means."""
    return f"{path}: the log cannot be written ({error.strerror}); the run goes on without it"


def how_it_ended(status: int | None) -> str:
    """Return an exit status in words."""
    if status is None:
        return "it is still running"
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it ended with status {status}"


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs a module of ours with this Python."""
    return [sys.executable, "-m", *arguments]


def check_starter() -> None:
    """End this process when the one that started it, and that it is to end with, is gone already.

    To be called first thing, before the slow imports.
    """
    starter = os.environ.get(PARENT_VARIABLE)
    if starter is not None and os.getppid() != int(starter):
        raise SystemExit(0)
