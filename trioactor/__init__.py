"""trioactor: actors on trio's structured concurrency.

Start with `system.py` (what a program opens), then `actor.py` (what one writes), `cell.py` (how an
actor lives), `mailbox.py` and `ref.py`.
"""

from trioactor.actor import Actor, Context, Reply, Timer
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
    LinkDown,
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
from trioactor.mailbox import MailboxSettings
from trioactor.messages import ChildFailed, HealthAck, HealthPing, Request, Terminated, message
from trioactor.ref import ActorRef
from trioactor.system import ActorSystem, DeadLetter, DeadLetters
from trioactor.version import VERSION

__version__ = VERSION

__all__ = [
    "Actor",
    "ActorRef",
    "ActorStopped",
    "ActorSystem",
    "AskCycle",
    "CannotListen",
    "ChildFailed",
    "Context",
    "DeadLetter",
    "DeadLetters",
    "DeliveryError",
    "Expired",
    "HandlerFailed",
    "HandlerStuck",
    "HandshakeError",
    "HealthAck",
    "HealthCheckFailed",
    "HealthPing",
    "Ledger",
    "LinkDown",
    "MailboxFull",
    "MailboxSettings",
    "NameTaken",
    "NotDelivered",
    "OutcomeUnknown",
    "PeerDown",
    "Rejected",
    "RemoteError",
    "Reply",
    "Request",
    "StashFull",
    "Terminated",
    "Timer",
    "TrioactorError",
    "UnknownMessage",
    "__version__",
    "message",
]
