"""What travels: a message, and what the runtime needs to know about it on its way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from trioactor.errors import DeliveryError

NO_HEADERS: Mapping[str, Any] = {}
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is on the other side.

    Attributes:
        system: The name that it says it has.
        incarnation: Tells this run of it from others.
        identity: The names in its certificate, which its authority vouches for; empty without mutual TLS.
        address: IP address and port that its bytes come from.
    """

    system: str
    incarnation: int
    identity: tuple[str, ...]
    address: tuple[str, int]


class ReplyTo(Protocol):
    """Where the outcome of a question goes: a task that waits here, or a connection.

    Exactly one of the two is called, once. Neither waits, neither raises.
    """

    def succeed(self, value: Any) -> None:
        """The handler returned `value`."""

    def fail(self, error: DeliveryError) -> None:
        """The question ended in `error`."""


class Envelope:
    """A message on its way.

    Treat it as frozen: a middleware that wants another one makes it with `with_changes`.

    Attributes:
        message: What is said.
        headers: Text keys to CBOR values that travel along, for middleware: a trace context, say.
        reply_to: Who waits for the answer; None for a tell.
        expires_at: trio's time after which nobody wants it handled; `NEVER` for most.
        chain: The actors that wait for the answer, outermost first, as "system/actor_id": an actor
            that is in it already would wait for itself.
    """

    __slots__ = ("chain", "expires_at", "headers", "message", "reply_to")

    def __init__(
        self,
        message: Any,
        headers: Mapping[str, Any] = NO_HEADERS,
        reply_to: ReplyTo | None = None,
        expires_at: float = NEVER,
        chain: tuple[str, ...] = (),
    ) -> None:
        self.message = message
        self.headers = headers
        self.reply_to = reply_to
        self.expires_at = expires_at
        self.chain = chain

    def with_changes(self, *, message: Any = None, headers: Mapping[str, Any] | None = None) -> Envelope:
        """Return one with another message or other headers; the asker still gets the answer."""
        return Envelope(
            self.message if message is None else message,
            self.headers if headers is None else headers,
            self.reply_to,
            self.expires_at,
            self.chain,
        )

    def __repr__(self) -> str:
        kind = "tell" if self.reply_to is None else "ask"
        return f"<{kind} {self.message!r}>"


class Arrived(Envelope):
    """The envelope of what another system has sent.

    Attributes:
        peer: Who sent it, as the connection knows it: with mutual TLS an authority vouches for the names.
    """

    __slots__ = ("peer",)

    def __init__(
        self,
        peer: Peer,
        message: Any,
        headers: Mapping[str, Any] = NO_HEADERS,
        reply_to: ReplyTo | None = None,
        expires_at: float = NEVER,
        chain: tuple[str, ...] = (),
    ) -> None:
        self.peer = peer
        self.message = message  # not by way of the base class: every question from afar passes here
        self.headers = headers
        self.reply_to = reply_to
        self.expires_at = expires_at
        self.chain = chain

    def with_changes(self, *, message: Any = None, headers: Mapping[str, Any] | None = None) -> Arrived:
        """See `Envelope`. Who sent it stays."""
        return Arrived(
            self.peer,
            self.message if message is None else message,
            self.headers if headers is None else headers,
            self.reply_to,
            self.expires_at,
            self.chain,
        )


class Told(Envelope):
    """The envelope of a plain tell. What all of them share is stored once: making one takes half the time."""

    __slots__ = ()

    headers = NO_HEADERS
    reply_to = None
    expires_at = NEVER
    chain = ()

    def __init__(self, message: Any) -> None:
        self.message = message


class ToldFromAfar(Arrived):
    """The same for one that another system has sent."""

    __slots__ = ()

    headers = NO_HEADERS
    reply_to = None
    expires_at = NEVER
    chain = ()

    def __init__(self, peer: Peer, message: Any) -> None:
        self.peer = peer
        self.message = message


class Inbox(Protocol):
    """Where messages for one actor go in: its mailbox, or the near end of a connection to it."""

    @property
    def read_answer(self) -> Callable[[], Awaitable[None]] | None:
        """What a task does just now that waits for an answer from there; None: it rests until it is woken.

        It returns when something has come, whether that was the answer or not.
        """

    def offer(self, envelope: Envelope) -> bool:
        """Take the envelope on if that needs no waiting; False when it does, and nothing has happened.

        From then on it is accounted for. A tell that nobody can take is counted and kept as a dead
        letter, and raises nothing; the asker of a question is told through `reply_to`.

        Raises:
            MailboxFull: The mailbox is full and its policy is to reject.
        """

    async def put(self, envelope: Envelope) -> None:
        """Take on an envelope that was offered in vain, waiting for room. Raises what `offer` raises."""

    def withdraw(self, envelope: Envelope) -> None:
        """The asker gave up: take the question out of the queue, or let its answer be late."""


class Target(Protocol):
    """Where a ref leads: the cell of an actor in this system, or the far end of a connection.

    A ref does the same with both; this is the whole difference between near and far.
    """

    @property
    def actor_id(self) -> str:
        """The actor's name in its own system, like "supervisor/worker-A"."""

    @property
    def inbox(self) -> Inbox:
        """Where its messages go in; the same object for as long as the target is."""

    def on_down(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Have `callback(reason)` called once when the actor ends; at once when it has ended.

        Returns:
            A function that calls the watch off. Calling it twice is fine.
        """

    async def end(self, *, graceful: bool) -> None:
        """Have the actor stop (after the message in hand) or be killed; return when it has ended."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port when the actor is far, None when it is near."""
