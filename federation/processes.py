"""Operating-system processes of ours: started, watched, ended, and never left behind.

A process that we start ends with us, whatever happens to us: the kernel sends it SIGTERM when we die
(Linux), and its stdin, a pipe that only we hold, comes to its end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

PARENT_VARIABLE = "FEDERATION_STARTED_BY"
"""Tells a process who started it, and that it is to end with that one."""

ERROR_PREFIX = "error: "
"""How the last line of a process that fails begins."""

PR_SET_PDEATHSIG = 1  # prctl(2)

# Between the request to end and the end by force. Who gets the request has had time to end by itself; and
# Ctrl-C has to have ended everything within 2 s.
GRACE_SECONDS = 0.6


class RoleProcess:
    """One role as a process of its own, in a process group of its own: Ctrl-C reaches us alone.

    Args:
        role: What it is called on the screen.
        arguments: What to run: `sys.executable -m ...`.
        log: The file that takes what it writes.
        environment: Variables for it.

    Raises:
        OSError: It could not be started.
    """

    def __init__(
        self, role: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.role = role
        self.log = log
        with log.open("ab") as file:
            # Not through a thread, as trio does it: the kernel takes the end of the thread that started
            # a process for the end of its parent.
            self._process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env={**environment, PARENT_VARIABLE: str(os.getpid())},
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Return its exit status when it has ended."""
        try:
            descriptor = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):  # another system, or a kernel before 5.3
            return await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal. Nothing happens when it has ended."""
        self._process.send_signal(number)

    async def end(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Have it end: by request, then by force. Returns when it has ended."""
        with trio.CancelScope(shield=True):
            if self.status is None:
                self.signal(signal.SIGTERM)
                with trio.move_on_after(grace_seconds):
                    await self.wait()
            if self.status is None:
                self.signal(signal.SIGKILL)
            await self.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()

    def last_words(self) -> str:
        """Return why it ended, as it said itself: the error at the end of its log, or how it was ended."""
        said = error_in(self.log.read_text(errors="replace")) if self.log.exists() else ""
        return said or how_it_ended(self._process.returncode)


def error_in(log: str) -> str:
    """Return the last error that a log tells of, without the word; empty when there is none."""
    lines = log.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith(ERROR_PREFIX)]
    if not starts:
        return ""
    return " ".join(line.strip() for line in lines[starts[-1] :]).removeprefix(ERROR_PREFIX).strip()


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


def end_with_starter() -> None:
    """Have the kernel end this process when the one that started it ends, if it is to end with that one.

    To be called first thing, before the slow imports: a starter that is gone already is noticed.
    """
    starter = os.environ.get(PARENT_VARIABLE)
    if starter is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(starter):
        raise SystemExit(0)
