"""Following a run for its trackers: each in its own time, and none of them matters to the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from click.testing import CliRunner, Result
from trio.testing import MockClock

from federation.__main__ import main
from federation.config import StartConfig
from federation.errors import SettingsError
from federation.targets import Target
from federation.tracking import LAST_SECONDS, LONGEST_PAUSE_SECONDS, Tracking, track, wait_for_run
from persistence import RoundPersistence
from persistence.history import RunHistory
from persistence.tracking import TrackingFailed, whole_rounds
from tests.extras import need
from tests.federation.stage import inline
from tests.persistence.samples import accepted, keep_a_run, model, new_run, round_row, sha

T = TypeVar("T")


class Notebook:
    """A tracker that writes down what it is told, and that cannot be reached when it is `away`.

    Attributes:
        rounds: The rounds it knows.
        status: Of the run, as it was last told.
        tries: When it was tried to tell it.
    """

    name = "the notebook"

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.rounds: list[int] = []
        self.status = ""
        self.tries: list[float] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def tell(self, history: RunHistory) -> None:
        self.tries.append(trio.current_time())
        if self.away:
            raise TrackingFailed(f"{self.name}: it is away")
        self.rounds += [one.number for one in whole_rounds(history, len(self.rounds))]
        self.status = history.run.status


@pytest.fixture
def running(path: Path) -> Path:
    """Return a record of a run of one round that goes on."""
    keep_a_run(path, rounds=1)
    with RoundPersistence(path) as record:
        record.reopen_run(1)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "training.db"


def commit(path: Path, number: int) -> None:
    with RoundPersistence(path) as record:
        record.commit_round(1, round_row(number, sha(number)), weights=model(number), updates=[accepted("A")])


def end(path: Path) -> None:
    with RoundPersistence(path) as record:
        record.end_run(1, status="finished", ended_unix=1.8e9)


async def follow(path: Path, *trackers: Notebook, until: trio.Event | None = None) -> list[str]:
    """Follow the latest run, and return what was said, and behind it who lacks something."""
    until = trio.Event() if until is None else until
    said: list[str] = []
    failures = await track(path, None, trackers, until=until, say=said.append, offload=inline)
    return [*said, *failures]


async def test_a_run_is_followed_to_its_end(running: Path, autojump_clock: MockClock) -> None:
    notebook = Notebook()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, running, notebook)
        await trio.sleep(3)
        assert notebook.rounds == [1]
        commit(running, 2)
        commit(running, 3)
        await trio.sleep(1)
        assert notebook.rounds == [1, 2]  # the third has no score yet
        end(running)

    assert (notebook.rounds, notebook.status) == ([1, 2, 3], "finished")


async def test_a_run_is_followed_to_its_end_also_when_another_begins(
    running: Path, autojump_clock: MockClock
) -> None:
    notebook = Notebook()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, running, notebook)
            await trio.sleep(3)
            with RoundPersistence(running) as record:
                record.create_run(new_run("second"))
            commit(running, 2)
            end(running)

    assert (notebook.rounds, notebook.status) == ([1, 2], "finished")


async def test_a_tracker_that_comes_back_is_told_all_that_it_missed(
    running: Path, autojump_clock: MockClock
) -> None:
    notebook = Notebook(away=True)
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        following = partial(track, until=trio.Event(), say=told.append, offload=inline)
        nursery.start_soon(following, running, None, [notebook])
        await trio.sleep(60)
        commit(running, 2)
        notebook.away = False
        await trio.sleep(LONGEST_PAUSE_SECONDS)
        assert notebook.rounds == [1]
        end(running)

    assert notebook.rounds == [1, 2]
    assert told == [
        "the notebook: it is away; the run goes on, and the record has everything",
        "the notebook: it can be told again",
    ]


async def test_a_tracker_that_is_away_is_tried_ever_less_often(
    running: Path, autojump_clock: MockClock
) -> None:
    notebook = Notebook(away=True)
    until = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(follow, running, notebook, until=until))
        await trio.sleep(600)
        until.set()

    pauses = [later - sooner for sooner, later in zip(notebook.tries, notebook.tries[1:], strict=False)]
    assert pauses[:3] == [1, 2, 4]
    assert max(pauses) == LONGEST_PAUSE_SECONDS
    assert len(pauses) < 30


async def test_one_tracker_does_not_wait_for_another(running: Path, autojump_clock: MockClock) -> None:
    hanging, notebook = trio.Event(), Notebook()

    class Hanging(Notebook):
        name = "a far server"

    far = Hanging()

    async def offload(work: Callable[[Callable[[], bool]], T]) -> T:
        if isinstance(work, partial) and work.args[0] is far:
            await hanging.wait()
        return await inline(work)

    with trio.move_on_after(5):
        await track(running, None, [far, notebook], until=trio.Event(), say=print, offload=offload)

    assert (notebook.rounds, far.rounds) == ([1], [])


async def test_asked_to_end_it_tells_once_more_and_says_who_lacks_something(
    running: Path, autojump_clock: MockClock
) -> None:
    until = trio.Event()
    until.set()
    notebook, far = Notebook(), Notebook(away=True)

    said = await follow(running, notebook, far, until=until)

    assert (notebook.rounds, notebook.status) == ([1], "running")
    assert said[-1] == "the notebook: it is away"
    assert len(far.tries) == 1


async def test_a_run_that_is_yet_to_begin_is_waited_for(path: Path, autojump_clock: MockClock) -> None:
    with trio.move_on_after(5) as scope:
        await wait_for_run(path, "first", inline)
    assert scope.cancelled_caught

    with RoundPersistence(path) as record:
        record.create_run(new_run("another"))
    with trio.move_on_after(5) as scope:
        await wait_for_run(path, "first", inline)
    assert scope.cancelled_caught

    with RoundPersistence(path) as record:
        record.create_run(new_run("first"))
    with trio.fail_after(1):
        await wait_for_run(path, "first", inline)


# --- beside a run -------------------------------------------------------------------------------


async def test_the_end_of_a_run_waits_only_so_long_for_its_trackers(autojump_clock: MockClock) -> None:
    tracking = Tracking("bin/track first --to tensorboard")
    notes = await tracking.finish()

    assert trio.current_time() == LAST_SECONDS
    assert notes == (
        "Not all of the run was told to its trackers: there was no time for the rest",
        "Tell them with: bin/track first --to tensorboard",
    )


@pytest.mark.parametrize(("status", "noted"), [(0, False), (1, True), (-9, True)])
async def test_what_became_of_the_tracking_is_a_note_and_no_more(
    autojump_clock: MockClock, status: int, noted: bool
) -> None:
    tracking = Tracking("bin/track")
    tracking.see_exit("tracker", status, "MLflow at nowhere: nobody listens there")
    notes = await tracking.finish()

    assert trio.current_time() == 0
    assert ("nobody listens there" in "".join(notes)) is noted


# --- flags --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("tensorboard", ("tensorboard", "")),
        ("tensorboard:/data/board", ("tensorboard", "/data/board")),
        ("mlflow:http://127.0.0.1:5000", ("mlflow", "http://127.0.0.1:5000")),
    ],
)
def test_a_tracker_is_named_with_its_place(text: str, target: tuple[str, str]) -> None:
    assert Target.parse(text) == target
    assert StartConfig(track=(text,)).track == (text,)


@pytest.mark.parametrize("text", ["wandb", "mlflow", "mlflow:", ""])
def test_what_is_no_tracker_is_refused_before_anything_starts(text: str) -> None:
    with pytest.raises(SettingsError, match=f"--track {text}: give tensorboard, tensorboard:DIR or mlf"):
        StartConfig(track=(text,))


def test_the_record_of_a_run_does_not_say_who_was_told() -> None:
    assert "track" not in StartConfig(track=("tensorboard",)).for_record()


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["track", *map(str, arguments)])


def test_a_finished_run_is_told_from_its_record(path: Path, tmp_path: Path) -> None:
    need("tensorboardX")
    keep_a_run(path)
    done = command(
        "first", "--workspace", tmp_path, "--to", "tensorboard", "--to", f"tensorboard:{tmp_path}/other"
    )

    assert done.exit_code == 0, done.stderr
    for folder in ("tensorboard", "other"):
        assert {place.name for place in (tmp_path / folder / "first").glob("worker-*")} == {
            "worker-A",
            "worker-B",
            "worker-C",
        }


def test_a_run_that_goes_on_is_told_so_far(running: Path, tmp_path: Path) -> None:
    need("tensorboardX")
    done = command("--workspace", tmp_path, "--to", "tensorboard", "--once")

    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "tensorboard" / "first" / "tracked.json").read_text() == '{"round": 1}'


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--to", "wandb"), 2, "--to wandb: give tensorboard, tensorboard:DIR or mlflow:URI"),
        (("nothing", "--to", "tensorboard"), 2, "there is no run 'nothing'"),
        (("--to", "tensorboard:/proc/no"), 1, "TensorBoard in /proc/no: "),
    ],
)
def test_what_cannot_be_told_is_one_line(
    path: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    need("tensorboardX")
    keep_a_run(path)
    done = command("--workspace", tmp_path, *arguments)

    assert done.exit_code == status
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
