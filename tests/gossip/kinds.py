"""The convergent types as the law suite sees them: one description for each, one suite for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gossip import Delta, LWWMap, PNCounter, ReplicaId

REPLICAS = [ReplicaId("a", 1), ReplicaId("a", 2), ReplicaId("b", 1)]
KEYS = ["k", "l", "model/a"]
VALUES = [0, False, "", "x", b"x", 1.5, (1, (None, "y"))]

replicas = st.sampled_from(REPLICAS)


@dataclass(frozen=True)
class Kind:
    """A convergent type.

    Attributes:
        name: For the names of tests.
        empty: The state that knows nothing.
        states: Any states, also such as no honest run would bring about together.
        steps: Changes that one replica may make to a state: each returns the state after it, and what is
            told of it to others.
        merge: Two states into one.
        apply: What was told of a change, into a state.
        encode: A state as plain values.
        decode: And back.
        digest: What is equal only for equal states.
    """

    name: str
    empty: Any
    states: st.SearchStrategy[Any]
    steps: st.SearchStrategy[Callable[[Any, int], tuple[Any, Any]]]
    merge: Callable[[Any, Any], Any]
    apply: Callable[[Any, Any], Any]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    digest: Callable[[Any], Any]

    def __str__(self) -> str:
        return self.name


# --- LWWMap -----------------------------------------------------------------------------------

plain_entries = st.builds(
    lambda key, time, replica, value: (key, time, *replica, value is None, value),
    st.sampled_from(KEYS),
    st.integers(0, 6),
    replicas,
    st.sampled_from([None, *VALUES]),
)
deltas = plain_entries.map(Delta.from_plain)


@st.composite
def maps(draw: st.DrawFn) -> LWWMap:
    """Any map: few times, so that all kinds of ties come up; two values under one timestamp as well."""
    floor = draw(st.integers(0, 5))
    rows = draw(st.lists(plain_entries, max_size=5, unique_by=lambda row: row[0]))
    kept = [row for row in rows if not (row[4] and row[1] < floor)]
    return LWWMap.from_plain(("lww-map", 1, floor, kept))


def put_step(key: str, value: Any) -> Callable[[LWWMap, int], tuple[LWWMap, Delta]]:
    def step(state: LWWMap, replica: int) -> tuple[LWWMap, Delta]:
        after = state.put(key, value, state.latest + 1, REPLICAS[replica])
        return after, after.delta(key)

    return step


def delete_step(key: str) -> Callable[[LWWMap, int], tuple[LWWMap, Delta]]:
    def step(state: LWWMap, replica: int) -> tuple[LWWMap, Delta]:
        after = state.delete(key, state.latest + 1, REPLICAS[replica])
        return after, after.delta(key)

    return step


LWW_MAP = Kind(
    name="LWWMap",
    empty=LWWMap(),
    states=maps(),
    steps=st.one_of(
        st.builds(put_step, st.sampled_from(KEYS), st.sampled_from(VALUES)),
        st.builds(delete_step, st.sampled_from(KEYS)),
    ),
    merge=LWWMap.merge_state,
    apply=LWWMap.merge,
    encode=LWWMap.to_plain,
    decode=LWWMap.from_plain,
    digest=LWWMap.digest,
)

# --- PNCounter --------------------------------------------------------------------------------


@st.composite
def counters(draw: st.DrawFn) -> PNCounter:
    rows = draw(st.dictionaries(replicas, st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3))
    folded = draw(
        st.dictionaries(st.just("a"), st.integers(0, 2))
    )  # those that go on counting are a/2 and b/1
    kept = {
        replica: row for replica, row in rows.items() if replica.incarnation >= folded.get(replica.peer, 0)
    }
    return PNCounter(kept, folded)


def count_step(amount: int) -> Callable[[PNCounter, int], tuple[PNCounter, PNCounter]]:
    def step(state: PNCounter, replica: int) -> tuple[PNCounter, PNCounter]:
        who = REPLICAS[replica]
        after = state.increment(who, amount) if amount >= 0 else state.decrement(who, -amount)
        return after, after.delta(who)

    return step


PN_COUNTER = Kind(
    name="PNCounter",
    empty=PNCounter(),
    states=counters(),
    steps=st.builds(count_step, st.integers(-9, 9)),
    merge=PNCounter.merge,
    apply=PNCounter.merge,
    encode=PNCounter.to_plain,
    decode=PNCounter.from_plain,
    digest=PNCounter.to_plain,
)

KINDS: Sequence[Kind] = (LWW_MAP, PN_COUNTER)
