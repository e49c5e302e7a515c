"""`Actor`, and the context through which it acts: children, background tasks, behaviours, timers.

What an actor sees of the runtime is here; how the runtime keeps it alive is in `cell.py`.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import trio

from trioactor.envelope import Envelope, ReplyTo, Told
from trioactor.errors import ActorStopped, DeliveryError, HandlerFailed, MailboxFull, StashFull
from trioactor.mailbox import Mailbox, MailboxSettings
from trioactor.messages import Terminated
from trioactor.ref import ActorRef

T = TypeVar("T")
Behaviour = Callable[[Any], Coroutine[Any, Any, Any]]
Factory = Callable[[], "Actor"]


class Actor(ABC):
    """A thing with a mailbox that handles one message at a time.

    Subclasses say in `receive` what they do with a message; the annotation of its argument is the list
    of messages they take. All of it runs in one task, so an actor needs no locks.

    Attributes:
        context: How the actor acts on the world: its ref, children, timers and so on. It is there from
            `pre_start` on, not yet in `__init__`.
    """

    context: Context

    async def pre_start(self) -> None:  # noqa: B027  # a hook: nothing to do is the usual case
        """Make ready. `actor_of` returns when this has, and raises what it raises."""

    @abstractmethod
    async def receive(self, message: Any) -> Any:
        """Handle one message. What is returned answers an ask; `raise Rejected(...)` declines.

        Any other exception is a failure of the actor: its asker and its supervisor get to know.
        Keep it short: while it waits, the mailbox waits. Long work belongs in `context.start_soon`
        or `context.pipe_to_self`.
        """

    async def post_stop(self) -> None:  # noqa: B027  # a hook as well
        """Clean up. Runs after every `pre_start` that succeeded, however the actor ended.

        It is shielded from cancellation and has a deadline, the system's `post_stop_seconds`.
        """


class Household(Protocol):
    """What a context needs of the cell that the actor lives in."""

    @property
    def ref(self) -> ActorRef:
        """The actor's ref."""

    @property
    def parent(self) -> ActorRef | None:
        """The ref of the actor above."""

    @property
    def mailbox(self) -> Mailbox:
        """Where the actor's messages wait."""

    @property
    def children(self) -> Mapping[str, ActorRef]:
        """The living actors below."""

    @property
    def rng(self) -> random.Random:
        """Where chance comes from."""

    async def have_child(
        self, factory: Factory, actor_id: str | None, mailbox: MailboxSettings, nursery: trio.Nursery
    ) -> ActorRef:
        """Start a child whose task runs in the nursery."""


