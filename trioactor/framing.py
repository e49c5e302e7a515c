"""Bytes to frames and back. Knows no sockets and no trio, and of CBOR only its heads.

A frame is a 4-byte big-endian length and that many bytes of payload, at most 256 KiB. What is longer
(a message with arrays, say) goes in pieces, and other frames may go between them:

    [7, head bytes, tail bytes]      "begin": a message follows, in pieces
    [8, piece: bytes]                the next bytes of it

The pieces, put together, are a CBOR sequence (RFC 8742): first the head, one item; then the tail, the
large arrays of the message, which the decoder writes straight into the memory where they stay. One
message at a time goes in pieces in each direction.

The decoder is fed and asked, in the manner of h11:

    decoder.feed(data)
    while (event := decoder.next_event()) is not None:
        match event:
            case bytes():   # the payload of a frame, or a message that came in pieces, without a tail
            case Head():    # the head of one with a tail: say where that goes, with `decoder.place`
            case Tail():    # everything is in its place
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from trioactor.errors import FrameTooLarge, WireError
from trioactor.limits import Limits

HEADER_BYTES = 4
BEGIN = 7
PIECE = 8

_ASSEMBLY_FRAMES = (bytes([BEGIN]), bytes([PIECE]))  # the second byte of their payloads
_PIECE_START = bytes([0x82, PIECE])  # a CBOR array of two, the number 8
_PIECE_HEAD_BYTES = len(_PIECE_START) + 5  # at most: the byte string's own head takes 1 to 5 bytes
_PIECE_OPENED = b"piece opened"  # compared by identity
_UNSIGNED, _BYTES = 0, 2  # CBOR's major types

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a message whose arrays come behind it.

    Attributes:
        payload: One CBOR item.
        tail_bytes: How many bytes of arrays follow.
    """

    payload: bytes
    tail_bytes: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The arrays of the last `Head` are complete."""


Event: TypeAlias = bytes | Head | Tail
TAIL: Final = Tail()


# A head is collected in chunks of about so many bytes: one buffer that grows leaves holes in the heap, and
# many peers with half a message leave many.
CHUNK_BYTES = 64 * 1024


class Assembly:
    """A message that comes in pieces: its head is collected, its tail put where it belongs."""

    def __init__(self, head_bytes: int, tail_bytes: int) -> None:
        self._size = head_bytes + tail_bytes
        self._head: list[bytearray] = []
        self._head_left = head_bytes
        self._tail_bytes = tail_bytes
        self._tail_left = tail_bytes
        self._announced = False
        self._places: deque[memoryview] = deque()  # there may be thousands, each for a few bytes

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return self._head_left + self._tail_left

    @property
    def taken(self) -> int:
        """How many bytes are there."""
        return self._size - self.left

    def take(self, data: memoryview) -> int:
        """Take bytes from the front of `data`, and return how many. Stops at the end of the head."""
        if self._head_left:
            count = min(self._head_left, len(data))
            if not self._head or len(self._head[-1]) >= CHUNK_BYTES:
                self._head.append(bytearray())
            self._head[-1] += data[:count]
            self._head_left -= count
        elif self._places:
            count = self._fill(data)
        else:  # a refused message: its tail is thrown away
            count = min(self._tail_left, len(data))
            self._tail_left -= count
        return count

    def _fill(self, data: memoryview) -> int:
        places, taken = self._places, 0
        while places and taken < len(data):
            count = min(places[0].nbytes, len(data) - taken)
            places[0][:count] = data[taken : taken + count]
            taken += count
            self.placed(count)
        return taken

    def event(self) -> Event | None:
        """Return what became complete, once."""
        if self._head_left:
            return None
        if not self._announced:
            self._announced = True
            head = b"".join(self._head)
            self._head.clear()
            return Head(head, self._tail_bytes) if self._tail_bytes else head
        return None if self._tail_left else TAIL

    def place(self, places: Sequence[memoryview]) -> None:
        """Say where the tail goes. Without places it is thrown away."""
        self._places = deque(place for place in places if place.nbytes)
        assert sum(place.nbytes for place in self._places) in (0, self._tail_left)

    @property
    def next_place(self) -> memoryview | None:
        """The memory that the next bytes of the tail belong in, None when they have none."""
        return self._places[0] if self._places else None

    def placed(self, count: int) -> None:
        """Take note that `count` bytes were written to the front of `next_place`."""
        self._tail_left -= count
        if count == self._places[0].nbytes:
            self._places.popleft()
        else:
            self._places[0] = self._places[0][count:]


class FrameDecoder:
    """Cuts a byte stream back into the payloads it was made of.

    Args:
        limits: Sizes above these are refused from the header, before memory is taken.

    Attributes:
        frame_bytes: The longest payload that is taken now; a connection takes only short ones before
            the peer has said who it is.
    """

    def __init__(self, limits: Limits) -> None:
        self.frame_bytes = limits.frame_bytes
        self._limits = limits
        self._data = b""
        self._position = 0
        self._partial = bytearray()  # a frame of which only the beginning is there
        self._needed = 0  # how long `_partial` must be before it is worth another look
        self._assembly: Assembly | None = None
        self._piece_left = 0  # bytes of the present piece that are still to come
        self._begun = 0  # counts what was complete, or is a message in pieces

    @property
    def unfinished(self) -> tuple[int, int] | None:
        """The frame, or the message in pieces, that has begun and is not complete; None when there is none.

        Returns:
            A number of its own, and how many bytes of it are there.
        """
        if self._assembly is not None:
            return self._begun, self._assembly.taken
        return (self._begun, len(self._partial)) if self._partial else None

    @property
    def is_at_rest(self) -> bool:
        """Whether all that was fed is taken out, and nothing has begun: a new frame comes next."""
        return not self._data and self._assembly is None and not self._partial

    def next_is(self, start: bytes) -> bool:
        """Whether the payload that comes next begins so."""
        return self._data.startswith(start, self._position + HEADER_BYTES)

    def feed(self, data: bytes) -> None:
        """Add what the transport delivered, in pieces of any size. Take out all events before the next."""
        assert self._position == len(self._data), "call next_event() until it returns None"
        self._position = 0
        if not self._partial:
            self._data = data
            return
        self._partial += data
        if len(self._partial) < self._needed:
            self._data = b""
        else:
            self._data = bytes(self._partial)
            self._partial.clear()

    def next_event(self) -> Event | None:
        """Take out the next event, or None when more bytes are needed.

        Raises:
            FrameTooLarge: From the header alone, before the payload is buffered.
            WireError: Pieces that were not announced, or announced twice.
        """
        while True:
            if self._assembly is not None:
                event = self._assemble(self._assembly)
                if event is not None:
                    return event
                if self._piece_left:
                    break
            payload = self._next_frame()
            if payload is None:
                break
            if payload is _PIECE_OPENED:
                continue
            if payload[1:2] not in _ASSEMBLY_FRAMES:
                self._begun += self._assembly is None
                return payload
            self._begin(payload)
        self._data, self._position = b"", 0
        return None

    @property
    def place_now(self) -> memoryview | None:
        """Memory that the next bytes of the stream belong in, when that is known; else None.

        What is received into it, instead of being fed, is reported with `placed`.
        """
        if not self._piece_left or self._assembly is None:
            return None
        place = self._assembly.next_place
        return None if place is None else place[: self._piece_left]

    @property
    def is_between_pieces(self) -> bool:
        """Whether the head of another frame comes next, and behind it, most likely, what has a place."""
        return self._assembly is not None and not self._piece_left and self._assembly.next_place is not None

    def placed(self, count: int) -> None:
        """Take note that `count` bytes of the stream were received into `place_now`."""
        assert self._assembly is not None
        self._assembly.placed(count)
        self._piece_left -= count

    def place(self, places: Sequence[memoryview]) -> None:
        """Say where the tail of the last `Head` goes; without places it is thrown away.

        Args:
            places: Writable, one byte an item, of `tail_bytes` in all.
        """
        assert self._assembly is not None
        self._assembly.place(places)

    def _assemble(self, assembly: Assembly) -> Event | None:
        """Move what is there of the present piece to where it belongs."""
        event = assembly.event()  # an empty head, or a tail that was received in place
        available = min(self._piece_left, len(self._data) - self._position)
        while event is None and available:
            view = memoryview(self._data)[self._position : self._position + available]
            count = assembly.take(view)
            self._position += count
            self._piece_left -= count
            available -= count
            event = assembly.event()
        if event is not None and not assembly.left:
            self._assembly = None
            self._begun += 1
        return event

    def _next_frame(self) -> bytes | None:
        data = self._data
        start = self._position + HEADER_BYTES
        if start > len(data):
            self._wait_for(HEADER_BYTES)
            return None
        length = int.from_bytes(data[start - HEADER_BYTES : start], "big")
        if length > self.frame_bytes:
            raise too_large(length, data[start - HEADER_BYTES : start], self.frame_bytes)
        end = start + length
        if self._assembly is not None:
            look = min(end, start + _PIECE_HEAD_BYTES)
            if look > len(data):
                self._wait_for(look - self._position)
                return None
            if data.startswith(_PIECE_START, start, end):
                return self._open_piece(start, end)
        if end > len(data):
            self._wait_for(end - self._position)
            return None
        if end == len(data):  # all of it is handled: a quiet peer keeps no memory
            self._data, self._position = b"", 0
        else:
            self._position = end
        return data[start:end]

    def _wait_for(self, needed: int) -> None:
        """Put aside what is left of the data, until `needed` bytes of it are there."""
        self._partial += self._data[self._position :]
        self._position = len(self._data)
        self._needed = needed

    def _begin(self, payload: bytes) -> None:
        if payload[1] == PIECE:
            raise WireError("a piece of a message came that was not announced by a `begin` frame")
        if self._assembly is not None:
            raise WireError("a second message in pieces began before the first was complete")
        sizes = _sizes_of(payload)
        if sizes is None:
            raise WireError("a `begin` frame is [7, head bytes, tail bytes], with a head of 1 byte or more")
        head_bytes, tail_bytes = sizes
        limits = self._limits
        if head_bytes > limits.head_bytes:
            raise FrameTooLarge(
                f"a message with a head of {head_bytes:,} bytes was announced, the limit is"
                f" {limits.head_bytes:,}; send numbers as arrays, or raise head_bytes on both sides"
            )
        if head_bytes + tail_bytes > limits.message_bytes:
            raise FrameTooLarge(
                f"a message of {head_bytes + tail_bytes:,} bytes was announced, the limit is"
                f" {limits.message_bytes:,}; if it really is that large, raise message_bytes on both sides"
            )
        self._assembly = Assembly(head_bytes, tail_bytes)
        self._begun += 1

    def _open_piece(self, start: int, end: int) -> bytes:
        """Read the head of a piece; its bytes are then taken by `_assemble`."""
        assert self._assembly is not None
        head = read_head(self._data, start + len(_PIECE_START))
        if head is None or head.major != _BYTES or head.end + head.value != end or head.value == 0:
            raise WireError("a piece is [8, bytes], of definite length and at least one byte, and no more")
        if head.value > self._assembly.left:
            raise WireError(
                f"a piece of {head.value:,} bytes came where {self._assembly.left:,} were still announced"
            )
        self._position = head.end
        self._piece_left = head.value
        return _PIECE_OPENED


# --- the few CBOR heads that frames are made of ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemHead:
    """The head of a CBOR item.

    Attributes:
        major: The major type, 0 to 7.
        value: The number, or the count of bytes or items.
        end: Where in the data the head ends.
    """

    major: int
    value: int
    end: int


def read_head(data: Buffer, start: int) -> ItemHead | None:
    """Read the head of the item that begins at `start`; None if it is cut off, indefinite or not CBOR."""
    if start >= len(data):
        return None
    major, short = divmod(data[start], 32)
    if short < 24:
        return ItemHead(major, short, start + 1)
    end = start + 1 + (1 << short - 24)
    if short > 27 or end > len(data):
        return None
    return ItemHead(major, int.from_bytes(data[start + 1 : end], "big"), end)


def write_head(major: int, value: int) -> bytes:
    """Return the shortest head of a CBOR item (RFC 8949, section 3)."""
    if value < 24:
        return bytes([major << 5 | value])
    size = (value > 0xFF) + (value > 0xFFFF) + (value > 0xFFFF_FFFF)
    return bytes([major << 5 | 24 + size]) + value.to_bytes(1 << size, "big")


def _sizes_of(begin: bytes) -> tuple[int, int] | None:
    """Return the head and tail bytes that a `begin` frame announces, None when it is not one."""
    head = read_head(begin, 2) if begin[0] == 0x83 else None
    tail = read_head(begin, head.end) if head is not None else None
    if head is None or tail is None or (head.major, tail.major) != (_UNSIGNED, _UNSIGNED):
        return None
    return (head.value, tail.value) if head.value and tail.end == len(begin) else None


# --- writing --------------------------------------------------------------------------------------


def encode_frame(payload: bytes) -> bytes:
    """Put the length before a payload that fits into one frame."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


