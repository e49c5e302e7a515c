"""Models in pieces: what is asked, of whom, how often, and what is refused."""

from hashlib import sha256

import pytest

from gossip import Timing
from gossip import transfer as transfer_module
from gossip.messages import PIECE_BYTES, GossipPiece, GossipWant
from gossip.outgoing import Outgoing
from gossip.transfer import MAX_ACTIVE, MAX_FAILURES, MAX_SOURCES, PIECES_PER_WANT, Transfers

SMALL = b"a model of few bytes"
LARGE = bytes(range(256)) * 256 * 9 + b"and a bit"  # nine pieces and a bit
TIMING = Timing(round_seconds=1.0, retry_seconds=0.25)


def content_of(data: bytes) -> bytes:
    return sha256(data).digest()


def holder(data: bytes, name: str = "b") -> Transfers:
    transfers = Transfers(name, TIMING)
    transfers.keep(data)
    return transfers


def wants(out: list[Outgoing] | None) -> list[GossipWant]:
    assert out is not None
    return [each.message for each in out]


def piece(data: bytes, number: int, sender: str = "b", ask: int = 1) -> GossipPiece:
    return GossipPiece(
        sender, content_of(data), number, data[number * PIECE_BYTES : (number + 1) * PIECE_BYTES], ask
    )


@pytest.fixture
def a() -> Transfers:
    return Transfers("a", TIMING)


def fetch_all(a: Transfers, data: bytes, source: Transfers) -> list[int]:
    """Let a fetch a model from a source; return how many pieces each question brought."""
    questions = wants(a.fetch(content_of(data), len(data), "owner", "b", 0.0))
    brought = []
    while questions:
        answers = [out.message for want in questions for out in source.pieces_for(want)]
        brought.append(len(answers))
        questions = [want for each in answers for want in wants(a.on_piece(each, 0.0)[0])]
    return brought


@pytest.mark.parametrize("data", [b"x", SMALL, LARGE, LARGE[: 2 * PIECE_BYTES]], ids=len)
def test_a_model_arrives_as_it_was(a: Transfers, data: bytes) -> None:
    fetch_all(a, data, holder(data))
    assert a.held(content_of(data)) == data
    assert a.pending == 0


def test_the_first_question_is_for_one_piece_and_later_ones_for_some(a: Transfers) -> None:
    assert fetch_all(a, LARGE, holder(LARGE)) == [1, 4, 4, 1]


def test_pieces_may_come_in_any_order(a: Transfers) -> None:
    a.fetch(content_of(LARGE), len(LARGE), "owner", "b", 0.0)
    for number in reversed(range(10)):
        a.on_piece(piece(LARGE, number), 0.0)
    assert a.held(content_of(LARGE)) == LARGE


def test_what_is_held_or_on_its_way_is_not_asked_for_again(a: Transfers) -> None:
    assert len(wants(a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0))) == 1
    assert a.fetch(content_of(SMALL), len(SMALL), "owner", "c", 0.0) == []


