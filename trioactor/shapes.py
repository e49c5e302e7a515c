"""What may stand in a place of a message: how it is packed for CBOR, and unpacked and checked again.

A shape is made of an annotation, once (`vocabulary.py`). Packing turns a value into what cbor2 writes
right; unpacking turns what cbor2 has read into the value, or says what is wrong with it and where.
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from cbor2 import CBORTag, frozendict

from trioactor.framing import Buffer

# "Serialised language-independent object with type name", in the registry of CBOR tags.
MESSAGE_TAG = 27

REF_NAME = "trioactor.ref"

# What CBOR's integers reach without the tag for big numbers.
LEAST_INT, MOST_INT = -(2**64), 2**64 - 1


# What cbor2 makes of a map and of an array, outside of tags and within.
READ_MAPS: tuple[type, ...] = (dict, frozendict)
READ_SEQUENCES: tuple[type, ...] = (list, tuple)


class Mismatch(Exception):
    """A value has not the shape it should have. `path` says where it stands in the message."""

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.path = path

    def within(self, step: str) -> Mismatch:
        """Return the same error, seen from one level further out."""
        return Mismatch(self.text, step + self.path)

    def __str__(self) -> str:
        return f"{self.path.lstrip('.')}: {self.text}" if self.path else self.text


class Refused:
    """Stands in a decoded frame for something that was not built. No shape takes it."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Outward(Protocol):
    """What packing needs to know of the message on its way out."""

    def enter(self) -> None:
        """One level of nesting begins. Raises Mismatch when that is too deep."""

    def leave(self) -> None:
        """It ends."""

    def mark(self) -> Any:
        """Return a point to go back to."""

    def back_to(self, mark: Any) -> None:
        """Forget what was packed since then."""

    def behind(self, buffer: Buffer) -> None:
        """Have the buffer sent behind the head of the message."""

    def inline_bytes(self) -> int:
        """Arrays of at most so many bytes are written into the head."""

    def wire_ref(self, ref: Any) -> list[Any]:
        """How the peer is told of a ref. Raises Mismatch."""


class Inward(Protocol):
    """What unpacking needs to know of the side that the message came to."""

    def ref_of(self, fields: Any) -> Any:
        """The ref that a peer means. Raises Mismatch."""


class Shape(Protocol):
    """What may stand in one place of a message.

    Attributes:
        name: How the annotation reads. It enters the fingerprint of the vocabulary.
        exact: A type whose values go out and come in unchanged, if there is one: the quick way.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def exact(self) -> type | None:
        """See above."""

    def pack(self, value: Any, out: Outward) -> Any:
        """Return what cbor2 is to write. Raises Mismatch."""

    def unpack(self, item: Any, inward: Inward) -> Any:
        """Return the value of what cbor2 has read. Raises Mismatch."""


class Named(Shape, Protocol):
    """The shape of a message class."""

    def build(self, found: Sequence[Any], inward: Inward) -> Any:
        """Make the message of its decoded fields. Raises Mismatch."""


def wrong(expected: str, found: Any) -> Mismatch:
    """Say what was expected and what was found, without repeating a stranger's data."""
    if isinstance(found, Refused):
        return Mismatch(found.reason)
    kind = f"a value with the tag {found.tag}" if isinstance(found, CBORTag) else type(found).__name__
    return Mismatch(f"expected {expected}, found {kind}")


class Scalar:
    """A value of one plain type."""

    def __init__(self, kind: type) -> None:
        self.exact: type | None = kind
        self.name = "None" if kind is type(None) else kind.__name__

    def pack(self, value: Any, out: Outward) -> Any:
        """See `Shape`."""
        if type(value) is self.exact:
            return value
        if isinstance(value, self.exact or ()):  # a subclass, like an enum of strings
            return self._plain(value)
        raise wrong(self.name, value)

    def unpack(self, item: Any, inward: Inward) -> Any:
        """See `Shape`."""
        if type(item) is self.exact:
            return item
        raise wrong(self.name, item)

    def _plain(self, value: Any) -> Any:
        assert self.exact is not None
        return self.exact(value)


class TextShape(Scalar):
    """Text."""

    def __init__(self) -> None:
        super().__init__(str)

    def _plain(self, value: Any) -> str:
        return str.__str__(value)


class IntShape:
    """A whole number that CBOR can write without the tag for big ones; no bool."""

    name = "int"
    exact: type | None = int

    def pack(self, value: Any, out: Outward) -> int:
        """See `Shape`."""
        try:
            number = operator.index(value)  # takes NumPy's integers as well
        except TypeError:
            raise wrong("int", value) from None
        if isinstance(value, bool):
            raise wrong("int", value)
        if not LEAST_INT <= number <= MOST_INT:
            raise Mismatch("the number is outside of -2**64 to 2**64 - 1; send larger ones as bytes or text")
        return number

    def unpack(self, item: Any, inward: Inward) -> int:
        """See `Shape`."""
        if type(item) is int:
            return item
        raise wrong("int", item)


