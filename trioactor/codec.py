"""Messages to CBOR and back, and every frame that the two ends of a connection say to each other.

Strict on both ways. Out goes only what the vocabulary describes, so cbor2 never sees what it writes
wrongly (memoryview becomes a list of numbers) or dies of (10,000 nested lists). In comes only what the
vocabulary describes: no tag is built but those of messages, refs and arrays, nothing of indefinite
length, no key twice, no byte behind the item, and no deeper, larger or more numerous than the limits say.

Two kinds of bad frames are told apart: one that is not well-formed raises `WireError`, and its
connection ends; one that is well-formed but says something unacceptable is `MessageRefused` by itself.
Knows no sockets and no trio. The frames are described in `wire.cddl`, and `WIRE.md` walks through one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from cbor2 import CBORDecodeError, CBOREncodeError, CBORTag, dumps, loads

from trioactor.envelope import NO_HEADERS
from trioactor.errors import (
    BadFields,
    CannotEncode,
    UnknownMessage,
    WireError,
)
from trioactor.frames import (
    CONTROL_FRAMES,
    MAX_CHAIN,
    MAX_ID_CHARACTERS,
    MOST_COUNT,
    MOST_SECONDS,
    Answer,
    Control,
    Frame,
    MessageFrame,
    Tells,
)
from trioactor.framing import Buffer, write_head
from trioactor.limits import Limits
from trioactor.shapes import MESSAGE_TAG, Mismatch, Refused, Shape, wrong
from trioactor.vocabulary import MessageShape, Vocabulary, unknown_text

# Tags for which cbor2 has a decoder of its own. Each builds something, at a price: a regular expression
# is compiled, 10**1000000 is written out. They all are refused; any other tag stays a CBORTag, which no
# shape takes. A test goes through all tags from 0 to 66,000.
BUILT_IN_TAGS: Final = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100),
    *(256, 258, 260, 261, 1004, 43000, 55799),
)

TOKEN_BYTES = 8
MAX_HEADER_BYTES = 16 * 1024
_NO_FIELDS = b"\x80"  # an empty array
_PAIR = b"\x82"
_PLAIN, _WITH_HEADERS = b"\x82", b"\x83"

# How the frame of an answer begins.
ANSWER: Final = bytes([0x83, Answer.number])
_TELLS = b"\x84" + write_head(0, Tells.number)
_BYTES_MAJOR, _TEXT_MAJOR, _ARRAY_MAJOR, _TAG_MAJOR = 2, 3, 4, 6
_HEADER_KEYS = frozenset({"ask", "ttl", "chain", "user"})


# What a tag counts for, of the items that a frame may have.
TAG_ITEMS: Final = 3

# So many arrays of fewer bytes may come behind a head: each costs some microseconds, whatever its size.
MOST_SMALL_ARRAYS: Final = 250
SMALL_ARRAY_BYTES: Final = 1024

# The fields of a message that goes together with others are at most so long.
SMALL_BYTES = 256

# A message whose fields are encoded: its class, and they.
Packed: TypeAlias = tuple[MessageShape, bytes]


class Refs(Protocol):
    """How refs are told across one connection."""

    def wire_ref(self, ref: Any) -> list[Any]:
        """How the peer is told of a ref: [side, actor_id, host, port]. Raises Mismatch."""

    def ref_of(self, fields: Any) -> Any:
        """The ref that a peer means. Raises Mismatch."""


class Encoded:
    """A message or an answer, ready to be cut into frames.

    Attributes:
        head: One CBOR item.
        tail: The arrays behind it: heads of CBOR items and array memory in turn. The memory is the
            sender's own, so arrays that were sent must not be changed.
        tail_bytes: The length of all of `tail`.
    """

    __slots__ = ("head", "tail", "tail_bytes")

    def __init__(self, head: bytes, tail: Sequence[Buffer] = (), tail_bytes: int = 0) -> None:
        self.head = head
        self.tail = tail
        self.tail_bytes = tail_bytes


class _Outgoing:
    """The message that is being packed: see `Outward`."""

    __slots__ = ("_depth", "_limits", "_refs", "tail", "tail_bytes")

    def __init__(self, limits: Limits, refs: Refs) -> None:
        self._limits = limits
        self._refs = refs
        self.begin()

    def begin(self) -> None:
        self._depth = 4  # of the fields of a message: frame, tag, its array, the array of fields
        self.tail: list[Buffer] = []
        self.tail_bytes = 0

    def enter(self) -> None:
        self._depth += 1
        if self._depth > self._limits.depth:
            raise Mismatch(f"it is nested deeper than {self._limits.depth} levels")

    def leave(self) -> None:
        self._depth -= 1

    def mark(self) -> tuple[int, int, int]:
        return self._depth, len(self.tail), self.tail_bytes

    def back_to(self, mark: tuple[int, int, int]) -> None:
        self._depth, length, self.tail_bytes = mark
        del self.tail[length:]

    def behind(self, buffer: Buffer) -> None:
        self.tail.append(buffer)
        self.tail_bytes += len(buffer)

    def inline_bytes(self) -> int:
        small_ones_are_taken = len(self.tail) < 2 * MOST_SMALL_ARRAYS  # each has a head, and its memory
        least = 0 if small_ones_are_taken else SMALL_ARRAY_BYTES
        return max(self._limits.inline_array_bytes, least)

    def wire_ref(self, ref: Any) -> list[Any]:
        return self._refs.wire_ref(ref)


class Tail:
    """The arrays behind the head of a message: which memory they fill, and what must stand between them.

    Attributes:
        places: The memory, in the order of arrival: heads of CBOR items and arrays in turn.
    """

    def __init__(self, tail_bytes: int) -> None:
        self.left = tail_bytes
        self._small_left = MOST_SMALL_ARRAYS
        self.places: list[memoryview] = []
        self._heads: list[tuple[bytearray, bytes]] = []

    def reserve(self, tag: int, array_bytes: int) -> bool:
        """Announce the next array. False: so much does not follow, or it should have stood in the head."""
        if array_bytes >= self.left:  # its head has some bytes too
            return False
        if array_bytes < SMALL_ARRAY_BYTES:
            self._small_left -= 1
            if self.has_too_many:
                return False
        head = write_head(_TAG_MAJOR, tag) + write_head(_BYTES_MAJOR, array_bytes)
        if len(head) + array_bytes > self.left:
            return False
        self.left -= len(head) + array_bytes
        found = bytearray(len(head))
        self._heads.append((found, head))
        self.places.append(memoryview(found))
        return True

    def fill(self, place: memoryview) -> None:
        """Say where the array that was reserved last goes: writable, one byte an item."""
        self.places.append(place)

    @property
    def expected(self) -> bool:
        """Whether the arrays of the head take up just what follows it."""
        return self.left == 0

    @property
    def has_too_many(self) -> bool:
        """Whether there are more small arrays than may come behind a head. Then none is worth a look."""
        return self._small_left < 0

    def sound(self) -> bool:
        """Whether the tail, now that it is there, consists of the items that its head announced."""
        return all(found == expected for found, expected in self._heads)


_NO_TAIL = Tail(0)  # nothing fits into it, so it is shared


class Arriving:
    """The tail of the frame that is being decoded."""

    __slots__ = ("tail",)

    def __init__(self) -> None:
        self.tail = _NO_TAIL


class Codec:
    """Both ways for one connection.

    Args:
        vocabulary: The messages that this side knows.
        limits: Of this side.
        refs: How refs are told to the peer.
        token: 8 bytes that the peer cannot guess: put behind a frame, they show that it ended there.
        decoders: For the tags of arrays, by tag; see `arrays.py`. Without, arrays are refused.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        limits: Limits,
        refs: Refs,
        token: bytes,
        decoders: Callable[[Arriving], Mapping[int, Callable[[Any, bool], Any]]] | None = None,
    ) -> None:
        assert len(token) == TOKEN_BYTES
        self._vocabulary = vocabulary
        self._limits = limits
        self._refs = refs
        self._token = token
        self._token_item = write_head(_BYTES_MAJOR, TOKEN_BYTES) + token
        self._out = _Outgoing(limits, refs)
        self._arriving = Arriving()
        arrays = decoders(self._arriving) if decoders is not None else {}
        self._loads = partial(
            loads,
            semantic_decoders={**_REFUSERS, **arrays},
            max_depth=limits.depth + 1,  # the pair with the token is one more
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )

    # --- out --------------------------------------------------------------------------------------

    def encode_message(self, target: bytes, message: Any, *, headers_follow: bool = False) -> Encoded:
        """Encode a message frame.

        Args:
            target: The actor's id, as CBOR.
            message: Of a class in the vocabulary.
            headers_follow: Whether the caller puts the map of headers behind the head.

        Raises:
            UnknownMessage: Its class is not in the vocabulary.
            CannotEncode: A field holds something that its annotation does not say, or that is too much.
        """
        return self.complete(target, self.pack(message), headers_follow=headers_follow)

    def pack(self, message: Any) -> Packed:
        """Encode the fields of a message, and leave the rest to `complete`, or to `encode_tells`.

        Raises:
            UnknownMessage: Its class is not in the vocabulary.
            CannotEncode: A field holds something that its annotation does not say.
        """
        shape = self._vocabulary.of(message)
        out = self._out
        out.begin()
        if shape.is_empty:  # as a question often is
            return shape, _NO_FIELDS
        try:
            return shape, dumps(shape.pack_fields(message, out))
        except (Mismatch, CBOREncodeError, UnicodeEncodeError) as error:
            raise CannotEncode(f"{shape.name} cannot be sent: {error}") from None

    def is_small(self, packed: Packed) -> bool:
        """Whether what was packed last may go together with others in one frame."""
        return len(packed[1]) <= SMALL_BYTES and not self._out.tail

    def complete(self, target: bytes, packed: Packed, *, headers_follow: bool = False) -> Encoded:
        """Return the frame of the message that was packed last. Arguments and errors of `encode_message`."""
        shape, fields = packed
        start = _WITH_HEADERS if headers_follow else _PLAIN
        return self._encoded(b"".join((start, target, shape.prefix, fields)), shape.name)

    @staticmethod
    def encode_tells(target: bytes, shape: MessageShape, fields: Sequence[bytes]) -> bytes:
        """Encode several small tells of one class as one frame; one as the frame that it always has.

        Args:
            target: The actor's id, as CBOR.
            shape: Of the class.
            fields: Of each message, as `pack` returned them.
        """
        if len(fields) == 1:
            return b"".join((_PLAIN, target, shape.prefix, fields[0]))
        count = write_head(_ARRAY_MAJOR, len(fields))
        return b"".join((_TELLS, target, shape.wire_name, count, *fields))

    def encode_headers(self, headers: Mapping[str, Any]) -> bytes:
        """Encode what middleware sends along. Raises CannotEncode."""
        self._out.begin()
        try:
            packed = dumps(self._vocabulary.anything.pack(headers, self._out))
        except (Mismatch, CBOREncodeError, UnicodeEncodeError) as error:
            raise CannotEncode(f"the headers cannot be sent: {error}") from None
        if self._out.tail_bytes or len(packed) > MAX_HEADER_BYTES:
            raise CannotEncode(
                f"the headers have more than {MAX_HEADER_BYTES:,} bytes; they are for small things"
            )
        return packed

    def reply_shape(self, message: Any) -> Shape | None:
        """Return the shape of a question's answer, as far as its class says it."""
        return self._vocabulary.of(message).reply

    def encode_answer(self, ask: int, value: Any, shape: Shape | None) -> Encoded:
        """Encode the answer to a question.

        Args:
            ask: The number of the question.
            value: What the handler returned.
            shape: What the question says is answered. A value of another shape travels as `Any`.

        Raises:
            CannotEncode: The value cannot be sent.
        """
        try:
            packed = self._pack_value(value, shape)
            head = b"".join((ANSWER, dumps(ask), dumps(packed)))
        except (Mismatch, CBOREncodeError, UnicodeEncodeError) as error:
            raise CannotEncode(f"the answer cannot be sent: {error}") from None
        return self._encoded(head, "the answer")

    def _pack_value(self, value: Any, shape: Shape | None) -> Any:
        out = self._out
        out.begin()
        if shape is not None:
            try:
                return shape.pack(value, out)
            except Mismatch:
                out.begin()
        return self._vocabulary.anything.pack(value, out)

    def _encoded(self, head: bytes, what: str) -> Encoded:
        out, limits = self._out, self._limits
        if len(head) * TAG_ITEMS > limits.items:
            check_items(head, limits.items, CannotEncode)
        if len(head) > limits.head_bytes:
            raise CannotEncode(
                f"{what} has {len(head):,} bytes without its arrays, the limit is {limits.head_bytes:,};"
                " put numbers into arrays, or raise head_bytes on both sides"
            )
        if not out.tail:
            return Encoded(head)
        if len(head) + out.tail_bytes > limits.message_bytes:
            raise CannotEncode(
                f"{what} has {len(head) + out.tail_bytes:,} bytes, the limit is {limits.message_bytes:,};"
                " raise message_bytes on both sides"
            )
        return Encoded(head, out.tail, out.tail_bytes)

    @staticmethod
    def encode_control(frame: Control) -> bytes:
        """Encode any other frame, as the payload of a frame."""
        return dumps([frame.number, *frame.fields()])

    # --- in ---------------------------------------------------------------------------------------

    def decode(self, payload: bytes, tail_bytes: int = 0) -> Frame:
        """Decode a frame, or the head of a message that has a tail.

        Raises:
            WireError: It is no well-formed frame.
        """
        if len(payload) * TAG_ITEMS > self._limits.items:
            check_items(payload, self._limits.items, WireError)
        self._arriving.tail = Tail(tail_bytes) if tail_bytes else _NO_TAIL
        try:
            frame, token = self._loads(b"".join((_PAIR, payload, self._token_item)))
        except CBORDecodeError as error:
            raise WireError(f"a frame is not the CBOR that is allowed here: {error}") from None
        if type(token) is not bytes or token != self._token:  # an array cannot be compared
            raise WireError("a frame has bytes behind its item, or ends too early")
        if type(frame) is not list or len(frame) < 2:
            raise WireError("a frame is an array of two items or more")
        if type(frame[0]) is str:
            return _message_frame(frame, len(payload) + tail_bytes)
        if type(frame[0]) is int and frame[0] == Tells.number:
            return self._checked(Tells.read(frame, len(payload)))
        return _control_frame(frame)

    def _checked(self, tells: Tells) -> Tells:
        """Refuse more messages than there can be credit for, before the first of them is built."""
        if len(tells.items) > self._limits.window_messages:
            raise WireError(
                f"the peer sent {len(tells.items):,} messages to one actor in one frame, its credit is"
                f" {self._limits.window_messages:,}"
            )
        return tells

    @property
    def tail(self) -> Tail:
        """What is to come behind the head that was decoded last."""
        return self._arriving.tail

    def open_message(self, frame: MessageFrame) -> tuple[Any, MessageShape]:
        """Build the message of a frame whose arrays are complete.

        Raises:
            UnknownMessage: Its name is not in the vocabulary.
            BadFields: Its fields are not what the class says.
        """
        item = frame.item
        pair = item.value if isinstance(item, CBORTag) and item.tag == MESSAGE_TAG else None
        if type(pair) is not tuple or len(pair) != 2:
            reason = wrong("tag 27 over a name and the fields", item)
            raise BadFields(f"a message for {frame.actor_id!r:.120} is refused: {reason}")
        name, fields = pair
        shape = self.shape_named(name)
        return self.build(shape, fields), shape

    def shape_named(self, name: Any) -> MessageShape:
        """Return the shape of a class by its wire name. Raises UnknownMessage."""
        shape = self._vocabulary.named(name)
        if shape is None:
            raise UnknownMessage(unknown_text(name))
        return shape

    def build(self, shape: MessageShape, fields: Any) -> Any:
        """Build the message of the fields that cbor2 has read. Raises BadFields."""
        try:
            if type(fields) is not tuple and type(fields) is not list:
                raise Mismatch("the fields of a message are an array")
            return shape.build(fields, self._refs)
        except Mismatch as mismatch:
            raise BadFields(f"a {shape.name} is refused: {mismatch}") from None

    def open_answer(self, item: Any, shape: Shape | None) -> Any:
        """Build the value of an answer.

        Raises:
            BadFields: It cannot be understood.
        """
        try:
            if shape is not None:
                try:
                    return shape.unpack(item, self._refs)
                except Mismatch:
                    pass  # as it was packed: a handler may return something else than it promised
            return self._vocabulary.anything.unpack(item, self._refs)
        except Mismatch as mismatch:
            raise BadFields(f"the answer is refused: {mismatch}") from None

    def open_headers(self, frame: MessageFrame) -> Mapping[str, Any]:
        """Return the middleware's headers of a message. Raises BadFields."""
        try:
            opened: Mapping[str, Any] = self._vocabulary.anything.unpack(frame.headers, self._refs)
        except Mismatch as mismatch:
            raise BadFields(f"the headers of a message are refused: {mismatch}") from None
        return opened


