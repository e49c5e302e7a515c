"""What is fuzzed: bytes in, and laws that must hold whatever the bytes are.

A target takes one input and returns what it cost. It raises `Broken` when a law does not hold; any other
exception that comes out of it is a finding as well.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from cbor2 import dumps

from tests.fuzz.meeting import RAW, meet
from tests.trioactor.words import WORDS
from trioactor.arrays import ArrayHook, decoders
from trioactor.codec import Codec
from trioactor.errors import CannotEncode, MessageRefused, WireError
from trioactor.frames import Answer, Control, Frame, MessageFrame, Tells
from trioactor.framing import Event, FrameDecoder, Head, Tail, cut
from trioactor.limits import Limits
from trioactor.remote import RefHook
from trioactor.shapes import Mismatch
from trioactor.vocabulary import Vocabulary

# Stands between the parts of an input: the head and the tail of a message, or frames. No CBOR of ours
# has it, and mutations seldom make or break it.
SEPARATOR = b"\xff\xf7\xff"

MILLISECONDS_PER_MIB = 10.0


class Broken(Exception):
    """A law that must hold for all bytes does not hold for these."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one input took.

    Attributes:
        frames: How many frames were in it, the one that was refused included.
        accepted: How many of them were understood.
        size: Bytes.
        cpu_seconds: Of this thread, in our code.
    """

    frames: int
    accepted: int
    size: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that takes bytes from strangers.

    Attributes:
        name: What the command line calls it.
        run: Takes an input.
        floor_ms: CPU that an input may cost however small it is; behind it 10 ms a MiB are allowed.
        longest: Bytes of the longest input worth trying.
    """

    name: str
    run: Callable[[bytes], Cost]
    floor_ms: float
    longest: int

    def allowed_seconds(self, size: int) -> float:
        """How much CPU an input of that many bytes may cost."""
        return max(self.floor_ms, MILLISECONDS_PER_MIB * size / 2**20) / 1000


# --- framing --------------------------------------------------------------------------------------------

SMALL = Limits(frame_bytes=1024, head_bytes=10_000, message_bytes=50_000)


def framing(data: bytes) -> Cost:
    """A stream of bytes: however it is cut, the same comes out, and nothing is kept that did not come in."""
    began = time.thread_time()
    whole = _events(data, [data])
    seconds = time.thread_time() - began
    chance = random.Random(zlib.crc32(data))
    edges = sorted({0, len(data), *(chance.randint(0, len(data)) for _ in range(chance.choice((1, 3, 40))))})
    chunks = [data[start:end] for start, end in pairwise(edges)]
    if _events(data, chunks) != whole:
        raise Broken(f"cut at {edges} other frames come out of it")
    if _events(data, chunks, in_place=True) != whole:
        raise Broken(f"cut at {edges} and received in place, other frames come out of it")
    accepted = sum(not isinstance(event, str) for event in whole)
    return Cost(max(1, len(whole)), accepted, len(data), seconds)


def _events(data: bytes, chunks: list[bytes], *, in_place: bool = False) -> list[Event | bytearray | str]:
    """What a decoder makes of the chunks: its events, each tail as the bytes in it, at last its complaint."""
    decoder = FrameDecoder(SMALL)
    found: list[Event | bytearray | str] = []
    tail = bytearray()
    fed = 0

    def drain() -> None:
        nonlocal tail
        while (event := decoder.next_event()) is not None:
            found.append(event)
            match event:
                case Head(_, tail_bytes):
                    tail = bytearray(tail_bytes)
                    third = tail_bytes // 3
                    view = memoryview(tail)
                    decoder.place([] if third % 4 == 3 else [view[:third], view[third:]])
                case Tail():
                    found[-1] = tail

    try:
        for chunk in chunks:
            fed += len(chunk)
            while in_place and (place := decoder.place_now) is not None and chunk:
                count = min(len(place), len(chunk))
                place[:count] = chunk[:count]
                decoder.placed(count)
                chunk = chunk[count:]
                drain()
            decoder.feed(chunk)
            drain()
            if (unfinished := decoder.unfinished) is not None and unfinished[1] > fed:
                raise Broken(f"{unfinished[1]:,} bytes are said to be there of {fed:,} that came")
    except WireError as error:
        found.append(str(error))
    return found


# --- codec ----------------------------------------------------------------------------------------------


class _Addresses:
    """Takes refs, and does not say whose."""

    def wire_ref(self, ref: Any) -> list[Any]:
        raise Mismatch("no ref is sent here")

    def ref_of(self, fields: Any) -> Any:
        if len(fields) != 4:
            raise Mismatch("a ref has four fields")
        return "a ref"


LIMITS = Limits()
CODEC = Codec(Vocabulary(WORDS, [RefHook(), ArrayHook()]), LIMITS, _Addresses(), b"8 bytes!", decoders)
ACTOR = dumps("actor")
PROMISES = {CODEC.reply_shape(object.__new__(kind)) for kind in WORDS}  # None is among them


