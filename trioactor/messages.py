"""`@message`: a frozen dataclass with a wire name. And the runtime's own messages.

A message is data and nothing else, so that near and far mean the same: it is not changed after it
was sent, and it has a name that two programs can agree on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, dataclass_transform

T = TypeVar("T")
C = TypeVar("C", bound=type)
R_co = TypeVar("R_co", covariant=True)

WIRE_NAME = "__wire_name__"


@dataclass_transform(frozen_default=True)
def message(wire_name: str, *, eq: bool = True) -> Callable[[C], C]:
    """Make a class a message: a frozen dataclass with slots, known on the wire as `wire_name`.

    Args:
        wire_name: What both ends call it, like "counter.add". By habit the package, a dot, and what
            is said; it must not change once programs speak it.
        eq: Whether messages compare by value. False for messages with arrays, which do not compare.

    Raises:
        ValueError: The wire name is empty, longer than 100 characters, or has spaces in it.
        TypeError: `@message` was written without a wire name.
    """
    if callable(wire_name):
        raise TypeError('@message needs a wire name, like @message("counter.add")')
    if not 0 < len(wire_name) <= 100 or wire_name.split() != [wire_name]:
        raise ValueError(
            f"wire name {wire_name!r}; use 1 to 100 characters without spaces, like 'counter.add'"
        )

    def decorate(cls: C) -> C:
        made: C = dataclass(frozen=True, slots=True, eq=eq)(cls)  # type: ignore[assignment]  # the class, with slots
        setattr(made, WIRE_NAME, wire_name)
        return made

    return decorate


def wire_name_of(cls: type) -> str | None:
    """Return the wire name of a message class, or None when it is no message class of its own."""
    name = cls.__dict__.get(WIRE_NAME)
    return name if isinstance(name, str) else None


class Request(Generic[R_co]):
    """Base of messages that are asked: `await ref.ask(Total())` has the type of `Request[int]`."""

    __slots__ = ()

    # Never filled: it lets a type checker tell a Request[int] from a Request[str].
    __reply__: Callable[[], R_co]


# --- the runtime's own messages -------------------------------------------------------------


@message("trioactor.health_ping")
class HealthPing(Request["HealthAck"]):
    """Are you there? Answered between two messages by the runtime, not by the actor's `receive`."""


@message("trioactor.health_ack")
class HealthAck:
    """I am.

    Attributes:
        actor_id: Who answers.
        queued: How many messages wait in its mailbox: a long queue is no illness.
    """

    actor_id: str
    queued: int


@message("trioactor.terminated")
class Terminated:
    """A watched actor has ended. Comes through the signal lane, before user messages.

    Attributes:
        actor_id: Which actor; for a far one as `host:port/actor_id`.
        reason: Why, in words: "stopped", "failed: ...", "link down: ...".
    """

    actor_id: str
    reason: str


@message("trioactor.child_failed")
class ChildFailed:
    """A supervisor tells its parent that a child has failed.

    Attributes:
        actor_id: Which child.
        reason: The exception, in words.
        restarts: How often the child has been restarted so far, this time included.
        decision: "restarted", "stopped" (it is temporary, or its supervisor ended it), "gave up",
            or "stuck" (its handler ignores cancellation and was left behind).
    """

    actor_id: str
    reason: str
    restarts: int
    decision: str


RUNTIME_MESSAGES: tuple[type[Any], ...] = (HealthPing, HealthAck, Terminated, ChildFailed)
