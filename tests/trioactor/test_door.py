"""Who is let in when very many come at the same time."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock

from trioactor.door import KNOWN_ADDRESSES, Door
from trioactor.limits import Limits

LIMITS = Limits(handshakes_at_once=3, handshakes_per_second=10, door_seconds=2)


async def come(door: Door, address: str, seen: list[tuple[str, bool, float]]) -> None:
    began = trio.current_time()
    let_in = await door.let_in(address)
    seen.append((address, let_in, round(trio.current_time() - began, 3)))


@pytest.fixture
async def door(nursery: trio.Nursery) -> Door:
    door = Door(LIMITS)
    nursery.start_soon(door.keep)
    return door


async def test_without_a_crowd_nobody_waits(autojump_clock: MockClock, door: Door) -> None:
    for _ in range(20):
        before = trio.current_time()
        assert await door.let_in("10.0.0.1")
        assert trio.current_time() == before
        await trio.sleep(0.1)


async def test_of_a_crowd_some_are_let_in_at_once_and_so_many_a_second(
    autojump_clock: MockClock, door: Door
) -> None:
    seen: list[tuple[str, bool, float]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(come, door, "10.0.0.1", seen)

    assert seen == [("10.0.0.1", True, at) for at in (0, 0, 0, 0.1, 0.2, 0.3)]


async def test_after_a_quiet_time_as_many_are_let_in_at_once_as_before(
    autojump_clock: MockClock, door: Door
) -> None:
    for _ in range(2):
        before = trio.current_time()
        for _ in range(3):
            assert await door.let_in("10.0.0.1")
        assert trio.current_time() == before
        await trio.sleep(10)


async def test_who_has_waited_for_too_long_is_not_let_in(autojump_clock: MockClock, door: Door) -> None:
    seen: list[tuple[str, bool, float]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(come, door, "10.0.0.1", seen)

    assert sum(let_in for _, let_in, _ in seen) in (22, 23)  # three, and ten a second
    assert {at for _, let_in, at in seen if not let_in} == {2.0}
    assert len(door) == 0


async def test_addresses_come_in_turn_so_one_with_a_crowd_does_not_keep_out_another(
    autojump_clock: MockClock, door: Door
) -> None:
    seen: list[tuple[str, bool, float]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(come, door, "10.0.0.1", seen)
        await trio.sleep(0.05)
        nursery.start_soon(come, door, "10.0.0.2", seen)

    ((_, let_in, at),) = [each for each in seen if each[0] == "10.0.0.2"]
    assert let_in
    assert at == 0.05, "it is next"


async def test_addresses_of_offenders_come_last(autojump_clock: MockClock, door: Door) -> None:
    """Of two that send a crowd, the one with a clean record is served first."""
    for _ in range(3):
        door.note_offence("10.0.0.1")
    seen: list[tuple[str, bool, float]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            assert await door.let_in("10.0.0.3")
        for address in ("10.0.0.1", "10.0.0.2"):
            for _ in range(5):
                nursery.start_soon(come, door, address, seen)
            await trio.sleep(0.01)

    assert [address for address, _, _ in seen] == ["10.0.0.2"] * 5 + ["10.0.0.1"] * 5
    assert all(let_in for _, let_in, _ in seen), "it is let in all the same"


async def test_an_offender_takes_up_the_time_of_two_for_a_minute(
    autojump_clock: MockClock, door: Door
) -> None:
    for wait, slots in ((0, 2), (50, 2), (20, 1)):
        if not wait:
            door.note_offence("10.0.0.1")
        await trio.sleep(wait)
        seen: list[tuple[str, bool, float]] = []
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(come, door, "10.0.0.1", seen)

        assert sum(let_in for _, let_in, _ in seen) == 8
        assert seen[-1][2] - seen[-2][2] == pytest.approx(0.1 * slots)


async def test_the_book_of_addresses_has_an_end(autojump_clock: MockClock, door: Door) -> None:
    for number in range(KNOWN_ADDRESSES + 100):
        door.note_offence(f"address {number}")

    assert len(door._shares) == KNOWN_ADDRESSES


async def test_who_gives_up_while_waiting_leaves_the_line(
    autojump_clock: MockClock, door: Door, nursery: trio.Nursery
) -> None:
    for _ in range(3):
        await door.let_in("10.0.0.1")
    with trio.move_on_after(0.05):
        await door.let_in("10.0.0.1")

    assert len(door) == 0


@pytest.mark.parametrize("name", ["handshakes_at_once", "handshakes_per_second", "door_seconds"])
def test_the_limits_of_the_door_are_above_0(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0; every limit is above 0"):
        partial(Limits, **{name: 0})()
