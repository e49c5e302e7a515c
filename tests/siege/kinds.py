"""What hostile peers do with a connection, each in its own way. `attackers.py` has hundreds of each do it."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio
from cbor2 import CBORTag, dumps

from tests.trioactor.strangers import HELLO, said
from trioactor.framing import encode_frame, write_head

# Enough that nothing more is wanted, and no more than a machine with other work to do can bear.
FLOOD_SECONDS = 3.0
DRIP_SECONDS = 1.0

# How often one that does not read looks whether it was hung up on.
LOOK_SECONDS = 0.2
TCP_ESTABLISHED = 1  # of the states of a connection in Linux

Act = Callable[["Attack"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to be hostile.

    Attributes:
        act: Does it, and returns when the peer has hung up or enough was said.
        slow: Whether it is one that must be hung up on within 10 s.
        outside: Whether it begins below the frames, so that there is no TLS handshake before it.
    """

    act: Act
    slow: bool = False
    outside: bool = False


class Attack:
    """One connection of a hostile peer.

    Args:
        stream: To its victim: the bare one of TCP, or TLS.
        tcp: The one of TCP.
        chance: For what is drawn.

    Attributes:
        hung_up: Whether the victim has ended it.
    """

    def __init__(self, stream: trio.abc.Stream, tcp: trio.SocketStream, chance: random.Random) -> None:
        self.stream = stream
        self.tcp = tcp
        self.chance = chance
        self.hung_up = False

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await self.stream.send_all(data)

    async def say(self, *frame: Any) -> None:
        """Send a frame."""
        await self.send(encode_frame(dumps(list(frame))))

    async def greet(self, **changes: Any) -> None:
        """Say hello."""
        await self.say(0, {**HELLO, **changes})

    async def until_hung_up(self) -> None:
        """Read until the victim ends the connection."""
        while await self.stream.receive_some(65536):
            pass
        self.hung_up = True

    async def asks_without_end(self, actor_id: str, question: Any) -> None:
        """Ask the same again and again, and read nothing. Raises trio.BrokenResourceError.

        Its own kernel may take megabytes of answers; so long, no victim can know that nobody reads them.
        """
        ask = 0
        while True:
            ask += 1
            await self.say(actor_id, question, {"ask": ask})

    async def pause(self, seconds: float) -> None:
        """Wait. Raises trio.BrokenResourceError when the victim ends the connection; the kernel knows."""
        until = trio.current_time() + seconds
        while trio.current_time() < until:
            await trio.sleep(min(LOOK_SECONDS, seconds))
            if self.tcp.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_ESTABLISHED:
                raise trio.BrokenResourceError("the victim has hung up")

    async def flood(self, frame: bytes) -> None:
        """Say the same again and again, and read nothing."""
        with trio.move_on_after(FLOOD_SECONDS):
            while True:
                await self.send(frame * 200)
        await self.until_hung_up()


async def never_says_hello(attack: Attack) -> None:
    await attack.until_hung_up()


async def a_byte_a_second(attack: Attack) -> None:
    for byte in encode_frame(dumps([0, dict(HELLO)])):
        await attack.send(bytes([byte]))
        await attack.pause(DRIP_SECONDS)


async def half_a_hello(attack: Attack) -> None:
    await attack.send(encode_frame(dumps([0, dict(HELLO)]))[:60])
    await attack.until_hung_up()


async def garbage(attack: Attack) -> None:
    await attack.send(attack.chance.randbytes(2000))
    await attack.until_hung_up()


