"""One connection from the inside: a system of ours, and a stranger that speaks the wire by hand.

On a virtual network, where time costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import trio
from cbor2 import CBORTag, dumps
from numpy.typing import NDArray
from trio.testing import MockClock

from tests.trioactor.cast import Clerk, Fail, Hold, Note, Read
from tests.trioactor.strangers import HELLO, Stranger, dial, said
from trioactor import (
    Actor,
    ActorSystem,
    MailboxSettings,
    Rejected,
    Request,
    message,
)
from trioactor.framing import encode_frame
from trioactor.limits import Limits
from trioactor.testing import Link, Network

PORT = 7000

# A window of few messages, so that its end is near.
LIMITS = Limits(window_messages=8, window_bytes=100_000, queued_messages=4, connections_per_address=4)


@message("connection.blob", eq=False)
class Blob(Request[NDArray[np.float64]]):
    """Return as many numbers."""

    numbers: NDArray[np.float64]


@message("connection.zeros")
class Zeros(Request[NDArray[np.float64]]):
    """Return so many numbers."""

    count: int


class Echo(Actor):
    async def receive(self, message: Blob | Zeros) -> NDArray[np.float64]:
        if isinstance(message, Blob):
            return message.numbers
        if message.count < 0:
            raise Rejected("there are no fewer than none")
        return np.zeros(message.count)


WORDS = (Note, Hold, Read, Fail, Blob, Zeros)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as network:
        yield network


class Hub:
    """A listening system with a clerk, on the host "hub"."""

    def __init__(self, system: ActorSystem, clerk: Clerk) -> None:
        self.system = system
        self.clerk = clerk

    @property
    def counts(self) -> Any:
        return self.system.network_counts


async def run_hub(
    network: Network,
    limits: Limits,
    leave: trio.Event,
    *,
    task_status: trio.TaskStatus[Hub] = trio.TASK_STATUS_IGNORED,
) -> None:
    with network.at("hub"):
        async with ActorSystem("hub", vocabulary=WORDS, limits=limits) as system:
            clerk = Clerk()
            await system.actor_of(lambda: clerk, "clerk", mailbox=MailboxSettings(capacity=2))
            await system.actor_of(Echo, "echo")
            await system.listen("hub", PORT)
            task_status.started(Hub(system, clerk))
            await leave.wait()
            clerk.gate.set()


@pytest.fixture
async def hub(network: Network) -> AsyncIterator[Hub]:
    leave = trio.Event()
    with network.at("stranger"):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(run_hub, network, LIMITS, leave)
            leave.set()


async def still_there(hub: Hub) -> bool:
    """Whether the listener and the actors go on."""
    async with dial("hub", PORT) as other:
        await other.say("clerk", said("tests.read"), {"ask": 1})
        return await other.hear_until(1) == [1, 1, hub.clerk.diary]


# --- the handshake ------------------------------------------------------------------------------------


async def test_a_hello_says_who_speaks_and_what_it_takes(autojump_clock: MockClock, hub: Hub) -> None:
    stranger = Stranger(await trio.open_tcp_stream("hub", PORT))

    hello = await stranger.shake_hands()

    assert (hello["protocol"], hello["system"], hello["address"]) == (1, "hub", ["hub", PORT])
    assert hello["window"] == [8, 100_000]
    assert hello["incarnation"] == hub.system.incarnation
    await stranger.stream.aclose()


async def test_who_says_nothing_is_turned_away_after_5_seconds(autojump_clock: MockClock, hub: Hub) -> None:
    began = trio.current_time()
    async with dial("hub", PORT, hello=False) as silent:
        assert await silent.is_cut_off()

    assert trio.current_time() - began == pytest.approx(5, abs=0.1)
    assert hub.counts.turned_away == 1
    assert await still_there(hub)


@pytest.mark.parametrize(
    ("first_bytes", "log"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "another protocol"),
        (bytes(100), "not the CBOR that is allowed"),
        (b"\0\0\x20\0" + b"x" * 0x2000, "frame of 8,192 bytes, the limit is 4,096"),
        (b"\0\0\0\x03\x82\x05\x01", "first frame of the peer is no hello"),
        (b"\0\0\0\x03\x82\x05", None),
        (b"", None),
    ],
)
async def test_strange_bytes_are_turned_away(
    autojump_clock: MockClock, hub: Hub, first_bytes: bytes, log: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with dial("hub", PORT, hello=False) as stranger:
        await stranger.stream.send_all(first_bytes)
        if log is not None:
            assert await stranger.is_cut_off()
    await trio.sleep(1)

    assert hub.counts.turned_away == 1
    assert log is None or log in caplog.text
    assert await still_there(hub)


async def test_another_version_is_turned_away(
    autojump_clock: MockClock, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    async with dial("hub", PORT, protocol=2) as newer:
        assert await newer.is_cut_off()

    assert "speaks version 2 of the protocol, this side version 1" in caplog.text


async def test_too_many_connections_from_one_address_are_turned_away(
    autojump_clock: MockClock, hub: Hub
) -> None:
    connected = [Stranger(await trio.open_tcp_stream("hub", PORT)) for _ in range(4)]
    for stranger in connected:
        await stranger.shake_hands()

    fifth = Stranger(await trio.open_tcp_stream("hub", PORT))

    assert await fifth.is_cut_off()
    assert hub.counts.turned_away == 1
    for stranger in connected:
        await stranger.stream.aclose()
    await trio.sleep(1)
    assert await still_there(hub)


# --- bad frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\x01\xff",
        b"\0\0\0\x00",
        b"\0\0\0\x03\x82\x18\x63",
        b"\0\0\0\x0a" + dumps([5, "ping"])[:10].ljust(10, b"\0"),
        b"\0\0\0\x04\x82\x08\x41x",
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_cut_off_and_nobody_else(
    autojump_clock: MockClock, hub: Hub, data: bytes
) -> None:
    async with dial("hub", PORT) as bystander:
        async with dial("hub", PORT) as stranger:
            await stranger.stream.send_all(data)
            assert await stranger.is_cut_off()

        assert hub.counts.cut_off == 1
        await bystander.say(5, 77)
        assert await bystander.hear() == [6, 77]
        assert await still_there(hub)


@pytest.mark.parametrize(
    "frames",
    [
        [(0, HELLO)],
        [("clerk", said("tests.hold", 1), {"ask": 1}), ("clerk", said("tests.hold", 1), {"ask": 1})],
        [(1, 99, None)],
        [(2, 99, "rejected", "", "")],
        [(4, "clerk", 1, 1)],
        [(9, 1, "clerk"), (9, 1, "clerk")],
    ],
)
async def test_frames_out_of_place_break_the_protocol(
    autojump_clock: MockClock, hub: Hub, frames: list[tuple[Any, ...]]
) -> None:
    """A second hello; two questions of one number; an answer, or credit, for nothing; a watch twice."""
    async with dial("hub", PORT) as stranger:
        for frame in frames:
            await stranger.say(*frame)
        assert await stranger.is_cut_off()

    assert hub.counts.cut_off == 1


async def test_a_message_that_is_refused_ends_alone(
    autojump_clock: MockClock, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    async with dial("hub", PORT) as stranger:
        await stranger.say("clerk", said("tests.unknown"), {"ask": 1})
        await stranger.say("clerk", said("tests.note", "one"))
        await stranger.say("clerk", said("trioactor.terminated", "x", "y"), {"ask": 2})
        await stranger.say("clerk", 5, {"ask": 3})
        heard = [await stranger.hear() for _ in range(4)]
        await stranger.say("clerk", said("tests.read"), {"ask": 4})
        assert await stranger.hear() == [1, 4, []]

    assert heard[0][:3] == [2, 1, "not_delivered"]
    assert "no message is called 'tests.unknown'" in heard[0][3]
    assert heard[1][:3] == [4, "clerk", 1], "a tell gives its credit back"
    assert "said by a system to its own actors only" in heard[2][3]
    assert hub.counts.refused == {"UnknownMessage": 1, "BadFields": 2, "NotAuthorized": 1}
    assert "number: expected int, found str" in caplog.text
    assert hub.system.ledger().accepted == 1


@pytest.mark.parametrize(
    "frame",
    [(5, 1), (6, 1), (3, 99), (10, 99), ("clerk", said("tests.unknown"))],
    ids=["pings", "pongs", "cancels", "unwatches", "refused messages"],
)
async def test_a_flood_of_frames_that_do_nothing_is_cut_off(
    autojump_clock: MockClock, hub: Hub, frame: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand may come at once; a peer that goes on is a burden to all others."""
    async with dial("hub", PORT, message_bytes=0) as stranger:
        await stranger.stream.send_all(encode_frame(dumps(list(frame))) * 900)
        await trio.sleep(3)
        assert hub.counts.cut_off == 0
        with suppress(trio.BrokenResourceError):
            await stranger.stream.send_all(encode_frame(dumps(list(frame))) * 1100)
        assert await stranger.is_cut_off()

    assert hub.counts.cut_off == 1
    assert "more than 1,000 frames that do nothing" in caplog.text
    assert await still_there(hub)


