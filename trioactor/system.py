"""`ActorSystem`: the async context manager that owns the actors, the accounts and the connections."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import trio
from trio.lowlevel import current_task

from trioactor.actor import Context, Factory
from trioactor.cell import Cell, new_cell
from trioactor.connection import Counts, Peer
from trioactor.envelope import Envelope, Target
from trioactor.errors import NameTaken, NotDelivered
from trioactor.ledger import Ledger, Tally
from trioactor.limits import Limits
from trioactor.link import Link
from trioactor.mailbox import MailboxSettings
from trioactor.messages import wire_name_of
from trioactor.middleware import CallNext, Chain, Middleware
from trioactor.named import NamedTarget
from trioactor.ref import ActorRef
from trioactor.remote import Remote
from trioactor.tree import Tree, look_at

# Long enough to write a file or say goodbye to a peer, short enough that a stop stays a stop.
POST_STOP_SECONDS = 5.0

INCARNATION_BITS = 63

DRAIN_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no actor got.

    Attributes:
        actor_id: Whom it was for.
        message: What was said.
        reason: Why it did not arrive.
    """

    actor_id: str
    message: Any
    reason: str


class DeadLetters:
    """A subscription: `async for letter in letters`. Bounded; what does not fit is counted.

    Attributes:
        missed: How many letters came while the subscriber was too far behind.
    """

    def __init__(self, capacity: int) -> None:
        self._send, self._receive = trio.open_memory_channel[DeadLetter](capacity)
        self.missed = 0

    def __aiter__(self) -> DeadLetters:
        return self

    async def __anext__(self) -> DeadLetter:
        return await self._receive.__anext__()

    def receive_nowait(self) -> DeadLetter:
        """Return the next letter. Raises `trio.WouldBlock` when there is none."""
        return self._receive.receive_nowait()

    def publish(self, letter: DeadLetter) -> None:
        """Hand a letter to the subscriber."""
        try:
            self._send.send_nowait(letter)
        except trio.WouldBlock:
            self.missed += 1

    def close(self) -> None:
        """No letter comes any more: the iteration ends after those that wait."""
        self._send.close()


