"""A map with its clock: ticks, observes, and what waits because it is too far ahead."""

from gossip import Delta, LWWMap, Replica
from gossip.clock import MAX_ADVANCE, MAX_PARKED
from tests.gossip.stores import begin


def replica(peer: str = "a", state: LWWMap | None = None) -> Replica:
    identity, clock = begin(peer)
    return Replica(identity, clock, state)


def written_at(time: int, key: str = "k", peer: str = "far") -> Delta:
    return Delta.from_plain((key, time, peer, 1, False, "value"))


def test_a_write_after_a_merge_wins() -> None:
    """Without observing, the clock of b would show 1, and its write would be lost to an older one."""
    a, b = replica("b"), replica("a")
    for number in range(5):
        told = a.put("k", number)
    b.merge(told)

    a.merge(b.put("k", "newer"))

    assert a.map["k"] == "newer"


def test_a_write_after_a_merged_state_wins() -> None:
    a, b = replica("b"), replica("a")
    for number in range(5):
        a.put("k", number)
    b.merge_state(a.map)
    assert b.put("k", "newer").entry.stamp > a.map.entries["k"].stamp


def test_a_merged_floor_moves_the_clock_as_well() -> None:
    """Else the next write would lie below the floor, and be gone at the first merge."""
    a, b = replica("a"), replica("b")
    for number in range(5):
        a.put("k", number)
    a.delete("k")
    a.collect(100)
    assert a.map.floor == 7, "never above what the clock has passed"
    b.merge_state(a.map)

    b.put("k", "x")
    a.merge_state(b.map)

    assert a.map["k"] == "x"


def test_a_delta_too_far_ahead_waits_until_the_clock_reaches_it() -> None:
    a = replica()
    assert not a.merge(written_at(MAX_ADVANCE + 5))
    assert (a.parked, "k" in a.map) == (1, False)
    assert a.retry() == 0

    a.merge(written_at(5, key="other"))

    assert a.retry() == 1
    assert a.map["k"] == "value"
    assert a.parked == 0


def test_a_state_too_far_ahead_waits_as_a_whole() -> None:
    a = replica()
    state = LWWMap().merge(written_at(1, key="near")).merge(written_at(MAX_ADVANCE + 5))
    assert not a.merge_state(state)
    assert len(a.map) == 0

    a.merge(written_at(5, key="other"))
    a.retry()

    assert list(a.map) == ["k", "near", "other"]


def test_what_waits_is_bounded() -> None:
    a = replica()
    for number in range(2 * MAX_PARKED):
        a.merge(written_at(MAX_ADVANCE + 5, key=f"k{number}"))
    assert a.parked == MAX_PARKED


def test_a_snapshot_is_observed() -> None:
    state = LWWMap().merge(written_at(50 * MAX_ADVANCE))
    a = replica(state=state)
    assert a.put("k", "newer").entry.stamp.time == 50 * MAX_ADVANCE + 1
