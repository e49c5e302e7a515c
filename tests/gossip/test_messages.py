"""Every message goes over the wire as it is, and refuses what cannot be meant."""

from dataclasses import replace
from typing import Any

import pytest
import trio

from gossip import (
    MESSAGES,
    GossipPeerJoin,
    GossipSighting,
    GossipState,
    GossipStateRequest,
    GossipSurvey,
    ModelInfo,
    PeerInfo,
)
from gossip.messages import (
    CONTENT_BYTES,
    MAX_MODEL_BYTES,
    MAX_NEWS,
    MAX_PIECES_PER_WANT,
    PIECE_BYTES,
    ROW_BYTES,
    SUMMARY_BYTES,
    GossipAck,
    GossipAnnounce,
    GossipDelta,
    GossipDigest,
    GossipEqual,
    GossipNack,
    GossipPiece,
    GossipPing,
    GossipPingRequest,
    GossipSyn,
    GossipWant,
    GossipWelcome,
    Rows,
)
from trioactor import Actor, ActorSystem

A = PeerInfo("a", "10.0.0.1", 7000, 1 << 32)
CONTENT = bytes(CONTENT_BYTES)
MODEL = ModelInfo("a", 1 << 32, 7, 100, 5000, CONTENT, b"seal")
WITHDRAWN = ModelInfo("a", 1 << 32, 8, 0, 0, b"")
SUMMARY = bytes(SUMMARY_BYTES)
ROWS = Rows(3, SUMMARY, bytes(2 * ROW_BYTES))
STATE = GossipState("a", 3, 0.5, 0.9, 4, 3, 4, 1000, 2000, "0" * 64, False)

EXAMPLES: tuple[Any, ...] = (
    A,
    replace(A, status="suspect", accuser="b", rebuttals=4, proof=b"seal"),
    MODEL,
    WITHDRAWN,
    GossipSighting("b", 5, 9, ("10.0.0.1", 7000), (("10.0.0.2", 7000),)),
    GossipSighting("b", 0, 0, None, ()),
    GossipSurvey("a"),
    GossipStateRequest(),
    GossipPeerJoin(A),
    GossipWelcome("b", (A,)),
    GossipPing(1, A, "b", (A,)),
    GossipAck(1, "b", A),
    GossipPingRequest(1, A, A),
    GossipNack(1, "b"),
    GossipSyn("a", 9, SUMMARY, SUMMARY),
    GossipEqual("a"),
    ROWS,
    GossipDigest("a", 9, ROWS, Rows(0, SUMMARY, b"")),
    GossipDelta("a", (A,), (MODEL, WITHDRAWN), bytes(8), bytes(16)),
    GossipDelta("a", (), (), closes=True),
    GossipAnnounce("a", MODEL),
    GossipWant("a", "b", CONTENT, (0, 1), 3),
    GossipPiece("a", CONTENT, 0, b"data", 3),
    STATE,
    replace(STATE, accuracy=None, average=""),
)


def test_there_is_an_example_of_every_message() -> None:
    assert {type(example) for example in EXAMPLES} == set(MESSAGES)


async def test_every_message_survives_the_wire() -> None:
    """Over TCP, from one system to another."""
    came: list[Any] = []
    complete = trio.Event()

    class Ear(Actor):
        async def receive(self, message: Any) -> None:
            came.append(message)
            if len(came) == len(EXAMPLES):
                complete.set()

    async with (
        ActorSystem("there", vocabulary=MESSAGES) as there,
        ActorSystem("here", vocabulary=MESSAGES) as here,
    ):
        host, port = await there.listen()
        await there.actor_of(Ear, "gossip")
        ear = here.ref(host, port, "gossip")
        for example in EXAMPLES:
            await ear.tell(example)
        with trio.fail_after(10):
            await complete.wait()

    assert tuple(came) == EXAMPLES


BAD: tuple[tuple[Any, dict[str, Any]], ...] = (
    (A, {"peer": ""}),
    (A, {"peer": "a/b"}),
    (A, {"peer": "x" * 101}),
    (A, {"peer": "a\n"}),
    (A, {"host": ""}),
    (A, {"host": "x" * 256}),
    (A, {"port": 0}),
    (A, {"port": 65_536}),
    (A, {"incarnation": -1}),
    (A, {"incarnation": 2**64}),
    (A, {"rebuttals": -1}),
    (A, {"rebuttals": 2**40}),
    (A, {"accuser": "/"}),
    (A, {"proof": bytes(5000)}),
    (MODEL, {"owner": ""}),
    (MODEL, {"version": -1}),
    (MODEL, {"version": 2**62}),
    (MODEL, {"incarnation": 2**64}),
    (MODEL, {"samples": 0}),
    (MODEL, {"size": 0}),
    (MODEL, {"size": MAX_MODEL_BYTES + 1}),
    (MODEL, {"content": b"short"}),
    (MODEL, {"proof": bytes(5000)}),
    (WITHDRAWN, {"samples": 1}),
    (WITHDRAWN, {"size": 1}),
    (GossipSurvey("a"), {"salt": -1}),
    (GossipSurvey("a"), {"salt": 2**32}),
    (EXAMPLES[4], {"time": 2**62}),
    (EXAMPLES[4], {"incarnation": -1}),
    (EXAMPLES[4], {"others": (("h", 1),) * (MAX_NEWS + 1)}),
    (EXAMPLES[4], {"others": (("h", 1), ("x" * 256, 1))}),
    (EXAMPLES[4], {"others": (("h", 0),)}),
    (EXAMPLES[4], {"last_address": ("h", 2**64 - 1)}),
    (EXAMPLES[4], {"last_address": ("", 1)}),
    (GossipPing(1, A, "b"), {"news": (A,) * (MAX_NEWS + 1)}),
    (GossipPing(1, A, "b"), {"number": -1}),
    (GossipPing(1, A, "b"), {"target": ""}),
    (GossipWelcome("b", ()), {"peers": (A,) * 1000}),
    (GossipSyn("a", 9, SUMMARY, SUMMARY), {"time": -1}),
    (GossipSyn("a", 9, SUMMARY, SUMMARY), {"peers": b"short"}),
    (ROWS, {"mask": 256}),
    (ROWS, {"rows": bytes(ROW_BYTES + 1)}),
    (ROWS, {"rows": bytes(ROW_BYTES * 5000)}),
    (ROWS, {"summary": b""}),
    (GossipDelta("a", (), ()), {"want_models": bytes(7)}),
    (GossipDelta("a", (), ()), {"want_peers": bytes(8 * 5000)}),
    (GossipWant("a", "b", CONTENT, (0,), 3), {"pieces": tuple(range(MAX_PIECES_PER_WANT + 1))}),
    (GossipWant("a", "b", CONTENT, (0,), 3), {"pieces": (-1,)}),
    (GossipWant("a", "b", CONTENT, (0,), 3), {"content": b""}),
    (GossipPiece("a", CONTENT, 0, b"", 3), {"data": bytes(PIECE_BYTES + 1)}),
    (GossipPiece("a", CONTENT, 0, b"", 3), {"number": 2**40}),
    (STATE, {"delta": float("nan")}),
    (STATE, {"delta": -1.0}),
    (STATE, {"accuracy": 1.5}),
    (STATE, {"round": -1}),
    (STATE, {"average": "abc"}),
)


@pytest.mark.parametrize(("message", "change"), BAD, ids=lambda each: repr(each)[:40])
def test_a_message_refuses_what_cannot_be_meant(message: Any, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # BadTime is one; each text is the check's own
        replace(message, **change)
