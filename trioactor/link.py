"""`Link`: what this system has with one peer, over all the connections that come and go.

Its state is "idle" (nothing was to be sent yet), "connecting", "up" or "down", and it says why. A link
with an address dials when there is something to send, and redials when there is something again: after a
failure not before a pause that doubles with each failure, drawn evenly from 0 to its bound ("full
jitter", so that many peers do not come back at the same instant). What waits for an attempt ends with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import trio

from trioactor.codec import Codec, Refs
from trioactor.connection import Connection, Greeted, Home, Surroundings, in_words
from trioactor.envelope import Envelope
from trioactor.errors import DeliveryError, NotDelivered, OutcomeUnknown, RemoteError
from trioactor.frames import MAX_ID_CHARACTERS, Cancel, Control, End, Unwatch, Watch, is_address
from trioactor.outbox import Outbox
from trioactor.shapes import Mismatch

State = Literal["idle", "connecting", "up", "down"]
Address = tuple[str, int]

# Whose actor a ref on the wire means.
ELSEWHERE, SENDERS, RECEIVERS = range(3)


@dataclass(slots=True)
class Watching:
    """A far actor that is watched from here."""

    actor_id: str
    callback: Callable[[str], None]


class Ending:
    """A task here that waits for a far actor to end."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._error: DeliveryError | None = None

    def settle(self, error: DeliveryError | None) -> None:
        """It has ended, or it is not known, or cannot be."""
        self._error = error
        self._event.set()

    async def wait(self) -> None:
        """Return when it has ended. Raises the error."""
        await self._event.wait()
        if self._error is not None:
            raise self._error


class LinkHome(Home, Protocol):
    """What a link needs of its system."""

    def far_ref(self, target: RemoteTarget) -> Any:
        """The ref of a far actor."""

    def near_ref(self, actor_id: str) -> Any:
        """The ref of an actor of this system, whether it is alive or not."""


class Exchange(Surroundings, Protocol):
    """What a link needs of the `Remote` that it belongs to."""

    @property
    def home(self) -> LinkHome:
        """The system."""

    @property
    def closing(self) -> bool:
        """Whether no connection is to be made any more."""

    def codec_for(self, refs: Refs) -> Codec:
        """A codec that tells refs as this link needs them."""

    def enlist(self, link: Link) -> None:
        """Count the link in: it has something to send, or a connection."""

    def strike(self, link: Link) -> None:
        """It has neither any more."""

    async def call(self, address: Address) -> Greeted:
        """Connect and shake hands. Raises OSError, RemoteError and trio's errors of streams."""

    def ref_at(self, address: Address, actor_id: str) -> Any:
        """The ref of an actor by its address, which may be this system's own."""

    def advertised(self) -> Address | None:
        """Where this system listens, None when it does not."""


