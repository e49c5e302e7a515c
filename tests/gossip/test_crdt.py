"""`LWWMap` and `PNCounter` beyond the laws: what they say, what they refuse, what wins."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import BadState, BadTime, Delta, LWWMap, PNCounter, ReplicaId
from gossip import crdt as crdt_module
from gossip.plain import MAX_VALUE_BYTES, fingerprint, freeze
from tests.gossip.kinds import KEYS, REPLICAS, VALUES, deltas, maps

A, A2, B = REPLICAS


def delta(key: str, time: int, replica: ReplicaId, value: Any) -> Delta:
    return Delta.from_plain((key, time, *replica, value is None, value))


# --- reading and writing ------------------------------------------------------------------------


def test_what_was_put_can_be_got() -> None:
    state = LWWMap().put("size", 3, 1, A).put("name", "a", 2, A)

    assert state["size"] == 3
    assert state.get("size") == 3
    assert "name" in state
    assert list(state) == ["name", "size"]
    assert dict(state.items()) == {"name": "a", "size": 3}
    assert len(state) == 2


def test_what_was_deleted_is_not_there() -> None:
    state = LWWMap().put("size", 3, 1, A).delete("size", 2, A)

    assert state.get("size") is None
    assert state.get("size", 7) == 7
    assert "size" not in state
    assert list(state) == []
    assert (len(state), state.tombstones) == (0, 1)
    with pytest.raises(KeyError):
        state["size"]
    with pytest.raises(KeyError):
        state["never"]
    assert 3 not in state


def test_a_key_can_be_put_again_after_it_was_deleted() -> None:
    assert LWWMap().put("k", 1, 1, A).delete("k", 2, A).put("k", 3, 3, A)["k"] == 3


def test_a_map_does_not_change() -> None:
    before = LWWMap().put("k", 1, 1, A)
    before.put("k", 2, 2, A)
    assert before["k"] == 1


def test_a_list_is_held_as_a_tuple() -> None:
    assert LWWMap().put("k", [1, [2, 3]], 1, A)["k"] == (1, (2, 3))


@pytest.mark.parametrize("value", [None, {"a": 1}, {1}, object(), float("nan"), float("inf"), 2**64, [{}]])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(BadState):
        LWWMap().put("k", value, 1, A)


def test_a_value_has_bounds() -> None:
    LWWMap().put("k", b"x" * (MAX_VALUE_BYTES - 8), 1, A)
    with pytest.raises(BadState, match="the limit is 4,096"):
        LWWMap().put("k", b"x" * MAX_VALUE_BYTES, 1, A)
    with pytest.raises(BadState, match="deeper than 8"):
        LWWMap().put("k", [[[[[[[[[1]]]]]]]]], 1, A)
    with pytest.raises(BadState, match="surrogate"):
        LWWMap().put("k", "\ud800", 1, A)


@pytest.mark.parametrize("key", ["", "k" * 257, 7])
def test_a_key_has_bounds(key: Any) -> None:
    with pytest.raises(BadState, match="a key is text"):
        LWWMap().put(key, 1, 1, A)


def test_a_map_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crdt_module, "MAX_ENTRIES", 2)
    full = LWWMap().put("a", 1, 1, A).delete("b", 2, A)

    with pytest.raises(BadState, match=r"full; collect\(\)"):
        full.put("c", 1, 3, A)
    assert full.put("a", 2, 3, A)["a"] == 2
    assert full.collect(3).put("c", 1, 3, A)["c"] == 1


def test_a_write_by_a_clock_that_was_not_told_is_refused() -> None:
    state = LWWMap().put("k", 1, 5, A)
    with pytest.raises(ValueError, match="must observe"):
        state.put("k", 2, 5, A)
    with pytest.raises(ValueError, match="must observe"):
        state.collect(9).put("other", 2, 8, A)


# --- which write wins ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lesser", "greater"),
    [
        (delta("k", 1, B, "late"), delta("k", 2, A, "early")),  # time
        (delta("k", 1, A, "z"), delta("k", 1, B, "y")),  # then the peer
        (delta("k", 1, A, "z"), delta("k", 1, A2, "y")),  # then its life
        (delta("k", 1, A, "z"), delta("k", 1, A, None)),  # then a delete
    ],
    ids=["time", "peer", "life", "delete"],
)
def test_the_order_of_writes(lesser: Delta, greater: Delta) -> None:
    for first, second in ((lesser, greater), (greater, lesser)):
        assert LWWMap().merge(first).merge(second).delta("k") == greater


@given(st.lists(deltas, max_size=12))
def test_the_order_is_total(written: list[Delta]) -> None:
    """Of any two different writes to one key one wins, and it wins everywhere."""
    for one in written:
        for other in written:
            stamps = one.entry.stamp, other.entry.stamp
            assert (stamps[0] < stamps[1]) + (stamps[0] > stamps[1]) + (stamps[0] == stamps[1]) == 1
            if stamps[0] == stamps[1]:
                assert one.entry == other.entry


def test_two_values_under_one_timestamp_end_as_one() -> None:
    """An owner that lives twice, or lies. Without the content in the order each side would keep its own."""
    one, other = delta("k", 1, A, "x"), delta("k", 1, A, "y")
    assert LWWMap().merge(one).merge(other) == LWWMap().merge(other).merge(one)


def test_values_that_python_takes_for_equal_are_told_apart() -> None:
    stamps = {fingerprint(freeze(value)) for value in (0, False, 0.0, "", b"", -0.0)}
    assert len(stamps) == 6


# --- tombstones and the floor -------------------------------------------------------------------


def test_a_tombstone_wins_over_a_put_that_comes_late() -> None:
    put = delta("k", 1, A, "x")
    gone = LWWMap().merge(put).delete("k", 2, A)
    assert "k" not in gone.merge(put)
    assert "k" not in gone.merge_state(LWWMap().merge(put))


def test_a_collected_key_does_not_come_back() -> None:
    """Neither with a late put, nor with the state of a replica that never heard of the delete."""
    put = delta("k", 1, A, "x")
    collected = LWWMap().merge(put).delete("k", 2, A).collect(3)
    assert collected.tombstones == 0

    assert "k" not in collected.merge(put)
    assert "k" not in collected.merge_state(LWWMap().merge(put))
    assert "k" not in LWWMap().merge(put).merge_state(collected)
    assert collected.merge_state(LWWMap().merge(put)).floor == 3


@pytest.mark.parametrize("floor", [1, 2, 3])
def test_the_floor_spares_what_is_not_older_than_it(floor: int) -> None:
    state = LWWMap().delete("k", 2, A).put("l", "x", 1, A).collect(floor)
    assert state.tombstones == (0 if floor == 3 else 1)
    assert state["l"] == "x", "a value is never collected"


def test_what_is_collected_frees_its_memory() -> None:
    """A million puts and deletes leave no more behind than the last ones since the floor was raised."""
    state = LWWMap()
    for number in range(2000):
        state = state.put(f"k{number}", 1, 2 * number + 1, A).delete(f"k{number}", 2 * number + 2, A)
        if state.tombstones >= 10:
            state = state.collect(state.latest + 1)
    assert len(state.entries) < 10


def test_a_floor_is_never_lowered() -> None:
    state = LWWMap().collect(5)
    assert state.collect(3) is state
    with pytest.raises(BadTime):
        state.collect(-1)


@given(maps(), st.integers(0, 7))
def test_collecting_only_adds_knowledge(state: LWWMap, floor: int) -> None:
    after = state.collect(floor)
    assert after.merge_state(state) == after
    assert dict(after.items()) == dict(state.items())


@given(maps(), maps())
def test_what_a_map_speaks_of_is_never_later_than_its_latest(one: LWWMap, other: LWWMap) -> None:
    both = one.merge_state(other)
    assert both.latest <= max(one.latest, other.latest)
    assert all(entry.stamp.time <= both.latest for entry in both.entries.values())
    assert both.floor <= both.latest + 1


# --- PNCounter ----------------------------------------------------------------------------------


def test_a_counter_counts_up_and_down() -> None:
    assert PNCounter().increment(A, 5).decrement(B, 7).increment(A).value == -1


def test_a_row_that_comes_twice_counts_once() -> None:
    counter = PNCounter().increment(A, 5)
    row = counter.delta(A)
    assert counter.merge(row).merge(row).value == 5


def test_a_counter_refuses_negative_amounts_and_overflow() -> None:
    with pytest.raises(BadState, match="count down with decrement"):
        PNCounter().increment(A, -1)
    with pytest.raises(BadState, match="2\\*\\*62"):
        PNCounter().increment(A, 2**62 - 1).increment(A)


def test_a_counter_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crdt_module, "MAX_ENTRIES", 1)
    with pytest.raises(BadState, match=r"fold\(\) the earlier lives"):
        PNCounter().increment(A).increment(B)


def test_folding_keeps_the_value_and_one_row_for_each_peer() -> None:
    counter = PNCounter().increment(A, 5).decrement(A2, 1).increment(B, 2)
    folded = counter.fold(A2)

    assert folded.value == counter.value == 6
    assert folded.rows == {A2: (5, 1), B: (2, 0)}


def test_a_folded_row_that_comes_late_is_not_counted_again() -> None:
    counter = PNCounter().increment(A, 5)
    folded = counter.fold(A2)
    assert folded.merge(counter).value == 5
    assert counter.merge(folded).value == 5
    assert counter.merge(folded) == folded


def test_a_sealed_life_counts_no_more() -> None:
    with pytest.raises(BadState, match="later incarnation"):
        PNCounter().fold(A2).increment(A)


def test_many_lives_leave_one_row() -> None:
    counter = PNCounter()
    for life in range(1, 200):
        me = ReplicaId("a", life)
        counter = counter.fold(me).increment(me, life)
    assert len(counter.rows) == 1
    assert counter.value == sum(range(200))


# --- what came from elsewhere -------------------------------------------------------------------

GOOD_ROW = ("k", 1, "a", 1, False, "x")


@pytest.mark.parametrize(
    "row",
    [
        (),
        "text",
        GOOD_ROW[:5],
        ("", *GOOD_ROW[1:]),
        (7, *GOOD_ROW[1:]),
        ("k", -1, "a", 1, False, "x"),
        ("k", 2**62, "a", 1, False, "x"),
        ("k", True, "a", 1, False, "x"),
        ("k", 1.0, "a", 1, False, "x"),
        ("k", 1, "", 1, False, "x"),
        ("k", 1, "a" * 101, 1, False, "x"),
        ("k", 1, 5, 1, False, "x"),
        ("k", 1, "a", -1, False, "x"),
        ("k", 1, "a", True, False, "x"),
        ("k", 1, "a", 2**64, False, "x"),
        ("k", 1, "a", 1, 0, "x"),
        ("k", 1, "a", 1, True, "x"),
        ("k", 1, "a", 1, False, None),
        ("k", 1, "a", 1, False, {}),
    ],
    ids=repr,
)
def test_a_bad_entry_is_refused(row: Any) -> None:
    assert Delta.from_plain(GOOD_ROW).key == "k"
    with pytest.raises((BadState, BadTime)):
        Delta.from_plain(row)
    with pytest.raises((BadState, BadTime)):
        LWWMap.from_plain(("lww-map", 1, 0, (row,)))


@pytest.mark.parametrize(
    "plain",
    [
        None,
        (),
        ("lww-map", 1, 0),
        ("lww-map", 2, 0, ()),
        ("pn-counter", 1, 0, ()),
        ("lww-map", 1, -1, ()),
        ("lww-map", 1, "0", ()),
        ("lww-map", 1, 0, "rows"),
        ("lww-map", 1, 0, (GOOD_ROW, GOOD_ROW)),
        ("lww-map", 1, 5, (("k", 4, "a", 1, True, None),)),
    ],
    ids=repr,
)
def test_a_bad_map_is_refused(plain: Any) -> None:
    with pytest.raises((BadState, BadTime)):
        LWWMap.from_plain(plain)


@pytest.mark.parametrize(
    "plain",
    [
        None,
        ("pn-counter", 1, ()),
        ("lww-map", 1, (), ()),
        ("pn-counter", 1, (), (("a", 1, 1),)),
        ("pn-counter", 1, (), (("a", 1, -1, 0),)),
        ("pn-counter", 1, (), (("a", 1, True, 0),)),
        ("pn-counter", 1, (), (("a", 1, 2**62, 0),)),
        ("pn-counter", 1, (), (("a", 1, 1, 0), ("a", 1, 1, 0))),
        ("pn-counter", 1, (("a", 1), ("a", 2)), ()),
        ("pn-counter", 1, (("a", 2),), (("a", 1, 1, 0),)),
    ],
    ids=repr,
)
def test_a_bad_counter_is_refused(plain: Any) -> None:
    with pytest.raises(BadState):
        PNCounter.from_plain(plain)


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = LWWMap().put("a", 1, 1, A).put("b", 1, 2, A)
    monkeypatch.setattr(crdt_module, "MAX_ENTRIES", 1)
    with pytest.raises(BadState, match="at most 1"):
        LWWMap.from_plain(state.to_plain())


@given(st.sampled_from(VALUES), st.sampled_from(KEYS), st.integers(0, 9))
def test_a_delta_survives_the_wire(value: Any, key: str, time: int) -> None:
    written = delta(key, time, A, value)
    assert Delta.from_plain(cbor2.loads(cbor2.dumps(written.to_plain()))) == written


@given(st.binary(max_size=60))
def test_any_bytes_are_a_state_or_are_refused(data: bytes) -> None:
    """Nothing but the two errors, whatever comes."""
    try:
        plain = cbor2.loads(data)
    except Exception:
        plain = data
    for kind in (LWWMap, PNCounter, Delta):
        with pytest.raises((BadState, BadTime)):
            kind.from_plain(plain)
