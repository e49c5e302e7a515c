"""What the two ends of a connection say to each other, as plain objects.

A frame is a CBOR array. Its first item is text in a message frame: the actor that the message goes to.
In all others it is a number:

    0 hello      1 answer     2 failure    3 cancel     4 credit     5 ping      6 pong
    7 begin      8 piece      9 watch     10 unwatch   11 down      12 end      13 goodbye  14 tells

7 and 8 are the frames of `framing.py`. `wire.cddl` is the whole grammar.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

from trioactor.envelope import NO_HEADERS
from trioactor.errors import (
    AskCycle,
    DeliveryError,
    Expired,
    HandlerFailed,
    MailboxFull,
    NotDelivered,
    OutcomeUnknown,
    Rejected,
    WireError,
)
from trioactor.limits import LEAST_FRAME_BYTES
from trioactor.shapes import Refused

PROTOCOL = 1

# Bounds of what is not data of the user's.
MAX_ID_CHARACTERS = 1000
MAX_TEXT_CHARACTERS = 10_000
MAX_CHAIN = 100  # of asks that wait for each other
MOST_COUNT = 2**63 - 1  # other languages have no larger whole numbers
MOST_SECONDS = 2.0**40  # 30,000 years: a deadline beyond is none

FAILURES: Mapping[str, type[DeliveryError]] = {
    "not_delivered": NotDelivered,
    "mailbox_full": MailboxFull,
    "expired": Expired,
    "rejected": Rejected,
    "handler_failed": HandlerFailed,
    "outcome_unknown": OutcomeUnknown,
    "ask_cycle": AskCycle,
}
CANCELLED = "cancelled"  # the kind of failure that confirms a `Cancel`
FAILURE_NAMES: Mapping[type[DeliveryError], str] = {kind: name for name, kind in FAILURES.items()}


class MessageFrame:
    """A message for an actor.

    Attributes:
        actor_id: Which actor, by its whole name in its system.
        item: The message as cbor2 has read it. `Codec.open_message` builds the real one.
        size: How many bytes came for it.
        ask: The number of the question, None for a tell.
        ttl: Seconds after which nobody wants it handled any more, None for no deadline.
        chain: The actors that wait for the answer.
        headers: What middleware sent along, as cbor2 has read it.
    """

    __slots__ = ("actor_id", "ask", "chain", "headers", "item", "size", "ttl")

    def __init__(
        self,
        actor_id: str,
        item: Any,
        size: int,
        ask: int | None = None,
        ttl: float | None = None,
        chain: tuple[str, ...] = (),
        headers: Mapping[str, Any] = NO_HEADERS,
    ) -> None:
        self.actor_id = actor_id
        self.item = item
        self.size = size
        self.ask = ask
        self.ttl = ttl
        self.chain = chain
        self.headers = headers

    def spoilt(self, reason: str) -> MessageFrame:
        """Return the frame with a message that will be refused."""
        self.item = Refused(reason)
        return self


class Tells:
    """Several tells of one class to one actor, in the order of sending. Only to peers that take it.

    Attributes:
        actor_id: Which actor.
        name: The wire name of the class.
        items: The fields of each message as cbor2 has read them, one at least.
        size: How many bytes came for all of them.
    """

    __slots__ = ("actor_id", "items", "name", "size")
    number: ClassVar[int] = 14

    def __init__(self, actor_id: str, name: str, items: list[Any], size: int) -> None:
        self.actor_id = actor_id
        self.name = name
        self.items = items
        self.size = size

    @classmethod
    def read(cls, frame: Sequence[Any], size: int) -> Tells:
        """Make it of a decoded frame. Raises WireError."""
        if (
            len(frame) != 4
            or not _is_text(frame[1])
            or type(frame[2]) is not str
            or type(frame[3]) is not list
            or not frame[3]
        ):
            raise WireError("several tells are [14, actor, wire name, [fields, ...]], of one message or more")
        return cls(frame[1], frame[2], frame[3], size)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame each way: who speaks, and what it accepts.

    Attributes:
        protocol: The version of this grammar. Both sides must speak the same.
        system: The name of the actor system.
        incarnation: Tells this run of it from others, 63 bits.
        vocabulary: The fingerprint of its messages, 8 bytes. Unequal ones may still share messages.
        frame_bytes: The longest payload of a frame that it takes.
        message_bytes: The longest message.
        window: How many messages, and how many bytes, may be on their way to one actor.
        silence_seconds: After so long without a byte it takes the other side for dead.
        address: Host and port where it listens, None when it does not.
        tells: Whether it takes `Tells`. To a peer that does not say so, every tell goes by itself.
    """

    protocol: int
    system: str
    incarnation: int
    vocabulary: bytes
    frame_bytes: int
    message_bytes: int
    window: tuple[int, int]
    silence_seconds: float
    address: tuple[str, int] | None
    tells: bool = False

    number: ClassVar[int] = 0

    @classmethod
    def read(cls, fields: Sequence[Any]) -> Hello:
        """Make it of its decoded fields. Keys that are not known are for versions to come.

        Raises:
            WireError: They are not what the grammar says.
        """
        if len(fields) != 1 or type(fields[0]) is not dict:
            raise WireError("a hello is [0, {...}]")
        found = fields[0]
        if not set(map(type, found)) <= {str}:
            raise WireError("the keys of a hello are text")
        for name, sound in _HELLO_KEYS.items():
            if name not in found or not sound(found[name]):
                raise WireError(f"the hello says no {name}, or one that is out of range")
        if type(found.get("tells", False)) is not bool:
            raise WireError("the hello says with true or false whether it takes several tells in one frame")
        known = {name: found[name] for name in (*_HELLO_KEYS, "tells") if name in found}
        known["window"] = tuple(known["window"])
        known["address"] = known["address"] and tuple(known["address"])
        return cls(**known)

    def fields(self) -> list[Any]:
        """Return the fields as they are written."""
        return [{name: getattr(self, name) for name in (*_HELLO_KEYS, "tells")}]


