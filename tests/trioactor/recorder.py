"""Has every kind of frame that a test's systems write held against `wire.cddl`.

Systems of the same process are seen, over whatever stream they talk. Frames that look like one that was
judged already are passed over, so that the suite is not slowed down: two look alike when they have the
same structure of types, sizes of numbers and names of messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from cbor2 import CBORTag, loads

from tests.trioactor.grammar import complaint_about, complaint_about_sequence
from trioactor import connection, tls
from trioactor.direct import SendNow
from trioactor.framing import BEGIN, HEADER_BYTES, PIECE, Buffer, encode_frame
from trioactor.writer import Writer

# Of each kind, in one test. It bounds what a test pays that sends a hundred thousand messages.
FRAMES_PER_TEST = 100

# Messages in pieces that are longer are not put together.
SEQUENCE_BYTES = 1024 * 1024

SHAPES = 10_000  # kept in mind; when there are more, the rest is judged again and again


class Line:
    """What one side of a connection has written and is not a whole frame, or a whole message, yet."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._sequence = bytearray()
        self._left = 0

    def cut(self, data: Buffer) -> Iterator[bytes]:
        """Yield the payloads of the frames that are complete now."""
        self._data += data
        while len(self._data) >= HEADER_BYTES:
            end = HEADER_BYTES + int.from_bytes(self._data[:HEADER_BYTES], "big")
            if len(self._data) < end:
                return
            yield bytes(self._data[HEADER_BYTES:end])
            del self._data[:end]

    def assemble(self, payload: bytes) -> bytes | None:
        """Return the message in pieces that is complete with this frame, if one is, and not too long."""
        if payload[1] == BEGIN:
            self._left = sum(loads(payload)[1:])
            self._sequence.clear()
        elif payload[1] == PIECE:
            piece = loads(payload)[1]
            self._left -= len(piece)
            if len(self._sequence) <= SEQUENCE_BYTES:
                self._sequence += piece
            if not self._left and len(self._sequence) <= SEQUENCE_BYTES:
                return bytes(self._sequence)
        return None


class Recorder:
    """Takes note of what systems write.

    Attributes:
        kinds: How many frames of each kind there were in this test: their number, or "message".
        frames: Those that are to be judged.
    """

    def __init__(self) -> None:
        self.kinds: Counter[int | str] = Counter()
        self._lines: WeakKeyDictionary[Writer, Line] = WeakKeyDictionary()
        self._judged: set[Hashable] = set()
        self.frames: list[bytes] = []
        self._sequences: list[bytes] = []

    def attach(self, patch: pytest.MonkeyPatch) -> None:
        """Listen in where bytes are handed to a stream, and where the frames of a handshake are made."""
        hand_over, hand_over_now = Writer._hand_over, Writer._hand_over_now

        async def hand_over_and_note(writer: Writer, data: list[Buffer]) -> None:
            for buffer in data:
                self.written(writer, buffer)
            await hand_over(writer, data)

        def hand_over_now_and_note(writer: Writer, send_now: SendNow, data: bytes) -> bytes | None:
            left = hand_over_now(writer, send_now, data)
            self.written(writer, data[: len(data) - len(left or b"")])
            return left

        def encode_and_note(payload: bytes) -> bytes:
            self.framed(payload)
            return encode_frame(payload)

        patch.setattr(Writer, "_hand_over", hand_over_and_note)
        patch.setattr(Writer, "_hand_over_now", hand_over_now_and_note)
        patch.setattr(connection, "encode_frame", encode_and_note)
        patch.setattr(tls, "encode_frame", encode_and_note)

    def written(self, writer: Writer, data: Buffer) -> None:
        """Take note of what goes to one stream."""
        line = self._lines.setdefault(writer, Line())
        for payload in line.cut(data):
            self.framed(payload)
            sequence = line.assemble(payload)
            if sequence is not None and self.kinds["sequence"] < FRAMES_PER_TEST:
                self.kinds["sequence"] += 1
                self._sequences.append(sequence)

    def framed(self, payload: bytes) -> None:
        """Take note of one frame."""
        kind = payload[1] if payload[1] < 24 else "message"
        self.kinds[kind] += 1
        if self.kinds[kind] <= FRAMES_PER_TEST:
            self.frames.append(payload)

    def complaints(self) -> list[str]:
        """Judge what was written since the last time."""
        frames = [frame for frame in self.frames if self._is_new(look_of(loads(frame)))]
        found = [complaint_about(frame) for frame in frames]
        found += [complaint_about_sequence(sequence) for sequence in self._sequences]
        self.frames.clear()
        self._sequences.clear()
        self._lines.clear()
        self.kinds.clear()
        return [complaint for complaint in found if complaint is not None]

    def _is_new(self, shape: Hashable) -> bool:
        if shape in self._judged:
            return False
        if len(self._judged) < SHAPES:
            self._judged.add(shape)
        return True


def look_of(frame: list[Any]) -> Hashable:
    """Return what frames have in common that the grammar hardly tells apart: kind, types, and sizes."""
    return (frame[0] if type(frame[0]) is int else "message"), *map(shape_of, frame)


def shape_of(item: Any) -> Hashable:
    """Return the same of one item."""
    match item:
        case bool() | None:
            return item
        case int():
            return "int", item < 0, item.bit_length() // 8
        case str() | bytes():
            return type(item), len(item).bit_length()
        case CBORTag(tag=27, value=[str(name), fields]):
            return name, shape_of(fields)
        case CBORTag(tag=tag, value=value):
            return "tag", tag, shape_of(value)
        case list() | tuple() if len(item) > 8:
            return "many", len(item).bit_length(), frozenset(map(shape_of, item))
        case list() | tuple():
            return "few", *map(shape_of, item)
        case Mapping():
            return "map", frozenset((shape_of(key), shape_of(value)) for key, value in item.items())
    return type(item).__name__
