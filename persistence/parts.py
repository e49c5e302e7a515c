"""What a round was: its score, and each worker's part in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from persistence.rows import EvaluationRow, RegionScoreRow, RoundRow, UpdateRow

# What is known of a model on a region: by the Evaluator, or by the worker whose region it is.
Score = EvaluationRow | RegionScoreRow

# What a message can come to beside its worker's own part in the round.
ASIDE = ("duplicate", "stale", "stranger")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPart:
    """One worker's part in one round.

    Attributes:
        update: What became of it: the accepted update where there is one.
        aside: Its other messages in the round, like duplicates, in the order of arrival.
    """

    update: UpdateRow
    aside: tuple[UpdateRow, ...] = ()

    @property
    def updates(self) -> tuple[UpdateRow, ...]:
        """All of them, its own part first."""
        return (self.update, *self.aside)

    @property
    def accepted(self) -> bool:
        """Whether its update is part of the average."""
        return self.update.outcome == "accepted"

    @property
    def bytes_in(self) -> int:
        """Received from it in the round, whatever became of it."""
        return sum(one.bytes_in for one in self.updates)

    @property
    def bytes_out(self) -> int:
        """Sent to it in the round."""
        return sum(one.bytes_out for one in self.updates)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundHistory:
    """One round of a run.

    Attributes:
        row: The round itself.
        score: Of the global model after it, on the region of the run; None while there is none.
        workers: What became of each worker, by its id.
        by_region: The same model on every region where it was scored, also by the workers themselves.
    """

    row: RoundRow
    score: EvaluationRow | None
    workers: Mapping[str, WorkerPart]
    by_region: Mapping[str, Score] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """From 1."""
        return self.row.number

    @property
    def accuracy(self) -> float | None:
        """Of the global model on the region of the run, 0 to 1."""
        return self.score.accuracy if self.score else None

    @property
    def loss(self) -> float | None:
        """The same for its loss."""
        return self.score.loss if self.score else None

    @property
    def accepted(self) -> tuple[str, ...]:
        """Whose updates are in the average."""
        return tuple(worker for worker, part in self.workers.items() if part.accepted)

    @property
    def asked(self) -> tuple[str, ...]:
        """Who was to take part."""
        return tuple(worker for worker, part in self.workers.items() if part.update.outcome not in ASIDE)

    @property
    def bytes_in(self) -> int:
        """Received from all workers."""
        return sum(part.bytes_in for part in self.workers.values())

    @property
    def bytes_out(self) -> int:
        """Sent to all workers."""
        return sum(part.bytes_out for part in self.workers.values())
