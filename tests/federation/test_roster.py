"""Who takes part: admitted, replaced, struck off, missing."""

from __future__ import annotations

import pytest

from federation.roster import Misfit, Roster
from tests.federation.stage import register
from trioactor import ActorRef, ActorSystem


async def refs(*names: str) -> list[ActorRef]:
    async with ActorSystem("test") as system:
        return [system.ref("127.0.0.1", 1, name) for name in names]


async def test_a_worker_of_other_shape_does_not_fit() -> None:
    (a,) = await refs("a")
    roster = Roster()
    roster.check(register("A", a))
    roster.admit(register("A", a))

    roster.check(register("B", a))
    with pytest.raises(Misfit, match="worker B has 64 features, the run has 5"):
        roster.check(register("B", a, num_features=64))


async def test_a_worker_that_was_replaced_is_not_struck_off_with_the_one_before_it() -> None:
    a, b = await refs("a", "b")
    roster = Roster()
    first, second = register("A", a), register("A", b)
    roster.admit(first)
    roster.admit(second)

    assert not roster.strike_worker(first, until=9.0)
    assert roster.workers == {"A": second}
    assert roster.strike_worker(second, until=9.0)
    assert not roster.workers


async def test_a_worker_that_was_lost_is_a_member_for_as_long_as_it_is_expected_back() -> None:
    a, b = await refs("a", "b")
    roster = Roster()
    roster.admit(register("A", a))
    roster.admit(register("B", b))

    roster.strike_worker(roster.workers["B"], until=9.0)
    assert roster.members(8.9) == ("A", "B")
    assert roster.members(9.0) == ("A",)

    roster.admit(register("B", b))
    assert roster.members(99.0) == ("A", "B")


async def test_workers_that_are_there_need_not_be_expected() -> None:
    (a,) = await refs("a")
    roster = Roster()
    roster.admit(register("A", a))

    roster.expect(["A", "B"], until=9.0)

    assert roster.away == {"B": 9.0}


async def test_a_service_that_was_replaced_is_not_struck_off_with_the_one_before_it() -> None:
    a, b = await refs("a", "b")
    roster = Roster()
    roster.services["evaluator"] = b

    assert not roster.strike_service("evaluator", a)
    assert roster.strike_service("evaluator", b)


async def test_what_is_missing_is_said() -> None:
    a, b = await refs("a", "b")
    roster = Roster()
    assert roster.missing(1) == [
        "no aggregator has joined",
        "no evaluator has joined",
        "0 of 1 workers have registered",
    ]
    roster.services |= {"aggregator": a, "evaluator": b}
    roster.admit(register("A", a))

    assert roster.missing(2) == ["1 of 2 workers have registered (A)"]
    assert roster.missing(1) == []
    assert set(roster.everyone()) == {a, b}


def test_a_run_without_workers_has_no_pattern() -> None:
    with pytest.raises(LookupError):
        _ = Roster().pattern