async def test_one_peer_with_much_to_say_does_not_hold_up_the_others(
    autojump_clock: MockClock, hub: Hub
) -> None:
    """Its frames are handled 64 at a time, and between them those of others."""
    async with dial("hub", PORT) as busy, dial("hub", PORT) as other:
        order: list[str] = []

        async def hear(peer: Stranger, name: str, number: int) -> None:
            for _ in range(number):
                await peer.hear_until(6)
                order.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, busy, "busy", 900)
            nursery.start_soon(hear, other, "other", 1)
            await busy.stream.send_all(encode_frame(dumps([5, 1])) * 900)
            await other.say(5, 1)

    assert order.index("other") < 450


# --- credit -----------------------------------------------------------------------------------------------


async def test_credit_comes_back_as_the_mailbox_takes_messages(autojump_clock: MockClock, hub: Hub) -> None:
    async with dial("hub", PORT) as stranger:
        for number in range(8):
            await stranger.say("clerk", said("tests.note", number))
        credits = [await stranger.hear() for _ in range(4)]
        await stranger.say("clerk", said("tests.read"), {"ask": 1})
        assert await stranger.hear() == [1, 1, list(range(8))]

    assert [frame[:3] for frame in credits] == [[4, "clerk", 2]] * 4, "in quarters of the window"


