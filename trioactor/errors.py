"""Every error of the runtime, split by what the caller should do next.

| error | what happened | what to do |
| --- | --- | --- |
| `NotDelivered` | the message never reached a handler | safe to send again |
| `MailboxFull` | the same, because there was no room | send again later, or `await tell` |
| `Expired` | its deadline passed while it waited; it never ran | safe to send again |
| `Rejected` | the handler declined the request | change the request |
| `HandlerFailed` | the handler raised; `__cause__` or `details` says what | mend the actor |
| `OutcomeUnknown` | the link broke after the question was sent | it may or may not have run |
| `AskCycle` | the actors would wait for each other for ever | break the cycle of asks |
| `PeerDown` | the actor one watches has ended | find another, or end too |
| `NameTaken` | an actor of that name lives there already | choose another name |
| `ActorStopped` | the actor that acts has ended itself | stop using its context |
| `StashFull` | more messages were put aside than the mailbox holds | unstash, or decline some |
| `HealthCheckFailed`, `HandlerStuck` | a handler does not end | move long work into the background |
| `RemoteError` and below | connections, hello, wire: see each | see each |
"""


class TrioactorError(Exception):
    """Base of all errors that the runtime raises."""


# --- what became of a message ---------------------------------------------------------------


class DeliveryError(TrioactorError):
    """A message or a question did not end in success."""


class NotDelivered(DeliveryError):
    """The message never reached a handler, for certain. Sending it again is safe."""


class MailboxFull(NotDelivered):
    """There was no room in the mailbox, and its policy or the call does not wait."""


class Expired(NotDelivered):
    """The deadline of the question passed while it was queued. It never ran."""


class Rejected(DeliveryError):
    """A handler raises this to decline a request. It is the answer, and no failure of the actor."""


class HandlerFailed(DeliveryError):
    """The handler raised while it worked on the question.

    Near, `__cause__` is the exception itself. Far, `details` is its text: exceptions do not travel.
    """

    def __init__(self, summary: str, details: str = "") -> None:
        super().__init__(summary)
        self.details = details


class OutcomeUnknown(DeliveryError):
    """The link broke after the question was sent. The handler may or may not have run."""


class AskCycle(DeliveryError):
    """The question would wait for an actor that, directly or not, waits for its answer."""


# --- actors ---------------------------------------------------------------------------------


class PeerDown(TrioactorError):
    """The watched actor has ended, or can no longer be reached.

    Attributes:
        actor_id: Which actor.
        reason: Why, in words.
    """

    def __init__(self, actor_id: str, reason: str) -> None:
        super().__init__(f"actor {actor_id!r} is down: {reason}")
        self.actor_id = actor_id
        self.reason = reason


class NameTaken(TrioactorError, ValueError):
    """An actor of that name lives under the same parent already."""


class ActorStopped(TrioactorError, RuntimeError):
    """The context of an actor was used after the actor had ended."""


class StashFull(TrioactorError):
    """The actor put more messages aside than its stash may hold."""


class HealthCheckFailed(TrioactorError):
    """An actor did not answer its health pings: a handler is stuck."""


class HandlerStuck(TrioactorError):
    """A handler went on after it was cancelled. trio cannot end it, only its own code can."""


# --- the network ----------------------------------------------------------------------------


class RemoteError(TrioactorError):
    """Something about a connection to another system."""


class CannotListen(RemoteError, OSError):
    """The address could not be bound. The text says who holds it, where that can be seen."""


class CannotUseCertificate(RemoteError):
    """A certificate, key or authority file is missing, or is not what it should be."""


class HandshakeError(RemoteError):
    """The peer speaks another protocol or version, or did not say hello in time."""


class WireError(RemoteError):
    """The peer sent bytes that are not a well-formed frame. Its connection is closed."""


class FrameTooLarge(WireError):
    """A frame announced more bytes than is allowed. Raised from its header alone."""


class MessageRefused(RemoteError):
    """A well-formed frame carries a message that is not acceptable; that one is refused, the link stays."""


class UnknownMessage(MessageRefused, TypeError):
    """The wire name, or the class, is not in the vocabulary of the system."""


class BadFields(MessageRefused):
    """The message has a known name, but its fields are not what the class says."""


class NotAuthorized(MessageRefused):
    """The `authorize` hook of the system says that this peer may not send this to that actor."""


class CannotEncode(MessageRefused, TypeError):
    """The message holds something that must not or cannot go on the wire."""
