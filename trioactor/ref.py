"""`ActorRef`: how one actor speaks to another. The same near and far."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import trio
from outcome import Error, Value
from trio.lowlevel import Abort, RaiseCancelT, checkpoint_if_cancelled

from trioactor.envelope import NO_HEADERS, Envelope, Inbox, Target, Told
from trioactor.errors import DeliveryError, Expired, MailboxFull, NotDelivered, PeerDown
from trioactor.ledger import Tally
from trioactor.messages import Request
from trioactor.middleware import Chain, Dropped

R = TypeVar("R")


class Origin(Protocol):
    """What a ref needs to know of the system that it belongs to."""

    @property
    def tally(self) -> Tally:
        """The accounts of the system."""

    @property
    def send_chain(self) -> Chain | None:
        """The send middleware, None when there is none."""

    def ask_chain(self) -> tuple[str, ...]:
        """The actors that wait while the present task waits; empty outside of handlers."""


class ActorRef:
    """The address of an actor, and the way to it.

    It outlives the actor: a supervised restart makes a new instance behind the same ref, and what is
    told to an actor that has ended becomes a dead letter. Refs can be sent in messages.

    Attributes:
        actor_id: The actor's name in its own system, with its parents': "supervisor/worker-A".
        address: Host and port of the other system, None when the actor is in this one.
    """

    __slots__ = ("_inbox", "_origin", "_target")

    def __init__(self, origin: Origin, target: Target) -> None:
        self._origin = origin
        self._target = target
        self._inbox = target.inbox  # not by way of the target: every message passes here

    @property
    def actor_id(self) -> str:
        """The actor's name in its own system."""
        return self._target.actor_id

    @property
    def target(self) -> Target:
        """Where the ref leads: for the runtime, which tells it to other systems."""
        return self._target

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the actor's system listens, None when it is this one."""
        return self._target.address

    async def tell(self, message: Any) -> None:
        """Send a message and go on; waits for room in the mailbox, not for the handler.

        Delivered at most once, in order with everything else this task sends to that actor. When the
        actor has ended, the message becomes a dead letter and nothing is raised.

        Raises:
            MailboxFull: The mailbox is full and its policy is "reject".
        """
        await checkpoint_if_cancelled()
        envelope = Told(message)
        chain = self._origin.send_chain
        if chain is None:
            if not self._inbox.offer(envelope):
                await self._inbox.put(envelope)
            return
        try:
            await chain.run(envelope, self._put)
        except Dropped:
            self._count_dropped()

    def tell_nowait(self, message: Any) -> None:
        """Send a message without waiting.

        Raises:
            MailboxFull: There is no room. The message was not sent.
            RuntimeError: A send middleware waits for something; use `tell`.
        """
        envelope = Told(message)
        chain = self._origin.send_chain
        if chain is None:
            self._put_nowait(envelope)
            return
        try:
            chain.run_nowait(envelope, self._put_nowait)
        except Dropped:
            self._count_dropped()

    async def ask(self, message: Request[R]) -> R:
        """Send a question and wait for what its handler returns.

        The remaining time of the caller's cancel scopes travels with it: a question that is still
        queued when that time is over is never handled. Cancelling the call takes it out of the queue.

        Raises:
            NotDelivered: It never reached a handler; asking again is safe. `Expired` and
                `MailboxFull` are kinds of it.
            Rejected: The handler declined.
            HandlerFailed: The handler raised; the cause is attached.
            OutcomeUnknown: The link broke after the question was sent.
            AskCycle: The actor waits, directly or not, for the caller.
        """
        await checkpoint_if_cancelled()
        origin = self._origin
        question = Question(origin.tally)
        envelope = Envelope(
            message, NO_HEADERS, question, trio.current_effective_deadline(), origin.ask_chain()
        )
        answer: R
        try:
            if origin.send_chain is None:
                if not self._inbox.offer(envelope):
                    await self._inbox.put(envelope)
                answer = await question.answer(self._inbox, envelope)
            else:
                answer = await origin.send_chain.run(envelope, self._attempt)
        except Expired:
            await trio.lowlevel.checkpoint()  # the caller's own scope has expired too: that comes first
            raise
        except Dropped as dropped:
            self._count_dropped()
            raise NotDelivered(str(dropped)) from None
        return answer

    async def _put(self, envelope: Envelope) -> None:
        if not self._inbox.offer(envelope):
            await self._inbox.put(envelope)

    def _put_nowait(self, envelope: Envelope) -> None:
        if not self._inbox.offer(envelope):
            raise MailboxFull(f"there is no room for another message to actor {self.actor_id!r} now")

    async def _attempt(self, envelope: Envelope) -> Any:
        """The end of the send chain. A middleware may come here again when an answer does not please it."""
        question = Question(self._origin.tally)
        attempt = Envelope(envelope.message, envelope.headers, question, envelope.expires_at, envelope.chain)
        await self._put(attempt)
        return await question.answer(self._inbox, attempt)

    def _count_dropped(self) -> None:
        self._origin.tally.accepted += 1
        self._origin.tally.dropped += 1

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Cancel the block when the actor ends or can no longer be reached.

        Raises:
            PeerDown: The block was cancelled for that, or the actor had ended before it began.
        """
        reason: str | None = None
        scope = trio.CancelScope()

        def went_down(why: str) -> None:
            nonlocal reason
            reason = why
            scope.cancel()

        await checkpoint_if_cancelled()
        unwatch = self._target.on_down(went_down)
        try:
            if reason is None:
                with scope:
                    yield
                if not scope.cancelled_caught:
                    return
            raise PeerDown(self.actor_id, reason or "unknown")
        finally:
            unwatch()

    def on_down(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Have `callback(reason)` called once, when the actor ends or can no longer be reached.

        It is called from within the runtime and must neither wait nor raise. `watch` is for people.

        Returns:
            A function that calls the watch off.
        """
        return self._target.on_down(callback)

    async def stop(self) -> None:
        """Have the actor stop after the message in hand, and return when it has ended.

        What is still queued becomes dead letters. An actor that stops itself uses `context.stop()`.
        """
        await self._target.end(graceful=True)

    async def kill(self) -> None:
        """Cancel the actor, the message in hand included, and return when it has ended."""
        await self._target.end(graceful=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and self._target == other._target

    def __hash__(self) -> int:
        return hash(self._target)

    def __repr__(self) -> str:
        where = f"{self.address[0]}:{self.address[1]}/" if self.address else ""
        return f"<ActorRef {where}{self.actor_id}>"


class Question:
    """A task that waits for the answer to its ask. One waits, one answers, once."""

    __slots__ = ("_abandoned", "_result", "_tally", "_task")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._task: trio.lowlevel.Task | None = None
        self._result: Value[Any] | Error | None = None
        self._abandoned = False

    def succeed(self, value: Any) -> None:
        """The handler returned `value`."""
        self._settle(Value(value))

    def fail(self, error: DeliveryError) -> None:
        """The question ended in `error`."""
        self._settle(Error(error))

    def _settle(self, result: Value[Any] | Error) -> None:
        if self._abandoned:
            self._tally.late_replies += 1
            return
        self._result = result
        if self._task is not None:
            trio.lowlevel.reschedule(self._task, result)
            self._task = None

    async def answer(self, inbox: Inbox, envelope: Envelope) -> Any:
        """Return the answer or raise what became of the question. A checkpoint."""
        if self._result is not None:  # it cannot be called off any more
            await trio.lowlevel.cancel_shielded_checkpoint()
            return self._result.unwrap()
        read_answer = inbox.read_answer
        if read_answer is not None:
            result = await self._read(read_answer, inbox, envelope)
            if result is not None:
                return result.unwrap()

        def give_up(_raise_cancel: RaiseCancelT) -> Abort:
            self._task = None
            self._give_up(inbox, envelope)
            return Abort.SUCCEEDED

        self._task = trio.lowlevel.current_task()
        return await trio.lowlevel.wait_task_rescheduled(give_up)

    async def _read(
        self, read_answer: Callable[[], Awaitable[None]], inbox: Inbox, envelope: Envelope
    ) -> Value[Any] | Error | None:
        """Read what comes, and return the result; None if something else has come."""
        try:
            await read_answer()
        except BaseException:  # the cancellation of the asker
            if self._result is None:
                self._give_up(inbox, envelope)
            raise
        return self._result

    def _give_up(self, inbox: Inbox, envelope: Envelope) -> None:
        self._abandoned = True
        inbox.withdraw(envelope)