def test_what_does_not_come_in_time_is_asked_of_another(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    a.fetch(content_of(SMALL), len(SMALL), "owner", "c", 0.0)
    assert a.tick(0.2) == []

    (out,) = a.tick(0.3)

    assert out.to == "c"


def test_only_the_missing_pieces_are_asked_for_again(a: Transfers) -> None:
    a.fetch(content_of(LARGE), len(LARGE), "owner", "b", 0.0)
    a.on_piece(piece(LARGE, 0), 0.0)  # asks for 1 to 4
    a.on_piece(piece(LARGE, 2, ask=2), 0.0)

    (want,) = wants(a.tick(1.0))

    assert want.pieces == (1, 3, 4, 5)


def test_a_slow_line_is_not_asked_twice(a: Transfers) -> None:
    """Once an answer has taken a second, a question may take four before it is asked again."""
    a.hear(1.0)
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    assert a.tick(3.9) == []
    assert len(a.tick(4.1)) == 1


def test_a_late_answer_to_the_first_question_is_known_to_be_late(a: Transfers) -> None:
    """Taken for a quick answer to the repetition, it would never teach us to wait (Karn, 1987)."""
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    (again,) = wants(a.tick(0.9))
    assert again.ask == 2
    a.on_piece(piece(SMALL, 0, ask=1), 1.0)

    a.fetch(content_of(LARGE), len(LARGE), "owner", "b", 2.0)

    assert a.tick(5.9) == [], "four seconds, since that answer took one"
    assert len(a.tick(6.1)) == 1


def test_how_slow_the_answers_were_fades(a: Transfers) -> None:
    a.hear(10.0)
    for _ in range(200):
        a.hear(0.01)
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    assert len(a.tick(0.3)) == 1


def test_a_model_that_never_comes_is_given_up(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    now = asked = 0
    while a.pending:
        now += 20
        asked += len(a.tick(float(now)))
    assert asked == MAX_FAILURES - 1


def test_one_more_that_has_it_is_asked_when_the_first_is_silent(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    a.tick(0.3)
    (want,) = a.fetch(content_of(SMALL), len(SMALL), "owner", "c", 0.6) or []
    assert want.to == "c"


def test_sources_are_bounded(a: Transfers) -> None:
    for number in range(100):
        a.fetch(content_of(SMALL), len(SMALL), "owner", f"p{number}", 0.0)
    asked = {a.tick(20.0 * turn)[0].to for turn in range(1, MAX_FAILURES)}
    assert len(asked) <= MAX_SOURCES


def test_a_lost_peer_is_replaced_at_once(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    a.fetch(content_of(SMALL), len(SMALL), "owner", "c", 0.0)
    assert [out.to for out in a.lose("b", 0.1)] == ["c"]
    assert a.lose("c", 0.1) == []
    assert a.pending == 0, "nobody is left who has it"


def test_a_peer_that_is_not_being_asked_is_lost_without_a_word(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    a.fetch(content_of(SMALL), len(SMALL), "owner", "c", 0.0)
    assert a.lose("c", 0.1) == []
    assert a.pending == 1


def test_a_cancelled_model_is_not_asked_for(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    a.cancel(content_of(SMALL))
    assert a.tick(100.0) == []
    assert a.on_piece(piece(SMALL, 0), 100.0) == ([], False)


def test_many_models_are_asked_for_in_turn(a: Transfers) -> None:
    """A newcomer wants them all; it asks for some at a time."""
    models = [f"model {number}".encode() for number in range(MAX_ACTIVE + 5)]
    asked = []
    for data in models:
        asked += wants(a.fetch(content_of(data), len(data), "owner", "b", 0.0))
    assert len(asked) == MAX_ACTIVE

    following, complete = a.on_piece(piece(models[0], 0), 0.0)

    assert complete
    assert len(following) == 1
    assert a.pending == MAX_ACTIVE + 4


def test_what_is_on_its_way_is_bounded() -> None:
    a = Transfers("a", TIMING, max_pending_bytes=len(LARGE))
    assert a.fetch(content_of(LARGE), len(LARGE), "owner", "b", 0.0)
    assert a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0) is None
    assert a.refused == {"no room": 1}

    a.cancel(content_of(LARGE))

    assert a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)


def test_a_question_for_many_pieces_brings_some() -> None:
    b = holder(LARGE)
    want = GossipWant("a", "owner", content_of(LARGE), tuple(range(10)), 1)
    assert len(b.pieces_for(want)) == PIECES_PER_WANT


def test_a_piece_that_does_not_exist_is_not_sent() -> None:
    want = GossipWant("a", "owner", content_of(SMALL), (0, 1, 7), 1)
    assert [out.message.number for out in holder(SMALL).pieces_for(want)] == [0]


@pytest.mark.parametrize(
    "bad",
    [
        piece(SMALL, 0, sender="stranger"),
        piece(LARGE, 0),
        GossipPiece("b", content_of(SMALL), 1, b"", 1),
        GossipPiece("b", content_of(SMALL), 0, SMALL[:-1], 1),
        GossipPiece("b", content_of(SMALL), 0, SMALL + b"x", 1),
    ],
    ids=["stranger", "not asked for", "no such piece", "too short", "too long"],
)
def test_a_piece_that_cannot_be_right_is_refused(a: Transfers, bad: GossipPiece) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    assert a.on_piece(bad, 0.0) == ([], False)
    assert a.refused.total() == 1

    assert a.on_piece(piece(SMALL, 0), 0.0) == ([], True)


def test_a_piece_that_comes_twice_is_refused(a: Transfers) -> None:
    a.fetch(content_of(LARGE), len(LARGE), "owner", "b", 0.0)
    a.on_piece(piece(LARGE, 0), 0.0)
    assert a.on_piece(piece(LARGE, 0), 0.0) == ([], False)
    assert a.refused == {"piece not asked for": 1}


def test_wrong_bytes_are_thrown_away_and_asked_of_another(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "liar", 0.0)
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    lie = GossipPiece("liar", content_of(SMALL), 0, bytes(len(SMALL)), 1)

    out, complete = a.on_piece(lie, 0.0)

    assert not complete
    assert a.held(content_of(SMALL)) is None
    assert [each.to for each in out] == ["b"]
    assert a.refused == {"model with another content": 1}
    assert a.on_piece(piece(SMALL, 0), 0.0)[1]


def test_wrong_bytes_from_the_only_source_end_the_attempt(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "liar", 0.0)
    a.on_piece(GossipPiece("liar", content_of(SMALL), 0, bytes(len(SMALL)), 1), 0.0)
    assert a.pending == 0


def test_what_we_make_ourselves_need_not_come(a: Transfers) -> None:
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    a.keep(SMALL)
    assert a.pending == 0
    a.forget(content_of(SMALL))
    assert a.held(content_of(SMALL)) is None


def test_patience_has_an_end(a: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_module, "MAX_PATIENCE_ROUNDS", 3)
    a.hear(1000.0)
    a.fetch(content_of(SMALL), len(SMALL), "owner", "b", 0.0)
    assert len(a.tick(3.1)) == 1
