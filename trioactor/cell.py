"""`Cell`: where an actor lives. Its name, mailbox and ref stay while instances come and go.

    actor_of -> [ factory, pre_start -> serve -> children end, background tasks end -> post_stop ] -> close

What stands in brackets is one life, one task with a nursery of its own: `Cell.live`. An unsupervised
actor has one life; a supervisor gives its children another after a failure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import trio

from trioactor.actor import Actor, Context, Factory
from trioactor.envelope import NEVER, Envelope
from trioactor.errors import ActorStopped, HandlerFailed, HandlerStuck, NotDelivered, Rejected
from trioactor.ledger import Tally
from trioactor.mailbox import Mailbox, MailboxSettings, MailRoom
from trioactor.messages import HealthAck, HealthPing
from trioactor.middleware import Chain, Dropped
from trioactor.ref import ActorRef, Origin, Question

# One checkpoint costs as much as handling a few small messages. 64 of them make it cheap, and a busy
# actor still lets the others run about every 50 us.
MESSAGES_PER_CHECKPOINT = 64

MAX_NAME_CHARACTERS = 200


class Host(Origin, MailRoom, Protocol):
    """What a cell needs of its system."""

    @property
    def receive_chain(self) -> Chain | None:
        """The receive middleware, None when there is none."""

    @property
    def post_stop_seconds(self) -> float:
        """How long a `post_stop` may take."""

    @property
    def rng(self) -> random.Random:
        """Where chance comes from."""

    @property
    def when_idle(self) -> Callable[[], None] | None:
        """To be called when an actor finds nothing to do; None when nobody is interested."""

    def find(self, actor_id: str) -> ActorRef | None:
        """Return the ref of a living actor, None when there is none of that name."""

    def enter(self, cell: Cell) -> None:
        """List the cell under its name. Raises NameTaken."""

    def leave(self, cell: Cell) -> None:
        """The cell is closed."""

    def begin_task(self, context: Context, cell: Cell) -> None:
        """The present task is the one in which the cell's handlers run."""

    def end_task(self) -> None:
        """The present task runs no more handlers."""

    def runs_inside(self, cell: Cell) -> bool:
        """Whether the present task belongs to the cell, or to one below it."""

    def fresh_number(self) -> int:
        """A number that no other call has got."""