def codec(data: bytes) -> Cost:
    """A frame is understood, refused by itself, or ends its connection; what is understood can be said."""
    payload, _, tail = data.partition(SEPARATOR)
    frame: Frame | None = None
    opened: list[Any] = []
    began = time.thread_time()
    with suppress(WireError):
        frame = _with_tail(payload, tail) if tail else CODEC.decode(payload)
        seconds_to_open = _open(frame, opened)
    seconds = time.thread_time() - began
    if isinstance(frame, Answer):  # it was opened for every promise, of which a question has one
        seconds += max(seconds_to_open) - sum(seconds_to_open)
    for value in opened:
        _say_again(value)
    small = frame if isinstance(frame, Control) and not isinstance(frame, Answer) else None
    if small is not None and CODEC.decode(CODEC.encode_control(small)) != small:
        raise Broken(f"a {type(small).__name__} is another one when it was said again")
    return Cost(1, small is not None or bool(opened), len(payload) + len(tail), seconds)


def _with_tail(head: bytes, tail: bytes) -> MessageFrame | Answer:
    """Take a message that comes in pieces, as a connection does."""
    decoder = FrameDecoder(LIMITS)
    frame: Frame | None = None
    for part in cut(head, [tail], len(tail), LIMITS.frame_bytes):
        decoder.feed(b"".join(part))
        while (event := decoder.next_event()) is not None:
            match event:
                case Head(announced, size):
                    frame = CODEC.decode(announced, size)
                    if not isinstance(frame, MessageFrame | Answer):
                        raise WireError("only messages and answers have arrays behind them")
                    expected = CODEC.tail
                    decoder.place(expected.places if expected.expected else [])
                case Tail():
                    assert isinstance(frame, MessageFrame | Answer)
                    if expected.expected and expected.sound():
                        return frame
                    return frame.spoilt("what came behind the head is not what the head announced")
    raise Broken("a message has come whole, and is not there")


def _open(frame: Frame, opened: list[Any]) -> list[float]:
    """Build what is in a frame, as a connection does, and add it to `opened`.

    Returns:
        How many seconds it took in each of several ways, if there are several.
    """
    match frame:
        case MessageFrame():
            with suppress(MessageRefused):
                opened.append(CODEC.open_message(frame)[0])
                opened.append(CODEC.open_headers(frame))
        case Tells():
            for fields in frame.items:
                with suppress(MessageRefused):
                    opened.append(CODEC.build(CODEC.shape_named(frame.name), fields))
        case Answer():
            seconds = []
            for promise in PROMISES:
                began = time.thread_time()
                with suppress(MessageRefused):
                    opened.append(CODEC.open_answer(frame.item, promise))
                seconds.append(time.thread_time() - began)
            return seconds
    return []


def _fill(tail: bytes) -> bool:
    """Write the tail where its head says that it belongs. False: it is not what was announced."""
    expected = CODEC.tail
    position = 0
    for place in expected.places:
        place[:] = tail[position : position + place.nbytes]
        position += place.nbytes
    return expected.sound()


def _say_again(value: Any) -> None:
    """What was understood can be sent, and is then understood as the same: its bytes do not change."""
    try:
        first = CODEC.encode_answer(1, value, None)
    except CannotEncode as error:
        if any(reason in str(error) for reason in ("expected ActorRef", "nested deeper", "more than")):
            return  # a ref, which is a text here; and limits that the frame around it has used up
        raise
    said = bytes(first.head), b"".join(bytes(part) for part in first.tail)
    frame = CODEC.decode(first.head, first.tail_bytes)
    if not isinstance(frame, Answer) or not (first.tail_bytes == 0 or _fill(said[1])):
        raise Broken("what we say is not understood")
    second = CODEC.encode_answer(1, CODEC.open_answer(frame.item, None), None)
    if (bytes(second.head), b"".join(bytes(part) for part in second.tail)) != said:
        raise Broken("what was understood is another thing when it was said again")


# --- handshake and connection ---------------------------------------------------------------------------


def handshake(data: bytes) -> Cost:
    """All that a stranger says on one connection, the hello first; to a real system that goes on."""
    parts = data.split(SEPARATOR)
    began = time.thread_time()
    meeting = meet(parts)
    seconds = max(0.0, time.thread_time() - began - _price_of_a_meeting())
    if meeting.complaints:
        raise Broken("; ".join(meeting.complaints))
    return Cost(2 * len(parts), meeting.accepted, len(data), seconds)


@cache
def _price_of_a_meeting() -> float:
    """CPU seconds of two systems and their network when the stranger says nothing but what is no frame."""
    prices = []
    for _ in range(5):
        began = time.thread_time()
        meet([RAW])
        prices.append(time.thread_time() - began)
    return min(prices)


# What is shorter than 1 MiB, as every frame is, may cost 10 ms: the bound for 1 MiB. The same share for every
# part of a frame would be 10 ns a byte, and a byte may be an item. Framing alone is held to half of it; all
# that is said on a connection, twice, to twice as much, beyond the price of two systems and their network.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("framing", framing, floor_ms=5, longest=16_384),
        Target("codec", codec, floor_ms=10, longest=65_536),
        Target("handshake", handshake, floor_ms=20, longest=16_384),
    )
}

np.seterr(all="ignore")  # arrays of strangers hold any bits
