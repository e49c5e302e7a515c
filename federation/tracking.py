"""`track`: has experiment trackers told of a run, while it goes on or when it is over.

It reads the record, as anybody can, in a process of its own: the run neither waits for a tracker nor notices
when one is not there. Each tracker has a task of its own, and telling it is done in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import trio

from federation.config import StartConfig
from federation.crew import PROCESS, Role, RoleProcess
from federation.errors import ExitStatus, SettingsError
from federation.offload import Offload, in_thread_left_behind
from federation.processes import python_command
from federation.programs import run_program, say, say_error
from federation.stopping import Stop
from federation.targets import Target
from federation.workspace import RunFolder
from persistence import NoDatabase, UnknownRun
from persistence.errors import MissingExtra
from persistence.history import RunHistory, load_run
from persistence.mlflow_tracker import MlflowTracker
from persistence.tensorboard_tracker import TensorBoardTracker
from persistence.tracking import Tracker, TrackingFailed
from trioactor import ActorSystem, ChildSpec, Supervisor

# How often the record is looked at for news, and how long a tracker that failed is left alone at most.
EVERY_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

# How long a run that is over waits for its trackers to be told the rest: importing what they are told by
# takes some of them.
LAST_SECONDS = 5.0

# Beside a run its roles come first; this is for what they leave of the processor.
NICENESS = 10


def tracker_for(text: str, workspace: Path, flag: str) -> Tracker:
    """Return the tracker that a flag names.

    Raises:
        SettingsError: There is none of that kind, or its package is not installed.
    """
    try:
        kind, where = Target.parse(text)
    except ValueError as error:
        raise SettingsError(f"{flag} {error}") from error
    try:
        if kind == "mlflow":
            return MlflowTracker(where)
        return TensorBoardTracker(Path(where) if where else workspace / "tensorboard")
    except MissingExtra as error:
        raise SettingsError(f"{flag} {text}: {error}") from error


async def track(
    database: Path,
    run: str | None,
    trackers: Sequence[Tracker],
    *,
    until: trio.Event,
    say: Callable[[str], None],
    offload: Offload = in_thread_left_behind,
) -> list[str]:
    """Tell trackers of a run until it has ended.

    Args:
        database: The record.
        run: The run by its name or number; None for the one that is the latest now.
        trackers: Whom to tell.
        until: When it is set, they are told once more what there is, and no longer waited for.
        say: Told in a sentence of a tracker that cannot be told, and of one that can be again.
        offload: Where reading and telling run; a thread that hangs is left behind.

    Returns:
        Why a tracker has not been told everything, for each of which that is so.

    Raises:
        UnknownRun: There is no such run in the record, which is there.
        DatabaseError: The record cannot be read.
    """
    failures: list[str] = []
    # Chosen once: another run may begin before this one has ended, and be the latest then.
    chosen = await offload(lambda _: load_run(database, run).run.name)

    async def one(tracker: Tracker) -> None:
        failure = await _tell_until_the_end(database, chosen, tracker, until, say, offload)
        failures.extend([failure] if failure else [])

    async with trio.open_nursery() as nursery:
        for tracker in trackers:
            nursery.start_soon(one, tracker)
    return failures


async def _tell_until_the_end(
    database: Path,
    run: str,
    tracker: Tracker,
    until: trio.Event,
    say: Callable[[str], None],
    offload: Offload,
) -> str:
    failure, failures = "", 0
    while True:
        last = until.is_set()
        history = await offload(lambda _: load_run(database, run))
        try:
            await offload(partial(_tell, tracker, history))
        except TrackingFailed as error:
            failure, failures = str(error), failures + 1
            if failures == 1:
                say(f"{failure}; the run goes on, and the record has everything")
        else:
            if failures:
                say(f"{tracker.name}: it can be told again")
            failure, failures = "", 0
        if last or history.run.status != "running":
            return failure
        with trio.move_on_after(min(EVERY_SECONDS * 2**failures, LONGEST_PAUSE_SECONDS)):
            await until.wait()


def _tell(tracker: Tracker, history: RunHistory, _should_stop: Callable[[], bool]) -> None:
    tracker.tell(history)


async def wait_for_run(database: Path, run: str | None, offload: Offload) -> None:
    """Return when a run is in the record: it is entered when its roles have found each other.

    Raises:
        DatabaseError: The record cannot be read.
    """

    def is_there(_should_stop: Callable[[], bool]) -> bool:
        try:
            load_run(database, run)
        except (UnknownRun, NoDatabase):
            return False
        return True

    while not await offload(is_there):  # noqa: ASYNC110  # a file: nobody tells us of it
        await trio.sleep(EVERY_SECONDS)


def track_program(
    database: Path, run: str | None, targets: Sequence[str], workspace: Path, *, wait: bool, once: bool
) -> ExitStatus:
    """Run the tracking of a run to its end, and return what the shell is told.

    Args:
        database: The record.
        run: The run by its name or number; None for the latest.
        targets: Whom to tell, as `Target.parse` reads them.
        workspace: Where TensorBoard's files go by default.
        wait: Whether to wait for a run that is not in the record yet.
        once: Whether to tell what there is and end, instead of following a run that goes on.
    """

    async def work(stop: Stop) -> ExitStatus:
        if wait:
            os.nice(NICENESS)
        trackers = [  # made in a thread: MLflow takes seconds to import
            await in_thread_left_behind(partial(_make_tracker, text, workspace)) for text in targets
        ]
        until = trio.Event() if once else stop.wanted
        if once:
            until.set()
        if wait:
            await wait_for_run(database, run, in_thread_left_behind)
        else:
            await in_thread_left_behind(partial(_check_run, database, run))
        with ExitStack() as opened:
            for tracker in trackers:
                opened.callback(tracker.close)
            failures = await track(database, run, trackers, until=until, say=say)
        if failures:
            say_error(f"{'; '.join(failures)}. Call this again when it can be told: it goes on where it was")
        return ExitStatus.FAILED if failures else ExitStatus.FINISHED

    return run_program("tracker", workspace, work, patient=True)


def _check_run(database: Path, run: str | None, _should_stop: Callable[[], bool]) -> None:
    try:
        load_run(database, run)
    except (UnknownRun, NoDatabase) as error:
        raise SettingsError(str(error)) from error


def _make_tracker(text: str, workspace: Path, _should_stop: Callable[[], bool]) -> Tracker:
    return tracker_for(text, workspace, "--to")


# --- beside a run that a launcher starts ----------------------------------------------------


class Tracking:
    """The process that tells trackers of a run, beside the roles.

    What becomes of it is no matter of the run: it is not started again, and at the end it is waited for
    no longer than `LAST_SECONDS`.

    Args:
        again: What somebody types to tell them later.
    """

    def __init__(self, again: str) -> None:
        self._again = again
        self._ended = trio.Event()
        self._status: int | None = None
        self._words = ""

    def see_exit(self, _role: str, status: int, words: str) -> None:
        """The process has ended by itself."""
        self._status, self._words = status, words
        self._ended.set()

    async def finish(self, seconds: float = LAST_SECONDS) -> tuple[str, ...]:
        """Give it time to tell the rest, and return what people should know of it."""
        with trio.move_on_after(seconds):
            await self._ended.wait()
        if self._status == ExitStatus.FINISHED:
            return ()
        why = self._words if self._ended.is_set() else "there was no time for the rest"
        return (f"Not all of the run was told to its trackers: {why}", f"Tell them with: {self._again}")


async def start_tracking(system: ActorSystem, config: StartConfig, folder: RunFolder) -> Tracking | None:
    """Start the process that tells the trackers of a run; None where none is wished for."""
    if not config.track:
        return None
    wanted = [word for text in config.track for word in ("--to", text)]
    flags = [folder.run, "--workspace", str(config.workspace), *wanted]
    tracking = Tracking(f"bin/track {' '.join(flags)}")
    command = python_command("federation", "track", *flags, "--wait")
    role = Role("tracker", lambda: command, folder.log("tracker"), os.environ)
    process = ChildSpec(partial(RoleProcess, role, tracking.see_exit), PROCESS, restart="temporary")
    await system.actor_of(partial(Supervisor, [process]), "tracking")
    return tracking
