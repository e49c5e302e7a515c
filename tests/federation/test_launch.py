"""What it means for a run when a role is not there: the launcher's side, in virtual time."""

from __future__ import annotations

import io
import signal

import pytest
import trio
from trio.testing import MockClock

from federation.config import StartConfig
from federation.errors import ExitStatus
from federation.events import RunBegun, RunPlanned
from federation.launch import STOP_SECONDS, RollCall, RunWatch
from federation.stopping import Stop
from federation.terminal import PlainScreen

ROLES = ("provider", "aggregator", "evaluator", "A", "B", "C")


def watch_of(status: str) -> RunWatch:
    """Return the watch of a run that waits for its roles, or runs."""
    watch = RunWatch(PlainScreen(io.StringIO()))
    watch.see(RunPlanned(at_seconds=0, run="run", rounds=3, min_workers=3))
    if status == "running":
        watch.see(RunBegun(at_seconds=0, from_round=1, source="synthetic", synthetic=True))
    return watch


async def outcome_of(watch: RunWatch, exits: list[tuple[str, int]], given_up: tuple[str, ...] = ()) -> str:
    """Let roles end, and return the run's status and how it is told, if it is over soon."""
    async with trio.open_nursery() as nursery:
        roll_call = RollCall(watch, StartConfig(), nursery, ROLES)
        for role, status in exits:
            roll_call.see_exit(role, status, "these words")
        for role in given_up:
            roll_call.see_given_up(role, "these words")
        await trio.sleep(2 * STOP_SECONDS)
    if not watch.over.is_set():
        return "goes on"
    outcome = watch.outcome(Stop())
    return f"{outcome.status.name}: {outcome.reason}"


@pytest.mark.parametrize("role", ["A", "aggregator", "provider"])
async def test_a_role_that_was_told_that_the_run_has_finished_is_believed(
    role: str, autojump_clock: MockClock
) -> None:
    """The Provider may have been killed between telling the roles and telling the launcher."""
    watch = watch_of("running")

    assert await outcome_of(watch, [(role, ExitStatus.FINISHED)]) == "FINISHED: "


async def test_a_crash_is_no_end_while_the_role_can_come_back(autojump_clock: MockClock) -> None:
    watch = watch_of("running")

    assert await outcome_of(watch, [(role, -signal.SIGKILL) for role in ROLES]) == "goes on"
    assert {worker.state for worker in watch.view.workers.values()} == {"restarting"}


async def test_a_service_that_is_given_up_ends_the_run(autojump_clock: MockClock) -> None:
    told = await outcome_of(watch_of("running"), [("evaluator", -signal.SIGKILL)], ("evaluator",))

    assert told == "FAILED: the evaluator has ended: it crashed too often; the last time these words"


async def test_a_role_that_is_given_up_without_having_exited_is_told_with_what_was_wrong(
    autojump_clock: MockClock,
) -> None:
    assert "these words" in await outcome_of(watch_of("running"), [], ("aggregator",))


@pytest.mark.parametrize(
    ("status", "exits", "told"),
    [
        ("waiting", ["A"], "FAILED: worker A has ended before the run began: these words"),
        ("running", ["A", "B"], "goes on"),
        ("running", ["A", "B", "C"], "FAILED: no worker is left; the last one, C, has ended: these words"),
    ],
)
async def test_workers_that_end_by_themselves_are_missed_when_too_few_are_left(
    status: str, exits: list[str], told: str, autojump_clock: MockClock
) -> None:
    assert await outcome_of(watch_of(status), [(role, 1) for role in exits]) == told
