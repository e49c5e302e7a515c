"""A run for experiment trackers: what they are told, step by step, read from the record.

The record is the queue between a run and its trackers: it loses nothing, and nobody waits for anybody. A
tracker that could not be reached is told all that it lacks as soon as it can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from persistence.history import RunHistory
from persistence.parts import RoundHistory, WorkerPart


class TrackingFailed(Exception):
    """A tracker could not be told: it is not reachable, or does not take it. The text says which and why."""


class Step(NamedTuple):
    """Numbers of one stream after one round.

    Attributes:
        stream: "" for the federation as a whole, or the id of a worker.
        round: From 1.
        at_unix: When the round ended.
        values: Numbers by "group/name".
    """

    stream: str
    round: int
    at_unix: float
    values: Mapping[str, float]


class Tracker(Protocol):
    """Somebody who keeps the numbers of runs."""

    @property
    def name(self) -> str:
        """What it is and where, for people."""
        ...

    def tell(self, history: RunHistory) -> None:
        """Tell it of all rounds that it has not been told of, and how the run ended if it has. Blocking.

        Raises:
            TrackingFailed: It cannot be told now. What it was told, it keeps; the next call goes on there.
        """
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


def whole_rounds(history: RunHistory, after: int = 0) -> Iterator[RoundHistory]:
    """Return the rounds behind a number of which nothing more is to come.

    A round is committed before its model is scored; so the last one of a run that goes on is left for later
    until it has its score.
    """
    for one in history.rounds:
        last = one is history.rounds[-1] and history.run.status == "running"
        if one.number > after and (one.score is not None or not last):
            yield one


def steps_of(one: RoundHistory) -> Iterator[Step]:
    """Return what a round brought: first for the federation, then for each worker that took part."""
    at_unix = one.row.ended_unix
    yield Step("", one.number, at_unix, _known(_of_federation(one)))
    for worker, part in one.workers.items():
        if part.accepted:
            yield Step(worker, one.number, at_unix, _known(_of_worker(part)))


def _of_federation(one: RoundHistory) -> dict[str, float | None]:
    return {
        "global/accuracy": one.accuracy,
        "global/loss": one.loss,
        "train/accuracy": one.row.train_accuracy,
        "train/loss": one.row.train_loss,
        "round/accepted": len(one.accepted),
        "round/asked": len(one.asked),
        "round/seconds": one.row.seconds,
        "traffic/bytes_in": one.bytes_in,
        "traffic/bytes_out": one.bytes_out,
    }


def _of_worker(part: WorkerPart) -> dict[str, float | None]:
    update = part.update
    return {
        "train/accuracy": update.accuracy,
        "train/loss": update.loss,
        "train/samples": update.samples,
        "train/seconds": update.train_seconds,
        "round/seconds": update.seconds,
        "round/staleness": update.staleness,
        "traffic/bytes_in": part.bytes_in,
        "traffic/bytes_out": part.bytes_out,
    }


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}


def settings_of(history: RunHistory) -> dict[str, str]:
    """Return what the run was told to do, as texts by name."""
    run = history.run
    told = {
        **run.settings,
        "strategy": run.strategy,
        "mode": run.mode,
        "seed": run.seed,
        "source": run.source,
    }
    return {name: str(told[name]) for name in sorted(told)}
