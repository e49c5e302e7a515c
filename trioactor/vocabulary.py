"""The messages that a system knows: wire name, class, and the shape of every field.

A field may be annotated with

    int float bool str bytes None               an int field takes no bool and no float; a float field
                                                also takes integers, as other languages write them
    tuple[X, ...] tuple[A, B] list[X] Sequence[X]
    dict[str, X] Mapping[str, X]                keys are text
    X | Y, Literal["a", "b"]
    message classes                             also those that contain themselves
    Any                                         every value of these kinds; sequences arrive as lists
    ActorRef, NumPy arrays                      by hooks

An annotation that cannot travel is an error when the vocabulary is made, not in the middle of a run.
Fields travel by position. New ones go to the end, with a default: a peer that does not know of them
leaves them out.
"""

from __future__ import annotations

import collections.abc
import hashlib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from operator import attrgetter
from typing import Any, Literal, Protocol, Union

from cbor2 import CBORTag, dumps

from trioactor.errors import UnknownMessage
from trioactor.messages import RUNTIME_MESSAGES, Request, wire_name_of
from trioactor.shapes import (
    LEAST_INT,
    MESSAGE_TAG,
    MOST_INT,
    READ_MAPS,
    READ_SEQUENCES,
    REF_NAME,
    BytesShape,
    FloatShape,
    IntShape,
    Inward,
    ListShape,
    LiteralShape,
    MapShape,
    Mismatch,
    Named,
    Outward,
    Scalar,
    Shape,
    TextShape,
    TupleShape,
    UnionShape,
    parts_of,
    text_key,
    wrong,
)

FINGERPRINT_BYTES = 8

_MESSAGE_START = b"\xd8\x1b\x82"  # tag 27 over an array of two

_PLAIN: dict[Any, Shape] = {
    None: Scalar(type(None)),
    type(None): Scalar(type(None)),
    bool: Scalar(bool),
    int: IntShape(),
    float: FloatShape(),
    str: TextShape(),
    bytes: BytesShape(),
}
_PLAIN_KINDS = frozenset(kind for kind in _PLAIN if kind is not None)
_FEW = 8  # so many items of a list are sooner looked at one by one than all at once
_SEQUENCES: dict[Any, type[list[Any]] | type[tuple[Any, ...]]] = {
    list: list,
    collections.abc.Sequence: tuple,
    tuple: tuple,
}
_MAPPINGS = (dict, collections.abc.Mapping)


class Hook(Protocol):
    """Makes values of a class from elsewhere travel: NumPy's arrays, say.

    Attributes:
        kind: The class.
    """

    @property
    def kind(self) -> type:
        """See above."""

    def shape(self, annotation: Any) -> Shape:
        """Return the shape for an annotation whose origin is `kind`."""


