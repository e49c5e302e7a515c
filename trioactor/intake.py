"""What came from one peer and is on its way into mailboxes.

Nothing here waits in the connection's reader: a message is offered to its actor at once, and when the
mailbox is full it goes to a lane, from which a task of its own puts it in. What the mailbox has taken
is told to the peer as credit, so a slow actor stops its own senders and nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import trio

from trioactor.envelope import NEVER, Arrived, Envelope, Peer, Target, ToldFromAfar
from trioactor.errors import DeliveryError, MailboxFull, WireError
from trioactor.frames import MessageFrame
from trioactor.ledger import Tally
from trioactor.limits import Limits
from trioactor.messages import HealthPing

# Credit goes back in quarters of the window: few frames, and three quarters are always free to send.
_CREDIT_PARTS = 4

# So many lanes are kept when nothing is held in them: who is asked again and again has the same one.
# Each takes some 300 bytes, and further ones are forgotten.
KEPT_LANES = 64


class Desk(Protocol):
    """What the intake needs of its system."""

    @property
    def tally(self) -> Tally:
        """The accounts."""

    def find_target(self, actor_id: str) -> Target | None:
        """The living actor of that name."""

    def dead_letter(self, actor_id: str, envelope: Envelope, reason: str) -> None:
        """Count an accepted message as dead, publish it, and tell its asker `NotDelivered`."""


class Lane:
    """The messages of one peer for one actor.

    Attributes:
        held_messages: How many the peer has not been given credit for.
        held_bytes: Their bytes.
        due_messages: Tells among them that the mailbox has taken: credit to be sent.
        due_bytes: Their bytes.
    """

    __slots__ = ("actor_id", "due_bytes", "due_messages", "held_bytes", "held_messages", "queue")

    def __init__(self, actor_id: str) -> None:
        self.actor_id = actor_id
        self.queue: deque[tuple[Envelope, int]] = deque()
        self.held_messages = 0
        self.held_bytes = 0
        self.due_messages = 0
        self.due_bytes = 0


class Asked:
    """A question that this side has to answer: the `reply_to` of its envelope.

    Attributes:
        ask: Its number.
        size: The bytes that came for it; its answer gives them back as credit.
        lane: Of the actor that it is for, whether there is one or not.
        abandoned: Whether nobody waits for the answer any more.
    """

    __slots__ = ("_intake", "abandoned", "ask", "envelope", "lane", "size", "target")

    def __init__(self, intake: Intake, ask: int, size: int) -> None:
        self._intake = intake
        self.ask = ask
        self.size = size
        self.lane: Lane | None = None
        self.target: Target | None = None
        self.envelope: Envelope | None = None
        self.abandoned = False

    def succeed(self, value: Any) -> None:
        """See `ReplyTo`."""
        question = self.envelope
        if self._intake.settle(self):
            self._intake.answers.answer(self.ask, question, value, self.written)

    def fail(self, error: DeliveryError) -> None:
        """See `ReplyTo`."""
        if self._intake.settle(self):
            self._intake.answers.refuse(self.ask, error, self.written)

    def let_go(self) -> None:
        """Let go of the question, which refers to this: a collector may be long in coming."""
        self.envelope = self.target = None

    def written(self) -> None:
        """What is said of it is on its way: the peer has its credit back."""
        if self.lane is not None:
            self._intake.release(self.lane, 1, self.size)


class Answers(Protocol):
    """The way back to the peer. Nothing here waits or raises."""

    def answer(self, ask: int, question: Envelope | None, value: Any, written: Callable[[], None]) -> None:
        """The handler returned `value`. `written` is called when that does not wait here any more."""

    def refuse(self, ask: int, error: DeliveryError, written: Callable[[], None]) -> None:
        """The question ended in `error`."""

    def forget(self, ask: int, written: Callable[[], None]) -> None:
        """The question was given up by its asker, and this is the last that is said of it."""

    def credit(self, actor_id: str, messages: int, size: int) -> None:
        """The mailbox of the actor has taken so many tells."""


class Intake:
    """All that came from one peer and is not in a mailbox yet, and the questions that await an answer.

    Args:
        desk: The system.
        limits: Of this side.
        nursery: Where the tasks run that wait for room in mailboxes. They outlive the connection: what
            came whole is delivered.
        answers: The way back.
        peer: Who it comes from.
    """

    def __init__(
        self, desk: Desk, limits: Limits, nursery: trio.Nursery, answers: Answers, peer: Peer
    ) -> None:
        self._peer = peer
        self._desk = desk
        self._limits = limits
        self._nursery = nursery
        self.answers = answers
        self._lanes: dict[str, Lane] = {}
        self._asked: dict[int, Asked] = {}

    def deliver(self, frame: MessageFrame, message: Any, headers: Mapping[str, Any]) -> None:
        """Put a message into its actor's mailbox, or have it wait for room there.

        Raises:
            WireError: The peer sent more than its credit, or two questions of one number.
        """
        asked = None
        if frame.ask is not None:
            if frame.ask in self._asked:
                raise WireError(f"the peer asked a second question with the number {frame.ask}")
            asked = self._asked[frame.ask] = Asked(self, frame.ask, frame.size)
        expires_at = NEVER if frame.ttl is None else trio.current_time() + frame.ttl
        envelope = Arrived(self._peer, message, headers, asked, expires_at, frame.chain)
        target = self._desk.find_target(frame.actor_id)
        if target is None and asked is None:
            self._bury(frame.actor_id, envelope)
            self.answers.credit(frame.actor_id, 1, frame.size)
            return
        lane = self._lane(frame.actor_id, 1, frame.size)
        if asked is not None:
            asked.lane, asked.target, asked.envelope = lane, target, envelope
        if target is None:
            self._bury(frame.actor_id, envelope)
            return
        if lane.queue and type(message) is not HealthPing:
            lane.queue.append((envelope, frame.size))
        elif _offer(target, envelope):
            if asked is None:
                self._credit(lane, 1, frame.size)
        else:
            lane.queue.append((envelope, frame.size))
            self._nursery.start_soon(self._pump, lane, name=f"messages for {frame.actor_id}")

    def deliver_tells(self, actor_id: str, messages: Sequence[Any], size: int) -> None:
        """Do the same for several tells that came together, all of one class.

        Args:
            actor_id: Whom they are for.
            messages: One at least.
            size: How many bytes came for them; each counts for the same share.

        Raises:
            WireError: The peer sent more than its credit.
        """
        peer = self._peer
        target = self._desk.find_target(actor_id)
        if target is None:
            for message in messages:
                self._bury(actor_id, ToldFromAfar(peer, message))
            self.answers.credit(actor_id, len(messages), size)
            return
        lane = self._lane(actor_id, len(messages), size)
        taken = 0
        if not lane.queue or type(messages[0]) is HealthPing:
            for message in messages:
                if not _offer(target, ToldFromAfar(peer, message)):
                    break
                taken += 1
        left = len(messages) - taken
        if left:
            share = size // len(messages)
            size -= share * left
            if not lane.queue:
                self._nursery.start_soon(self._pump, lane, name=f"messages for {actor_id}")
            lane.queue.extend((ToldFromAfar(peer, message), share) for message in messages[taken:])
        self._credit(lane, taken, size)

    def cancel(self, ask: int) -> bool:
        """The asker gave up. Its question is taken out of the queue, and this is confirmed either way.

        Returns:
            Whether there is such a question. The answer and the cancel may have crossed.
        """
        asked = self._asked.get(ask)
        if asked is None:
            return False
        target, envelope = asked.target, asked.envelope
        self.settle(asked)
        asked.abandoned = True
        self.answers.forget(ask, asked.written)
        if target is not None and envelope is not None:
            target.inbox.withdraw(envelope)
        return True

    def settle(self, asked: Asked) -> bool:
        """Take a question off the books; False when nobody waits for its answer any more.

        Its credit is held until the answer is on its way: who does not read its answers cannot ask on.
        """
        if asked.abandoned:
            self._desk.tally.late_replies += 1
            return False
        del self._asked[asked.ask]
        asked.let_go()
        return True

    @property
    def has_open_questions(self) -> bool:
        """Whether a question was read that is not answered yet."""
        return bool(self._asked)

    @property
    def open_questions(self) -> list[int]:
        """The numbers of those that were read and are not answered yet."""
        return list(self._asked)

    def close(self) -> None:
        """The connection has ended: no answer goes out any more."""
        for asked in self._asked.values():
            asked.abandoned = True
            asked.let_go()
        self._asked.clear()

    # --- lanes --------------------------------------------------------------------------------------

    def _lane(self, actor_id: str, messages: int, size: int) -> Lane:
        """Return the lane of the actor, with the messages counted in it."""
        lane = self._lanes.get(actor_id)
        if lane is None:
            lane = self._lanes[actor_id] = Lane(actor_id)
        limits = self._limits
        if lane.held_messages + messages > limits.window_messages or lane.held_bytes >= limits.window_bytes:
            raise WireError(
                f"the peer sent more than its credit of {limits.window_messages} messages or"
                f" {limits.window_bytes:,} bytes to one actor"
            )
        lane.held_messages += messages
        lane.held_bytes += size
        return lane

    def _taken(self, lane: Lane, envelope: Envelope, size: int) -> None:
        """The mailbox has it: a tell gives its credit back, in a while; a question by its answer."""
        if envelope.reply_to is None:
            self._credit(lane, 1, size)

    def _credit(self, lane: Lane, messages: int, size: int) -> None:
        lane.due_messages += messages
        lane.due_bytes += size
        limits = self._limits
        if (
            lane.due_messages * _CREDIT_PARTS >= limits.window_messages
            or lane.due_bytes * _CREDIT_PARTS >= limits.window_bytes
        ):
            messages, size = lane.due_messages, lane.due_bytes
            lane.due_messages = lane.due_bytes = 0
            self.release(lane, messages, size)
            self.answers.credit(lane.actor_id, messages, size)

    def release(self, lane: Lane, messages: int, size: int) -> None:
        """So much of the peer's is not held here any more."""
        lane.held_messages -= messages
        lane.held_bytes -= size
        if len(self._lanes) > KEPT_LANES and not lane.held_messages and not lane.queue:
            self._lanes.pop(lane.actor_id, None)

    async def _pump(self, lane: Lane) -> None:
        """Put what waits in the lane into the mailbox, as it finds room."""
        try:
            while lane.queue:
                envelope, size = lane.queue[0]
                target = self._desk.find_target(lane.actor_id)
                if target is None:
                    self._bury(lane.actor_id, envelope)
                else:
                    await _put(target, envelope)
                lane.queue.popleft()
                self._taken(lane, envelope, size)
        except trio.Cancelled:
            while lane.queue:
                envelope, _ = lane.queue.popleft()
                self._bury(lane.actor_id, envelope)
            raise

    def _bury(self, actor_id: str, envelope: Envelope) -> None:
        self._desk.tally.accepted += 1
        self._desk.dead_letter(actor_id, envelope, "there is no such actor, or it has ended")


def _offer(target: Target, envelope: Envelope) -> bool:
    try:
        return target.inbox.offer(envelope)
    except MailboxFull as full:
        return _refused(envelope, full)


async def _put(target: Target, envelope: Envelope) -> None:
    if isinstance(envelope.reply_to, Asked) and envelope.reply_to.abandoned:
        return
    try:
        if not target.inbox.offer(envelope):
            await target.inbox.put(envelope)
    except MailboxFull as full:
        _refused(envelope, full)
    if isinstance(envelope.reply_to, Asked) and envelope.reply_to.abandoned:
        target.inbox.withdraw(envelope)  # given up while it waited for room


def _refused(envelope: Envelope, full: MailboxFull) -> bool:
    """The mailbox has counted it; its asker is told, and a tell is no loss to the peer's reader."""
    if envelope.reply_to is not None:
        envelope.reply_to.fail(full)
    return True