async def test_a_slow_actor_takes_no_more_than_its_window(autojump_clock: MockClock, hub: Hub) -> None:
    """It takes one in hand, two in its mailbox, and the window is eight: the ninth more is too many."""
    async with dial("hub", PORT) as stranger:
        await stranger.say("clerk", said("tests.hold"), {"ask": 1})
        for number in range(7):
            await stranger.say("clerk", said("tests.note", number))
        await stranger.say(5, 1)
        assert await stranger.hear_until(6) == [6, 1], "the reader is not held up"
        await stranger.say("clerk", said("tests.note", 8))
        await stranger.say("clerk", said("tests.note", 9))
        await stranger.say("clerk", said("tests.note", 10))
        assert await stranger.is_cut_off()

    assert hub.counts.cut_off == 1


async def test_what_came_whole_is_delivered_though_the_connection_has_ended(
    autojump_clock: MockClock, hub: Hub
) -> None:
    async with dial("hub", PORT) as stranger:
        await stranger.say("clerk", said("tests.hold"))
        for number in range(1, 7):
            await stranger.say("clerk", said("tests.note", number))
        await trio.sleep(1)
    await trio.sleep(1)

    hub.clerk.gate.set()
    await trio.sleep(1)

    assert hub.clerk.diary == [0, 1, 2, 3, 4, 5, 6]


async def test_a_tell_to_nobody_gives_its_credit_back(autojump_clock: MockClock, hub: Hub) -> None:
    async with dial("hub", PORT) as stranger:
        await stranger.say("nobody", said("tests.note", 1))
        assert (await stranger.hear())[:3] == [4, "nobody", 1]

    assert hub.system.ledger().dead == 1


