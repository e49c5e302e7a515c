"""The line in which everybody gets the same share, and the turns of readers."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from trioactor.fairness import FairLine, Share
from trioactor.turns import UNIT_BYTES, UNITS_PER_TURN, Turn, Turns


def test_who_wants_much_and_who_wants_little_take_turns() -> None:
    line: FairLine[str] = FairLine()
    greedy, modest = Share(), Share()
    for number in range(4):
        line.enter(greedy, f"greedy {number}")
    line.enter(modest, "modest 0")
    line.enter(modest, "modest 1")

    order = [line.take() for _ in range(6)]

    assert order == ["greedy 0", "modest 0", "greedy 1", "modest 1", "greedy 2", "greedy 3"]
    assert line.take() is None


def test_who_was_quiet_for_long_comes_next_and_not_several_times() -> None:
    line: FairLine[str] = FairLine()
    busy, quiet = Share(), Share()
    line.enter(quiet, "quiet")
    for _ in range(100):
        line.enter(busy, "busy")
    assert [line.take() for _ in range(50)].count("quiet") == 1

    for _ in range(3):
        line.enter(quiet, "quiet")

    assert [line.take() for _ in range(5)] == ["quiet", "busy", "quiet", "busy", "quiet"]


def test_who_has_left_is_passed_over() -> None:
    line: FairLine[str] = FairLine()
    gone = line.enter(Share(), "gone")
    line.enter(Share(), "here")

    line.leave(gone)
    line.leave(gone)

    assert len(line) == 1
    assert line.take() == "here"
    assert len(line) == 0


@pytest.mark.parametrize(("newest_first", "order"), [(False, ["old", "new"]), (True, ["new", "old"])])
def test_of_two_whose_turn_it_is_alike_the_older_or_the_newer_goes(
    newest_first: bool, order: list[str]
) -> None:
    line: FairLine[str] = FairLine(newest_first=newest_first)
    line.enter(Share(), "old")
    line.enter(Share(), "new")

    assert [line.take(), line.take()] == order


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(2, 40))
def test_nobody_who_waits_gets_two_turns_less_than_another(arrivals: list[int], turns: int) -> None:
    """As long as both of two stand in line, neither is more than one turn ahead."""
    line: FairLine[int] = FairLine()
    shares = [Share() for _ in range(5)]
    for who in arrivals:
        line.enter(shares[who], who)
    left, had = Counter(arrivals), Counter[int]()
    for _ in range(min(turns, len(arrivals))):
        taken = line.take()
        assert taken is not None
        had[taken] += 1
        left[taken] -= 1
        waiting = [each for each in left if left[each]]
        assert all(had[taken] - had[each] <= 1 for each in waiting)


# --- turns --------------------------------------------------------------------------------------------


def test_a_turn_is_so_many_small_frames_or_so_many_bytes() -> None:
    small, large = Turn(Turns()), Turn(Turns())

    assert [small.spend(20) for _ in range(UNITS_PER_TURN)] == [False] * (UNITS_PER_TURN - 1) + [True]
    assert large.spend(UNITS_PER_TURN * UNIT_BYTES)


async def test_of_all_that_have_much_to_do_one_goes_on_at_a_time() -> None:
    """And whoever has little to do runs in between, each time."""
    turns = Turns()
    order: list[str] = []

    async def work(name: str) -> None:
        turn = Turn(turns)
        for _ in range(5):
            await turn.over()
            order.append(name)
        turn.rest()

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(work, f"busy {number}")
        await trio.lowlevel.checkpoint()
        while len(order) - order.count("other") < 100:
            order.append("other")
            await trio.lowlevel.checkpoint()

    pauses = " ".join("." if who == "other" else "x" for who in order)
    assert "x x x" not in pauses
    assert Counter(order) == {**{f"busy {number}": 5 for number in range(20)}, "other": order.count("other")}
    assert turns.holder is None


async def test_who_is_alone_waits_for_nobody() -> None:
    turns = Turns()
    turn = Turn(turns)
    with trio.fail_after(1):
        for _ in range(1000):
            await turn.over()
    turn.rest()

    assert turns.holder is None


async def test_who_is_cancelled_in_the_line_holds_up_nobody() -> None:
    turns = Turns()
    first, second, third = Turn(turns), Turn(turns), Turn(turns)
    await first.over()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.over)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert len(turns.line) == 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(third.over)
        await wait_all_tasks_blocked()
        assert turns.holder is first
        first.rest()

    assert turns.holder is third


async def test_a_cancelled_turn_is_a_cancellation() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(trio.Cancelled):
            await Turn(Turns()).over()
