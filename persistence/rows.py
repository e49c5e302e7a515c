"""What goes into training.db and comes out of it: frozen rows that check themselves.

Times are seconds since 1970 as the caller measured them: nothing here looks at a clock. A loss or a
training accuracy that is not finite (a model that diverged) may be handed in; it is kept as None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RUN_STATUSES = ("running", "finished", "failed", "stopped", "quorum lost")

UPDATE_OUTCOMES = (
    "accepted",  # part of the average
    "refused",  # of a wrong shape, with NaN or infinity: see the reason
    "duplicate",  # a second answer to the same request
    "late",  # came, or would have come, after the round was closed
    "stale",  # for another round
    "stranger",  # from somebody who was not asked
    "declined",  # the worker said that it does not take part
    "failed",  # the worker said that its training failed
    "lost",  # the worker went away while it was asked
    "asked",  # no answer, and nothing known of why
)

ROUND_STATUSES = ("committed", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that is about to begin.

    Attributes:
        name: What people call it; no other run in the file has it.
        created_unix: When.
        settings: Every setting as resolved. Anything that JSON can hold.
        seed: The seed that everything was drawn from.
        source: Where the data came from, like "synthetic" or "digits".
        synthetic: Whether the data was made up. It is said wherever the run is shown.
        mode: When the global model moves on: "rounds", after each round, or "buffered", after every so
            many updates, whatever model they began from.
        strategy: How updates become a model, by its name on the command line, like "trimmed-mean".
        strategy_parameters: What it was given. Anything that JSON can hold.
    """

    name: str
    created_unix: float
    settings: Mapping[str, Any]
    seed: int
    source: str
    synthetic: bool
    mode: str = "rounds"
    strategy: str = "fedavg"
    strategy_parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("name", "source", "mode", "strategy"):
            _filled(name, getattr(self, name))
        for told in (self.settings, self.strategy_parameters):
            json.dumps(dict(told), allow_nan=False)  # says itself what it cannot hold


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow(NewRun):
    """A run as it stands in the record.

    Attributes:
        id: Its key in the file.
        status: One of `RUN_STATUSES`. "running" also when its process was killed: no one was there to
            say otherwise.
        reason: Why it ended so, in words; empty when there is nothing to add.
        ended_unix: When it ended, None while it runs.
        model_sha256: Of the final model, None before it is known.
    """

    id: int
    status: str = "running"
    reason: str = ""
    ended_unix: float | None = None
    model_sha256: str | None = None

    def __post_init__(self) -> None:
        NewRun.__post_init__(self)
        _one_of("status", self.status, RUN_STATUSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """One round of a run.

    Attributes:
        number: From 1, without gaps.
        started_unix: When the first worker was asked.
        ended_unix: When the result was there.
        seconds: How long it took by a clock that is never set back.
        train_loss: Weighted mean of the accepted workers' training loss.
        train_accuracy: The same of their accuracy, 0 to 1.
        model_sha256: Of the global model after the round; None for a round that failed.
        reason: Why it failed; empty for a round that did not.
    """

    number: int
    started_unix: float
    ended_unix: float
    seconds: float
    train_loss: float | None = None
    train_accuracy: float | None = None
    model_sha256: str | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"round {self.number}; rounds are counted from 1")
        _at_least_zero("seconds", self.seconds)
        _share("train_accuracy", self.train_accuracy)

    @property
    def status(self) -> str:
        """One of `ROUND_STATUSES`."""
        return "committed" if self.model_sha256 is not None else "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRow:
    """What became of one worker, or of one of its messages, in a round.

    Attributes:
        worker: Its id.
        outcome: One of `UPDATE_OUTCOMES`.
        reason: Why, in words; needed for "refused" and "failed".
        samples: How many samples it trained on: its weight in the mean.
        loss: Its training loss.
        accuracy: Its training accuracy, 0 to 1.
        seconds: From the question to the answer.
        bytes_in: Received from it in this round.
        bytes_out: Sent to it in this round.
        staleness: How many versions the global model had moved on since the one that this update was
            trained from; 0 for one that was asked for in this round. None where there is no update.
        train_seconds: How long the worker says that it trained; the rest of `seconds` is waiting and
            the way there and back.
    """

    worker: str
    outcome: str
    reason: str = ""
    samples: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    seconds: float | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    staleness: int | None = None
    train_seconds: float | None = None

    def __post_init__(self) -> None:
        _filled("worker", self.worker)
        _one_of("outcome", self.outcome, UPDATE_OUTCOMES)
        if self.outcome in ("refused", "failed"):
            _filled(f"reason of a {self.outcome} update", self.reason)
        for name in ("samples", "seconds", "bytes_in", "bytes_out", "staleness", "train_seconds"):
            _at_least_zero(name, getattr(self, name))
        _share("accuracy", self.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """A model after a round, scored on a region.

    Attributes:
        round: After which round.
        region: Whose samples it was scored on.
        samples: How many.
        loss: Mean cross-entropy.
        accuracy: Share of right answers, 0 to 1.
        model: "global", or the id of the worker whose own model was scored.
        per_class: Accuracy by class name; None for a class that the region does not have.
        confusion: Counts, a row per true class and a column per predicted class.
        seconds: How long the scoring took.
    """

    round: int
    region: str
    samples: int
    loss: float | None
    accuracy: float
    model: str = "global"
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()
    seconds: float | None = None

    def __post_init__(self) -> None:
        _filled("region", self.region)
        _filled("model", self.model)
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}; nothing can be scored on no samples")
        _known_share("accuracy", self.accuracy)
        _class_shares(self.per_class)
        if any(len(row) != len(self.confusion) for row in self.confusion):
            raise ValueError("confusion is not square; it has one row and one column per class")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionScoreRow:
    """The global model after a round, scored by a worker on its own region: nobody else sees those samples.

    Attributes:
        round: After which round.
        worker: Whose region it is, and who says so.
        samples: How many it has.
        loss: Mean cross-entropy.
        accuracy: Share of right answers, 0 to 1.
        per_class: Accuracy by class name; None for a class that the region does not have.
    """

    round: int
    worker: str
    samples: int
    loss: float | None
    accuracy: float
    per_class: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _filled("worker", self.worker)
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}; nothing can be scored on no samples")
        _known_share("accuracy", self.accuracy)
        _class_shares(self.per_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRow:
    """What one worker reaches alone, with the budget that it has in the run.

    Attributes:
        worker: Whose data the model was trained on.
        region: Whose samples it was scored on.
        samples: How many those are.
        loss: Mean cross-entropy.
        accuracy: Share of right answers, 0 to 1.
    """

    worker: str
    region: str
    samples: int
    loss: float | None
    accuracy: float

    def __post_init__(self) -> None:
        _filled("worker", self.worker)
        _filled("region", self.region)
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}; nothing can be scored on no samples")
        _known_share("accuracy", self.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Something worth telling: who, what and when.

    Attributes:
        at_unix: When.
        source: Which role or worker it is about, like "provider" or "worker-A".
        kind: One word to search for, like "joined", "left", "restarted", "failed".
        text: The sentence for people.
        round: In which round, None outside of rounds.
    """

    at_unix: float
    source: str
    kind: str
    text: str
    round: int | None = None

    def __post_init__(self) -> None:
        _filled("source", self.source)
        _filled("kind", self.kind)


def _filled(name: str, value: str) -> None:
    if not value.strip():
        raise ValueError(f"{name} is empty; it must say something")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}; use one of {', '.join(allowed)}")


def _at_least_zero(name: str, value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ValueError(f"{name}={value}; it cannot be below 0")


def _share(name: str, value: float | None) -> None:
    if value is not None and (value < 0 or value > 1):  # NaN passes: see the top of the module
        raise ValueError(f"{name}={value}; a share lies between 0 and 1")


def _class_shares(per_class: Mapping[str, float | None]) -> None:
    for name, accuracy in per_class.items():
        _share(f"accuracy of class {name!r}", accuracy)


def _known_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value}; a share lies between 0 and 1")
