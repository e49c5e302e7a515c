"""From a task to a program: signals, the list of running processes, errors in one line, exit statuses."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

from federation.credentials import in_flags
from federation.errors import ExitStatus, FederationError
from federation.learning import LearningError
from federation.processes import ERROR_PREFIX, log_is_lost
from federation.stopping import Stop
from federation.workspace import make_writable, registered
from persistence import DatabaseError
from trioactor import CannotListen
from trioactor.errors import CannotUseCertificate

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

# How long a program that was asked to end may take over it before it is cut short.
PATIENCE_SECONDS = 1.7


def run_program(
    role: str, workspace: Path, work: Callable[[Stop], Awaitable[ExitStatus]], *, patient: bool = False
) -> ExitStatus:
    """Run a role to its end and return what the shell is told. Errors are said in one line on stderr.

    Args:
        role: What it is, for whoever looks for running processes.
        workspace: Where it is entered as running.
        work: What to do; handed the wish to end, should there be one.
        patient: Whether the work ends by itself when asked to, and is only cut short when it does not.
    """

    async def main() -> ExitStatus:
        make_writable(workspace)
        with registered(workspace, role):
            return await _obeying(work, PATIENCE_SECONDS if patient else 0.0)

    try:
        return trio.run(main)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BaseException as error:
        return explain(error)


async def _obeying(work: Callable[[Stop], Awaitable[ExitStatus]], patience_seconds: float) -> ExitStatus:
    stop = Stop()

    async def cut_short(scope: trio.CancelScope) -> None:
        await stop.wanted.wait()
        with trio.move_on_after(patience_seconds):
            await stop.urgent.wait()
        scope.cancel()

    status = None
    async with trio.open_nursery() as nursery:
        await nursery.start(stop.listen)
        nursery.start_soon(cut_short, nursery.cancel_scope)
        status = await work(stop)
        nursery.cancel_scope.cancel()
    return stop.status if status is None else status


def explain(error: BaseException) -> ExitStatus:
    """Say on stderr why the program ends, and return its exit status.

    What a user can mend is one line. Anything else is a fault of ours, and comes with its traceback.
    """
    leaves = list(leaves_of(error))
    for leaf in leaves:
        status = _status_of(leaf)
        if status is not None:
            say_error(str(leaf))
            return status
        if isinstance(leaf, OSError) and leaf.errno in NO_ROOM:
            say_error(f"{leaf.filename or 'a file'}: no room left on the disk; make room, then start again")
            return ExitStatus.FAILED
    traceback.print_exception(error, file=sys.stderr)
    say_error(f"this should not have happened: {type(leaves[0]).__name__}: {leaves[0]}; please report it")
    return ExitStatus.FAILED


def say(text: str) -> None:
    """Tell the user what is going on."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_error(text: str) -> None:
    """Say what went wrong, as the last line on stderr."""
    sys.stderr.write(f"{ERROR_PREFIX}{text}\n")
    sys.stderr.flush()


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Return the exceptions in a group, and in the groups within it, in their order."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves_of(inner)
    else:
        yield error


def _status_of(error: BaseException) -> ExitStatus | None:
    match error:
        case FederationError():
            return error.exit_status
        case CannotListen() | CannotUseCertificate():
            return ExitStatus.USAGE
        case DatabaseError() | LearningError():
            return ExitStatus.FAILED
    return None


def log_to_stderr(level: int = logging.INFO) -> None:
    """Have the roles' log written to stderr, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ForPeople(LOG_FORMAT))
    logging.basicConfig(level=level, handlers=[handler])


def log_to_file(path: Path) -> None:
    """Have the launcher's log written to a file, a line each."""
    handler = LogFile(path)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class LogFile(logging.FileHandler):
    """A log that can no longer be written is told of once, in a line, and the work goes on.

    By itself `logging` prints a traceback for each line of it: on a disk that is full, all over the error
    that names the fix.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._has_told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """See `logging.Handler`."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._has_told:
            self._has_told = True
            sys.stderr.write(log_is_lost(Path(self.baseFilename), error) + "\n")


class ForPeople(logging.Formatter):
    """Gives the runtime's advice in our flags."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        return in_flags(super().format(record))