def cut(head: bytes, tail: Sequence[Buffer], tail_bytes: int, frame_bytes: int) -> Iterator[list[Buffer]]:
    """Cut a message into frames, each a list of buffers to write one after the other. Copies nothing.

    Args:
        head: One CBOR item.
        tail: What follows it, in order.
        tail_bytes: The length of all of `tail`.
        frame_bytes: The longest payload of a frame.
    """
    if not tail_bytes and len(head) <= frame_bytes:
        yield [encode_frame(head)]
        return
    yield [
        encode_frame(
            bytes([0x83, BEGIN]) + write_head(_UNSIGNED, len(head)) + write_head(_UNSIGNED, tail_bytes)
        )
    ]
    buffers = [memoryview(buffer) for buffer in (head, *tail) if len(buffer)]
    left = len(head) + tail_bytes
    while left:
        size = min(left, frame_bytes - _PIECE_HEAD_BYTES)
        left -= size
        start = _PIECE_START + write_head(_BYTES, size)
        frame: list[Buffer] = [(len(start) + size).to_bytes(HEADER_BYTES, "big") + start]
        while size:
            frame.append(buffers[0][:size])
            size -= len(frame[-1])
            buffers[0] = buffers[0][len(frame[-1]) :]
            if not len(buffers[0]):
                del buffers[0]
        yield frame


# --- errors that name the likely cause ------------------------------------------------------------


def too_large(length: int, header: bytes, limit: int) -> FrameTooLarge:
    """Say that a frame is too long, and why, when the header gives it away."""
    if header[:2] in (b"\x16\x03", b"\x15\x03"):  # a TLS handshake, a TLS alert
        return FrameTooLarge(
            "the peer speaks TLS and this side does not; call enable_ssl on both sides or on neither"
        )
    hint = "longer messages go in pieces"
    if header.isascii() and header.decode().isprintable():
        hint = f"it begins with {header.decode()!r}, so the peer speaks another protocol"
    return FrameTooLarge(f"the peer announced a frame of {length:,} bytes, the limit is {limit:,}; {hint}")