class Link:
    """All that there is between this system and one peer.

    Args:
        exchange: What it belongs to.
        address: Host and port to dial; None when the peer cannot be dialled: it came to us.
        seen_at: IP address and port that its bytes come from, when it came to us.

    Attributes:
        state: See above.
        reason: Why it is down.
        connection: The present one.
        outbox: What waits to go there.
    """

    def __init__(self, exchange: Exchange, address: Address | None, seen_at: Address | None = None) -> None:
        self.state: State = "idle"
        self.reason = ""
        self.address = address
        self.seen_at = seen_at
        self.connection: Connection | None = None
        self._exchange = exchange
        self._failures = 0
        self._retry_at = 0.0
        self._watching: dict[int, Watching] = {}
        self._ending: dict[int, Ending] = {}
        self._unsaid: dict[int, Control] = {}  # watches and ends that wait for the connection
        self._codec = exchange.codec_for(self)
        self.outbox = Outbox(
            self._codec,
            exchange.limits,
            exchange.home.tally,
            exchange.home.dead_letter,
            wake=self._wake,
            cancel=lambda ask: self._say(ask, Cancel(ask)),
        )

    def __repr__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"<Link to {self.where}, {self.state}{why}>"

    @property
    def where(self) -> str:
        """The peer's address, for people."""
        host, port = self.address or self.seen_at or ("?", 0)
        return f"{host}:{port}"

    # --- connections come and go ------------------------------------------------------------------------

    async def serve(self, greeted: Greeted) -> None:
        """Do the traffic over a stream after its handshake, until it ends."""
        connection = Connection(greeted, self._exchange, self._codec, self.outbox, self)
        began_at = trio.current_time()
        self.connection = connection
        self.state, self.reason = "up", ""
        for frame in self._unsaid.values():
            connection.say(frame)
        self._unsaid.clear()
        try:
            await connection.run()
        except Exception as error:  # the fence: no peer ends more than its own connection
            self._exchange.home.log.exception("the connection with %s failed", self.where)
            connection.end(f"it failed here: {error!r}")
        finally:
            self.connection = None
            lived_seconds = trio.current_time() - began_at
            self._failures = 0 if lived_seconds > self._exchange.limits.redial_most_seconds else 1
            self._retry_at = self._next_attempt()
            self._went_down(
                connection.reason or "the connection broke",
                partial(self.outbox.broke, in_doubt=connection.in_doubt),
            )

    def _wake(self, at_once: bool = False) -> None:
        if self.connection is not None:
            self.connection.writer.wake(at_once=at_once)
        elif self.state != "connecting":
            self._connect()

    def _connect(self) -> None:
        if self.address is None:
            self._went_down("the peer has gone, and it cannot be dialled", self.outbox.unreachable)
        elif self._exchange.closing:
            self._went_down("this system stops", self.outbox.unreachable)
        else:
            self.state = "connecting"
            self._exchange.enlist(self)
            self._exchange.nursery.start_soon(self._dial, self.address, name=f"connection to {self.where}")

    async def _dial(self, address: Address) -> None:
        reason = "this system stops"
        greeted = None
        try:
            await trio.sleep_until(self._retry_at)
            greeted, reason = await self._attempt(address)
        finally:
            if greeted is None:
                self._failures += 1
                self._retry_at = self._next_attempt()
                self._went_down(reason, self.outbox.unreachable)
                self._exchange.strike(self)
        if greeted is not None:
            try:
                await self.serve(greeted)
            finally:
                self._exchange.strike(self)

    async def _attempt(self, address: Address) -> tuple[Greeted | None, str]:
        """Return a stream after its handshake, or None and why there is none."""
        seconds = self._exchange.limits.handshake_seconds
        try:
            with trio.fail_after(seconds):
                return await self._exchange.call(address), ""
        except trio.TooSlowError:
            return None, f"no hello came from {self.where} within {seconds:g} s"
        except RemoteError as error:
            return None, f"the handshake with {self.where} failed: {error}"
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            return None, f"{self.where} cannot be reached: {in_words(error)}"

    def _next_attempt(self) -> float:
        """When to dial again, at the earliest."""
        if not self._failures:
            return trio.current_time()
        limits = self._exchange.limits
        doubled = limits.redial_first_seconds * 2.0 ** min(self._failures - 1, 30)
        pause = self._exchange.home.rng.uniform(0, min(limits.redial_most_seconds, doubled))
        return trio.current_time() + pause

    def _went_down(self, reason: str, settle: Callable[[str], None]) -> None:
        """Tell everybody who waits, or watches."""
        self.state, self.reason = "down", reason
        watching, self._watching = self._watching, {}
        ending, self._ending = self._ending, {}
        unsaid, self._unsaid = self._unsaid, {}
        settle(reason)
        for number, end in ending.items():
            text = f"it is not known whether the actor has ended: {reason}"
            end.settle(NotDelivered(reason) if number in unsaid else OutcomeUnknown(text))
        for watch in watching.values():
            watch.callback(f"link down: {reason}")

    # --- watching and ending far actors -----------------------------------------------------------------

    def watch(self, actor_id: str, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call back when the actor ends, or the link breaks. Returns what calls that off."""
        number = self.outbox.fresh_number()
        self._watching[number] = Watching(actor_id, callback)
        self._say(number, Watch(number, actor_id))

        def unwatch() -> None:
            if self._watching.pop(number, None) is not None and self._unsaid.pop(number, None) is None:
                self._say(number, Unwatch(number))

        return unwatch

    def down(self, watch: int, reason: str) -> None:
        """See `Watches`. One that was called off meanwhile is no error: the two have crossed."""
        watching = self._watching.pop(watch, None)
        if watching is not None:
            watching.callback(reason)

    async def end_actor(self, actor_id: str, *, graceful: bool) -> None:
        """Have the actor stop or be killed, and return when it has ended.

        Raises:
            NotDelivered: The peer cannot be reached, or does not allow it.
            OutcomeUnknown: The link broke meanwhile.
        """
        number = self.outbox.fresh_number()
        ending = self._ending[number] = Ending()
        self._say(number, End(number, actor_id, graceful))
        try:
            await ending.wait()
        finally:
            self._unsaid.pop(number, None)

    def ended(self, ask: int, error: DeliveryError | None) -> bool:
        """See `Watches`."""
        ending = self._ending.pop(ask, None)
        if ending is not None:
            ending.settle(error)
        return ending is not None

    def _say(self, number: int, frame: Control) -> None:
        if self.connection is not None:
            self.connection.say(frame)
        elif isinstance(frame, Watch | End):
            self._unsaid[number] = frame
            self._wake()

    # --- refs in messages: see `codec.Refs` ---------------------------------------------------------------

    def wire_ref(self, ref: Any) -> list[Any]:
        """How the peer is told of a ref."""
        target = ref.target
        if not isinstance(target, RemoteTarget):
            host, port = self._exchange.advertised() or (None, None)
            return [SENDERS, target.actor_id, host, port]
        if target.link is self:
            return [RECEIVERS, target.actor_id, None, None]
        if target.link.address is None:
            raise Mismatch(f"{ref!r} cannot be told to others: its system cannot be dialled")
        return [ELSEWHERE, target.actor_id, *target.link.address]

    def ref_of(self, fields: Any) -> Any:
        """The ref that the peer means. Its own actors are reached over this link."""
        side, actor_id, host, port = fields if len(fields) == 4 else (None, None, None, None)
        if type(actor_id) is not str or not 0 < len(actor_id) <= MAX_ID_CHARACTERS:
            raise Mismatch("a ref is [side, actor, host, port]")
        home = self._exchange.home
        whose = side if type(side) is int else None  # True is no 1
        has_none = host is None and port is None
        address = (host, port) if host is not None and port is not None and is_address([host, port]) else None
        if whose == SENDERS and (has_none or address):
            return home.far_ref(RemoteTarget(self, actor_id))
        if whose == RECEIVERS and has_none:
            return home.near_ref(actor_id)
        if whose != ELSEWHERE or address is None:
            raise Mismatch("a ref says whose actor it is, and the host and port of a third system")
        return self._exchange.ref_at(address, actor_id)


class RemoteTarget:
    """A far actor: the `Target` behind its refs, and the `Inbox` of what is sent there."""

    __slots__ = ("_actor_id", "link")

    def __init__(self, link: Link, actor_id: str) -> None:
        self.link = link
        self._actor_id = actor_id

    @property
    def actor_id(self) -> str:
        """See `Target`."""
        return self._actor_id

    @property
    def address(self) -> Address | None:
        """See `Target`. Of a peer that came to us and cannot be dialled: where it came from."""
        return self.link.address or self.link.seen_at

    @property
    def inbox(self) -> RemoteTarget:
        """See `Target`."""
        return self

    @property
    def read_answer(self) -> Callable[[], Awaitable[None]] | None:
        """See `Inbox`."""
        connection = self.link.connection
        return connection.read_answer if connection is not None and connection.lead.is_free else None

    def offer(self, envelope: Envelope) -> bool:
        """See `Inbox`."""
        return self.link.outbox.offer(self._actor_id, envelope)

    async def put(self, envelope: Envelope) -> None:
        """See `Inbox`."""
        await self.link.outbox.put(self._actor_id, envelope)

    def withdraw(self, envelope: Envelope) -> None:
        """See `Inbox`."""
        self.link.outbox.withdraw(envelope)

    def on_down(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """See `Target`."""
        return self.link.watch(self._actor_id, callback)

    async def end(self, *, graceful: bool) -> None:
        """See `Target`. Raises NotDelivered and OutcomeUnknown."""
        await self.link.end_actor(self._actor_id, graceful=graceful)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RemoteTarget) or other._actor_id != self._actor_id:
            return False
        return other.link is self.link or (
            self.link.address is not None and self.link.address == other.link.address
        )

    def __hash__(self) -> int:
        return hash((self.link.address, self._actor_id))