async def another_protocol(attack: Attack) -> None:
    await attack.send(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")
    await attack.until_hung_up()


async def another_version(attack: Attack) -> None:
    await attack.greet(protocol=99)
    await attack.until_hung_up()


async def other_words(attack: Attack) -> None:
    await attack.greet(vocabulary=b"otherone")
    for _ in range(40):
        await attack.say("clerk", said("other.word", 1, 2, 3))
        await trio.sleep(0.1)


async def a_hello_twice(attack: Attack) -> None:
    await attack.greet()
    await attack.greet()
    await attack.until_hung_up()


async def a_huge_length(attack: Attack) -> None:
    await attack.greet()
    await attack.send(b"\xff\xff\xff\xff")
    await attack.until_hung_up()


async def a_frame_by_drops(attack: Attack) -> None:
    await attack.greet()
    await attack.send((60_000).to_bytes(4, "big"))
    while True:
        await attack.send(b"\x00")
        await attack.pause(DRIP_SECONDS)


async def a_frame_that_stops(attack: Attack) -> None:
    await attack.greet()
    await attack.send((262_144).to_bytes(4, "big") + bytes(262_000))
    await attack.until_hung_up()


async def fragments_without_end(attack: Attack) -> None:
    await attack.greet()
    await attack.say(7, 1_000_000, 0)
    while True:
        await attack.say(8, b"x")
        await attack.pause(0.1)


async def fragments_that_stop(attack: Attack) -> None:
    await attack.greet()
    await attack.say(7, 1_000_000, 0)
    for _ in range(9):
        await attack.say(8, bytes(100_000))
    await attack.until_hung_up()


async def never_reads_its_answers(attack: Attack) -> None:
    await attack.greet(window=[100_000, 2**40])
    await attack.asks_without_end("echo", said("siege.parrot", bytes(100_000)))


async def never_reads_its_failures(attack: Attack) -> None:
    await attack.greet()
    with trio.move_on_after(FLOOD_SECONDS):  # they are so small that its own kernel takes all of them
        await attack.asks_without_end("n" * 900, said("siege.count"))


async def floods_of_pings(attack: Attack) -> None:
    await attack.greet()
    await attack.flood(encode_frame(dumps([5, 1])))


async def floods_of_pongs(attack: Attack) -> None:
    await attack.greet()
    await attack.flood(encode_frame(dumps([6, 1])))


async def floods_of_credit(attack: Attack) -> None:
    await attack.greet()
    await attack.flood(encode_frame(dumps([4, "clerk", 0, 0])))


async def floods_of_cancels(attack: Attack) -> None:
    await attack.greet()
    await attack.flood(encode_frame(dumps([3, 1])))


async def floods_of_watches(attack: Attack) -> None:
    await attack.greet()
    for number in range(2000):
        await attack.say(9, number, "clerk")
    await attack.until_hung_up()


async def floods_of_refused_messages(attack: Attack) -> None:
    await attack.greet()
    await attack.flood(encode_frame(dumps(["clerk", said("other.word")])))


async def answers_that_nobody_wants(attack: Attack) -> None:
    await attack.greet()
    await attack.say(1, 7, "an answer")
    await attack.until_hung_up()


async def deep_nesting(attack: Attack) -> None:
    await attack.greet()
    await attack.send(encode_frame(b"\x82\x61a" + b"\x81" * 200_000 + b"\x00"))
    await attack.until_hung_up()


async def bombs_of_tags(attack: Attack) -> None:
    """A decimal of a million digits, a regular expression that never ends, a list that contains itself."""
    await attack.greet()
    for bomb in (CBORTag(4, [10**6, 1]), CBORTag(35, "(a+)+$"), CBORTag(28, [CBORTag(29, 0)])):
        for _ in range(20):
            await attack.say("clerk", bomb)
    with trio.move_on_after(FLOOD_SECONDS):  # each is refused by itself
        await attack.until_hung_up()


async def bombs_of_items(attack: Attack) -> None:
    await attack.greet()
    await attack.say("clerk", [[]] * 100_000)
    await attack.until_hung_up()


async def numbers_as_large_as_can_be(attack: Attack) -> None:
    await attack.greet()
    await attack.send(encode_frame(b"\x82\x61a" + b"\xc2" + write_head(2, 200_000) + b"\xff" * 200_000))
    with trio.move_on_after(FLOOD_SECONDS):  # it is refused by itself
        await attack.until_hung_up()


async def comes_and_resets(attack: Attack) -> None:
    await attack.send(b"\x00\x00")
    attack.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def resets_after_hello(attack: Attack) -> None:
    await attack.greet()
    await attack.say("clerk", said("siege.count"), {"ask": 1})
    attack.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(32)) + b"\x20" + bytes(32)


async def half_a_tls_handshake(attack: Attack) -> None:
    await attack.send(CLIENT_HELLO)
    await attack.until_hung_up()


async def garbage_like_tls(attack: Attack) -> None:
    await attack.send(b"\x16\x03\x01\x00\x80" + attack.chance.randbytes(0x80))
    await attack.until_hung_up()


async def plaintext(attack: Attack) -> None:
    """A good hello, which a system that takes TLS only does not understand."""
    await attack.greet()
    await attack.say("clerk", said("siege.count"), {"ask": 1})
    with trio.move_on_after(8):
        await attack.until_hung_up()


KINDS: Mapping[str, Kind] = {
    "never says hello": Kind(never_says_hello, slow=True, outside=True),
    "a byte a second": Kind(a_byte_a_second, slow=True),
    "half a hello": Kind(half_a_hello, slow=True),
    "garbage": Kind(garbage),
    "garbage from the start": Kind(garbage, outside=True),
    "another protocol": Kind(another_protocol),
    "another version": Kind(another_version),
    "other words": Kind(other_words),
    "a hello twice": Kind(a_hello_twice),
    "a huge length": Kind(a_huge_length),
    "a frame by drops": Kind(a_frame_by_drops, slow=True),
    "a frame that stops": Kind(a_frame_that_stops, slow=True),
    "fragments without end": Kind(fragments_without_end, slow=True),
    "fragments that stop": Kind(fragments_that_stop, slow=True),
    "never reads its answers": Kind(never_reads_its_answers, slow=True),
    "never reads its failures": Kind(never_reads_its_failures),
    "floods of pings": Kind(floods_of_pings),
    "floods of pongs": Kind(floods_of_pongs),
    "floods of credit": Kind(floods_of_credit),
    "floods of cancels": Kind(floods_of_cancels),
    "floods of watches": Kind(floods_of_watches),
    "floods of refused messages": Kind(floods_of_refused_messages),
    "answers that nobody wants": Kind(answers_that_nobody_wants),
    "deep nesting": Kind(deep_nesting),
    "bombs of tags": Kind(bombs_of_tags),
    "bombs of items": Kind(bombs_of_items),
    "numbers as large as can be": Kind(numbers_as_large_as_can_be),
    "comes and resets": Kind(comes_and_resets, outside=True),
    "resets after hello": Kind(resets_after_hello),
    "half a TLS handshake": Kind(half_a_tls_handshake, slow=True, outside=True),
    "garbage like TLS": Kind(garbage_like_tls, outside=True),
    "plaintext": Kind(plaintext, outside=True),
}
