"""What the roles of a coordinated run say to each other.

Who says what to whom, in the order of a run:

| message | from | to | answer |
| --- | --- | --- | --- |
| `Join` | Aggregator, Evaluator | Provider | `Welcome` |
| `Register` | Worker | Provider | `Welcome` |
| `OpenRun` | Provider | Aggregator | `RunOpened` |
| `TrainRequest` | Provider | Worker | later a `ModelUpdate` or a `TrainingFailed` |
| `ModelUpdate` | Worker | Provider | `Receipt` |
| `Withdraw` | whoever runs a Worker | Worker | |
| `Leave` | Worker | Provider | |
| `AggregateRequest` | Provider | Aggregator | `Aggregated`, once it is on disk |
| `FetchUpdate` | Aggregator | Provider | `ModelUpdate`: one of the larger ones, before that |
| `RecordFailedRound` | Provider | Aggregator | `Recorded` |
| `EvaluateRequest` | Provider | Evaluator | `Evaluated`, once it is on disk |
| `GlobalModelBroadcast` | Provider | Workers | later a `RegionScored` |
| `RegionScored` | Worker | Provider, which passes it on to the Aggregator | |
| `TrainAlone` | Provider | Worker | later a `ModelAlone` or a `TrainingFailed` |
| `CloseRun` | Provider | Aggregator | `Recorded` |
| `RunOver` | Provider | everyone | |
| `StopRun` | anyone | Provider | |
| `Observe` | anyone | Provider | the events so far and all that follow: `federation.events` |

A message checks what can be known without its receiver. What such a check raises on a message from
the network is the sender's fault, and the runtime refuses the message for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from federation.learning import Params
from trioactor import ActorRef, Request, message

ALONE_ROUND = 0
"""The round of what a worker trains by itself, for comparison. Federated rounds count from 1."""


def _check_name(what: str, name: str) -> None:
    if not 0 < len(name) <= 100 or not name.isprintable() or "/" in name:
        raise ValueError(f"{what}={name!r}; use 1 to 100 printable characters without a slash")


def _check_at_least(least: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name}={number}; it must be at least {least}")


def _check_amount(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name}={number}; it must be a finite number, 0 or more")


def _check_weights(weights: Params) -> None:
    if not weights:
        raise ValueError("weights without a single array; a model has at least one")


# --- coming together ------------------------------------------------------------------------


@message("federation.welcome")
class Welcome:
    """You take part.

    Attributes:
        run: The run that you take part in.
    """

    run: str


@message("federation.join")
class Join(Request[Welcome]):
    """The Aggregator or the Evaluator offers its service.

    Attributes:
        role: "aggregator" or "evaluator".
        actor: Where it is to be asked.
    """

    role: str
    actor: ActorRef

    def __post_init__(self) -> None:
        if self.role not in ("aggregator", "evaluator"):
            raise ValueError(f"role={self.role!r}; a role that joins is 'aggregator' or 'evaluator'")


@message("federation.register")
class Register(Request[Welcome]):
    """A worker offers to train.

    Attributes:
        worker_id: Its name in the run and in the record, like "A".
        actor: Where it is to be asked.
        num_samples: How many samples its region has.
        num_features: How many features a sample has.
        num_classes: How many classes the labels are from.
        source: What its samples are of, like "synthetic" or "digits".
        synthetic: Whether they were made by a program rather than seen in the world.
    """

    worker_id: str
    actor: ActorRef
    num_samples: int
    num_features: int
    num_classes: int
    source: str
    synthetic: bool

    def __post_init__(self) -> None:
        _check_name("worker_id", self.worker_id)
        _check_at_least(1, num_samples=self.num_samples, num_features=self.num_features)
        _check_at_least(2, num_classes=self.num_classes)


@message("federation.withdraw")
class Withdraw:
    """End, and say so to the Provider.

    Attributes:
        reason: Why, in words.
    """

    reason: str


@message("federation.leave")
class Leave:
    """A worker ends, and nobody needs to wait for it. It may come back, and then registers again.

    Attributes:
        worker_id: Which.
        reason: Why, in words.
    """

    worker_id: str
    reason: str


@message("federation.run_opened", eq=False)
class RunOpened:
    """The run is in the record.

    Attributes:
        round: The last committed round; 0 for a run that begins.
        weights: The global model after that round; None for a run that begins.
        evaluated: Whether that round has been scored; a crash may come between the two commits.
        members: The workers that took part when the record was last written: those of them that are not
            there yet are likely on their way.
    """

    round: int
    weights: Params | None
    evaluated: bool
    members: tuple[str, ...] = ()


@message("federation.open_run", eq=False)
class OpenRun(Request[RunOpened]):
    """Begin the run in the record, or find the one of that name and say how far it came.

    Attributes:
        run: Its name.
        settings: All settings as resolved: a JSON object as text.
        seed: The seed that everything is drawn from.
        source: Where the data comes from, like "synthetic" or "digits".
        synthetic: Whether the data was made by a program.
        first: The model before the first round.
        strategy: How updates become the next model, by its name in `federation.learning.STRATEGIES`.
        parameters: The strategy's, where they are not its defaults.
        staleness_exponent: In buffered mode, how an update from an older version counts; None in rounds.
    """

    run: str
    settings: str
    seed: int
    source: str
    synthetic: bool
    first: Params
    strategy: str = "fedavg"
    parameters: Mapping[str, float | int] = field(default_factory=dict)
    staleness_exponent: float | None = None

    def __post_init__(self) -> None:
        _check_name("run", self.run)
        _check_name("source", self.source)
        _check_weights(self.first)
        if self.staleness_exponent is not None:
            _check_amount(staleness_exponent=self.staleness_exponent)


# --- a round --------------------------------------------------------------------------------


@message("federation.train_request", eq=False)
class TrainRequest:
    """Train from these weights on your region.

    Attributes:
        round: Which round, from 1.
        weights: The global model.
        epochs: How many passes over the region.
        batch_size: Samples a step of SGD.
        learning_rate: Step length of SGD.
        mu: Strength of FedProx's pull towards `weights` (Li et al., 2020); 0 is plain SGD.
        seed: The seed of the run. The worker's generator comes from it, its name and the round.
    """

    round: int
    weights: Params
    epochs: int
    batch_size: int
    learning_rate: float
    mu: float
    seed: int

    def __post_init__(self) -> None:
        _check_at_least(1, round=self.round, epochs=self.epochs, batch_size=self.batch_size)
        _check_amount(learning_rate=self.learning_rate, mu=self.mu)
        _check_weights(self.weights)


@message("federation.receipt")
class Receipt:
    """What became of an update.

    Attributes:
        verdict: "accepted", or why not: "late", "duplicate", "stranger", "stale", "refused".
        reason: The verdict in words, empty when accepted.
    """

    verdict: str
    reason: str


@message("federation.model_update", eq=False)
class ModelUpdate(Request[Receipt]):
    """A worker's answer to `TrainRequest`.

    Attributes:
        round: Which round it was trained for.
        worker_id: Who trained.
        weights: Its model after local training.
        num_samples: How many samples it trained on: its weight in the mean.
        metrics: "loss" and "accuracy" over its own region in the last epoch, "seconds" of training.
    """

    round: int
    worker_id: str
    weights: Params
    num_samples: int
    metrics: Mapping[str, float]

    def __post_init__(self) -> None:
        _check_name("worker_id", self.worker_id)
        _check_at_least(1, round=self.round, num_samples=self.num_samples)
        _check_weights(self.weights)


@message("federation.training_failed")
class TrainingFailed:
    """A worker could not train. It takes part in the next round again.

    Attributes:
        round: Which round; `ALONE_ROUND` for the training alone.
        worker_id: Who says so.
        reason: What happened, in words.
    """

    round: int
    worker_id: str
    reason: str


@message("federation.attendance")
class Attendance:
    """What became of one worker that was asked in a round, or of an update that nobody had asked for.

    Attributes:
        worker_id: Whose.
        outcome: For a worker that was asked "accepted", "refused", "failed", "lost" or "late"; for an
            update that was not asked for "duplicate", "stale", "stranger" or "late".
        reason: Why it was not accepted, in words.
        num_samples: How many samples it trained on; None without an update.
        loss: Its mean training loss; None without an accepted update.
        accuracy: The same for its accuracy, 0 to 1.
        seconds: From the question to the answer, or to the end of the round; None for what was not asked.
        bytes_sent: Bytes of weights sent to it.
        bytes_received: Bytes of weights it sent.
        train_seconds: How long the worker says that it trained; None without an accepted update, or if it
            does not say.
        staleness: Of an accepted update, how many versions came out since the one it was trained from: 0
            in rounds; None of any other.
    """

    worker_id: str
    outcome: str
    reason: str
    num_samples: int | None
    loss: float | None
    accuracy: float | None
    seconds: float | None
    bytes_sent: int
    bytes_received: int
    train_seconds: float | None
    staleness: int | None


@message("federation.aggregated", eq=False)
class Aggregated:
    """The round is committed: its average is on disk.

    Attributes:
        round: Which round.
        weights: The new global model.
        model_sha256: Its fingerprint, 64 hexadecimal digits.
        loss: Mean training loss of the accepted updates, by samples.
        accuracy: The same for their accuracy, 0 to 1.
        seconds: From the question to the workers to the average, as it stands in the record.
    """

    round: int
    weights: Params
    model_sha256: str
    loss: float
    accuracy: float
    seconds: float


@message("federation.fetch_update")
class FetchUpdate(Request[ModelUpdate]):
    """Send an accepted update, which an `AggregateRequest` only names.

    Attributes:
        run: Which run.
        round: Which round it was trained for.
        worker_id: Who has trained.
    """

    run: str
    round: int
    worker_id: str


@message("federation.aggregate_request", eq=False)
class AggregateRequest(Request[Aggregated]):
    """Average the accepted updates and commit the round.

    Attributes:
        run: Which run.
        round: Which round.
        updates: The accepted updates, or as many of them as go into one message.
        more: The others: what to ask the Provider for, one by one, so that they need no memory at once.
        attendance: Everyone who was asked, and what became of it.
        seconds: How long the round was open.
    """

    run: str
    round: int
    updates: tuple[ModelUpdate, ...]
    more: tuple[FetchUpdate, ...]
    attendance: tuple[Attendance, ...]
    seconds: float

    def __post_init__(self) -> None:
        _check_at_least(1, round=self.round)
        if not self.updates and not self.more:
            raise ValueError("no updates; a round without one accepted update is not aggregated")


@message("federation.recorded")
class Recorded:
    """It is on disk."""


@message("federation.record_failed_round")
class RecordFailedRound(Request[Recorded]):
    """Keep what happened in a round that brought no model.

    Attributes:
        run: Which run.
        round: Which round.
        reason: Why it failed, in words.
        attendance: Everyone who was asked, and what became of it.
        seconds: How long the round was open.
    """

    run: str
    round: int
    reason: str
    attendance: tuple[Attendance, ...]
    seconds: float


@message("federation.evaluated")
class Evaluated:
    """A model was scored on the region that nobody trains on, and the score is on disk.

    Attributes:
        samples: How many samples it was scored on.
        loss: Mean cross-entropy.
        accuracy: Share of right answers, 0 to 1.
    """

    samples: int
    loss: float
    accuracy: float


@message("federation.evaluate_request", eq=False)
class EvaluateRequest(Request[Evaluated]):
    """Score a model and commit the score.

    Attributes:
        run: Which run.
        round: After which round; `ALONE_ROUND` for a model that a worker trained alone.
        weights: The model.
        alone: The worker that trained it alone; empty for the global model.
    """

    run: str
    round: int
    weights: Params
    alone: str = ""

    def __post_init__(self) -> None:
        _check_name("run", self.run)
        _check_weights(self.weights)
        if (self.round == ALONE_ROUND) != bool(self.alone):
            raise ValueError(f"round={self.round} with alone={self.alone!r}; exactly one of the two is given")


@message("federation.global_model", eq=False)
class GlobalModelBroadcast:
    """The global model after a committed round.

    Attributes:
        round: Which round.
        weights: The model.
        model_sha256: Its fingerprint.
    """

    round: int
    weights: Params
    model_sha256: str


@message("federation.region_scored")
class RegionScored:
    """What the global model is worth on a worker's own region, which nobody else sees.

    Attributes:
        round: After which round.
        worker_id: Whose region.
        samples: How many it has, at least 1.
        loss: Mean cross-entropy.
        accuracy: Share of right answers, 0 to 1.
        per_class: The same by the name of the class; None for a class that is not in the region.
    """

    round: int
    worker_id: str
    samples: int
    loss: float
    accuracy: float
    per_class: Mapping[str, float | None]

    def __post_init__(self) -> None:
        _check_name("worker_id", self.worker_id)
        _check_at_least(1, round=self.round, samples=self.samples)
        shares = (self.accuracy, *(one for one in self.per_class.values() if one is not None))
        if not (math.isfinite(self.loss) and all(0 <= one <= 1 for one in shares)):
            raise ValueError(f"{self}; a loss is finite, and a share between 0 and 1")


# --- after the rounds -----------------------------------------------------------------------


@message("federation.train_alone", eq=False)
class TrainAlone:
    """Train by yourself, as a federation of one, with the budget that you have in the run.

    Attributes:
        weights: The model that the run began with.
        rounds: For how many rounds of `epochs` each.
        epochs: See `TrainRequest`, as for the others.
        batch_size: See `TrainRequest`.
        learning_rate: See `TrainRequest`.
        mu: See `TrainRequest`.
        seed: See `TrainRequest`.
        schedule: How the learning rate changes from round to round, as `federation.learning.make_schedule`
            is told it.
    """

    weights: Params
    rounds: int
    epochs: int
    batch_size: int
    learning_rate: float
    mu: float
    seed: int
    schedule: Mapping[str, str | float | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_at_least(1, rounds=self.rounds, epochs=self.epochs, batch_size=self.batch_size)
        _check_amount(learning_rate=self.learning_rate, mu=self.mu)
        _check_weights(self.weights)


@message("federation.model_alone", eq=False)
class ModelAlone:
    """A worker's answer to `TrainAlone`.

    Attributes:
        worker_id: Who trained.
        weights: Its model.
    """

    worker_id: str
    weights: Params


@message("federation.close_run")
class CloseRun(Request[Recorded]):
    """Write down how the run ended.

    Attributes:
        run: Which run.
        status: "finished", "failed", "quorum lost" or "stopped".
        reason: Why, in words; empty when it finished.
    """

    run: str
    status: str
    reason: str


@message("federation.run_over")
class RunOver:
    """The run has ended, and with it the work of whoever hears this.

    Attributes:
        status: As in `CloseRun`.
        reason: As in `CloseRun`.
    """

    status: str
    reason: str


@message("federation.stop_run")
class StopRun:
    """End the run now, in good order. What is committed is kept, and the run can go on later.

    Attributes:
        reason: Who wants it, or why, in words.
        status: What the record is to say: "stopped", or "failed" or "quorum lost" when it cannot go on.
    """

    reason: str
    status: str = "stopped"

    def __post_init__(self) -> None:
        if self.status not in ("stopped", "failed", "quorum lost"):
            raise ValueError(
                f"status={self.status!r}; a run is ended as 'stopped', 'failed' or 'quorum lost'"
            )


@message("federation.observe")
class Observe:
    """Tell this actor every event so far, and each new one. See `federation.events`.

    Attributes:
        observer: Whom to tell, with `Happened`.
        only: The kinds of events it wants, by the names of their classes; empty for all.
    """

    observer: ActorRef
    only: tuple[str, ...] = ()


MESSAGES: tuple[type[Any], ...] = (
    Welcome,
    Join,
    Register,
    Withdraw,
    Leave,
    RunOpened,
    OpenRun,
    TrainRequest,
    Receipt,
    ModelUpdate,
    TrainingFailed,
    Attendance,
    Aggregated,
    AggregateRequest,
    FetchUpdate,
    Evaluated,
    EvaluateRequest,
    GlobalModelBroadcast,
    RegionScored,
    TrainAlone,
    ModelAlone,
    Recorded,
    RecordFailedRound,
    CloseRun,
    RunOver,
    StopRun,
    Observe,
)
