"""What the record keeps of a federation: what was told and scored as rows, and what strategies remember."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from federation.config import EVALUATION_REGION
from federation.events import Event, RunEnded, UpdateLeftOut, WorkerJoined, WorkerLost
from federation.learning import Metrics, Region, State
from federation.messages import Attendance, RegionScored
from persistence import BaselineRow, EvaluationRow, EventRow, RegionScoreRow, RoundPersistence, UpdateRow


def state_after(store: RoundPersistence, run_id: int, number: int) -> State:
    """Return what a strategy goes on from after a committed round. Blocking."""
    model = {f"model/{name}": array for name, array in store.load_weights(run_id, number).items()}
    return State.from_arrays({**model, **store.load_strategy_state(run_id, number)})


def memory_arrays(state: State) -> dict[str, NDArray[np.float32]]:
    """Return what a strategy remembers beside the model, as named arrays: "v/W" and so on."""
    return {name: array for name, array in state.to_arrays().items() if not name.startswith("model/")}


class Measured(Protocol):
    """Anything that says how a training went, like a `ModelUpdate`."""

    @property
    def num_samples(self) -> int:
        """How many samples it was, at least 1."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """Its metrics by name."""
        ...


def mean_metric(trainings: Iterable[Measured], name: str) -> float:
    """Return the mean of a metric by samples, rounded once: the same number in any order."""
    pairs = [(one.num_samples, one.metrics[name]) for one in trainings]
    return math.fsum(samples * value for samples, value in pairs) / sum(samples for samples, _ in pairs)


def update_row(one: Attendance) -> UpdateRow:
    """Return what became of a worker in a round as the record keeps it."""
    return UpdateRow(
        worker=one.worker_id,
        outcome=one.outcome,
        reason=one.reason,
        samples=one.num_samples,
        loss=one.loss,
        accuracy=one.accuracy,
        seconds=one.seconds,
        bytes_in=one.bytes_received,
        bytes_out=one.bytes_sent,
        train_seconds=one.train_seconds,
        staleness=one.staleness,
    )


def region_score_row(scored: RegionScored) -> RegionScoreRow:
    """Return what a worker said of a global model as the record keeps it."""
    return RegionScoreRow(
        round=scored.round,
        worker=scored.worker_id,
        samples=scored.samples,
        loss=scored.loss,
        accuracy=scored.accuracy,
        per_class=scored.per_class,
    )


def event_row(event: Event, now_unix: float) -> EventRow | None:
    """Return an event as the record keeps it; None for one that its tables tell of."""
    match event:
        case WorkerJoined():
            where = f" from {event.address}" if event.address else ""
            source, kind = f"worker-{event.worker_id}", "joined"
            text, number = f"registered{where} with {event.num_samples:,} samples", None
        case WorkerLost():
            source, kind = f"worker-{event.worker_id}", "lost"
            text, number = event.reason, None
        case UpdateLeftOut():
            source, kind = f"worker-{event.worker_id}", event.verdict
            text, number = event.reason, event.round
        case RunEnded():
            source, kind = "provider", event.status.replace(" ", "-")
            text, number = event.reason, None
        case _:
            return None
    return EventRow(at_unix=now_unix, source=source, kind=kind, text=text, round=number)


def evaluation_row(number: int, region: Region, metrics: Metrics, seconds: float) -> EvaluationRow:
    """Return the score of a round's global model on a region as the record keeps it."""
    return EvaluationRow(
        round=number,
        region=region.meta.region or EVALUATION_REGION,
        samples=metrics.samples,
        loss=metrics.loss,
        accuracy=metrics.accuracy,
        per_class=dict(zip(region.meta.class_names, metrics.per_class_accuracy, strict=True)),
        confusion=tuple(tuple(row) for row in metrics.confusion.tolist()),
        seconds=seconds,
    )


def baseline_row(worker: str, region: Region, metrics: Metrics) -> BaselineRow:
    """Return what a worker reaches alone, scored on a region, as the record keeps it."""
    return BaselineRow(
        worker=worker,
        region=region.meta.region or EVALUATION_REGION,
        samples=metrics.samples,
        loss=metrics.loss,
        accuracy=metrics.accuracy,
    )
