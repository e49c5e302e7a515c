"""Runs as lines of a table: one for each round, or for each worker, region or class in a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from persistence.parts import RoundHistory
from persistence.rows import RunRow
from persistence.table import Table, columns

Row = Mapping[str, Any]


class OfRounds(Protocol):
    """What of a run is needed here."""

    @property
    def database(self) -> Path:
        """The file that it is recorded in."""
        ...

    @property
    def run(self) -> RunRow:
        """The run itself."""
        ...

    @property
    def region(self) -> str:
        """Whose samples the global model is scored on."""
        ...

    @property
    def rounds(self) -> Sequence[RoundHistory]:
        """All rounds in order."""
        ...


COLUMNS = columns(
    {
        "text": "database run status reason region model_sha256 worker outcome class",
        "whole": "round asked accepted samples staleness bytes_in bytes_out",
        "number": "train_loss train_accuracy loss accuracy seconds train_seconds started_unix ended_unix",
    }
)

KEY = "database run round"
ROUND = """status reason asked accepted train_loss train_accuracy region loss accuracy seconds started_unix
    ended_unix bytes_in bytes_out model_sha256"""
WORKER = "worker outcome reason samples loss accuracy seconds train_seconds staleness bytes_in bytes_out"
REGION = "region samples loss accuracy"
CLASS = "region class accuracy"


def table_of(runs: Iterable[OfRounds], by: str = "round") -> Table:
    """Return runs as one table.

    Args:
        runs: Which runs.
        by: What a line is: "round", or in each round a "worker" (one more line for each of its messages
            that did not count), a "region", or a "class" of a region.
    """
    heads, rows_of = LINES[by]
    rows = (
        {"database": str(run.database), "run": run.run.name, "round": one.number, **row}
        for run in runs
        for one in run.rounds
        for row in rows_of(run, one)
    )
    return Table.of((COLUMNS[name] for name in f"{KEY} {heads}".split()), rows)


def _round_rows(run: OfRounds, one: RoundHistory) -> Iterator[Row]:
    yield {
        **_picked(one.row, "status", "reason", "train_loss", "train_accuracy", "seconds"),
        **_picked(one.row, "started_unix", "ended_unix", "model_sha256"),
        **_picked(one, "loss", "accuracy", "bytes_in", "bytes_out"),
        "asked": len(one.asked),
        "accepted": len(one.accepted),
        "region": run.region,
    }


def _worker_rows(_run: OfRounds, one: RoundHistory) -> Iterator[Row]:
    for part in one.workers.values():
        for update in part.updates:
            yield _picked(update, *WORKER.split())


def _region_rows(_run: OfRounds, one: RoundHistory) -> Iterator[Row]:
    for region, score in one.by_region.items():
        yield {"region": region, **_picked(score, "samples", "loss", "accuracy")}


def _class_rows(_run: OfRounds, one: RoundHistory) -> Iterator[Row]:
    for region, score in one.by_region.items():
        for name, accuracy in score.per_class.items():
            yield {"region": region, "class": name, "accuracy": accuracy}


def _picked(row: object, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


# What a line can be: its columns behind the key, and where they come from.
LINES: Mapping[str, tuple[str, Callable[[OfRounds, RoundHistory], Iterator[Row]]]] = {
    "round": (ROUND, _round_rows),
    "worker": (WORKER, _worker_rows),
    "region": (REGION, _region_rows),
    "class": (CLASS, _class_rows),
}