class Cell:
    """An actor's place in its system: it is the near `Target` of refs, and the keeper of the context.

    Args:
        host: The system.
        factory: Makes an instance.
        actor_id: The whole name, with those of the parents: "supervisor/worker-A".
        parent: The cell above, None for an actor of the system's own.
        settings: Of the mailbox.
    """

    __slots__ = (
        "_between_lives",
        "_children",
        "_factory",
        "_host",
        "_killed",
        "_life_over",
        "_parent",
        "_scope",
        "_start_failure",
        "_started",
        "_unborn",
        "_watchers",
        "abandoned",
        "actor_id",
        "context",
        "ended",
        "final",
        "mailbox",
        "ref",
        "restarts",
        "since",
    )

    def __init__(
        self, host: Host, factory: Factory, actor_id: str, parent: Cell | None, settings: MailboxSettings
    ) -> None:
        self.actor_id = actor_id
        self.mailbox = Mailbox(actor_id, settings, host)
        self.ref = ActorRef(host, self)
        self.context: Context | None = None  # of the present life
        self.abandoned: tuple[Context, ...] = ()  # of lives whose handler ignores that it was cancelled
        self.ended: str | None = None  # why, once it is closed
        self.final = False  # no other life follows: it has no supervisor, or was told to stop
        self.restarts = 0
        self.since = trio.current_time()
        self._host = host
        self._factory = factory
        self._parent = parent
        self._children: dict[str, Cell] = {}
        self._watchers: dict[object, Callable[[str], None]] = {}  # each under a key of its own
        self._scope: trio.CancelScope | None = None
        self._killed = False
        self._between_lives = False
        self._unborn: Actor | None = None  # made, and not yet taken over by its task
        self._started: trio.Event | None = None
        self._start_failure: BaseException | None = None
        self._life_over: trio.Event | None = None

    # --- the near Target --------------------------------------------------------------------

    @property
    def address(self) -> None:
        """Near."""
        return

    @property
    def inbox(self) -> Mailbox:
        """See `Target.inbox`."""
        return self.mailbox

    def on_down(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """See `Target.on_down`."""
        if self.ended is not None:
            callback(self.ended)
            return lambda: None
        key = object()
        self._watchers[key] = callback

        def unwatch() -> None:
            self._watchers.pop(key, None)

        return unwatch

    async def end(self, *, graceful: bool) -> None:
        """See `Target.end`. Called from within the actor, or one below it, it does not wait."""
        if self.ended is None and graceful:
            self.order_stop()
            if not self._host.runs_inside(self):
                await self.closed()
                return
        elif self.ended is None and not self._between_lives:
            self.kill()
            if not self._host.runs_inside(self):
                await self.life_over()
                return
        await trio.lowlevel.checkpoint()

    async def ping(self) -> HealthAck:
        """Ask the actor for a sign of life, past all middleware.

        Raises:
            NotDelivered: It has ended.
        """
        question = Question(self._host.tally)
        envelope = Envelope(HealthPing(), reply_to=question)
        self.mailbox.offer(envelope)  # a signal finds room, or is answered at once
        answer: HealthAck = await question.answer(self.mailbox, envelope)
        return answer

    # --- the keeper of the context ----------------------------------------------------------

    @property
    def parent(self) -> ActorRef | None:
        """The ref of the cell above."""
        return None if self._parent is None else self._parent.ref

    @property
    def children(self) -> Mapping[str, ActorRef]:
        """The living children, in the order of their start."""
        return MappingProxyType({name: child.ref for name, child in self._children.items()})

    @property
    def rng(self) -> random.Random:
        """The system's."""
        return self._host.rng

    @property
    def child_cells(self) -> tuple[Cell, ...]:
        """The same, as cells."""
        return tuple(self._children.values())

    async def have_child(
        self, factory: Factory, actor_id: str | None, mailbox: MailboxSettings, nursery: trio.Nursery
    ) -> ActorRef:
        """Start an unsupervised child in the nursery, and return when its `pre_start` has run."""
        child = self.new_child(factory, actor_id, mailbox)
        await child.start_in(nursery)
        return child.ref

    def new_child(self, factory: Factory, actor_id: str | None, mailbox: MailboxSettings) -> Cell:
        """Make the cell of a child. Whoever makes it sees to its lives and closes it."""
        return new_cell(self._host, factory, actor_id, self, mailbox)

    # --- from start to end --------------------------------------------------------------------

    async def start_in(self, nursery: trio.Nursery) -> None:
        """Run the actor's one life in the nursery, and return when its `pre_start` has run.

        Raises:
            Exception: What its factory or its `pre_start` raised. Then it is closed.
        """
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._unborn = self._factory()
        except BaseException:
            self.close("failed to start")
            raise
        nursery.start_soon(self.run, name=self.actor_id)
        if type(self._unborn).pre_start is not Actor.pre_start:  # else there is nothing to wait for
            await self.started()

    async def started(self) -> None:
        """Return when `pre_start` has run; raise what it raised. Cancelling this cancels the actor."""
        self._started = trio.Event()
        try:
            await self._started.wait()
        except trio.Cancelled:
            self._started = None  # nobody waits here any more: what fails now leaves by the nursery
            self.kill()
            raise
        if self._start_failure is not None:
            failure, self._start_failure = self._start_failure, None
            raise failure

    async def run(self) -> None:
        """The task of an unsupervised actor: one life. Its failure leaves by the nursery."""
        reason = "stopped"
        self.final = True
        try:
            reason = await self.live()
        except BaseException as failure:
            reason = "killed" if _holds_cancellation(failure) else f"failed: {failure!r}"
            raise
        finally:
            self.close(reason)

    async def live(self) -> str:
        """One instance, from its making to its `post_stop`.

        Returns:
            How it ended: "stopped", "killed", or "failed to start" when whoever waits in `started`
            has been given the failure.

        Raises:
            BaseException: What made it fail; an ExceptionGroup when several things did.
        """
        failures: list[BaseException] = []
        actor: Actor | None = None  # once its pre_start has succeeded
        context: Context | None = None
        try:
            try:
                async with trio.open_nursery() as nursery:
                    context = self._begin(nursery)
                    try:
                        actor = await self._start(context)
                        await self._serve(context)
                    except BaseException as failure:
                        if _holds_cancellation(failure):
                            raise
                        failures.append(failure)  # not into the nursery, which would wrap it
                    await self._end_children(graceful=not failures)
                    nursery.cancel_scope.cancel()  # the background tasks
            except BaseExceptionGroup as group:
                failures.extend(group.exceptions)
            except trio.Cancelled as cancelled:
                failures.append(cancelled)
            self._finish(context, failures)
            if actor is not None:
                await self._post_stop(actor, failures)
            elif self._give_to_starter(failures):
                return "failed to start"
            if failures:
                raise _one_or_group(self.actor_id, failures)
            return "killed" if self._killed else "stopped"
        finally:
            self._host.end_task()
            del failures  # a frame that holds its own exception is a cycle

    def _begin(self, nursery: trio.Nursery) -> Context:
        self.context = context = Context(self, nursery)
        self.since = trio.current_time()
        self._scope = nursery.cancel_scope
        if self._killed:  # before the task ran at all
            nursery.cancel_scope.cancel()
        return context

    async def _start(self, context: Context) -> Actor:
        self._host.begin_task(context, self)
        actor, self._unborn = self._unborn or self._factory(), None
        actor.context = context
        context.actor = actor
        context.behaviours.append(actor.receive)
        if type(actor).pre_start is not Actor.pre_start:
            await actor.pre_start()
        context.serving = True
        if self._started is not None:
            self._started.set()
            self._started = None
        return actor

    def _give_to_starter(self, failures: list[BaseException]) -> bool:
        """Whether somebody waits in `started` who is now told why it did not come to that."""
        if self._started is None:
            return False
        if failures and not any(_holds_cancellation(failure) for failure in failures):
            self._start_failure = _one_or_group(self.actor_id, failures)
            failures.clear()
        else:
            self._start_failure = ActorStopped(f"actor {self.actor_id!r} was ended before it had started")
        self._started.set()
        self._started = None
        return not failures

    def _finish(self, context: Context | None, failures: list[BaseException]) -> None:
        if context is not None:
            failure = next((failure for failure in failures if not _holds_cancellation(failure)), None)
            context.end("stopped" if failure is None else repr(failure), failure)
        if context in self.abandoned:
            self.abandoned = tuple(other for other in self.abandoned if other is not context)
        elif context is self.context:
            self.context = None
            self._scope = None

    async def _end_children(self, *, graceful: bool) -> None:
        """The youngest first, one after the other."""
        if self.final:
            self.mailbox.close()  # else a child that asks this actor, or waits for room here, never ends
        while self._children:
            child = next(reversed(self._children.values()))
            if graceful:
                child.order_stop()
            else:
                child.final = True
                child.kill()
            await child.closed()

    async def _post_stop(self, actor: Actor, failures: list[BaseException]) -> None:
        if type(actor).post_stop is Actor.post_stop:
            return
        seconds = self._host.post_stop_seconds
        scope = trio.CancelScope(shield=True, deadline=trio.current_time() + seconds)
        try:
            with scope:
                await actor.post_stop()
        except BaseException as failure:  # no cancellation from outside: that is what the shield is for
            failures.append(failure)
        if scope.cancelled_caught:
            text = f"post_stop of actor {self.actor_id!r} was cancelled: it took longer than {seconds:g} s"
            failures.append(HandlerStuck(text))

    def kill(self) -> None:
        """Cancel the present life, or the one that is about to begin."""
        self._killed = True
        self.mailbox.request_stop()  # so that it takes no message on its way to where it is cancelled
        if self._scope is not None:
            self._scope.cancel()

    def order_stop(self) -> None:
        """Stop for good, after the message in hand."""
        self.final = True
        self.mailbox.request_stop()
        if self.context is None and self._scope is not None:
            self._scope.cancel()  # it rests between two lives

    async def rest(self, seconds: float) -> None:
        """Let time pass before the next life; an order to stop cuts it short."""
        if not self.final:
            with trio.CancelScope() as self._scope:
                await trio.sleep(seconds)
            self._scope = None

    @property
    def is_resting(self) -> bool:
        """Whether it waits between two lives."""
        return self.context is None and self._scope is not None

    def be_born_again(self) -> None:
        """Make ready for another life, which handles what waits: first what was put aside."""
        self.mailbox.unstash_all()
        self.mailbox.clear_stop()
        self._between_lives = False
        self._killed = False
        self.restarts += 1

    def abandon(self) -> None:
        """Leave the present life to itself: its handler goes on although it was cancelled.

        It keeps its message, and takes no other when it comes back.
        """
        if self.context is not None:
            self.context.end("its handler ignored that it was cancelled")
            self.context.look_up = True
            self.abandoned += (self.context,)
        self.context = None
        self._scope = None

    def end_of_life(self) -> None:
        """Wake those who wait in `life_over`."""
        self._between_lives = True
        if self._life_over is not None:
            self._life_over.set()
            self._life_over = None

    async def life_over(self) -> None:
        """Return when the present life has ended."""
        if self._life_over is None:
            self._life_over = trio.Event()
        await self._life_over.wait()

    async def closed(self) -> None:
        """Return when the actor has ended for good."""
        while self.ended is None:
            await self.life_over()

    def close(self, reason: str) -> None:
        """It has ended for good: nothing is taken any more, and those who watch are told."""
        self.ended = reason
        self._host.leave(self)
        if self._parent is not None:
            self._parent.forget(self)
        self.mailbox.close()
        watchers, self._watchers = self._watchers, {}
        for callback in watchers.values():
            callback(reason)
        self.end_of_life()

    def adopt(self, child: Cell, name: str) -> None:
        """List a child under its own name."""
        self._children[name] = child

    def forget(self, child: Cell) -> None:
        """The child is closed."""
        self._children.pop(child.actor_id.rpartition("/")[2], None)

    # --- handling messages --------------------------------------------------------------------

    @property
    def in_hand(self) -> int:
        """How many messages are being handled: 0 or 1, and one more for each abandoned handler."""
        lives = [*self.abandoned, self.context]
        return sum(1 for context in lives if context is not None and context.in_hand is not None)

    async def _serve(self, context: Context) -> None:
        """Handle message after message, until told to stop."""
        host, box = self._host, self.mailbox
        tally, chain, queue, behaviours = host.tally, host.receive_chain, box.queue, context.behaviours
        while True:
            for _ in range(MESSAGES_PER_CHECKPOINT):
                if box.urgent:
                    if box.stop_requested:
                        return
                    envelope = box.take_signal()
                    if type(envelope.message) is HealthPing:
                        self._answer_ping(tally, envelope)
                        continue
                elif queue:
                    envelope = queue.popleft()
                    if box.senders:
                        box.admit()
                else:
                    break
                if envelope.expires_at != NEVER and box.expire(envelope):
                    continue
                context.in_hand = envelope
                try:
                    if chain is None:
                        result = await behaviours[-1](envelope.message)
                    else:
                        result = await chain.run(envelope, context.invoke)
                except BaseException as error:
                    context.in_hand = None
                    if not self._settle_failure(tally, envelope, error):
                        raise
                    if context is not self.context:
                        return  # it was abandoned
                    context.look_up = False
                    continue
                context.in_hand = None
                if context.look_up:
                    if context is not self.context:
                        self._settle_success(tally, envelope, result)
                        return  # it was abandoned
                    context.look_up = False
                    box.put_aside(envelope)  # as the handler wished
                    continue
                tally.handled += 1
                if envelope.reply_to is not None:
                    envelope.reply_to.succeed(result)
            else:
                await trio.lowlevel.checkpoint()
                continue
            if host.when_idle is not None:
                host.when_idle()
            await box.wait()

    @staticmethod
    def _settle_success(tally: Tally, envelope: Envelope, result: Any) -> None:
        tally.handled += 1
        if envelope.reply_to is not None:
            envelope.reply_to.succeed(result)

    def _answer_ping(self, tally: Tally, envelope: Envelope) -> None:
        self._settle_success(tally, envelope, HealthAck(self.actor_id, len(self.mailbox.queue)))

    def _settle_failure(self, tally: Tally, envelope: Envelope, error: BaseException) -> bool:
        """Count and answer a message whose handler raised; whether the actor goes on all the same."""
        if isinstance(error, Rejected):
            tally.rejected += 1
            answer: Rejected | NotDelivered | HandlerFailed = error
        elif isinstance(error, Dropped):
            tally.dropped += 1
            answer = NotDelivered(f"actor {self.actor_id!r} did not get the message: {error}")
        elif _holds_cancellation(error):
            tally.cancelled += 1
            answer = HandlerFailed(f"actor {self.actor_id!r} was ended while it handled the message")
        else:
            tally.failed += 1
            answer = HandlerFailed(f"actor {self.actor_id!r} failed: {type(error).__name__}: {error}")
            answer.__cause__ = error
        if envelope.reply_to is not None:
            envelope.reply_to.fail(answer)
        return isinstance(error, Rejected | Dropped)


def new_cell(
    host: Host, factory: Factory, actor_id: str | None, parent: Cell | None, settings: MailboxSettings
) -> Cell:
    """Make a cell and list it under its name.

    Raises:
        NameTaken: An actor of that name lives there.
        ValueError: The name is empty or has a "/" in it, which is for the names of parents.
    """
    above = "" if parent is None else f"{parent.actor_id}/"
    name = actor_id if actor_id is not None else _fresh_name(host, factory, above)
    if not name or "/" in name or len(name) > MAX_NAME_CHARACTERS:
        raise ValueError(f"actor_id {name!r}; use 1 to {MAX_NAME_CHARACTERS} characters, without '/'")
    cell = Cell(host, factory, above + name, parent, settings)
    host.enter(cell)
    if parent is not None:
        parent.adopt(cell, name)
    return cell


def _fresh_name(host: Host, factory: Factory, above: str) -> str:
    made_by = getattr(factory, "__name__", type(factory).__name__).strip("<>").lower()
    while True:
        name = f"{made_by}-{host.fresh_number()}"
        if host.find(above + name) is None:
            return name


def _holds_cancellation(failure: BaseException) -> bool:
    """Whether trio's cancellation is in it: then it must go on its way, whatever else is in it."""
    if isinstance(failure, BaseExceptionGroup):
        return failure.subgroup(trio.Cancelled) is not None
    return isinstance(failure, trio.Cancelled)


def _one_or_group(actor_id: str, failures: list[BaseException]) -> BaseException:
    if len(failures) == 1:
        failure = failures[0]
        if not isinstance(failure, trio.Cancelled):
            failure.add_note(f"in actor {actor_id!r}")
        return failure
    return BaseExceptionGroup(f"several things failed in actor {actor_id!r}", failures)