class Context:
    """What one instance of an actor can do. A restart makes a new instance with a new context.

    Attributes:
        in_hand: The envelope of the message that is being handled: its headers, say. None outside of
            handlers.

    Raises:
        ActorStopped: From any method, when the instance has ended.
    """

    __slots__ = (
        "_ended",
        "_owed",
        "_watches",
        "actor",
        "behaviours",
        "cell",
        "in_hand",
        "look_up",
        "nursery",
        "serving",
    )

    def __init__(self, cell: Household, nursery: trio.Nursery) -> None:
        self.cell = cell
        self.nursery = nursery
        self.actor: Actor | None = None  # once it is made
        self.serving = False  # its pre_start has run
        self.behaviours: list[Behaviour] = []
        self._watches: dict[ActorRef, Callable[[], None]] = {}
        self._owed: list[Reply] = _NO_REPLIES
        self.look_up = False  # whether the loop has to see to something when the handler returns
        self._ended = False
        self.in_hand: Envelope | None = None

    # --- who ------------------------------------------------------------------------------

    @property
    def ref(self) -> ActorRef:
        """The actor's own ref, to give to others."""
        return self.cell.ref

    @property
    def parent(self) -> ActorRef | None:
        """The parent's ref; None for an actor that its system started."""
        return self.cell.parent

    @property
    def children(self) -> Mapping[str, ActorRef]:
        """The living children by name, in the order of their start."""
        return self.cell.children

    @property
    def rng(self) -> random.Random:
        """Where chance comes from: the system's own generator, seeded when the system was."""
        return self.cell.rng

    # --- children and tasks -----------------------------------------------------------------

    async def actor_of(
        self, factory: Factory, actor_id: str | None = None, *, mailbox: MailboxSettings | None = None
    ) -> ActorRef:
        """Start a child and return when its `pre_start` has run.

        The child ends with this actor, and its failure is this actor's failure.

        Args:
            factory: The actor's class, or any callable that makes an instance.
            actor_id: Its name under this actor; by default the factory's name and a number.
            mailbox: Capacity and policy.

        Raises:
            NameTaken: A child of that name is alive.
            Exception: Whatever `pre_start` raised.
        """
        self._check_alive()
        return await self.cell.have_child(factory, actor_id, mailbox or MailboxSettings(), self.nursery)

    def start_soon(
        self, function: Callable[..., Awaitable[Any]], *args: Any, name: str | None = None
    ) -> None:
        """Run a background task beside the handlers, in the actor's scope.

        It is cancelled when the actor ends. Its failure is the actor's failure.
        """
        self._check_alive()
        label = name or getattr(function, "__qualname__", type(function).__name__)
        self.nursery.start_soon(function, *args, name=f"{self.ref.actor_id}: {label}")

    def pipe_to_self(
        self, work: Callable[[], Awaitable[T]], done: Callable[[T], Any], failed: Callable[[Exception], Any]
    ) -> None:
        """Do long work in the background and tell this actor how it went.

        Args:
            work: Run as a background task.
            done: Makes the message of the result.
            failed: Makes the message of the exception; the actor itself does not fail.
        """

        async def run() -> None:
            try:
                outcome = done(await work())
            except Exception as error:
                outcome = failed(error)
            await self.ref.tell(outcome)

        self.start_soon(run, name="pipe_to_self")

    def stop(self) -> None:
        """Stop this actor after the message in hand."""
        self._check_alive()
        self.cell.mailbox.request_stop()

    # --- behaviours -------------------------------------------------------------------------

    def become(self, behaviour: Behaviour) -> None:
        """Handle the messages from the next one on with another method than `receive`."""
        self._check_alive()
        self.behaviours.append(behaviour)

    def unbecome(self) -> None:
        """Go back to the behaviour before the last `become`.

        Raises:
            RuntimeError: There is none.
        """
        self._check_alive()
        if len(self.behaviours) < 2:  # the first is `receive`
            raise RuntimeError("unbecome without a become before it")
        self.behaviours.pop()

    # --- putting aside ------------------------------------------------------------------------

    def stash(self) -> None:
        """Put the message in hand aside, until `unstash_all`. Its asker goes on waiting.

        Raises:
            StashFull: As many messages are put aside as the mailbox may hold.
            RuntimeError: No message is in hand.
        """
        self._check_alive()
        box = self.cell.mailbox
        if self.in_hand is None:
            raise RuntimeError("stash() outside of a handler: there is no message in hand")
        if len(box.stash) >= box.capacity:
            raise StashFull(f"actor {self.ref.actor_id!r} has {box.capacity} messages put aside already")
        self.look_up = True

    def unstash_all(self) -> None:
        """Handle everything that was put aside next, in the order in which it came."""
        self._check_alive()
        self.cell.mailbox.unstash_all()

    # --- watching -----------------------------------------------------------------------------

    def watch(self, ref: ActorRef) -> None:
        """Have a `Terminated` sent to this actor when the other ends or cannot be reached any more.

        At once, when it has ended already. Watching twice is the same as once.
        """
        self._check_alive()
        if ref in self._watches:
            return
        where = f"{ref.address[0]}:{ref.address[1]}/" if ref.address else ""
        box = self.cell.mailbox

        def went_down(reason: str) -> None:
            self._watches.pop(ref, None)
            box.offer(Told(Terminated(where + ref.actor_id, reason)))

        self._watches[ref] = _nothing  # so that a call from within on_down has something to remove
        unwatch = ref.on_down(went_down)
        if ref in self._watches:
            self._watches[ref] = unwatch

    def unwatch(self, ref: ActorRef) -> None:
        """Send no `Terminated` for the other. One that is queued already still comes."""
        self._check_alive()
        self._watches.pop(ref, _nothing)()

    # --- time -----------------------------------------------------------------------------------

    @property
    def timers(self) -> Timers:
        """Messages to this actor at times to come. They end with it."""
        self._check_alive()
        return Timers(self)

    # --- answering later ------------------------------------------------------------------------

    def reply_later(self) -> Reply:
        """Take over the answer to the question in hand; what the handler returns is then ignored.

        A background task may then work it out while the actor handles other messages. An actor that
        ends without having answered fails the question.

        Raises:
            RuntimeError: What is in hand is no question, or its answer was taken over before.
        """
        self._check_alive()
        envelope = self.in_hand
        if envelope is None or envelope.reply_to is None:
            raise RuntimeError("reply_later() needs a question in hand that nobody has answered yet")
        if not self._owed:
            self._owed = []
        reply = Reply(envelope.reply_to, self._owed)
        envelope.reply_to = None
        return reply

    # --- for the cell ---------------------------------------------------------------------------

    async def invoke(self, envelope: Envelope) -> Any:
        """Handle the message with the present behaviour. The envelope comes through the middleware."""
        taken, self.in_hand = self.in_hand, envelope
        try:
            return await self.behaviours[-1](envelope.message)
        finally:
            self.in_hand = taken  # with it the message is settled, or put aside as it came
            if envelope.reply_to is None and taken is not None and taken.reply_to is not None:
                taken.reply_to = None  # the handler replies later

    def _check_alive(self) -> None:
        if self._ended:
            raise ActorStopped(
                f"this instance of actor {self.ref.actor_id!r} has ended; its context is of no use"
            )

    def end(self, why: str, cause: BaseException | None = None) -> None:
        """The instance has ended: call off its watches, fail the answers that it owes."""
        self._ended = True
        for unwatch in list(self._watches.values()):
            unwatch()
        self._watches.clear()
        for reply in list(self._owed):
            error = HandlerFailed(f"actor {self.ref.actor_id!r} ended before it answered: {why}")
            error.__cause__ = cause
            reply.fail(error)


