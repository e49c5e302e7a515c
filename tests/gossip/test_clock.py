"""Logical time: bounds, lease, and the word of others."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import BadTime, LamportClock, Parked
from gossip.clock import CEILING, LEASE_TIMES, MAX_ADVANCE, MAX_FAR_WITNESSES, check_time


class Lease:
    """A disk for leases."""

    def __init__(self) -> None:
        self.until = 0
        self.writes = 0

    def save_lease(self, until: int) -> None:
        self.until = until
        self.writes += 1


@pytest.fixture
def lease() -> Lease:
    return Lease()


@pytest.fixture
def clock(lease: Lease) -> LamportClock:
    return LamportClock(lease)


def test_times_begin_at_one_and_only_grow(clock: LamportClock) -> None:
    assert [clock.tick() for _ in range(3)] == [1, 2, 3]


def test_a_tick_is_later_than_all_that_was_observed(clock: LamportClock) -> None:
    clock.observe(41)
    clock.observe(7)

    assert clock.tick() == 42


@given(st.lists(st.one_of(st.none(), st.integers(0, 5000)), max_size=60))
def test_no_time_is_used_twice_over_any_number_of_crashes(story: list[int | None]) -> None:
    """None is a crash: the clock is made anew from what is on disk, and from nothing else."""
    lease = Lease()
    clock = LamportClock(lease)
    used: list[int] = []
    for event in story:
        if event is None:
            clock = LamportClock(lease, lease_end=lease.until)
        else:
            clock.observe(event)
            used.append(clock.tick())
            assert event < used[-1]
            assert used[-1] < lease.until, "what is in use is on disk"

    assert len(used) == len(set(used))


def test_the_disk_is_written_once_for_a_block_of_times(clock: LamportClock, lease: Lease) -> None:
    for _ in range(2 * LEASE_TIMES + 1):
        clock.tick()

    assert lease.writes == 3


def test_what_was_observed_is_not_forgotten_in_a_crash(clock: LamportClock, lease: Lease) -> None:
    """Else a peer would write below a floor that others have chosen because its clock had passed it."""
    clock.observe(5000)
    clock.observe(5001)

    assert lease.writes == 1
    assert LamportClock(lease, lease_end=lease.until).tick() > 5001


def test_the_lease_is_on_disk_before_the_time_is_in_use() -> None:
    class Broken:
        def save_lease(self, until: int) -> None:
            raise OSError("no space left on device")

    clock = LamportClock(Broken())
    with pytest.raises(OSError, match="no space"):
        clock.tick()
    assert clock.time == 0


@pytest.mark.parametrize("time", [-1, CEILING, 2**64, 10**30, True, 1.0, math.nan, None, "7", b"7"])
def test_a_time_that_no_clock_shows_is_refused(clock: LamportClock, time: Any) -> None:
    with pytest.raises(BadTime):
        check_time(time)
    with pytest.raises(BadTime):
        clock.observe(time)
    with pytest.raises(BadTime):
        clock.witness("liar", time)
    assert clock.time == 0


def test_the_text_of_a_refusal_does_not_write_out_what_was_sent() -> None:
    """A number of a million digits takes seconds to write; its length says as much."""
    with pytest.raises(BadTime, match=r"3321929 bits"):
        check_time(10**1_000_000)


def test_a_time_too_far_ahead_is_not_obeyed(clock: LamportClock) -> None:
    assert clock.observe(MAX_ADVANCE)
    assert not clock.observe(2 * MAX_ADVANCE + 1)
    assert clock.time == MAX_ADVANCE
    assert clock.observe(2 * MAX_ADVANCE)


def test_the_limit_moves_with_the_clock() -> None:
    """A bound that is not relative to now refuses, after years, everything (scylladb#5164)."""
    years = 10 * 365 * 24 * 3600
    clock = LamportClock(Lease(), lease_end=years * 1000)

    assert clock.observe(years * 1000 + 5)
    assert clock.tick() == years * 1000 + 6


def test_one_peer_alone_is_not_believed_a_late_time_and_two_are(clock: LamportClock) -> None:
    assert not clock.witness("liar", CEILING - 2)
    assert not clock.witness("liar", CEILING - 1)
    assert clock.time == 0

    assert clock.witness("b", 3 * MAX_ADVANCE)

    assert clock.time == 3 * MAX_ADVANCE, "what both show, not what the liar shows"


def test_two_late_times_move_the_clock_to_the_lesser(clock: LamportClock) -> None:
    clock.witness("b", 5 * MAX_ADVANCE)
    clock.witness("c", 4 * MAX_ADVANCE)

    assert clock.time == 4 * MAX_ADVANCE


def test_the_only_other_peer_is_believed(clock: LamportClock) -> None:
    assert clock.witness("b", 9 * MAX_ADVANCE, needed=1)
    assert clock.time == 9 * MAX_ADVANCE


def test_late_witnesses_are_bounded(clock: LamportClock) -> None:
    """The first one has given way to the many that came after it, so its word counts no more."""
    clock.witness("b", 9 * MAX_ADVANCE, needed=1000)
    for number in range(MAX_FAR_WITNESSES):
        clock.witness(f"liar-{number}", 2 * MAX_ADVANCE, needed=1000)

    assert not clock.witness("c", 9 * MAX_ADVANCE)
    assert clock.time == 2 * MAX_ADVANCE


def test_a_clock_ends_before_its_ceiling() -> None:
    clock = LamportClock(Lease(), lease_end=CEILING)
    with pytest.raises(BadTime, match="come to its end"):
        clock.tick()


def test_a_snapshot_of_our_own_is_obeyed_however_late(clock: LamportClock) -> None:
    clock.restore(50 * MAX_ADVANCE)
    assert clock.tick() == 50 * MAX_ADVANCE + 1


# --- what is put aside ------------------------------------------------------------------------


def test_what_is_parked_comes_back_when_the_clock_reaches_it(clock: LamportClock) -> None:
    parked: Parked[str] = Parked()
    parked.put("late", 3 * MAX_ADVANCE, "late")
    parked.put("later", 2 * MAX_ADVANCE, "earlier")
    assert parked.take_reachable(clock) == []

    clock.restore(2 * MAX_ADVANCE)

    assert parked.take_reachable(clock) == ["earlier", "late"]
    assert len(parked) == 0


def test_what_is_parked_is_bounded_and_the_oldest_gives_way(clock: LamportClock) -> None:
    parked: Parked[int] = Parked(most=3)
    for number in range(5):
        parked.put(number, 2 * MAX_ADVANCE, number)
    parked.put(3, 2 * MAX_ADVANCE, 33)  # the same name: replaced, not added
    clock.restore(MAX_ADVANCE)

    assert sorted(parked.take_reachable(clock)) == [2, 4, 33]