class FloatShape:
    """A float; also an integer, which becomes one: other languages write 2.0 as 2."""

    name = "float"
    exact: type | None = float

    def pack(self, value: Any, out: Outward) -> float:
        """See `Shape`."""
        if type(value) is bool or not isinstance(value, numbers.Real):  # NumPy's floats are Real as well
            raise wrong("float", value)
        try:
            return float(value)
        except OverflowError:
            raise Mismatch("the number is too large for a float") from None

    def unpack(self, item: Any, inward: Inward) -> float:
        """See `Shape`."""
        if type(item) is float or type(item) is int:
            return float(item)
        raise wrong("float", item)


class BytesShape(Scalar):
    """A byte string."""

    def __init__(self) -> None:
        super().__init__(bytes)

    def pack(self, value: Any, out: Outward) -> bytes:
        """See `Shape`."""
        if isinstance(value, bytes | bytearray):
            return bytes(value)
        if isinstance(value, memoryview):  # cbor2 would write a list of numbers
            raise Mismatch("a memoryview cannot be sent; send bytes(view), or an array")
        raise wrong("bytes", value)


class LiteralShape:
    """One of a few values."""

    exact: type | None = None

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values = values
        self.name = f"Literal[{', '.join(map(repr, values))}]"

    def pack(self, value: Any, out: Outward) -> Any:
        """See `Shape`."""
        return self._check(value)

    def unpack(self, item: Any, inward: Inward) -> Any:
        """See `Shape`."""
        return self._check(item)

    def _check(self, value: Any) -> Any:
        for allowed in self._values:
            if type(allowed) is type(value) and allowed == value:
                return allowed
        raise wrong(self.name, value)


def _unchanged(values: Sequence[Any], shape: Shape) -> bool:
    """Whether all of the values are of the shape's exact type, and fit."""
    if shape.exact is None or not set(map(type, values)) <= {shape.exact}:
        return False
    return shape.exact is not int or not values or LEAST_INT <= min(values) <= max(values) <= MOST_INT


class ListShape:
    """Any number of values of one shape.

    Args:
        item: Their shape.
        kind: What the receiver gets, list or tuple.
        name: How the annotation reads.
    """

    exact: type | None = None

    def __init__(self, item: Shape, kind: type[list[Any]] | type[tuple[Any, ...]], name: str) -> None:
        self._item = item
        self._kind = kind
        self.name = name

    def pack(self, value: Any, out: Outward) -> Any:
        """See `Shape`."""
        if not isinstance(value, list | tuple):
            raise wrong(self.name, value)
        out.enter()
        if _unchanged(value, self._item):
            out.leave()
            return value if type(value) in (list, tuple) else list(value)
        packed = []
        for position, each in enumerate(value):
            try:
                packed.append(self._item.pack(each, out))
            except Mismatch as mismatch:
                raise mismatch.within(f"[{position}]") from None
        out.leave()
        return packed

    def unpack(self, item: Any, inward: Inward) -> Any:
        """See `Shape`."""
        if type(item) not in READ_SEQUENCES:
            raise wrong(self.name, item)
        if _unchanged(item, self._item):
            return self._kind(item)
        unpack = self._item.unpack
        values: list[Any] = []
        try:
            for each in item:
                values.append(unpack(each, inward))
        except Mismatch as mismatch:
            raise mismatch.within(f"[{len(values)}]") from None
        return self._kind(values)


class TupleShape:
    """A fixed number of values, each of its own shape."""

    exact: type | None = None

    def __init__(self, items: Sequence[Shape]) -> None:
        self._items = tuple(items)
        self.name = f"tuple[{', '.join(item.name for item in items) or '()'}]"

    def pack(self, value: Any, out: Outward) -> Any:
        """See `Shape`."""
        out.enter()
        packed = self._each(value, lambda shape, each: shape.pack(each, out))
        out.leave()
        return packed

    def unpack(self, item: Any, inward: Inward) -> Any:
        """See `Shape`."""
        return tuple(self._each(item, lambda shape, each: shape.unpack(each, inward)))

    def _each(self, values: Any, convert: Any) -> list[Any]:
        if not isinstance(values, list | tuple):
            raise wrong(self.name, values)
        if len(values) != len(self._items):
            raise Mismatch(f"expected {len(self._items)} values, found {len(values)}")
        converted = []
        for position, (shape, value) in enumerate(zip(self._items, values, strict=True)):
            try:
                converted.append(convert(shape, value))
            except Mismatch as mismatch:
                raise mismatch.within(f"[{position}]") from None
        return converted