def _is_count(value: Any, most: int = MOST_COUNT) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_text(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= MAX_ID_CHARACTERS


def is_address(value: Any) -> bool:
    """Whether a decoded value is [host, port]."""
    return type(value) is list and len(value) == 2 and _is_text(value[0]) and _is_count(value[1], 65535)


def _is_window(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and all(_is_count(size) and size > 0 for size in value)


_HELLO_KEYS: Mapping[str, Callable[[Any], bool]] = {
    "protocol": _is_count,
    "system": _is_text,
    "incarnation": _is_count,
    "vocabulary": lambda value: type(value) is bytes and len(value) == 8,
    "frame_bytes": lambda value: _is_count(value) and value >= LEAST_FRAME_BYTES,
    "message_bytes": _is_count,
    "window": _is_window,
    "silence_seconds": lambda value: type(value) in (int, float) and 0 < value < MOST_SECONDS,
    "address": lambda value: value is None or is_address(value),
}


class ControlFrame:
    """Base of the frames that are small: a number, and fields by position."""

    __slots__ = ()
    number: ClassVar[int]
    kinds: ClassVar[tuple[type, ...]]  # of the fields, in order

    @classmethod
    def read(cls, fields: Sequence[Any]) -> Self:
        """Make the frame of its decoded fields.

        Raises:
            WireError: They are not what the grammar says.
        """
        if tuple(map(type, fields)) != cls.kinds:
            raise WireError(f"a frame {cls.number} ({cls.__name__}) has not the fields that belong in it")
        for value in fields:
            if (type(value) is int and not 0 <= value <= MOST_COUNT) or (
                type(value) is str and len(value) > MAX_TEXT_CHARACTERS
            ):
                raise WireError(f"a frame {cls.number} ({cls.__name__}) has a field that is out of range")
        return cls(*fields)

    def fields(self) -> list[Any]:
        """Return the fields as they are written."""
        names: tuple[str, ...] = tuple(self.__slots__)
        return [getattr(self, name) for name in names]


@dataclass(frozen=True, slots=True)
class Answer:
    """The handler returned.

    Attributes:
        ask: The number of the question.
        item: The value as cbor2 has read it. `Codec.open_answer` makes the real one.
    """

    ask: int
    item: Any

    number: ClassVar[int] = 1

    def spoilt(self, reason: str) -> Answer:
        """Return the frame with a value that will be refused."""
        return Answer(self.ask, Refused(reason))

    @classmethod
    def read(cls, fields: Sequence[Any]) -> Answer:
        """Make it of its decoded fields. Raises WireError."""
        if len(fields) != 2 or not _is_count(fields[0]):
            raise WireError("an answer is [1, ask, value]")
        return cls(*fields)

    def fields(self) -> list[Any]:
        """Return the fields as they are written."""
        return [self.ask, self.item]


@dataclass(frozen=True, slots=True)
class Failure(ControlFrame):
    """The question ended in an error: a key of `FAILURES`, a text, and what may help to mend it."""

    ask: int
    kind: str
    text: str
    details: str

    number: ClassVar[int] = 2
    kinds: ClassVar[tuple[type, ...]] = (int, str, str, str)

    @classmethod
    def of(cls, ask: int, error: DeliveryError) -> Failure:
        """Say what an error was. Its class becomes the nearest one that travels."""
        kind = next((kind for kind in type(error).__mro__ if kind in FAILURE_NAMES), HandlerFailed)
        return cls(ask, FAILURE_NAMES[kind], _sendable(str(error)), _sendable(_details_of(error)))

    def error(self) -> DeliveryError:
        """Return the error that was meant. A kind that is not known was invented after this version."""
        kind = FAILURES.get(self.kind, OutcomeUnknown)
        return HandlerFailed(self.text, self.details) if kind is HandlerFailed else kind(self.text)


def _details_of(error: DeliveryError) -> str:
    """What helps to mend the actor: exceptions do not travel, their tracebacks do. The end says most."""
    if not isinstance(error, HandlerFailed):
        return ""
    if error.details or error.__cause__ is None:
        return error.details
    return "".join(traceback.format_exception(error.__cause__))[-MAX_TEXT_CHARACTERS:]


def _sendable(text: str) -> str:
    """Text that UTF-8 can write, of bearable length; that of an exception may be anything."""
    return text[:MAX_TEXT_CHARACTERS].encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Cancel(ControlFrame):
    """Nobody waits for the answer any more. It is still given, and says what became of the question."""

    ask: int

    number: ClassVar[int] = 3
    kinds: ClassVar[tuple[type, ...]] = (int,)


@dataclass(frozen=True, slots=True)
class Credit(ControlFrame):
    """The mailbox of an actor has taken so many tells, of so many bytes. Answers are their own credit."""

    actor_id: str
    messages: int
    size: int

    number: ClassVar[int] = 4
    kinds: ClassVar[tuple[type, ...]] = (str, int, int)


@dataclass(frozen=True, slots=True)
class Ping(ControlFrame):
    """Are you there? Comes back as a pong with the same number."""

    serial: int

    number: ClassVar[int] = 5
    kinds: ClassVar[tuple[type, ...]] = (int,)


@dataclass(frozen=True, slots=True)
class Pong(ControlFrame):
    """I am."""

    serial: int

    number: ClassVar[int] = 6
    kinds: ClassVar[tuple[type, ...]] = (int,)


@dataclass(frozen=True, slots=True)
class Watch(ControlFrame):
    """Say `Down` with this number when that actor ends; at once when there is none."""

    watch: int
    actor_id: str

    number: ClassVar[int] = 9
    kinds: ClassVar[tuple[type, ...]] = (int, str)


@dataclass(frozen=True, slots=True)
class Unwatch(ControlFrame):
    """Say nothing for that watch any more."""

    watch: int

    number: ClassVar[int] = 10
    kinds: ClassVar[tuple[type, ...]] = (int,)


@dataclass(frozen=True, slots=True)
class Down(ControlFrame):
    """The watched actor has ended."""

    watch: int
    reason: str

    number: ClassVar[int] = 11
    kinds: ClassVar[tuple[type, ...]] = (int, str)


@dataclass(frozen=True, slots=True)
class End(ControlFrame):
    """Stop the actor after the message in hand (graceful), or kill it. Answered with null at its end."""

    ask: int
    actor_id: str
    graceful: bool

    number: ClassVar[int] = 12
    kinds: ClassVar[tuple[type, ...]] = (int, str, bool)


@dataclass(frozen=True, slots=True)
class Goodbye(ControlFrame):
    """The sender ends the connection on purpose, and says why.

    Attributes:
        reason: In words.
        in_doubt: The questions that were read and not answered: they may or may not run. All others
            that are not answered were not delivered.
    """

    reason: str
    in_doubt: list[int]

    number: ClassVar[int] = 13
    kinds: ClassVar[tuple[type, ...]] = (str, list)

    def __post_init__(self) -> None:
        if not all(map(_is_count, self.in_doubt)):
            raise WireError("a goodbye says which questions are in doubt by their numbers")


Control: TypeAlias = (
    Hello | Answer | Failure | Cancel | Credit | Ping | Pong | Watch | Unwatch | Down | End | Goodbye
)
Frame: TypeAlias = MessageFrame | Tells | Control

CONTROL_FRAMES: Mapping[int, type[Control]] = {
    kind.number: kind
    for kind in (Hello, Answer, Failure, Cancel, Credit, Ping, Pong, Watch, Unwatch, Down, End, Goodbye)
}
