"""What became of every message, counted.

The rule that the whole runtime keeps, at every instant:

    accepted = handled + failed + rejected + expired + cancelled + dropped + dead + returned + lost
               + sent + queued + in_hand

`Tally` is the counter that a system writes to; `Ledger` is a reading of it that one can keep, compare
and print.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

OUTCOMES = (
    "handled",
    "failed",
    "rejected",
    "expired",
    "cancelled",
    "dropped",
    "dead",
    "returned",
    "lost",
    "sent",
)


class Tally:
    """The running counts of one system. Plain integers, since every message passes here.

    What each count means is said once, in `Ledger`.
    """

    __slots__ = ("accepted", "late_replies", *OUTCOMES)

    accepted: int
    handled: int
    failed: int
    rejected: int
    expired: int
    cancelled: int
    dropped: int
    dead: int
    returned: int
    lost: int
    sent: int
    late_replies: int

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    @property
    def ended(self) -> int:
        """How many messages have come to their end."""
        return sum(getattr(self, name) for name in OUTCOMES)

    def read(self, *, queued: int, in_hand: int) -> Ledger:
        """Return the counts as they are now, beside what waits and what is being handled."""
        return Ledger(
            queued=queued, in_hand=in_hand, **{name: getattr(self, name) for name in self.__slots__}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A reading of a system's accounts. `str()` of it is a line for people.

    Attributes:
        accepted: Messages that the system took on, from its own actors, its caller or the network.
        handled: The handler returned.
        failed: The handler raised.
        rejected: The handler raised `Rejected`, or a mailbox with the policy "reject" was full.
        expired: The deadline passed while the message was queued.
        cancelled: The asker gave up while it was queued, or the handler was cancelled.
        dropped: A middleware did not pass it on, or a full mailbox dropped it by its policy.
        dead: There was no such actor, or it stopped first.
        returned: Refused or given back because the system is draining.
        lost: It was on its way to a peer when the link broke.
        sent: Handed to a peer, whose own ledger counts on from there.
        queued: Waiting in a mailbox, a stash, or for a connection.
        in_hand: Being handled now.
        late_replies: Answers that came after the asker had gone. They are no outcome of their own.
    """

    accepted: int
    handled: int
    failed: int
    rejected: int
    expired: int
    cancelled: int
    dropped: int
    dead: int
    returned: int
    lost: int
    sent: int
    queued: int
    in_hand: int
    late_replies: int

    @property
    def ended(self) -> int:
        """How many messages have come to their end."""
        return sum(getattr(self, name) for name in OUTCOMES)

    @property
    def balanced(self) -> bool:
        """Whether every accepted message is accounted for."""
        return self.accepted == self.ended + self.queued + self.in_hand

    def __str__(self) -> str:
        counts = [
            f"{field.name} {getattr(self, field.name):,}"
            for field in fields(self)
            if getattr(self, field.name)
        ]
        return ", ".join(counts) or "no messages"
