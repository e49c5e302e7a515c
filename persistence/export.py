"""Runs for programs: as JSON objects, and as rows for a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from persistence.history import RoundHistory, RunHistory, Score, WorkerPart

# --- JSON -----------------------------------------------------------------------------------


def as_json(history: RunHistory) -> dict[str, Any]:
    """Return the run as an object that `json.dumps` writes: only finite numbers, nothing left out."""
    run = history.run
    return {
        "run": run.name,
        "database": str(history.database),
        "status": run.status,
        "reason": run.reason,
        "created_unix": run.created_unix,
        "ended_unix": run.ended_unix,
        "seed": run.seed,
        "source": run.source,
        "synthetic": run.synthetic,
        "mode": run.mode,
        "strategy": run.strategy,
        "strategy_parameters": dict(run.strategy_parameters),
        "settings": dict(run.settings),
        "region": history.region,
        "rounds": [_round_as_json(one) for one in history.rounds],
        "alone": {
            worker: {"accuracy": one.accuracy, "loss": one.loss, "samples": one.samples}
            for worker, one in history.alone.items()
        },
        "events": [
            {
                "at_unix": one.at_unix,
                "source": one.source,
                "kind": one.kind,
                "round": one.round,
                "text": one.text,
            }
            for one in history.events
        ],
        "seconds": history.seconds,
        "bytes_in": history.bytes_in,
        "bytes_out": history.bytes_out,
        "model_sha256": history.model_sha256,
    }


def summary_as_json(history: RunHistory) -> dict[str, Any]:
    """Return the run in a few words, as a list of runs has it."""
    run, scored = history.run, history.scored
    return {
        "run": run.name,
        "database": str(history.database),
        "status": run.status,
        "reason": run.reason,
        "created_unix": run.created_unix,
        "ended_unix": run.ended_unix,
        "source": run.source,
        "synthetic": run.synthetic,
        "mode": run.mode,
        "strategy": run.strategy,
        "rounds": len(history.committed),
        "accuracy": scored.accuracy if scored else None,
        "model_sha256": history.model_sha256,
    }


def _round_as_json(one: RoundHistory) -> dict[str, Any]:
    return {
        "round": one.number,
        "status": one.row.status,
        "reason": one.row.reason,
        "accuracy": one.accuracy,
        "loss": one.loss,
        "samples": one.score.samples if one.score else None,
        "per_class": dict(one.score.per_class) if one.score else {},
        "confusion": [list(row) for row in one.score.confusion] if one.score else [],
        "regions": {region: _score_as_json(score) for region, score in one.by_region.items()},
        "train_accuracy": one.row.train_accuracy,
        "train_loss": one.row.train_loss,
        "asked": len(one.asked),
        "accepted": len(one.accepted),
        "workers": {worker: _part_as_json(part) for worker, part in one.workers.items()},
        "seconds": one.row.seconds,
        "started_unix": one.row.started_unix,
        "ended_unix": one.row.ended_unix,
        "bytes_in": one.bytes_in,
        "bytes_out": one.bytes_out,
        "model_sha256": one.row.model_sha256,
    }


def _score_as_json(score: Score) -> dict[str, Any]:
    return {
        "accuracy": score.accuracy,
        "loss": score.loss,
        "samples": score.samples,
        "per_class": dict(score.per_class),
    }


def _part_as_json(part: WorkerPart) -> dict[str, Any]:
    update = part.update
    return {
        "outcome": update.outcome,
        "reason": update.reason,
        "samples": update.samples,
        "loss": update.loss,
        "accuracy": update.accuracy,
        "seconds": update.seconds,
        "train_seconds": update.train_seconds,
        "staleness": update.staleness,
        "bytes_in": part.bytes_in,
        "bytes_out": part.bytes_out,
        "aside": [{"outcome": one.outcome, "reason": one.reason} for one in part.aside],
    }


# --- CSV ------------------------------------------------------------------------------------

Row = Mapping[str, Any]

ROUND_HEADS = (
    "status",
    "reason",
    "asked",
    "accepted",
    "train_loss",
    "train_accuracy",
    "region",
    "loss",
    "accuracy",
    "seconds",
    "started_unix",
    "ended_unix",
    "bytes_in",
    "bytes_out",
    "model_sha256",
)
WORKER_HEADS = (
    "worker",
    "outcome",
    "reason",
    "samples",
    "loss",
    "accuracy",
    "seconds",
    "train_seconds",
    "staleness",
    "bytes_in",
    "bytes_out",
)
REGION_HEADS = ("region", "samples", "loss", "accuracy")
CLASS_HEADS = ("region", "class", "accuracy")


def _round_rows(history: RunHistory, one: RoundHistory) -> Iterator[Row]:
    yield {
        **_picked(one.row, "status", "reason", "train_loss", "train_accuracy", "seconds"),
        **_picked(one.row, "started_unix", "ended_unix", "model_sha256"),
        **_picked(one, "loss", "accuracy", "bytes_in", "bytes_out"),
        "asked": len(one.asked),
        "accepted": len(one.accepted),
        "region": history.region,
    }


def _worker_rows(_history: RunHistory, one: RoundHistory) -> Iterator[Row]:
    for part in one.workers.values():
        for update in part.updates:
            yield _picked(update, *WORKER_HEADS)


def _region_rows(_history: RunHistory, one: RoundHistory) -> Iterator[Row]:
    for region, score in one.by_region.items():
        yield {"region": region, **_picked(score, "samples", "loss", "accuracy")}


def _class_rows(_history: RunHistory, one: RoundHistory) -> Iterator[Row]:
    for region, score in one.by_region.items():
        for name, accuracy in score.per_class.items():
            yield {"region": region, "class": name, "accuracy": accuracy}


def _picked(row: object, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


# What a line can be: its columns behind database, run and round, and where they come from.
LINES: Mapping[str, tuple[Sequence[str], Callable[[RunHistory, RoundHistory], Iterator[Row]]]] = {
    "round": (ROUND_HEADS, _round_rows),
    "worker": (WORKER_HEADS, _worker_rows),
    "region": (REGION_HEADS, _region_rows),
    "class": (CLASS_HEADS, _class_rows),
}


def as_csv(histories: Iterable[RunHistory], by: str = "round") -> str:
    """Return runs as CSV with a line of heads, a missing value empty (RFC 4180, but for the line ends).

    Args:
        histories: Which runs.
        by: What a line is: "round", or in each round a "worker" (one more line for each of its messages
            that did not count), a "region", or a "class" of a region.
    """
    heads, rows = LINES[by]
    text = io.StringIO()
    writer = csv.DictWriter(text, ("database", "run", "round", *heads), lineterminator="\n")
    writer.writeheader()
    for history in histories:
        key = {"database": history.database, "run": history.run.name}
        for one in history.rounds:
            writer.writerows({**key, "round": one.number, **row} for row in rows(history, one))
    return text.getvalue()
