"""Small tells that go together in one frame: to whom, in which order, and what becomes of their credit.

A system of ours on a virtual network, and a stranger that speaks the wire by hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from cbor2 import CBORTag, dumps
from trio.testing import MockClock

from tests.trioactor.cast import Clerk, Hold, Note, Read
from tests.trioactor.certificates import Files
from tests.trioactor.pairs import open_pair
from tests.trioactor.strangers import Stranger, dial, said
from trioactor import ActorRef, ActorSystem, Envelope, MailboxSettings
from trioactor.errors import WireError
from trioactor.frames import Tells
from trioactor.limits import LEAST_ITEMS, Limits
from trioactor.testing import Network

PORT = 7000
WORDS = (Note, Hold, Read)
TELLS = Tells.number


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as network:
        yield network


# --- what we write --------------------------------------------------------------------------------


@asynccontextmanager
async def far_stranger(
    network: Network, **hello: Any
) -> AsyncIterator[tuple[Stranger, ActorRef, ActorSystem]]:
    """A stranger that our system has dialled, and the ref of an actor there."""
    with network.at("stranger"):
        (listener,) = await trio.open_tcp_listeners(PORT, host="stranger")
    with network.at("near"):
        async with ActorSystem("near", vocabulary=WORDS) as system:
            far = system.ref("stranger", PORT, "scribe")
            far.on_down(lambda reason: None)  # a reason to dial
            stranger = Stranger(await listener.accept())
            await stranger.shake_hands(**hello)
            await stranger.hear_until(9)
            yield stranger, far, system
            await trio.aclose_forcefully(stranger.stream)
    await listener.aclose()


def alone(wire_name: str, *fields: Any) -> list[Any]:
    """The frame of a message by itself, as cbor2 reads it."""
    return ["scribe", CBORTag(27, (wire_name, fields))]


async def test_a_peer_that_takes_it_gets_small_tells_of_one_class_in_one_frame(
    autojump_clock: MockClock, network: Network
) -> None:
    async with far_stranger(network, tells=True) as (stranger, far, _):
        for number in range(3):
            await far.tell(Note(number))

        assert await stranger.hear() == [TELLS, "scribe", "tests.note", [[0], [1], [2]]]


async def test_a_peer_that_does_not_say_so_gets_every_tell_by_itself(
    autojump_clock: MockClock, network: Network
) -> None:
    async with far_stranger(network) as (stranger, far, _):
        for number in range(3):
            await far.tell(Note(number))

        assert [await stranger.hear() for _ in range(3)] == [alone("tests.note", n) for n in range(3)]


async def test_what_is_no_small_tell_of_that_class_stands_between_the_frames_in_its_place(
    autojump_clock: MockClock, network: Network
) -> None:
    async with far_stranger(network, tells=True) as (stranger, far, _):
        for said_now in (Note(1), Note(2), Hold(3), Note(4), Note(5), Hold(6), Hold(7)):
            await far.tell(said_now)

        assert [await stranger.hear() for _ in range(4)] == [
            [TELLS, "scribe", "tests.note", [[1], [2]]],
            alone("tests.hold", 3),
            [TELLS, "scribe", "tests.note", [[4], [5]]],
            [TELLS, "scribe", "tests.hold", [[6], [7]]],
        ]


async def test_tells_that_go_together_keep_to_the_window_and_to_what_every_peer_takes(
    autojump_clock: MockClock, network: Network
) -> None:
    heard: list[int] = []
    async with far_stranger(network, tells=True, window=[300, 2**20]) as (stranger, far, _):
        for number in range(1000):
            far.tell_nowait(Note(number))
        while len(heard) < 300:
            _, _, _, messages = frame = await stranger.hear()
            assert len(dumps(frame)) <= LEAST_ITEMS
            heard += [number for (number,) in messages]
        with trio.move_on_after(5):
            raise AssertionError(await stranger.hear())

    assert heard == list(range(300))


async def test_a_peer_with_short_messages_gets_every_tell_by_itself(
    autojump_clock: MockClock, network: Network
) -> None:
    """So that one that is too long for it is dead, and no other."""
    async with far_stranger(network, tells=True, message_bytes=30) as (stranger, far, _):
        for number in (1, 2**60, 3):
            await far.tell(Note(number))

        assert [await stranger.hear() for _ in range(2)] == [alone("tests.note", n) for n in (1, 3)]


async def test_tells_are_lost_and_counted_when_the_link_breaks_before_they_are_written(
    autojump_clock: MockClock, network: Network
) -> None:
    async with far_stranger(network, tells=True, window=[5, 2**20]) as (stranger, far, system):
        for number in range(20):
            await far.tell(Note(number))
        await stranger.hear()
        await trio.aclose_forcefully(stranger.stream)
        await trio.sleep(1)
        ledger = system.ledger()

        assert (ledger.sent, ledger.lost, ledger.queued) == (5, 15, 0)


# --- what we read ---------------------------------------------------------------------------------


@asynccontextmanager
async def hub(network: Network, **settings: Any) -> AsyncIterator[tuple[ActorSystem, Clerk]]:
    """A listening system with a clerk, whose mailbox has room for two."""
    with network.at("hub"):
        async with ActorSystem("hub", vocabulary=WORDS, **settings) as system:
            clerk = Clerk()
            await system.actor_of(lambda: clerk, "clerk", mailbox=MailboxSettings(capacity=2))
            await system.listen("hub", PORT)
            with network.at("stranger"):
                yield system, clerk
            clerk.gate.set()


async def test_tells_that_came_together_are_handled_in_order_though_the_mailbox_is_full(
    autojump_clock: MockClock, network: Network
) -> None:
    async with hub(network) as (_, clerk), dial("hub", PORT) as stranger:
        await stranger.say("clerk", said("tests.hold", 0))
        await stranger.say(TELLS, "clerk", "tests.note", [[n] for n in range(1, 10)])
        await stranger.say(TELLS, "clerk", "tests.note", [[n] for n in range(10, 20)])
        await stranger.say("clerk", said("tests.note", 20))
        await stranger.say("clerk", said("tests.read"), {"ask": 1})
        await trio.sleep(1)
        clerk.gate.set()

        assert await stranger.hear_until(1) == [1, 1, list(range(21))]


async def test_tells_that_came_together_give_all_their_credit_back(
    autojump_clock: MockClock, network: Network
) -> None:
    async with hub(network, limits=Limits(window_messages=8)) as (_, clerk), dial("hub", PORT) as stranger:
        given: dict[str, list[int]] = {"clerk": [0, 0], "nobody": [0, 0]}
        sent = {"clerk": [0, 0], "nobody": [0, 0]}
        for actor in ("clerk", "nobody", "clerk"):
            frame = [TELLS, actor, "tests.note", [[n] for n in range(6)]]
            await stranger.say(*frame)
            sent[actor] = [sent[actor][0] + 6, sent[actor][1] + len(dumps(frame))]
            while given[actor][0] < sent[actor][0]:
                _, name, messages, size = await stranger.hear_until(4)
                given[name] = [given[name][0] + messages, given[name][1] + size]

    assert given == sent
    assert clerk.diary == [*range(6), *range(6)]


async def test_each_of_them_is_refused_by_itself(autojump_clock: MockClock, network: Network) -> None:
    async with hub(network) as (system, _), dial("hub", PORT) as stranger:
        await stranger.say(TELLS, "clerk", "tests.note", [[1], ["two"], [], [4], 5])
        credit = await stranger.hear_until(4)
        await stranger.say("clerk", said("tests.read"), {"ask": 1})

        assert await stranger.hear_until(1) == [1, 1, [1, 4]]
        assert credit[:3] == [4, "clerk", 3]
        assert system.network_counts.refused == {"BadFields": 3}


@pytest.mark.parametrize(
    ("name", "error"), [("tests.unheard", "UnknownMessage"), ("trioactor.terminated", "NotAuthorized")]
)
async def test_what_may_not_be_said_may_not_be_said_together(
    autojump_clock: MockClock, network: Network, name: str, error: str
) -> None:
    async with hub(network) as (system, clerk), dial("hub", PORT) as stranger:
        frame = [TELLS, "clerk", name, [["a", "b"], ["c", "d"]]]
        await stranger.say(*frame)

        assert await stranger.hear_until(4) == [4, "clerk", 2, len(dumps(frame))]
        assert system.network_counts.refused == {error: 2}
        assert clerk.diary == []


async def test_authorize_is_asked_about_each_of_them(autojump_clock: MockClock, network: Network) -> None:
    asked: list[tuple[str, str]] = []

    def authorize(peer: Any, actor_id: str, wire_name: str) -> bool:
        asked.append((actor_id, wire_name))
        return len(asked) != 2

    async with hub(network, authorize=authorize) as (_, clerk), dial("hub", PORT) as stranger:
        await stranger.say(TELLS, "clerk", "tests.note", [[1], [2], [3]])
        await trio.sleep(1)

    assert asked == [("clerk", "tests.note")] * 3
    assert clerk.diary == [1, 3]


async def test_more_at_once_than_the_credit_ends_the_connection(
    autojump_clock: MockClock, network: Network
) -> None:
    async with hub(network, limits=Limits(window_messages=8)) as (system, _), dial("hub", PORT) as stranger:
        await stranger.say(TELLS, "clerk", "tests.note", [["none of them is looked at"]] * 9)

        assert await stranger.is_cut_off()
        assert system.network_counts.cut_off == 1
        assert system.network_counts.refused == {}


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["clerk"],
        ["clerk", "tests.note"],
        ["clerk", "tests.note", []],
        ["clerk", "tests.note", {}],
        ["clerk", "tests.note", [[1]], {}],
        ["clerk", 5, [[1]]],
        ["", "tests.note", [[1]]],
        [5, "tests.note", [[1]]],
    ],
)
def test_a_frame_of_tells_that_lacks_something_is_none(fields: list[Any]) -> None:
    with pytest.raises(WireError, match="several tells are"):
        Tells.read([TELLS, *fields], 10)


# --- both ends ------------------------------------------------------------------------------------


async def test_tells_with_headers_give_their_credit_back_too(good: Files) -> None:
    """The headers count: the other side gives credit for all the bytes that came."""

    async def stamp(envelope: Envelope, call_next: Callable[..., Awaitable[Any]]) -> Any:
        return await call_next(envelope.with_changes(headers={"trace": "abc"}))

    with trio.fail_after(10):
        async with open_pair("tcp", good, send=[stamp]) as pair:
            ref = await pair.start(Clerk, "clerk")
            for number in range(1000):
                await ref.tell(Note(number))
            assert await ref.ask(Read()) == list(range(1000))
            assert pair.here.network_counts.cut_off == 0


def test_fewer_items_than_small_tells_have_are_no_limit() -> None:
    with pytest.raises(ValueError, match="items=1499; it is at least 1,500"):
        Limits(items=1499)