def _nothing() -> None:
    pass


_NO_REPLIES: list[Reply] = []  # what an actor owes until it owes something; never put into


class Reply:
    """An answer that is still owed. The first of `send` and `fail` counts, later ones do nothing."""

    __slots__ = ("_owed", "_reply_to")

    def __init__(self, reply_to: ReplyTo, owed: list[Reply]) -> None:
        self._reply_to = reply_to
        self._owed = owed
        owed.append(self)

    def send(self, value: Any) -> None:
        """Answer with a value."""
        if self._settle():
            self._reply_to.succeed(value)

    def fail(self, error: DeliveryError) -> None:
        """Answer with an error: `Rejected("why")`, or `HandlerFailed`."""
        if self._settle():
            self._reply_to.fail(error)

    def _settle(self) -> bool:
        if self not in self._owed:
            return False
        self._owed.remove(self)
        return True


class Timers:
    """Messages from an actor to itself, on trio's clock."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def once(self, seconds: float, message: Any) -> Timer:
        """Tell the actor `message` after `seconds`."""
        return self._start(seconds, message, repeat=False)

    def every(self, seconds: float, message: Any) -> Timer:
        """Tell the actor `message` every `seconds`, first after `seconds`.

        The beat does not drift. A full mailbox delays it, and beats missed meanwhile are left out, as
        is one that a mailbox with the policy "reject" has no room for.
        """
        if seconds <= 0:
            raise ValueError(f"every({seconds}): the time between two messages must be more than 0 seconds")
        return self._start(seconds, message, repeat=True)

    def _start(self, seconds: float, message: Any, *, repeat: bool) -> Timer:
        timer = Timer()

        async def run() -> None:
            due = trio.current_time() + seconds
            with timer.scope:
                await trio.sleep_until(due)
                await self._beat(message)
                while repeat:
                    due += seconds * (1 + (trio.current_time() - due) // seconds)
                    await trio.sleep_until(due)
                    await self._beat(message)

        self._context.start_soon(run, name="timer")
        return timer

    async def _beat(self, message: Any) -> None:
        with suppress(MailboxFull):  # rejected, and counted so: the actor is slow, not broken
            await self._context.ref.tell(message)


class Timer:
    """A message to come. `cancel()` calls it off."""

    __slots__ = ("scope",)

    def __init__(self) -> None:
        self.scope = trio.CancelScope()

    def cancel(self) -> None:
        """Send it no more. One that is in the mailbox already still comes."""
        self.scope.cancel()
