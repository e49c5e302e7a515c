"""Messages are frozen dataclasses with a wire name; envelopes and ledgers are plain data."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioactor import Ledger, Request, message
from trioactor.envelope import Envelope
from trioactor.ledger import OUTCOMES, Tally
from trioactor.messages import RUNTIME_MESSAGES, wire_name_of


@message("tests.point")
class Point:
    x: int
    y: int = 0


@message("tests.distance")
class Distance(Request[float]):
    to: Point


@message("tests.blob", eq=False)
class Blob:
    data: list[int]


class Detour(Point):
    """A subclass that nobody gave a wire name."""


def test_a_message_is_a_frozen_dataclass() -> None:
    point = Point(3)

    assert dataclasses.is_dataclass(point)
    assert (point.x, point.y) == (3, 0)
    assert point == Point(3, 0)
    assert hash(point) == hash(Point(3, 0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 4  # type: ignore[misc]  # what the test is about


def test_a_message_has_slots_and_takes_no_other_attributes() -> None:
    assert not hasattr(Point(1), "__dict__")
    assert not hasattr(Distance(Point(1)), "__dict__")


def test_a_message_with_arrays_is_compared_by_identity() -> None:
    blob = Blob([1])

    assert blob == blob  # identity is the point
    assert blob != Blob([1])
    assert len({blob, Blob([1])}) == 2


def test_a_message_knows_its_wire_name() -> None:
    assert wire_name_of(Point) == "tests.point"
    assert wire_name_of(Distance) == "tests.distance"


def test_a_wire_name_is_not_inherited() -> None:
    """A subclass would decode as its base: it is a message of its own or none."""
    assert wire_name_of(Detour) is None
    assert wire_name_of(int) is None


@pytest.mark.parametrize("name", ["", "two words", "line\nbreak", " edge", "x" * 101])
def test_a_wire_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"use 1 to 100 characters without spaces, like 'counter\.add'"):
        message(name)


def test_a_forgotten_wire_name_is_explained() -> None:
    with pytest.raises(TypeError, match=r'@message\("counter.add"\)'):

        @message  # type: ignore[arg-type]  # what the test is about
        class Add:
            n: int


def test_the_longest_wire_name_is_taken() -> None:
    assert wire_name_of(message("x" * 100)(type("Long", (), {}))) == "x" * 100


def test_the_messages_of_the_runtime_have_wire_names_of_their_own() -> None:
    names = [wire_name_of(cls) for cls in RUNTIME_MESSAGES]

    assert all(name is not None and name.startswith("trioactor.") for name in names)
    assert len(set(names)) == len(names)


def test_an_envelope_with_changes_still_answers_the_asker() -> None:
    class Nobody:
        def succeed(self, value: Any) -> None: ...
        def fail(self, error: Exception) -> None: ...

    nobody = Nobody()
    envelope = Envelope(Point(1), {"a": 1}, nobody, 12.5, ("here/first",))

    other = envelope.with_changes(message=Point(2))
    tagged = envelope.with_changes(headers={"b": 2})

    assert (other.message, other.headers) == (Point(2), {"a": 1})
    assert (tagged.message, tagged.headers) == (Point(1), {"b": 2})
    for changed in (other, tagged):
        assert changed.reply_to is nobody
        assert changed.expires_at == 12.5
        assert changed.chain == ("here/first",)
    assert envelope.message == Point(1), "the old one is as it was"


def test_an_envelope_says_whether_it_asks() -> None:
    class Nobody:
        def succeed(self, value: Any) -> None: ...
        def fail(self, error: Exception) -> None: ...

    assert repr(Envelope(Point(1))) == "<tell Point(x=1, y=0)>"
    assert repr(Envelope(Point(1), reply_to=Nobody())) == "<ask Point(x=1, y=0)>"


@given(st.lists(st.sampled_from(OUTCOMES)), st.integers(0, 5), st.integers(0, 5))
def test_a_ledger_balances_when_every_message_has_an_end_or_a_place(
    ends: list[str], queued: int, in_hand: int
) -> None:
    tally = Tally()
    for end in ends:
        tally.accepted += 1
        setattr(tally, end, getattr(tally, end) + 1)
    tally.accepted += queued + in_hand

    ledger = tally.read(queued=queued, in_hand=in_hand)

    assert ledger.balanced
    assert ledger.ended == tally.ended == len(ends)


def test_a_ledger_shows_one_message_too_few_and_one_too_many() -> None:
    tally = Tally()
    tally.accepted = 2
    tally.handled = 1

    assert not tally.read(queued=0, in_hand=0).balanced
    assert tally.read(queued=1, in_hand=0).balanced
    assert not tally.read(queued=1, in_hand=1).balanced


def test_late_replies_are_no_outcome() -> None:
    tally = Tally()
    tally.late_replies = 3

    assert tally.read(queued=0, in_hand=0).balanced


def test_a_ledger_is_one_line_for_people() -> None:
    tally = Tally()
    tally.accepted = 12345
    tally.handled = 12344

    assert str(tally.read(queued=1, in_hand=0)) == "accepted 12,345, handled 12,344, queued 1"
    assert str(Tally().read(queued=0, in_hand=0)) == "no messages"


def test_a_ledger_is_a_snapshot() -> None:
    tally = Tally()
    before: Ledger = tally.read(queued=0, in_hand=0)
    tally.accepted += 1

    assert before.accepted == 0