class MessageShape:
    """A message class: tag 27 over its wire name and its fields.

    Args:
        kind: The class.
        wire_name: Its name on the wire.

    Attributes:
        wire_name: Its name on the wire, as CBOR.
        prefix: How every such message begins; the array of fields follows.
        is_empty: Whether it has no fields.
    """

    exact: type | None = None

    def __init__(self, kind: type, wire_name: str) -> None:
        self.kind = kind
        self.name = wire_name
        self.wire_name = dumps(wire_name)
        self.prefix = _MESSAGE_START + self.wire_name
        self.reply: Shape | None = None  # of the answer, when the class is a Request of something
        self.is_empty = False
        self._fields: tuple[tuple[str, Shape], ...] = ()
        self._needed = 0  # fields without a default
        self._exact: tuple[type | None, ...] | None = None
        self._exact_so_far: frozenset[tuple[type | None, ...]] = frozenset()  # defaults at the end left out
        self._ints: tuple[int, ...] = ()
        self._values: Callable[[Any], tuple[Any, ...]] = lambda message: ()

    def complete(self, shapes: Mapping[str, Shape], needed: int) -> None:
        """Say what the fields are; not done in `__init__`, since a message may contain itself."""
        self._fields = tuple(shapes.items())
        self.is_empty = not shapes
        self._needed = needed
        kinds = tuple(shape.exact for shape in shapes.values())
        if None not in kinds:
            self._exact = kinds
            self._exact_so_far = frozenset(kinds[:count] for count in range(needed, len(kinds)))
        self._ints = tuple(position for position, kind in enumerate(kinds) if kind is int)
        self._values = _values_of(tuple(shapes))

    @property
    def description(self) -> str:
        """Name and fields, for the fingerprint."""
        return f"{self.name}({', '.join(f'{name}: {shape.name}' for name, shape in self._fields)})"

    def pack_fields(self, message: Any, out: Outward) -> Sequence[Any]:
        """Return the fields of a message as cbor2 is to write them. Raises Mismatch."""
        values = self._values(message)
        if tuple(map(type, values)) == self._exact:
            for position in self._ints:
                if not LEAST_INT <= values[position] <= MOST_INT:
                    break
            else:
                return values
        packed = []
        for (name, shape), value in zip(self._fields, values, strict=True):
            try:
                packed.append(shape.pack(value, out))
            except Mismatch as mismatch:
                raise mismatch.within(f".{name}") from None
        return packed

    def pack(self, value: Any, out: Outward) -> CBORTag:
        """See `Shape`."""
        if type(value) is not self.kind:
            raise wrong(self.name, value)
        for _ in range(3):  # the tag, its array, the fields
            out.enter()
        packed = self.pack_fields(value, out)
        for _ in range(3):
            out.leave()
        return CBORTag(MESSAGE_TAG, [self.name, packed])

    def unpack(self, item: Any, inward: Inward) -> Any:
        """See `Shape`."""
        name, found = parts_of(item)
        if found is None or name != self.name:
            raise wrong(self.name, item)
        return self.build(found, inward)

    def build(self, found: Sequence[Any], inward: Inward) -> Any:
        """Make the message of its decoded fields.

        Raises:
            Mismatch: A field has another shape, or the class does not accept the values.
        """
        kinds = tuple(map(type, found))
        if kinds != self._exact and kinds not in self._exact_so_far:
            found = self._unpack_fields(found, inward)
        try:
            return self.kind(*found)
        except (ValueError, TypeError, ArithmeticError) as error:  # from its __post_init__
            raise Mismatch(f"{self.name} does not accept its values: {error}") from error

    def _unpack_fields(self, found: Sequence[Any], inward: Inward) -> list[Any]:
        if not self._needed <= len(found) <= len(self._fields):
            some = (
                str(self._needed)
                if self._needed == len(self._fields)
                else f"{self._needed} to {len(self._fields)}"
            )
            raise Mismatch(f"{self.name} has {some} fields, found {len(found)}; is one side newer?")
        values = []
        for (name, shape), item in zip(self._fields, found, strict=False):
            try:
                values.append(shape.unpack(item, inward))
            except Mismatch as mismatch:
                raise mismatch.within(f".{name}") from None
        return values


