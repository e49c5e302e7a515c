"""`ProcessActor`: an operating-system process as an actor.

Starting the actor starts the process; the process ending well stops the actor, and ending badly is its
failure, so the same `Supervisor` that restarts actors restarts processes.

No process outlives its actor: it is asked to end (SIGTERM), then made to (SIGKILL). For the case that
this program itself is killed there is `end_with_parent`, which the started program calls.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trio

from trioactor.actor import Actor
from trioactor.errors import TrioactorError
from trioactor.messages import Request, message

Channel = Literal["stdout", "stderr"]

# A line longer than this is handed on in pieces: a process cannot make us hold all that it prints.
MAX_LINE_BYTES = 64 * 1024

READ_BYTES = 64 * 1024

GRACE_SECONDS = 2.0


class ProcessFailed(TrioactorError):
    """The process ended with another exit status than 0.

    Attributes:
        status: Its exit status; negative for the signal that ended it.
        last_lines: The end of what it wrote to stderr.
    """

    def __init__(self, command: str, status: int, last_lines: Sequence[str]) -> None:
        how = f"was ended by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        said = f": {last_lines[-1]}" if last_lines else ""
        super().__init__(f"process {command!r} {how}{said}")
        self.status = status
        self.last_lines = tuple(last_lines)


class CannotStart(TrioactorError, OSError):
    """The program could not be started at all."""


@message("trioactor.process_status")
class ProcessStatus(Request["ProcessStatusReply"]):
    """Ask a `ProcessActor` for its process."""


@message("trioactor.process_status_reply")
class ProcessStatusReply:
    """The process of the actor.

    Attributes:
        pid: Its process id.
        seconds: How long it has been running.
    """

    pid: int
    seconds: float


@message("trioactor.send_signal")
class SendSignal:
    """Have the process get a signal.

    Attributes:
        number: Like `signal.SIGUSR1`.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run.

    Attributes:
        arguments: The program and its arguments; no shell is involved.
        environment: Variables set besides, or instead of, those of this process.
        one_channel: Whether stderr goes where stdout goes, so that lines keep their order.
        whole_environment: Whether `environment` is all that it gets, and nothing of this process's.
        folder: Where it runs, by default here.
        grace_seconds: Between the request to end (SIGTERM) and the end by force (SIGKILL). Less than
            the system's `post_stop_seconds`.
        ok_statuses: Exit statuses that are no failure.
        own_group: Whether it is in a process group of its own: then Ctrl-C reaches this program alone,
            which ends it in good order.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str] | None = None
    folder: Path | None = None
    grace_seconds: float = GRACE_SECONDS
    ok_statuses: frozenset[int] = frozenset({0})
    own_group: bool = True
    one_channel: bool = False
    whole_environment: bool = False

    @property
    def name(self) -> str:
        """The program, for people."""
        return Path(self.arguments[0]).name


class ProcessActor(Actor):
    """A process for as long as the actor lives.

    Its stdin is a pipe that nothing is written to: it ends when this program does (`end_with_parent`).

    Args:
        command: What to run.
        on_line: Called with the channel and each line that the process writes, without the line end;
            must not wait. By default what it writes is read and let go.
        on_exit: Called with the exit status when the process has ended by itself, before that is a
            failure or a stop of the actor; must not wait.
    """

    def __init__(
        self,
        command: Command,
        on_line: Callable[[Channel, str], None] | None = None,
        on_exit: Callable[[int], None] | None = None,
    ) -> None:
        self._command = command
        self._on_line = on_line
        self._on_exit = on_exit
        self._process: trio.Process | None = None
        self._started_at = 0.0
        self._last_lines: list[str] = []  # of stderr

    async def pre_start(self) -> None:
        """Start the process.

        Raises:
            CannotStart: There is no such program, or it may not be run.
        """
        command = self._command
        inherited = {} if command.whole_environment else os.environ
        environment = {**inherited, **(command.environment or {})}
        try:
            self._process = await trio.lowlevel.open_process(
                list(command.arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if command.one_channel else subprocess.PIPE,
                cwd=command.folder,
                env=environment,
                process_group=0 if command.own_group else None,
            )
        except OSError as error:
            raise CannotStart(
                error.errno,
                f"cannot start {command.name!r} ({error.strerror}); give the path of a program that exists",
            ) from error
        self._started_at = trio.current_time()
        self.context.start_soon(self._see_it_through, self._process)

    async def receive(self, message: ProcessStatus | SendSignal) -> ProcessStatusReply | None:
        """Tell about the process, or hand it a signal."""
        assert self._process is not None
        match message:
            case ProcessStatus():
                return ProcessStatusReply(self._process.pid, trio.current_time() - self._started_at)
            case SendSignal(number=number):
                self._process.send_signal(number)
        return None

    async def post_stop(self) -> None:
        """End the process, if it has not ended: first by request, then by force."""
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.terminate()
            with trio.move_on_after(self._command.grace_seconds):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()

    async def _see_it_through(self, process: trio.Process) -> None:
        async with trio.open_nursery() as readers:
            assert process.stdout is not None
            readers.start_soon(self._read_lines, process.stdout, "stdout")
            if process.stderr is not None:
                readers.start_soon(self._read_lines, process.stderr, "stderr")
            status = await process.wait()
            # Its own children may hold the pipes open: what is in them is read, no more is awaited.
            readers.cancel_scope.deadline = trio.current_time() + self._command.grace_seconds
        if self._on_exit is not None:
            self._on_exit(status)
        if status not in self._command.ok_statuses:
            raise ProcessFailed(self._command.name, status, self._last_lines)
        self.context.stop()

    async def _read_lines(self, stream: trio.abc.ReceiveStream, channel: Channel) -> None:
        splitter = LineSplitter()
        async for chunk in stream:
            for line in splitter.feed(bytes(chunk)):
                self._take_line(channel, line)
        for line in splitter.rest():
            self._take_line(channel, line)

    def _take_line(self, channel: Channel, line: str) -> None:
        if channel == "stderr" or self._command.one_channel:
            self._last_lines = [*self._last_lines[-9:], line]
        if self._on_line is not None:
            self._on_line(channel, line)


class LineSplitter:
    """Cuts what a process writes into lines. No I/O."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[str]:
        """Add what was read; return the lines that are complete now, without their ends."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        while len(self._buffer) > MAX_LINE_BYTES:
            lines.append(self._buffer[:MAX_LINE_BYTES])
            self._buffer = self._buffer[MAX_LINE_BYTES:]
        return [_text(line) for line in lines]

    def rest(self) -> list[str]:
        """Return the last line, if it had no end."""
        left, self._buffer = self._buffer, b""
        return [_text(left)] if left else []


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the thirty for real-time programs, of which Python names the first and last
        return f"signal {number}"


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace")


async def end_with_parent() -> None:
    """Return when the program that started this one as a `ProcessActor` is gone, however it went.

    Run it beside the work and cancel that when it returns. It waits for the end of stdin, which the
    parent holds open, so it needs no signal and no polling and works after a `kill -9` of the parent.
    """
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while await stdin.receive_some(READ_BYTES):
            pass