def _refuser(tag: int) -> Callable[[Any, bool], Refused]:
    refused = Refused(f"the tag {tag} is not allowed here")
    return lambda _value, _immutable: refused


_REFUSERS: Final = {tag: _refuser(tag) for tag in BUILT_IN_TAGS}  # made once: every connection has a codec


def check_items(data: bytes, limit: int, error: type[Exception]) -> None:
    """Raise `error` when the CBOR in `data` has more than `limit` items. Stops there, so it costs little.

    A tag counts as three: what it stands over is made into something, a message or an array.
    """
    if len(data) + (TAG_ITEMS - 1) * len(data.translate(None, _NO_TAGS)) <= limit:
        return  # if each byte were an item
    left, steps, weights = limit, _STEPS, _WEIGHTS
    position = 0
    try:
        while left >= 0:
            initial = data[position]
            left -= weights[initial]
            position += steps[initial] or _long_step(data, position)
    except IndexError:  # it ends before that
        return
    raise error(
        f"a frame has more than {limit:,} items, each tag counted as three; numbers in thousands belong in an"
        " array, which is one item, or raise `items` on both sides"
    )


def _step(initial: int) -> int:
    """How many bytes the next item is away, by the first byte of this one; 0 when that does not say."""
    major, short = initial >> 5, initial & 31
    is_string = major in (_BYTES_MAJOR, _TEXT_MAJOR)
    if short < 24:
        return 1 + short if is_string else 1
    if short > 27:  # of indefinite length, or not CBOR: refused by the decoder
        return 1
    return 0 if is_string else 1 + (1 << short - 24)