class AnyShape:
    """Every value that a shape can describe. Sequences become lists, since nobody said what else."""

    name = "Any"
    exact: type | None = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._list = ListShape(self, list, "list[Any]")
        self._map = MapShape(self)
        # By what cbor2 makes of an item: how it is unpacked. A stranger may send such items by the thousand.
        self._ways: dict[type, Callable[[Any, Inward], Any] | None] = {
            **dict.fromkeys(_PLAIN_KINDS, None),  # as it is
            **dict.fromkeys(READ_SEQUENCES, self._unpack_sequence),
            **dict.fromkeys(READ_MAPS, self._unpack_map),
            CBORTag: self._unpack_tagged,
        }

    def take(self, kind: type, shape: Shape) -> None:
        """Unpack values of a class by their own shape: those of a hook, say."""
        self._ways[kind] = shape.unpack

    def pack(self, value: Any, out: Outward) -> Any:
        """See `Shape`."""
        return self._shape_of(value).pack(value, out)

    def unpack(self, item: Any, inward: Inward) -> Any:
        """See `Shape`."""
        way = self._ways.get(type(item), self._unpack_other)
        return item if way is None else way(item, inward)

    def _unpack_sequence(self, item: Sequence[Any], inward: Inward) -> list[Any]:
        if len(item) > _FEW and _PLAIN_KINDS.issuperset(map(type, item)):
            return list(item)
        ways, other = self._ways, self._unpack_other
        values: list[Any] = []
        try:
            for each in item:
                way = ways.get(type(each), other)
                values.append(each if way is None else way(each, inward))
        except Mismatch as mismatch:
            raise mismatch.within(f"[{len(values)}]") from None
        return values

    def _unpack_map(self, item: Mapping[Any, Any], inward: Inward) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if not item:  # the look at the items of cbor2's frozendict is dear
            return values
        ways, other = self._ways, self._unpack_other
        key: Any = None
        try:
            for key, each in item.items():
                way = ways.get(type(each), other)
                name = key if type(key) is str else text_key(key)
                values[name] = each if way is None else way(each, inward)
        except Mismatch as mismatch:
            raise mismatch.within(f"[{key!r:.40}]") from None
        return values

    def _unpack_tagged(self, item: CBORTag, inward: Inward) -> Any:
        name, fields = parts_of(item)
        shape = self._vocabulary.named(name)
        if shape is not None and fields is not None:
            return shape.build(fields, inward)
        return self._unpack_other(item, inward)

    def _unpack_other(self, item: Any, inward: Inward) -> Any:
        if isinstance(item, CBORTag) and item.tag == MESSAGE_TAG:
            return self._shape_named(item).unpack(item, inward)
        return self._shape_of(item).unpack(item, inward)

    def _shape_of(self, value: Any) -> Shape:
        shape = self._vocabulary.shape_for(type(value))
        if shape is not None:
            return shape
        if isinstance(value, list | tuple):
            return self._list
        if isinstance(value, Mapping):
            return self._map
        for kind, plain in _PLAIN.items():  # subclasses: an enum of strings, numpy.float64
            if kind is not None and isinstance(value, kind):
                return plain
        if isinstance(value, memoryview):
            raise Mismatch("a memoryview cannot be sent; send bytes(view), or an array")
        raise wrong("a value that can be sent", value)

    def _shape_named(self, item: CBORTag) -> Shape:
        name, _ = parts_of(item)
        shape = self._vocabulary.ref_shape if name == REF_NAME else self._vocabulary.named(name)
        if shape is None:
            raise Mismatch(unknown_text(name or None))
        return shape