class ActorSystem:
    """A home for actors, inside any trio program.

        async with ActorSystem("hub") as hub:
            counter = await hub.actor_of(Counter, "counter")

    Leaving the block stops every actor, the youngest first, each after the message it has in hand, and
    waits for all of them; call `drain` before, to have the queues emptied. When an actor fails and no
    supervisor takes care of it, the block is cancelled and ends in an ExceptionGroup. An exception of
    the block's own body comes out as it is, when nothing else failed.

    Any number of systems may live in one program.

    Args:
        name: What others call it: in logs, in the hello of connections, in error texts.
        vocabulary: The message classes that it may exchange with other systems, those within other
            messages included. Not needed for what stays inside.
        send: Middleware for what its refs send, outermost first.
        receive: Middleware around its actors' handlers, outermost first.
        authorize: Says whether a peer may send a message, by its wire name, to an actor:
            `authorize(peer, actor_id, wire_name)`. By default every peer may.
        limits: What is taken from peers, and how long they are waited for.
        post_stop_seconds: How long the `post_stop` of an actor may take.
        rng: Where chance comes from: jitter, and the incarnation number. Hand in a seeded one to have
            the same again; by default it is seeded by the operating system.

    Attributes:
        incarnation: Tells this run of the system from others of the same name; 63 bits.
        tally: The running counts behind `ledger`.
    """

    def __init__(
        self,
        name: str = "system",
        *,
        vocabulary: Iterable[type] = (),
        send: Sequence[Middleware] = (),
        receive: Sequence[Middleware] = (),
        authorize: Callable[[Peer, str, str], bool] | None = None,
        limits: Limits | None = None,
        post_stop_seconds: float = POST_STOP_SECONDS,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.rng = rng if rng is not None else random.Random()  # noqa: S311  # no secret depends on it
        self.incarnation = self.rng.getrandbits(INCARNATION_BITS)
        self.tally = Tally()
        self.vocabulary = _by_wire_name(vocabulary)
        self.authorize = authorize
        self.limits = limits or Limits()
        self.post_stop_seconds = post_stop_seconds
        self.log = logging.getLogger(__name__)
        self.receive_chain = Chain(receive) if receive else None
        self.send_chain = Chain(send) if send else None
        self.when_idle: Callable[[], None] | None = None
        self._send = tuple(send)
        self._cells: dict[str, Cell] = {}
        self._contexts: dict[trio.lowlevel.Task, tuple[Context, Cell]] = {}
        self._subscribers: list[DeadLetters] = []
        self._numbers = 0
        self._draining = False
        self._nursery_manager: Any = None
        self._nursery: trio.Nursery | None = None
        self._remote: Remote | None = None  # made when it is first needed

    def __repr__(self) -> str:
        return f"<ActorSystem {self.name!r}: {len(self._cells)} actors>"

    # --- the block ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._nursery_manager is not None:
            raise RuntimeError(f"system {self.name!r} was entered before; make another ActorSystem")
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:  # not bool: a type checker would think that it swallows what the body raises
        assert self._nursery is not None
        from_body = error is not None
        if error is None:
            try:
                await self._wind_down()
            except BaseException as failure:  # cancelled, most likely: the nursery sees to the rest
                kind, error, trace = type(failure), failure, failure.__traceback__
        try:
            handled: bool = await self._nursery_manager.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            left = _what_is_left(error, group)
            if left is None:
                group.add_note(f"in the actor system {self.name!r}")
                raise
            if from_body and list(_leaves(left)) == list(_leaves(error)):
                return False  # nothing else failed: the error of the body comes out as it is
            raise left from left.__cause__
        finally:
            self._nursery = None
            for subscriber in self._subscribers:
                subscriber.close()
            self._subscribers.clear()
        return handled

    async def _wind_down(self) -> None:
        for cell in [cell for cell in reversed(self._cells.values()) if cell.parent is None]:
            if cell.ended is None:
                cell.order_stop()
                await cell.closed()
        if self._remote is not None:
            await self._remote.goodbye()
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    # --- actors -----------------------------------------------------------------------------------

    async def actor_of(
        self, factory: Factory, actor_id: str | None = None, *, mailbox: MailboxSettings | None = None
    ) -> ActorRef:
        """Start an actor and return when its `pre_start` has run.

        Args:
            factory: The actor's class, or any callable that makes an instance.
            actor_id: Its name in this system; by default the factory's name and a number.
            mailbox: Capacity and policy.

        Raises:
            NameTaken: An actor of that name is alive.
            RuntimeError: The system's block is not open.
            Exception: Whatever `pre_start` raised.
        """
        nursery = self._open_nursery()
        cell = new_cell(self, factory, actor_id, None, mailbox or MailboxSettings())
        await cell.start_in(nursery)
        return cell.ref

    def _open_nursery(self) -> trio.Nursery:
        if self._nursery is None:
            raise RuntimeError(
                f"system {self.name!r} is not open; use `async with ActorSystem(...) as system:`"
            )
        return self._nursery

    def find(self, actor_id: str) -> ActorRef | None:
        """Return the ref of a living actor of this system, by its whole name; None when there is none."""
        cell = self._cells.get(actor_id)
        return None if cell is None else cell.ref

    # --- the network ----------------------------------------------------------------------------

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Accept other systems at an address; return it with the real port.

        Args:
            host: A name or address of this machine; "0.0.0.0" for all of them.
            port: 0 for one that is free.

        Raises:
            CannotListen: The address cannot be bound; the text says who holds it.
        """
        return await self._network().listen(host, port)

    def enable_ssl(self, certfile: str, keyfile: str, ca_cert: str | None = None) -> None:
        """Encrypt all connections, and refuse those that are not. Before `listen` and the first message out.

        Files that are replaced are read again for new connections.

        Args:
            certfile: This system's certificate, PEM, followed by those between it and the authority.
            keyfile: Its private key, PEM, not encrypted.
            ca_cert: The authority that must have signed every peer's certificate. Without it the bytes
                are encrypted, but any peer is taken, and the log says so.

        Raises:
            CannotUseCertificate: A file is missing, or is not what it should be.
            RuntimeError: It is too late: the system listens, or has called a peer.
        """
        self._network().enable_ssl(certfile, keyfile, ca_cert)

    def ref(self, host: str, port: int, actor_id: str) -> ActorRef:
        """Return the ref of an actor in the system that listens there.

        Nothing is dialled before something is to be said. When the address is this system's own, the
        ref is a near one.

        Raises:
            ValueError: The id is empty, or longer than 1,000 characters.
        """
        return self._network().ref_at((host, port), actor_id)

    @property
    def links(self) -> list[Link]:
        """What there is between this system and each peer: `link.state`, and `link.reason` when down."""
        return self._remote.links if self._remote is not None else []

    @property
    def network_counts(self) -> Counts:
        """What peers did wrong: turned away, cut off, messages refused and why."""
        return self._remote.counts if self._remote is not None else Counts()

    def _network(self) -> Remote:
        if self._remote is None:
            self._remote = Remote(self, self._open_nursery(), self.limits)
        return self._remote

    # --- pictures ---------------------------------------------------------------------------------

    def tree(self) -> Tree:
        """Return a picture of all actors as they are now. `print(system.tree())` draws it."""
        return Tree(self.name, tuple(look_at(cell) for cell in self._cells.values() if cell.parent is None))

    # --- accounts -----------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """Return what has become of every message so far. It balances at every instant."""
        cells = self._cells.values()
        return self.tally.read(
            queued=sum(cell.mailbox.queued for cell in cells)
            + (self._remote.queued if self._remote is not None else 0),
            in_hand=sum(cell.in_hand for cell in cells),
        )

    @contextmanager
    def dead_letters(self, capacity: int = 100) -> Iterator[DeadLetters]:
        """Subscribe to the messages that no actor got, for the length of a block."""
        letters = DeadLetters(capacity)
        self._subscribers.append(letters)
        try:
            yield letters
        finally:
            if letters in self._subscribers:  # the system has not ended meanwhile
                self._subscribers.remove(letters)
            letters.close()

    async def drain(self) -> Ledger:
        """Take no more messages from outside, let the actors empty their queues, and report.

        What actors of this system send to each other is still taken, so a pipeline runs dry from its
        head to its end. From outside, a tell or an ask raises `NotDelivered`. When the caller's
        patience ends (a cancel scope), what still waits is given back: counted as returned, its asker
        told `NotDelivered`. The system takes nothing from outside any more, also after that.
        """
        self._draining = True
        self.send_chain = Chain([self._refuse_outsiders, *self._send])
        dry = trio.Event()

        def look() -> None:
            if self.tally.accepted == self.tally.ended:
                dry.set()

        self.when_idle = look
        look()
        try:
            while not dry.is_set():
                # The last message may end without an actor becoming idle: with its actor, with the
                # patience of its asker, or on a connection. And another drain may have ended.
                with trio.move_on_after(DRAIN_LOOK_SECONDS):
                    await dry.wait()
                look()
        except trio.Cancelled:
            for cell in list(self._cells.values()):
                cell.mailbox.give_back()
            raise
        finally:
            self.when_idle = None
        return self.ledger()

    async def _refuse_outsiders(self, envelope: Envelope, call_next: CallNext) -> Any:
        if self._present_context() is not None:
            return await call_next(envelope)
        self.tally.accepted += 1
        self.tally.returned += 1
        raise NotDelivered(f"system {self.name!r} is draining: it takes no more messages from outside")

    # --- for cells and refs -----------------------------------------------------------------------

    def enter(self, cell: Cell) -> None:
        """See `Host`."""
        if cell.actor_id in self._cells:
            raise NameTaken(
                f"an actor named {cell.actor_id!r} is alive in system {self.name!r}; stop it first, "
                "choose another name, or leave the name out to get a fresh one"
            )
        self._cells[cell.actor_id] = cell

    def leave(self, cell: Cell) -> None:
        """See `Host`."""
        del self._cells[cell.actor_id]

    def bury(self, actor_id: str, envelope: Envelope) -> None:
        """See `MailRoom`."""
        self.dead_letter(actor_id, envelope, "it has ended")

    def dead_letter(self, actor_id: str, envelope: Envelope, reason: str) -> None:
        """Count an accepted message that nobody will handle, publish it, and tell its asker."""
        if self._draining:
            self.tally.returned += 1
            reason = f"system {self.name!r} is draining"
        else:
            self.tally.dead += 1
            for subscriber in self._subscribers:
                subscriber.publish(DeadLetter(actor_id, envelope.message, reason))
        if envelope.reply_to is not None:
            envelope.reply_to.fail(NotDelivered(f"actor {actor_id!r:.100} did not get the message: {reason}"))

    def find_target(self, actor_id: str) -> Target | None:
        """The living actor of that name, for messages from other systems. None while draining."""
        return None if self._draining else self._cells.get(actor_id)

    def near_ref(self, actor_id: str) -> ActorRef:
        """The ref of a near actor that was named by another system, whether it lives or not."""
        cell = self._cells.get(actor_id)
        return cell.ref if cell is not None else ActorRef(self, NamedTarget(self, actor_id))

    def far_ref(self, target: Target) -> ActorRef:
        """The ref of an actor of another system."""
        return ActorRef(self, target)

    def begin_task(self, context: Context, cell: Cell) -> None:
        """See `Host`."""
        self._contexts[current_task()] = (context, cell)

    def end_task(self) -> None:
        """See `Host`."""
        self._contexts.pop(current_task(), None)

    def fresh_number(self) -> int:
        """See `Host`."""
        self._numbers += 1
        return self._numbers

    def full_id(self, actor_id: str) -> str:
        """See `Host`."""
        return f"{self.incarnation:x}/{actor_id}"

    def runs_inside(self, cell: Cell) -> bool:
        """See `Host`."""
        return any(inner is cell for _, inner in self._enclosing())

    def ask_chain(self) -> tuple[str, ...]:
        """See `Origin`. Background tasks of an actor do not count: no handler waits for them."""
        if not self._contexts:  # no actor lives here
            return ()
        task = current_task()
        found = self._contexts.get(task)
        while found is None:
            nursery = task.parent_nursery
            if nursery is None:
                return ()
            task = nursery.parent_task
            found = self._contexts.get(task)
            if found is not None and found[0].nursery is nursery:
                return ()
        context, cell = found
        waiting = context.in_hand.chain if context.in_hand is not None else ()
        return (*waiting, self.full_id(cell.actor_id))

    def _present_context(self) -> Context | None:
        """Of the actor whose handler or background task runs now."""
        return next((context for context, _ in self._enclosing()), None)

    def _enclosing(self) -> Iterator[tuple[Context, Cell]]:
        task: trio.lowlevel.Task | None = current_task()
        while task is not None:
            found = self._contexts.get(task)
            if found is not None:
                yield found
            task = task.parent_nursery.parent_task if task.parent_nursery is not None else None


def _what_is_left(error: BaseException | None, group: BaseExceptionGroup) -> BaseException | None:
    """Return the error as it is in the group, or None when more than that is in it.

    When trio takes its cancellation out of a group, it makes copies of the groups in it.
    """
    own = [id(leaf) for leaf in _leaves(error)]
    (first, *more) = group.exceptions
    return first if not more and all(id(leaf) in own for leaf in _leaves(first)) else None


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    elif error is not None:
        yield error


def _by_wire_name(classes: Iterable[type]) -> Mapping[str, type]:
    known: dict[str, type] = {}
    for cls in classes:
        name = wire_name_of(cls)
        if name is None:
            raise TypeError(f"{cls.__qualname__} in the vocabulary has no wire name; put @message(...) on it")
        if known.setdefault(name, cls) is not cls:
            raise ValueError(
                f"{cls.__qualname__} and {known[name].__qualname__} share the wire name {name!r}; "
                "each message needs its own"
            )
    return known
