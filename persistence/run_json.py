"""Runs for programs, as JSON objects; `persistence.lines` has them as tables for programs."""

from __future__ import annotations

from typing import Any

from persistence.history import RoundHistory, RunHistory, Score, WorkerPart


def as_json(history: RunHistory) -> dict[str, Any]:
    """Return the run as an object that `json.dumps` writes: only finite numbers, nothing left out."""
    run = history.run
    return {
        **_named(history),
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
        **_named(history),
        "source": run.source,
        "synthetic": run.synthetic,
        "mode": run.mode,
        "strategy": run.strategy,
        "rounds": len(history.committed),
        "accuracy": scored.accuracy if scored else None,
        "model_sha256": history.model_sha256,
    }


def _named(history: RunHistory) -> dict[str, Any]:
    """Return which run it is and how it ended: what both begin with."""
    run = history.run
    return {
        "run": run.name,
        "database": str(history.database),
        "status": run.status,
        "reason": run.reason,
        "created_unix": run.created_unix,
        "ended_unix": run.ended_unix,
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