_STEPS: Final = tuple(map(_step, range(256)))
_WEIGHTS: Final = tuple(TAG_ITEMS if initial >> 5 == _TAG_MAJOR else 1 for initial in range(256))
_NO_TAGS: Final = bytes(initial for initial in range(256) if initial >> 5 != _TAG_MAJOR)


def _long_step(data: bytes, position: int) -> int:
    """The same for a string whose length stands behind its first byte."""
    size = 1 << (data[position] & 31) - 24
    return 1 + size + int.from_bytes(data[position + 1 : position + 1 + size], "big")


# --- frames that were decoded -------------------------------------------------------------------


def _message_frame(frame: list[Any], size: int) -> MessageFrame:
    if not 0 < len(frame[0]) <= MAX_ID_CHARACTERS:
        raise WireError(f"an actor's id has 1 to {MAX_ID_CHARACTERS:,} characters")
    if len(frame) == 2:
        return MessageFrame(frame[0], frame[1], size)
    headers = frame[2]
    if len(frame) != 3 or type(headers) is not dict or not headers.keys() <= _HEADER_KEYS:
        raise WireError("a message frame is [actor, message] or [actor, message, {ask, ttl, chain, user}]")
    ask, ttl = headers.get("ask"), headers.get("ttl")
    chain, user = headers.get("chain"), headers.get("user")
    sound = (
        (ask is None or (type(ask) is int and 0 <= ask <= MOST_COUNT))
        and (ttl is None or (type(ttl) in (int, float) and 0 <= ttl < MOST_SECONDS))
        and (
            chain is None
            or (type(chain) is list and len(chain) <= MAX_CHAIN and set(map(type, chain)) <= {str})
        )
        and (user is None or type(user) is dict)
    )
    if not sound:
        raise WireError("headers are ask: uint, ttl: seconds, chain: [* text], user: map")
    return MessageFrame(
        frame[0], frame[1], size, ask, ttl, tuple(chain or ()), NO_HEADERS if user is None else user
    )


def _control_frame(frame: list[Any]) -> Frame:
    number, *rest = frame
    kind = CONTROL_FRAMES.get(number) if type(number) is int else None
    if kind is None:
        raise WireError("a frame is of no kind that this protocol version knows")
    return kind.read(rest)
