"""The laws of convergent types, each for every type. A new type gets a line in `kinds.py` and all of this."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gossip.kinds import KINDS, Kind

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@every_kind
@given(data=st.data())
def test_merge_is_commutative(kind: Kind, data: st.DataObject) -> None:
    a, b = data.draw(kind.states), data.draw(kind.states)
    assert kind.merge(a, b) == kind.merge(b, a)


@every_kind
@given(data=st.data())
def test_merge_is_associative(kind: Kind, data: st.DataObject) -> None:
    a, b, c = (data.draw(kind.states) for _ in range(3))
    assert kind.merge(kind.merge(a, b), c) == kind.merge(a, kind.merge(b, c))


@every_kind
@given(data=st.data())
def test_merge_is_idempotent(kind: Kind, data: st.DataObject) -> None:
    a = data.draw(kind.states)
    assert kind.merge(a, a) == a
    assert kind.merge(a, kind.empty) == a


@every_kind
@given(data=st.data())
def test_merge_is_monotone(kind: Kind, data: st.DataObject) -> None:
    """What was known stays known: merging a part of what is known changes nothing."""
    a, b = data.draw(kind.states), data.draw(kind.states)
    both = kind.merge(a, b)
    assert kind.merge(both, a) == both
    assert kind.merge(both, b) == both


@every_kind
@given(data=st.data())
def test_a_change_only_adds_knowledge(kind: Kind, data: st.DataObject) -> None:
    """The state before a change is part of the state after it; and what is told of it is, too."""
    before = data.draw(kind.states)
    after, told = data.draw(kind.steps)(before, data.draw(st.sampled_from([1, 2])))
    assert kind.merge(after, before) == after
    assert kind.apply(after, told) == after
    assert kind.apply(before, told) == after


@every_kind
@given(data=st.data())
def test_a_delta_is_a_state_with_one_thing_in_it(kind: Kind, data: st.DataObject) -> None:
    """Merging a delta is merging the state of a replica that knows nothing else."""
    state, other = data.draw(kind.states), data.draw(kind.states)
    _, told = data.draw(kind.steps)(other, data.draw(st.sampled_from([1, 2])))
    assert kind.apply(state, told) == kind.merge(state, kind.apply(kind.empty, told))


@every_kind
@given(data=st.data())
def test_decoding_what_was_encoded_changes_nothing(kind: Kind, data: st.DataObject) -> None:
    state = data.draw(kind.states)
    on_the_wire = cbor2.loads(cbor2.dumps(kind.encode(state)))
    assert kind.decode(kind.encode(state)) == state
    assert kind.decode(on_the_wire) == state
    assert kind.encode(kind.decode(on_the_wire)) == kind.encode(state)


@every_kind
@given(data=st.data())
def test_digests_are_equal_only_for_equal_states(kind: Kind, data: st.DataObject) -> None:
    a, b = data.draw(kind.states), data.draw(kind.states)
    assert (kind.digest(a) == kind.digest(b)) == (a == b)


@every_kind
@given(data=st.data())
def test_deltas_in_any_order_doubled_or_lost_and_repaired_end_in_the_full_merge(
    kind: Kind, data: st.DataObject
) -> None:
    """Three replicas write by themselves; one that only gets deltas ends where merging their states ends."""
    states: list[Any] = [kind.empty] * 3
    told = []
    for _ in range(data.draw(st.integers(1, 8))):
        writer = data.draw(st.integers(0, 2))
        states[writer], delta = data.draw(kind.steps)(states[writer], writer)
        told.append(delta)
    full = kind.merge(kind.merge(states[0], states[1]), states[2])
    deliveries = data.draw(st.permutations(told + data.draw(st.lists(st.sampled_from(told), max_size=4))))
    lost = data.draw(st.sets(st.integers(0, len(deliveries) - 1)))

    reached = kind.empty
    for number, delta in enumerate(deliveries):
        if number not in lost:
            reached = kind.apply(reached, delta)
    for number in sorted(lost):  # repaired: those that were lost come after all
        reached = kind.apply(reached, deliveries[number])

    assert reached == full
    assert kind.digest(reached) == kind.digest(full)