async def test_a_cancel_is_confirmed_whether_the_question_ran_or_not(
    autojump_clock: MockClock, hub: Hub
) -> None:
    async with dial("hub", PORT) as stranger:
        await stranger.say("clerk", said("tests.hold", 1), {"ask": 1})
        await trio.sleep(1)  # it runs
        for ask in range(2, 6):  # two in the mailbox, two behind it
            await stranger.say("clerk", said("tests.hold", ask), {"ask": ask})
        for ask in (1, 3, 4, 5, 99):
            await stranger.say(3, ask)
        confirmed = [await stranger.hear() for _ in range(4)]
        hub.clerk.gate.set()
        assert await stranger.hear() == [1, 2, 2]
        await stranger.say("clerk", said("tests.read"), {"ask": 6})
        assert await stranger.hear() == [1, 6, [1, 2]]

    assert confirmed == [[2, ask, "cancelled", "", ""] for ask in (1, 3, 4, 5)]
    assert hub.system.ledger().late_replies == 1


# --- time -------------------------------------------------------------------------------------------------


async def test_a_silent_peer_is_pinged_and_then_cut_off(autojump_clock: MockClock, hub: Hub) -> None:
    async with dial("hub", PORT) as stranger:
        began = trio.current_time()
        assert await stranger.hear() == [5, 1]
        assert trio.current_time() - began == pytest.approx(6, abs=2)
        assert await stranger.is_cut_off()

    assert trio.current_time() - began == pytest.approx(16, abs=2)
    assert hub.counts.cut_off == 1


async def test_who_wants_to_hear_from_us_all_the_time_hears_twenty_times_a_second(
    autojump_clock: MockClock, hub: Hub
) -> None:
    """A hello that allows next to no silence does not keep the system busy with nothing else."""
    async with dial("hub", PORT, silence_seconds=1e-9) as stranger:
        pings = 0
        with trio.move_on_after(1):
            while True:
                assert (await stranger.hear())[0] == 5
                pings += 1

    assert 5 <= pings <= 21


async def test_any_frame_is_a_sign_of_life(autojump_clock: MockClock, hub: Hub) -> None:
    async with dial("hub", PORT) as stranger:
        for serial in range(10):
            await trio.sleep(10)
            await stranger.say(6, serial)

    assert hub.counts.cut_off == 0