class Vocabulary:
    """What one system can say and understand.

    Args:
        classes: Message classes. The runtime's own are always known.
        hooks: For classes that are no messages.

    Attributes:
        anything: The shape of a value about which nothing is known.
        ref_shape: The shape of refs; None when no hook makes them travel.
        fingerprint: 8 bytes that two systems share when they know the same messages with the same fields.

    Raises:
        TypeError: A class is no message, or a field is annotated with something that cannot travel.
        ValueError: Two classes have the same wire name.
    """

    def __init__(self, classes: Iterable[type], hooks: Sequence[Hook] = ()) -> None:
        anything = AnyShape(self)
        self.anything: Shape = anything
        self._hooks = {hook.kind: hook for hook in hooks}
        self._by_class: dict[type, MessageShape] = {}
        self._by_name: dict[str, MessageShape] = {}
        self._special = {hook.kind: hook.shape(hook.kind) for hook in hooks}
        for special, shape in self._special.items():
            anything.take(special, shape)
        self.ref_shape = next((shape for shape in self._special.values() if shape.name == "ActorRef"), None)
        for kind in (*RUNTIME_MESSAGES, *classes):
            self._learn(kind)
        text = "\n".join(sorted(shape.description for shape in self._by_name.values()))
        self.fingerprint = hashlib.sha256(text.encode()).digest()[:FINGERPRINT_BYTES]

    def of(self, message: Any) -> MessageShape:
        """Return the shape of a message.

        Raises:
            UnknownMessage: Its class is not in the vocabulary.
        """
        shape = self._by_class.get(type(message))
        if shape is None:
            kind = type(message).__qualname__
            raise UnknownMessage(
                f"{kind} is not in the vocabulary of this system; decorate the class with @message and"
                f" pass it: ActorSystem(..., vocabulary=[{kind}])"
            )
        return shape

    def named(self, wire_name: Any) -> MessageShape | None:
        """Return the shape of the messages of that name, None when there are none."""
        return self._by_name.get(wire_name) if isinstance(wire_name, str) else None

    def shape_for(self, kind: type) -> Shape | None:
        """Return the shape of values of just that class, if it is plain, a message or hooked."""
        return _PLAIN.get(kind) or self._by_class.get(kind) or self._special.get(kind)

    # --- learning classes -----------------------------------------------------------------------

    def _learn(self, kind: type) -> MessageShape:
        if kind in self._by_class:
            return self._by_class[kind]
        wire_name = wire_name_of(kind)
        if wire_name is None or not is_dataclass(kind):
            raise TypeError(f"{kind!r} is no message class; decorate it with @message('package.name')")
        if wire_name in self._by_name or wire_name == REF_NAME:
            raise ValueError(f"the wire name {wire_name!r} is taken; {kind.__qualname__} needs another one")
        shape = self._by_class[kind] = self._by_name[wire_name] = MessageShape(kind, wire_name)
        hints = _hints_of(kind)
        of_wire = [field for field in fields(kind) if field.init]
        shape.complete(
            {field.name: self._field_shape(kind, field.name, hints[field.name]) for field in of_wire},
            sum(_needs_value(field) for field in of_wire),
        )
        shape.reply = self._reply_shape(kind)
        return shape

    def _field_shape(self, kind: type, name: str, annotation: Any) -> Shape:
        try:
            return self.shape(annotation)
        except TypeError as error:
            raise TypeError(f"field {name!r} of {kind.__qualname__}: {error}") from None

    def _reply_shape(self, kind: type) -> Shape | None:
        """The shape of what Request[...] says is answered; None when it says nothing that can travel."""
        for base in getattr(kind, "__orig_bases__", ()):
            if typing.get_origin(base) is Request:
                (answer,) = typing.get_args(base)
                return self.shape(_resolve(answer, kind))
        return None

    def shape(self, annotation: Any) -> Shape:
        """Return the shape for an annotation.

        Raises:
            TypeError: It says something that cannot travel.
        """
        if annotation is Any:
            return self.anything
        if annotation in _PLAIN:
            return _PLAIN[annotation]
        if isinstance(annotation, type) and wire_name_of(annotation) is not None:
            return self._learn(annotation)
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if (origin or annotation) in self._hooks:
            return self._hooks[origin or annotation].shape(annotation)
        if hasattr(annotation, "__value__"):  # type X = ..., from Python 3.12 on
            return self.shape(annotation.__value__)
        if hasattr(annotation, "__supertype__"):  # NewType
            return self.shape(annotation.__supertype__)
        return self._compound(annotation, origin or annotation, args)

    def _compound(self, annotation: Any, origin: Any, args: tuple[Any, ...]) -> Shape:
        if origin is typing.Annotated:
            return self.shape(args[0])
        if origin is Literal:
            return LiteralShape(args)
        if origin in (Union, types.UnionType):
            members = [self.shape(member) for member in args]
            messages: dict[str, Named] = {
                member.name: member for member in members if isinstance(member, MessageShape)
            }
            return UnionShape(members, messages)
        if origin is tuple and args and args[-1] is not Ellipsis:
            return TupleShape([self.shape(item) for item in args])
        if origin in _SEQUENCES:
            item = self.shape(args[0]) if args else self.anything
            return ListShape(item, _SEQUENCES[origin], f"{origin.__name__.lower()}[{item.name}]")
        if origin in _MAPPINGS:
            key, value = args or (str, Any)
            if key is not str:
                raise TypeError(f"{annotation!r} cannot travel: the keys of maps are text on the wire")
            return MapShape(self.shape(value))
        raise TypeError(
            f"{annotation!r} cannot travel; use int, float, bool, str, bytes, None, tuple, list, dict of str,"
            " Literal, message classes, ActorRef, arrays and unions of these"
        )


def unknown_text(wire_name: Any) -> str:
    """Say that a message is not known, without repeating what may be anything."""
    name = repr(wire_name[:100]) if isinstance(wire_name, str) else "(no text)"
    return f"no message is called {name} in this system's vocabulary"


def _values_of(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what takes these attributes out of an object, as a tuple; quick where Python has it ready."""
    if not names:
        return lambda message: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda message: (get(message),)


def _needs_value(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _hints_of(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except NameError as error:
        raise TypeError(
            f"an annotation of {kind.__qualname__} cannot be understood: {error}; message classes and what"
            " they are annotated with stand at the top level of a module"
        ) from None


def _resolve(annotation: Any, kind: type) -> Any:
    """Evaluate an annotation that may be written as a string, in the module of the class."""

    def holder() -> None: ...

    holder.__annotations__ = {"answer": annotation}
    return typing.get_type_hints(holder, vars(sys.modules[kind.__module__]))["answer"]
