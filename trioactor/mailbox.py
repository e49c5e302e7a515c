"""A bounded mailbox with lanes, and the count of what it takes in and gives up.

Lanes, in the order in which they are served: the order to stop, signals (health pings, `Terminated`,
`ChildFailed`), user messages. One task takes messages out (`Cell`); any number put them in.

A checkpoint of trio costs as much as 40 coroutine calls, so putting is plain code that suspends only
when there is no room, and the taker sleeps only when there is nothing to take.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import trio
from trio.lowlevel import Abort, RaiseCancelT, current_task, reschedule, wait_task_rescheduled

from trioactor.envelope import NEVER, Envelope
from trioactor.errors import AskCycle, DeliveryError, Expired, MailboxFull
from trioactor.ledger import Tally
from trioactor.messages import ChildFailed, HealthPing, Terminated

WhenFull = Literal["wait", "drop_oldest", "drop_newest", "reject"]

# Enough that a burst does not stop its sender, few enough that a stuck actor shows soon.
CAPACITY = 1024

SIGNALS: frozenset[type[Any]] = frozenset({HealthPing, Terminated, ChildFailed})

# Signals are few: one ping per interval, one per failure of a child. The bound is for a hostile peer, and
# not for `Terminated`: that comes once for each watch, and only from this system.
SIGNAL_CAPACITY = 1024


@dataclass(frozen=True, slots=True)
class MailboxSettings:
    """How much a mailbox holds, and what happens to one message more.

    Attributes:
        capacity: User messages that may wait, at least 1.
        when_full: "wait": the sender waits for room. "drop_oldest" and "drop_newest": a message is
            dropped and counted, its asker told `MailboxFull`. "reject": the sender gets `MailboxFull`.
    """

    capacity: int = CAPACITY
    when_full: WhenFull = "wait"

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity={self.capacity}; a mailbox holds at least 1 message")
        if self.when_full not in get_args(WhenFull):
            raise ValueError(f"when_full={self.when_full!r}; choose one of {', '.join(get_args(WhenFull))}")


_EMPTY: deque[Any] = deque()  # never put into


class MailRoom(Protocol):
    """What a mailbox needs of its system."""

    @property
    def tally(self) -> Tally:
        """The accounts."""

    def bury(self, actor_id: str, envelope: Envelope) -> None:
        """An accepted envelope will not be handled, because its actor has ended."""

    def full_id(self, actor_id: str) -> str:
        """A name of the actor that no actor of another system, or of an earlier run, has."""


class Mailbox:
    """Where messages wait for one actor, across its restarts.

    Args:
        actor_id: Whose it is, for error texts.
        settings: Its capacity and policy.
        room: The system.
    """

    __slots__ = (
        "_room",
        "_sleeper",
        "_tally",
        "actor_id",
        "capacity",
        "closed",
        "queue",
        "senders",
        "settings",
        "signals",
        "stash",
        "stop_requested",
        "urgent",
    )

    read_answer = None  # see `Inbox`

    def __init__(self, actor_id: str, settings: MailboxSettings, room: MailRoom) -> None:
        self.actor_id = actor_id
        self.settings = settings
        self.capacity = settings.capacity
        self.queue: deque[Envelope] = deque()
        # One empty queue for all, until something is put in: it takes 600 bytes, an actor should be
        # small, and most never need these.
        self.signals: deque[Envelope] = _EMPTY
        self.stash: deque[Envelope] = _EMPTY
        self.stop_requested = False
        self.urgent = False  # whether a lane before the user messages has something
        self.closed = False
        self._tally = room.tally
        self._room = room
        self.senders: deque[tuple[trio.lowlevel.Task, Envelope]] = _EMPTY  # first come, first served
        self._sleeper: trio.lowlevel.Task | None = None

    @property
    def queued(self) -> int:
        """How many accepted messages wait here."""
        return len(self.queue) + len(self.signals) + len(self.stash)

    # --- putting in -------------------------------------------------------------------------

    def offer(self, envelope: Envelope) -> bool:
        """Take the envelope on, or give it its end. False: there is no room, and the policy is to wait.

        The queue stays full as long as a sender waits for room, so nobody overtakes.

        Raises:
            MailboxFull: There is no room, and the policy is "reject".
        """
        if envelope.chain and self._refuse_cycle(envelope):
            return True
        if self.closed or type(envelope.message) in SIGNALS:
            self._take_specially(envelope)
            return True
        if len(self.queue) >= self.capacity:
            return self._overflow(envelope)
        self._tally.accepted += 1
        self.queue.append(envelope)
        if self._sleeper is not None:
            reschedule(self._sleeper)
            self._sleeper = None
        return True

    def _refuse_cycle(self, envelope: Envelope) -> bool:
        if self._room.full_id(self.actor_id) not in envelope.chain:
            return False
        self._tally.accepted += 1
        self._tally.rejected += 1
        waiting = " -> ".join(name.partition("/")[2] for name in envelope.chain)
        self._refuse(
            envelope, AskCycle(f"{waiting} -> {self.actor_id}: each would wait for the next for ever")
        )
        return True

    def _take_specially(self, envelope: Envelope) -> None:
        self._tally.accepted += 1
        if self.closed:
            self._room.bury(self.actor_id, envelope)
        elif len(self.signals) >= SIGNAL_CAPACITY and type(envelope.message) is not Terminated:
            self._tally.rejected += 1
            self._refuse(envelope, MailboxFull(f"{SIGNAL_CAPACITY} signals wait for actor {self.actor_id!r}"))
        else:
            if not self.signals:
                self.signals = deque()
            self.signals.append(envelope)
            self.urgent = True
            self._wake()

    def _overflow(self, envelope: Envelope) -> bool:
        match self.settings.when_full:
            case "wait":
                return False
            case "drop_oldest":
                oldest = self.queue.popleft()
                self._tally.dropped += 1
                self._refuse(
                    oldest, MailboxFull(f"{self._full_text()}, and newer messages push older ones out")
                )
                self._tally.accepted += 1
                self.queue.append(envelope)  # nobody sleeps beside a full queue
                return True
            case "drop_newest":
                self._tally.accepted += 1
                self._tally.dropped += 1
                self._refuse(envelope, MailboxFull(self._full_text()))
                return True
            case "reject":
                self._tally.accepted += 1
                self._tally.rejected += 1
                raise MailboxFull(self._full_text())

    async def put(self, envelope: Envelope) -> None:
        """Wait for room for an envelope that was offered in vain; whoever waits first gets it first."""
        if not self.senders:
            self.senders = deque()
        entry, senders = (current_task(), envelope), self.senders

        def leave(_raise_cancel: RaiseCancelT) -> Abort:
            senders.remove(entry)
            return Abort.SUCCEEDED

        senders.append(entry)
        await wait_task_rescheduled(leave)

    def _full_text(self) -> str:
        return f"the mailbox of actor {self.actor_id!r} is full: {self.capacity} messages wait"

    @staticmethod
    def _refuse(envelope: Envelope, error: DeliveryError) -> None:
        if envelope.reply_to is not None:
            envelope.reply_to.fail(error)

    # --- taking out -------------------------------------------------------------------------

    def take_signal(self) -> Envelope:
        """Take out the next signal; `urgent` said that there is one."""
        envelope = self.signals.popleft()
        self._see_what_is_urgent()
        return envelope

    def _see_what_is_urgent(self) -> None:
        self.urgent = self.stop_requested or bool(self.signals)

    def admit(self) -> None:
        """Let the first of those who wait put their messages in, as far as there is room."""
        while self.senders and len(self.queue) < self.capacity:
            task, envelope = self.senders.popleft()
            self._tally.accepted += 1
            self.queue.append(envelope)
            reschedule(task)

    async def wait(self) -> None:
        """Sleep until there is something to take or to obey. Always a checkpoint."""
        if self.queue or self.urgent:
            await trio.lowlevel.checkpoint()
            return

        self._sleeper = current_task()
        await wait_task_rescheduled(self._stop_waiting)

    def _stop_waiting(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._sleeper = None
        return Abort.SUCCEEDED

    def _wake(self) -> None:
        if self._sleeper is not None:
            reschedule(self._sleeper)
            self._sleeper = None

    def request_stop(self) -> None:
        """Have the taker see that it should stop before it takes another message."""
        self.stop_requested = True
        self.urgent = True
        self._wake()

    def clear_stop(self) -> None:
        """Forget the order to stop: the actor has stopped and is starting again."""
        self.stop_requested = False
        self._see_what_is_urgent()

    # --- putting aside and giving up --------------------------------------------------------

    def unstash_all(self) -> None:
        """Move what was put aside to the head of the queue, in its old order."""
        self.queue.extendleft(reversed(self.stash))
        self.stash = _EMPTY
        if self.queue:
            self._wake()

    def put_aside(self, envelope: Envelope) -> None:
        """Keep a taken message until `unstash_all`."""
        if not self.stash:
            self.stash = deque()
        self.stash.append(envelope)

    def withdraw(self, envelope: Envelope) -> None:
        """Take a question out that nobody waits for any more, if it still waits here."""
        for lane in (self.queue, self.stash, self.signals):
            for position, waiting in enumerate(lane):  # by identity: messages may not compare
                if waiting is envelope:
                    del lane[position]
                    self._count_given_up(envelope)
                    self._see_what_is_urgent()
                    self.admit()
                    return

    def _count_given_up(self, envelope: Envelope) -> None:
        if envelope.expires_at <= trio.current_time():
            self._tally.expired += 1
        else:
            self._tally.cancelled += 1

    def expire(self, envelope: Envelope) -> bool:
        """Whether the deadline of a taken question has passed; if so it is counted and answered."""
        if envelope.expires_at == NEVER or envelope.expires_at > trio.current_time():
            return False
        self._tally.expired += 1
        late = f"the deadline passed while the question waited for actor {self.actor_id!r}; it never ran"
        self._refuse(envelope, Expired(late))
        return True

    def close(self) -> None:
        """Take nothing more, and bury what waits."""
        self.closed = True
        self.give_back()

    def give_back(self) -> None:
        """Bury what waits, and what those who wait for room wanted to put in."""
        left = [*self.signals, *self.stash, *self.queue]
        self.signals = self.stash = _EMPTY
        self.queue.clear()
        self._see_what_is_urgent()
        while self.senders:
            task, envelope = self.senders.popleft()
            self._tally.accepted += 1
            left.append(envelope)
            reschedule(task)
        for envelope in left:
            self._room.bury(self.actor_id, envelope)