@pytest.mark.parametrize(
    "begun", [b"\0\0\x0f\xff", b"\0\0\x03\xed\x82\x08\x59\x03\xe8"], ids=["frame", "fragment"]
)
async def test_a_lone_byte_is_a_sign_of_life(
    autojump_clock: MockClock, network: Network, begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one in the middle of a frame or a fragment, which makes nothing complete: a byte in 10 s will do.

    The system bears slow peers here, so only silence ends the connection: 15 s after the last byte.
    """
    leave = trio.Event()
    with network.at("stranger"):
        async with trio.open_nursery() as nursery:
            hub = await nursery.start(run_hub, network, Limits(stall_seconds=10_000), leave)
            async with dial("hub", PORT) as stranger:
                if begun[5:6] == b"\x08":
                    await stranger.say(7, 2000, 0)
                await stranger.stream.send_all(begun)
                for _ in range(30):
                    await trio.sleep(10)
                    await stranger.stream.send_all(b"\0")
                assert hub.counts.cut_off == 0
                last = trio.current_time()
                assert await stranger.is_cut_off()
                assert trio.current_time() - last == pytest.approx(15, abs=5.1)
            leave.set()

    assert "not one byte came from the peer for" in caplog.text


@pytest.mark.parametrize("what", ["a frame", "a message in pieces"])
async def test_who_sends_by_drops_is_cut_off_within_10_seconds(
    autojump_clock: MockClock, hub: Hub, what: str
) -> None:
    async with dial("hub", PORT) as stranger:
        if what == "a frame":
            await stranger.stream.send_all(b"\0\x01\0\0")
        else:
            await stranger.say(7, 5000, 0)
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                drop = b"\0" if what == "a frame" else b"\0\0\0\x04\x82\x08\x41x"
                await stranger.stream.send_all(drop)
                await trio.sleep(0.1)

    assert trio.current_time() - began < 10.5
    assert hub.counts.cut_off == 1


async def test_a_slow_line_is_no_offence(autojump_clock: MockClock, network: Network, hub: Hub) -> None:
    """4 KiB a second, for a minute."""
    network.set_link("stranger", "hub", Link(bytes_per_second=4096))
    async with dial("hub", PORT) as stranger:
        filler = "x" * 230_000
        await stranger.say("clerk", said("tests.fail", filler), {"ask": 1, "ttl": 0.0})
        assert (await stranger.hear_until(2))[2] == "expired"

    assert hub.counts.cut_off == 0


async def test_who_never_reads_is_cut_off_within_10_seconds(
    autojump_clock: MockClock, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    async with dial("hub", PORT) as stranger:
        began = trio.current_time()
        for ask in range(8):
            await stranger.say("echo", said("connection.zeros", 20_000), {"ask": ask})
        with trio.move_on_after(60):
            while not hub.counts.cut_off:  # noqa: ASYNC110
                await trio.sleep(0.5)

    assert trio.current_time() - began < 7
    assert hub.counts.cut_off == 1
    assert "reads at less than 1,024 bytes a second" in caplog.text


@pytest.mark.parametrize("question", ["answered", "failed", "cancelled", "to nobody"])
async def test_who_does_not_read_its_answers_cannot_ask_on(
    autojump_clock: MockClock, hub: Hub, question: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A question holds its credit until its answer is on its way: so many answers wait, and no more."""
    async with dial("hub", PORT) as stranger:
        await stranger.say("echo", said("connection.zeros", 200_000), {"ask": 1})  # 1.6 MB: it is stuck
        await trio.sleep(1)
        asked = 0
        with trio.move_on_after(2), suppress(trio.BrokenResourceError):
            while True:
                asked += 1
                if question == "answered":
                    await stranger.say("echo", said("connection.zeros", 10), {"ask": 1 + asked})
                elif question == "to nobody":
                    await stranger.say("nobody", said("tests.read"), {"ask": 1 + asked})
                elif question == "failed":
                    await stranger.say("echo", said("connection.zeros", -1), {"ask": 1 + asked})
                else:
                    await stranger.say("clerk", said("tests.hold", 1), {"ask": 1 + asked})
                    await stranger.say(3, 1 + asked)
                await trio.sleep(0.01)
        assert await stranger.is_cut_off()

    assert asked < 20
    assert "more than its credit of 8 messages" in caplog.text


def _array(values: NDArray[np.float64]) -> CBORTag:
    return CBORTag(40, [list(values.shape), CBORTag(86, values.tobytes())])


async def test_a_long_message_lets_pings_pass_between_its_pieces(
    autojump_clock: MockClock, network: Network, hub: Hub
) -> None:
    """4 MB at 1 MB/s take 4 s; a ping among them is answered within 256 KiB, not behind them."""
    network.set_link("hub", "stranger", Link(bytes_per_second=1e6))
    async with dial("hub", PORT, window=[1000, 10**9]) as stranger:
        size = 500_000
        head = dumps(["echo", said("connection.blob", _behind(size)), {"ask": 1}])
        tail = dumps(_array(np.zeros(size)).value[1])
        await stranger.say(7, len(head), len(tail))
        body = head + tail
        for start in range(0, len(body), 200_000):
            await stranger.say(8, body[start : start + 200_000])
        assert (await stranger.hear_until(7))[0] == 7
        began = trio.current_time()
        await stranger.say(5, 1)
        kinds = []
        while (frame := await stranger.hear())[0] != 6:
            kinds.append(frame[0])

    assert trio.current_time() - began < 0.7
    assert kinds.count(8) <= 3


def _behind(size: int) -> CBORTag:
    return CBORTag(40, [[size], 86])
