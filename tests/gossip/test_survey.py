"""Asking around before a life begins."""

import pytest

from gossip import DuplicateIdentity, GossipSighting, Survey
from gossip.messages import MAX_NEWS
from gossip.survey import MAX_ADDRESSES

HERE = ("10.0.0.1", 7000)
B, C, D = ("10.0.0.2", 7000), ("10.0.0.3", 7000), ("10.0.0.4", 7000)


def answer(
    sender: str,
    incarnation: int = 0,
    *,
    last_address: tuple[str, int] | None = None,
    others: tuple[tuple[str, int], ...] = (),
) -> GossipSighting:
    return GossipSighting(sender, incarnation, 7, last_address, others)


def is_enough(survey: Survey) -> bool:
    return survey.enough


def test_with_nobody_to_ask_a_life_may_begin_at_once() -> None:
    """The first peer of a network."""
    survey = Survey("a", HERE, [])
    assert is_enough(survey)
    assert is_enough(Survey("a", HERE, [HERE])), "nobody but itself"


def test_two_answers_are_enough() -> None:
    survey = Survey("a", HERE, [B, C, D])
    survey.on_answer(B, answer("b"))
    assert not is_enough(survey)
    survey.on_answer(C, answer("c", 5))
    assert is_enough(survey)
    assert [(each.witness, each.incarnation, each.time) for each in survey.sightings] == [
        ("b", 0, 7),
        ("c", 5, 7),
    ]


def test_one_answer_is_enough_where_there_is_no_other() -> None:
    survey = Survey("a", HERE, [B])
    survey.on_answer(B, answer("b"))
    assert is_enough(survey)


def test_those_whom_an_answer_names_are_asked_too() -> None:
    survey = Survey("a", HERE, [B])
    survey.on_answer(B, answer("b", others=(C, HERE)))
    assert not is_enough(survey)
    assert survey.to_ask() == [C]


def test_a_seed_that_does_not_answer_is_asked_again() -> None:
    survey = Survey("a", HERE, [B])
    survey.on_failure(B)
    assert not is_enough(survey)
    assert survey.to_ask() == [B]


def test_one_peer_at_two_addresses_is_one_witness() -> None:
    survey = Survey("a", HERE, [B, C, D])
    survey.on_answer(B, answer("b"))
    survey.on_answer(C, answer("b"))
    assert not is_enough(survey)


def test_where_somebody_may_live_under_our_name_is_asked_before_a_life_begins() -> None:
    survey = Survey("a", HERE, [B, C])
    survey.on_answer(B, answer("b", 5, last_address=D))
    survey.on_answer(C, answer("c", 5, last_address=D))
    assert not is_enough(survey)
    assert D in survey.to_ask()

    survey.on_failure(D)

    assert is_enough(survey), "nobody lives there any more: it was us"


def test_somebody_who_lives_under_our_name_ends_it() -> None:
    survey = Survey("a", HERE, [B, C])
    survey.on_answer(B, answer("b", 5, last_address=D))
    with pytest.raises(DuplicateIdentity, match=r"at 10\.0\.0\.4:7000 lives under the name 'a' already"):
        survey.on_answer(D, answer("a", 5))


def test_our_own_last_address_is_not_asked() -> None:
    survey = Survey("a", HERE, [B, C])
    survey.on_answer(B, answer("b", 5, last_address=HERE))
    survey.on_answer(C, answer("c", 5, last_address=HERE))
    assert is_enough(survey)


def test_where_somebody_may_live_under_our_name_is_asked_however_many_others_there_are() -> None:
    """Else nobody is left to be asked, and it is never enough."""
    survey = Survey("a", HERE, [("10.9.9.9", port) for port in range(1, MAX_ADDRESSES + 10)])
    for number, address in enumerate(survey.to_ask()):
        survey.on_answer(address, answer(f"p{number}", 5, last_address=D))

    assert survey.to_ask() == [D]
    survey.on_failure(D)
    assert is_enough(survey)


def test_another_address_of_our_own_is_not_asked_again() -> None:
    survey = Survey("a", HERE, [B, C])
    survey.on_ourselves(C)
    assert survey.to_ask() == [B]

    survey.on_answer(B, answer("b", 5, last_address=C, others=(C,)))

    assert is_enough(survey)


def test_the_number_of_addresses_is_bounded() -> None:
    survey = Survey("a", HERE, [("10.9.9.9", port) for port in range(1, 200)])
    for number in range(100):
        others = tuple((f"10.1.{number}.{each}", 7000) for each in range(MAX_NEWS))
        last = f"10.2.0.{number}", 7000
        survey.on_answer(("10.9.9.9", number + 1), answer(f"p{number}", last_address=last, others=others))
    assert len(survey.to_ask()) <= 2 * MAX_ADDRESSES
