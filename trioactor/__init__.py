"""trioactor: actors on trio's structured concurrency.

It is a runtime for actors inside any trio program: mailboxes, tell and ask, supervision, watching, near
and far. It is not a framework that owns your program, a message broker, or a database: messages are
delivered at most once, and nothing is kept on disk.

## What it promises

**Ownership.** A system is an `async with` block. Every actor is a task in its parent's nursery; leaving
the block stops all of them and waits. There is no global state and no task without an owner.

**Order.** What one task sends to one actor arrives in the order of sending, near and far, for as long as
the connection holds. An actor handles one message at a time.

**Loss.** At most once. A message is lost only when its actor ends before it is handled, when a middleware
or the policy of a full mailbox drops it, or when the link to a far system breaks; each loss is counted, and
an asker is told.

**Outcome.** An ask ends in the answer or in exactly one error, and the error says what is certain:
`NotDelivered` (never handled: asking again is safe; `Expired` and `MailboxFull` are kinds of it),
`Rejected` (declined), `HandlerFailed` (tried and failed), `OutcomeUnknown` (the link broke after it was
sent), `AskCycle` (it would wait for itself). A late answer is counted and never delivered.

**Accounts.** `system.ledger()` holds at every instant: accepted messages = those that ended in each of the
outcomes + queued + in hand.

**Back-pressure.** Mailboxes are bounded. `tell` waits for room (not for the handler), also when the
mailbox is in another process; `tell_nowait` raises instead. One slow actor never holds up another.

**Failure.** An exception in a handler goes to the asker and to whoever supervises. Without a supervisor it
leaves the block in an ExceptionGroup. It is never only logged. A `Supervisor` restarts by OTP's rules; the
messages that wait survive a restart, the one that failed is not tried again.

**Cancellation** is trio's own. There are no timeout arguments: use cancel scopes. The time that is left
travels with an ask. A handler that ignores that it was cancelled is reported by name and holds up nobody
but the end of the block, which waits for it, since trio cannot end it either.

## Where to go on

`system.py` is what a program opens, `actor.py` what one writes, `cell.py` how an actor lives and dies,
`mailbox.py` and `ref.py` how a message gets there, `supervision.py` who comes back, `process.py` how an
operating-system process joins in.
"""

from trioactor.actor import Actor, Context, Reply, Timer
from trioactor.envelope import Arrived, Envelope, Peer
from trioactor.errors import (
    ActorStopped,
    AskCycle,
    CannotListen,
    DeliveryError,
    Expired,
    HandlerFailed,
    HandlerStuck,
    HandshakeError,
    HealthCheckFailed,
    MailboxFull,
    NameTaken,
    NotDelivered,
    OutcomeUnknown,
    PeerDown,
    Rejected,
    RemoteError,
    StashFull,
    TrioactorError,
    UnknownMessage,
)
from trioactor.ledger import Ledger
from trioactor.limits import Limits
from trioactor.mailbox import MailboxSettings
from trioactor.messages import ChildFailed, HealthAck, HealthPing, Request, Terminated, message
from trioactor.middleware import CallNext, Middleware
from trioactor.process import CannotStart, Command, ProcessActor, ProcessFailed, end_with_parent
from trioactor.ref import ActorRef
from trioactor.supervision import Backoff, ChildExit, ChildSpec, Health, Supervisor
from trioactor.system import ActorSystem, DeadLetter, DeadLetters
from trioactor.tree import ActorInfo, Tree
from trioactor.version import VERSION

__version__ = VERSION

__all__ = [
    "Actor",
    "ActorInfo",
    "ActorRef",
    "ActorStopped",
    "ActorSystem",
    "Arrived",
    "AskCycle",
    "Backoff",
    "CallNext",
    "CannotListen",
    "CannotStart",
    "ChildExit",
    "ChildFailed",
    "ChildSpec",
    "Command",
    "Context",
    "DeadLetter",
    "DeadLetters",
    "DeliveryError",
    "Envelope",
    "Expired",
    "HandlerFailed",
    "HandlerStuck",
    "HandshakeError",
    "Health",
    "HealthAck",
    "HealthCheckFailed",
    "HealthPing",
    "Ledger",
    "Limits",
    "MailboxFull",
    "MailboxSettings",
    "Middleware",
    "NameTaken",
    "NotDelivered",
    "OutcomeUnknown",
    "Peer",
    "PeerDown",
    "ProcessActor",
    "ProcessFailed",
    "Rejected",
    "RemoteError",
    "Reply",
    "Request",
    "StashFull",
    "Supervisor",
    "Terminated",
    "Timer",
    "Tree",
    "TrioactorError",
    "UnknownMessage",
    "__version__",
    "end_with_parent",
    "message",
]
