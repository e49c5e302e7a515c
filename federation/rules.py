"""When a round is over: the numbers that `federation.round` and `federation.buffer` go by."""

from __future__ import annotations

from dataclasses import dataclass

# Of the time that the quorum took. More would let one slow worker set the pace; less would leave out
# workers that differ by what else their machines do.
GRACE_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a round is over.

    Attributes:
        quorum: So many sound answers are enough, at least 1; None to wait for everyone.
        needed: Fewer sound answers than this are a failure, at least 1 and at most `quorum`.
        grace_seconds: How long the others may still answer when the quorum is there; None for a quarter of
            the time that the quorum took, so that workers of about equal speed are not left out by chance.
        deadline_seconds: When it is over in any case; None for never.
        return_seconds: How long a worker that was lost is expected back.
    """

    quorum: int | None = None
    needed: int = 1
    grace_seconds: float | None = None
    deadline_seconds: float | None = None
    return_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.needed < 1:
            raise ValueError(f"needed={self.needed}; a round needs at least 1 sound answer")
        if self.quorum is not None and self.quorum < self.needed:
            raise ValueError(f"quorum={self.quorum} is fewer than the {self.needed} that a round needs")

    def grace(self, quorum_took_seconds: float) -> float:
        """Return how long the others may still answer."""
        return GRACE_SHARE * quorum_took_seconds if self.grace_seconds is None else self.grace_seconds


WAIT_FOR_EVERYONE = Rules()