class MapShape:
    """Text keys, and values of one shape. The receiver gets a dict."""

    exact: type | None = None

    def __init__(self, value: Shape) -> None:
        self._value = value
        self.name = f"dict[str, {value.name}]"

    def pack(self, value: Any, out: Outward) -> Any:
        """See `Shape`."""
        if not isinstance(value, Mapping):
            raise wrong(self.name, value)
        out.enter()
        packed = {}
        for key, each in value.items():
            try:
                packed[text_key(key)] = self._value.pack(each, out)
            except Mismatch as mismatch:
                raise mismatch.within(f"[{key!r:.40}]") from None
        out.leave()
        return packed

    def unpack(self, item: Any, inward: Inward) -> dict[str, Any]:
        """See `Shape`."""
        if type(item) not in READ_MAPS and not isinstance(item, Mapping):  # the second question is slow
            raise wrong(self.name, item)
        unpack = self._value.unpack
        values = {}
        key: Any = None
        try:
            for key, each in item.items():
                values[key if type(key) is str else text_key(key)] = unpack(each, inward)
        except Mismatch as mismatch:
            raise mismatch.within(f"[{key!r:.40}]") from None
        return values


def text_key(key: Any) -> str:
    """Return the key of a map as plain text. Raises Mismatch."""
    if isinstance(key, str):
        return key if type(key) is str else str.__str__(key)
    raise wrong("a text key", key)


class UnionShape:
    """One of several shapes; the first that takes the value.

    Args:
        members: The shapes.
        messages: Those of them that are message classes, by wire name: these are not tried in turn.
    """

    exact: type | None = None

    def __init__(self, members: Sequence[Shape], messages: Mapping[str, Named]) -> None:
        self._members = tuple(members)
        self._messages = messages
        known = tuple(messages.values())
        self._others = tuple(member for member in members if all(member is not message for message in known))
        self._by_type = {member.exact: member for member in members if member.exact is not None}
        self.name = " | ".join(member.name for member in members)

    def pack(self, value: Any, out: Outward) -> Any:
        """See `Shape`."""
        quick = self._by_type.get(type(value))
        if quick is not None:
            return quick.pack(value, out)
        mark = out.mark()
        mismatches = []
        for member in self._members:
            try:
                return member.pack(value, out)
            except Mismatch as mismatch:
                mismatches.append(mismatch)
                out.back_to(mark)
        raise self._closest(value, mismatches)

    def unpack(self, item: Any, inward: Inward) -> Any:
        """See `Shape`."""
        if type(item) in self._by_type:
            return item
        if type(item) is CBORTag and self._messages:
            name, fields = parts_of(item)
            if fields is not None and name in self._messages:
                return self._messages[name].build(fields, inward)
        mismatches = []
        for member in self._others:
            try:
                return member.unpack(item, inward)
            except Mismatch as mismatch:
                mismatches.append(mismatch)
        raise self._closest(item, mismatches)

    def _closest(self, value: Any, mismatches: list[Mismatch]) -> Mismatch:
        """The one that came furthest says most."""
        furthest = max(mismatches, key=lambda mismatch: len(mismatch.path), default=None)
        return furthest if furthest is not None and furthest.path else wrong(self.name, value)


class RefShape:
    """A ref: on the wire a message of its own kind, `27(["trioactor.ref", [side, actor_id, ...]])`.

    Args:
        kind: The class of refs, which is defined above this module.
    """

    name = "ActorRef"
    exact: type | None = None

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def pack(self, value: Any, out: Outward) -> CBORTag:
        """See `Shape`."""
        if not isinstance(value, self.kind):
            raise wrong(self.name, value)
        for _ in range(3):
            out.enter()
        fields = out.wire_ref(value)
        for _ in range(3):
            out.leave()
        return CBORTag(MESSAGE_TAG, [REF_NAME, fields])

    def unpack(self, item: Any, inward: Inward) -> Any:
        """See `Shape`."""
        name, fields = parts_of(item)
        if fields is None or name != REF_NAME:
            raise wrong(self.name, item)
        return inward.ref_of(fields)


def parts_of(item: Any) -> tuple[str, Sequence[Any] | None]:
    """Return wire name and fields of a decoded message: "" and None where it has none that are sound."""
    if type(item) is not CBORTag or item.tag != MESSAGE_TAG:
        return "", None
    pair = item.value
    if type(pair) not in READ_SEQUENCES or not pair or type(pair[0]) is not str:
        return "", None  # not all that a stranger puts there can be compared
    if len(pair) != 2 or type(pair[1]) not in READ_SEQUENCES:
        return pair[0], None
    return pair[0], pair[1]
