"""What happened in a run, as the Provider tells those who observe it. Views and records are made of these.

Every event is a message, so that an observer may be in the Provider's process or on the other side of
the world. `at_seconds` is the Provider's own clock since it started: good for differences, not for dates.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from trioactor import message

# Some twenty events a round: this holds a thousand rounds, in a few megabytes. Who observes a longer
# run from its middle sees its end.
MAX_EVENTS = 20_000


@message("federation.event.run_planned")
class RunPlanned:
    """The Provider is there, and waits for the others.

    Attributes:
        at_seconds: When.
        run: The name of the run.
        rounds: How many rounds it will have.
        min_workers: How many workers it waits for.
    """

    at_seconds: float
    run: str
    rounds: int
    min_workers: int


@message("federation.event.role_joined")
class RoleJoined:
    """The Aggregator or the Evaluator is there.

    Attributes:
        at_seconds: When.
        role: Which of the two.
        address: Where it is, as "host:port"; empty when it is in the Provider's process.
    """

    at_seconds: float
    role: str
    address: str


@message("federation.event.role_lost")
class RoleLost:
    """The Aggregator or the Evaluator can no longer be reached.

    Attributes:
        at_seconds: When.
        role: Which of the two.
        reason: Why, in words.
    """

    at_seconds: float
    role: str
    reason: str


@message("federation.event.worker_joined")
class WorkerJoined:
    """A worker has registered, for the first time or again.

    Attributes:
        at_seconds: When.
        worker_id: Which.
        num_samples: How many samples it trains on.
        address: Where it is, as "host:port"; empty when it is in the Provider's process.
    """

    at_seconds: float
    worker_id: str
    num_samples: int
    address: str


@message("federation.event.worker_lost")
class WorkerLost:
    """A worker can no longer be reached.

    Attributes:
        at_seconds: When.
        worker_id: Which.
        reason: Why, in words.
        expected_seconds: How long it is expected back; 0 for one that has left.
    """

    at_seconds: float
    worker_id: str
    reason: str
    expected_seconds: float


@message("federation.event.run_begun")
class RunBegun:
    """Everyone who is needed is there, and the run is in the record.

    Attributes:
        at_seconds: When.
        from_round: The first round that will be run; above 1 when the run goes on after a stop.
        source: Where the data comes from.
        synthetic: Whether it was made by a program.
    """

    at_seconds: float
    from_round: int
    source: str
    synthetic: bool


@message("federation.event.round_started")
class RoundStarted:
    """The workers have been asked to train.

    Attributes:
        at_seconds: When.
        round: Which round.
        asked: Which workers.
    """

    at_seconds: float
    round: int
    asked: tuple[str, ...]


@message("federation.event.update_accepted")
class UpdateAccepted:
    """A worker's update is part of the round's average.

    Attributes:
        at_seconds: When.
        round: Which round.
        worker_id: Which worker.
        loss: Its training loss.
        accuracy: Its training accuracy, 0 to 1.
        bytes_received: Bytes of weights it sent.
    """

    at_seconds: float
    round: int
    worker_id: str
    loss: float
    accuracy: float
    bytes_received: int


@message("federation.event.update_left_out")
class UpdateLeftOut:
    """A worker's update is no part of an average, or there is none since it could not train.

    Attributes:
        at_seconds: When.
        round: Which round; 0 for what a worker trains alone.
        worker_id: Which worker.
        verdict: "refused", "failed", "late", "duplicate", "stranger" or "stale".
        reason: Why, in words.
    """

    at_seconds: float
    round: int
    worker_id: str
    verdict: str
    reason: str


@message("federation.event.round_committed")
class RoundCommitted:
    """The average of a round is on disk.

    Attributes:
        at_seconds: When.
        round: Which round.
        accepted: Whose updates are in the average.
        asked: How many workers were asked.
        loss: Mean training loss, by samples.
        accuracy: The same for the training accuracy.
        seconds: From the question to the workers to the average.
        bytes: Bytes of weights sent to and received from the workers.
        model_sha256: Fingerprint of the global model.
    """

    at_seconds: float
    round: int
    accepted: tuple[str, ...]
    asked: int
    loss: float
    accuracy: float
    seconds: float
    bytes: int
    model_sha256: str


@message("federation.event.round_evaluated")
class RoundEvaluated:
    """The global model after a round was scored on the region that nobody trains on. The round is over.

    Attributes:
        at_seconds: When.
        round: Which round.
        loss: Mean cross-entropy.
        accuracy: Share of right answers, 0 to 1.
    """

    at_seconds: float
    round: int
    loss: float
    accuracy: float


@message("federation.event.training_alone")
class TrainingAlone:
    """The rounds are over. The workers now train by themselves, for comparison.

    Attributes:
        at_seconds: When.
        asked: Which workers.
    """

    at_seconds: float
    asked: tuple[str, ...]


@message("federation.event.alone_evaluated")
class AloneEvaluated:
    """What a worker reaches alone was scored on the same region as the global model.

    Attributes:
        at_seconds: When.
        worker_id: Which worker.
        loss: Mean cross-entropy.
        accuracy: Share of right answers, 0 to 1.
    """

    at_seconds: float
    worker_id: str
    loss: float
    accuracy: float


@message("federation.event.run_ended")
class RunEnded:
    """The run is over. No event follows.

    Attributes:
        at_seconds: When.
        status: "finished", "failed", "quorum lost" or "stopped".
        reason: Why, in words; empty when it finished.
        model_sha256: Fingerprint of the last committed model; empty when there is none.
    """

    at_seconds: float
    status: str
    reason: str
    model_sha256: str


Event = (
    RunPlanned
    | RoleJoined
    | RoleLost
    | WorkerJoined
    | WorkerLost
    | RunBegun
    | RoundStarted
    | UpdateAccepted
    | UpdateLeftOut
    | RoundCommitted
    | RoundEvaluated
    | TrainingAlone
    | AloneEvaluated
    | RunEnded
)


@message("federation.happened")
class Happened:
    """What an observer is told: the events since it was last told something, in their order.

    Attributes:
        events: One or more.
    """

    events: tuple[Event, ...]


EVENTS: tuple[type[Any], ...] = (*Event.__args__, Happened)


class Journal:
    """The events of a run in their order, the last `limit` of them.

    Readers keep their own place in it, so that a slow one holds up nobody.
    """

    def __init__(self, limit: int = MAX_EVENTS) -> None:
        self._events: deque[Event] = deque(maxlen=limit)
        self._count = 0

    @property
    def count(self) -> int:
        """How many events there were in all: the place after the last one."""
        return self._count

    def add(self, event: Event) -> None:
        """Write down one more."""
        self._events.append(event)
        self._count += 1

    def after(self, place: int) -> tuple[int, list[Event]]:
        """Return the events after a place, and the place after them. 0 is before the first."""
        newest_first = islice(reversed(self._events), max(0, self._count - place))
        return self._count, list(newest_first)[::-1]
