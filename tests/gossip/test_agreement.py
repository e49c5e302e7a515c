"""When a peer may go: all live peers have finished with its average."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from gossip import GossipState
from gossip.agreement import MAX_ASKED, Agreement

OURS, OTHER = "a" * 64, "b" * 64
STATE = GossipState("b", 3, 0.0, None, 3, 3, 3, 0, 0, OURS, True)


@pytest.fixture
def agreement() -> Agreement:
    return Agreement(Random(0))


def test_who_has_finished_with_our_average_is_not_asked_again(agreement: Agreement) -> None:
    agreement.hear("b", STATE)

    assert agreement.to_ask(["b", "c"], OURS) == ["c"]


@pytest.mark.parametrize("state", [replace(STATE, finished=False), replace(STATE, average=OTHER)])
def test_who_trains_on_or_holds_another_average_is_missing(agreement: Agreement, state: GossipState) -> None:
    agreement.hear("b", STATE)
    agreement.hear("b", state)

    assert agreement.missing(["b"], OURS) == ["b"]


def test_when_our_average_changes_all_are_asked_anew(agreement: Agreement) -> None:
    agreement.hear("b", STATE)

    assert agreement.missing(["b"], OTHER) == ["b"]


def test_nobody_speaks_for_another(agreement: Agreement) -> None:
    """Else one that lies, or has got the address of another, would have us go before that one is done."""
    agreement.hear("c", STATE)

    assert agreement.missing(["b", "c"], OURS) == ["b", "c"]


def test_of_many_only_some_are_asked_at_a_time(agreement: Agreement) -> None:
    live = [f"peer {number}" for number in range(100)]

    assert len(agreement.to_ask(live, OURS)) == MAX_ASKED
    assert agreement.missing(live, OURS) == live
