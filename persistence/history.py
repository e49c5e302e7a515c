"""A run as it was: everything the record knows of it, in one frozen object to show or to analyse."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from persistence.lines import table_of
from persistence.parts import ASIDE, RoundHistory, Score, WorkerPart
from persistence.rounds import RoundPersistence, UnknownRun
from persistence.rows import BaselineRow, EvaluationRow, EventRow, RunRow, UpdateRow
from persistence.table import Table, page

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RoundHistory", "RunHistory", "Score", "WorkerPart", "load_run", "load_runs"]

# What a notebook shows of a run, of all that its table by rounds has.
SHOWN = ("round", "accepted", "asked", "train_loss", "loss", "accuracy", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """A run with all that happened in it.

    Attributes:
        database: The file that it is recorded in.
        run: The run itself.
        region: Whose samples the global model is scored on, like "D"; empty before the first score.
        rounds: All rounds in order, a failed one among them.
        alone: What each worker reaches alone, scored on the same region, by worker.
        events: What was told, in order.
    """

    database: Path
    run: RunRow
    region: str
    rounds: tuple[RoundHistory, ...]
    alone: Mapping[str, BaselineRow] = field(default_factory=dict)
    events: tuple[EventRow, ...] = ()

    @property
    def committed(self) -> tuple[RoundHistory, ...]:
        """The rounds that brought a model."""
        return tuple(one for one in self.rounds if one.row.status == "committed")

    @property
    def workers(self) -> tuple[str, ...]:
        """Everyone who took part or trained alone, in the order of their ids."""
        return tuple(sorted({name for one in self.rounds for name in one.asked} | set(self.alone)))

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region on which a global model was scored, the one it is judged by first."""
        known = {region for one in self.rounds for region in one.by_region}
        return tuple(sorted(known, key=lambda region: (region != self.region, region)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the global model is scored by, in the order of their labels."""
        return tuple(self.scored.score.per_class) if self.scored and self.scored.score else ()

    @property
    def seconds(self) -> float:
        """All rounds together."""
        return sum(one.row.seconds for one in self.rounds)

    @property
    def bytes_in(self) -> int:
        """Received from all workers in all rounds."""
        return sum(one.bytes_in for one in self.rounds)

    @property
    def bytes_out(self) -> int:
        """Sent to all workers in all rounds."""
        return sum(one.bytes_out for one in self.rounds)

    @property
    def scored(self) -> RoundHistory | None:
        """The last round with a score, None when there is none."""
        return next((one for one in reversed(self.rounds) if one.score), None)

    @property
    def best_alone(self) -> BaselineRow | None:
        """The worker that reaches most alone, None when that was not tried."""
        return max(self.alone.values(), key=lambda one: one.accuracy, default=None)

    @property
    def model_sha256(self) -> str | None:
        """Of the final model, or of the latest one while the run goes on."""
        latest = self.committed[-1].row.model_sha256 if self.committed else None
        return self.run.model_sha256 or latest

    def table(self, by: str = "round") -> Table:
        """Return the run as lines: for a file, for a notebook, for pandas.

        Args:
            by: What a line is: "round", or in each round a "worker" (one more line for each of its messages
                that did not count), a "region", or a "class" of a region.
        """
        return table_of([self], by)

    def to_pandas(self, by: str = "round") -> pd.DataFrame:
        """Return the same as a DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return self.table(by).to_pandas()

    def _repr_html_(self) -> str:
        run = self.run
        reason = f": {run.reason}" if run.reason else ""
        made_up = " (made by a program)" if run.synthetic else ""
        learnt = f"{run.source} data{made_up}, {run.strategy}, seed {run.seed}"
        return page(f"{run.name} {run.status}{reason}; {learnt}", self.table().only(*SHOWN))


def load_run(path: Path | str, run: str | None = None) -> RunHistory:
    """Read a run from a record, also while it is being written.

    Args:
        path: The training.db.
        run: The name or the id of the run; the latest when it is left out.

    Raises:
        UnknownRun: There is none of that name; the text names those that are near.
        DatabaseError: The file cannot be read.
    """
    with RoundPersistence(path, read_only=True) as record, record.database.snapshot():
        row = chosen_run(record.runs(), run, record.database.path)
        by_workers = record.region_scores(row.id)
        scores = [one for one in record.evaluations(row.id) if one.model == "global"]
        updates = record.updates(row.id)
        region = _main_region(scores, updates)
        by_round = {one.round: one for one in scores if one.region == region}
        by_region: dict[int, dict[str, Score]] = {}
        for told in by_workers:
            by_region.setdefault(told.round, {})[told.worker] = told
        for judged in scores:  # where both have spoken, the Evaluator has the last word
            by_region.setdefault(judged.round, {})[judged.region] = judged
        return RunHistory(
            database=record.database.path,
            run=row,
            region=region,
            rounds=tuple(
                RoundHistory(
                    row=one,
                    score=by_round.get(one.number),
                    workers=_parts(updates.get(one.number, ())),
                    by_region=by_region.get(one.number, {}),
                )
                for one in record.rounds(row.id)
            ),
            alone={one.worker: one for one in record.baselines(row.id) if one.region == region},
            events=record.events(row.id),
        )


def load_runs(path: Path | str) -> tuple[RunHistory, ...]:
    """Read all runs of a record, the oldest first."""
    with RoundPersistence(path, read_only=True) as record:
        names = [row.name for row in record.runs()]
    return tuple(load_run(path, name) for name in names)


def chosen_run(rows: Sequence[RunRow], run: str | None, path: Path) -> RunRow:
    """Return the run that is asked for; a name goes before an equal number.

    Args:
        rows: All that there are, the oldest first.
        run: Its name or its id; None for the latest.
        path: The file that they are of, for the error text.

    Raises:
        UnknownRun: There is none; the text names those that are near.
    """
    if not rows:
        raise UnknownRun(f"there is no run in {path} yet")
    if run is None:
        return rows[-1]
    for row in (*(row for row in rows if row.name == run), *(row for row in rows if str(row.id) == run)):
        return row
    near = difflib.get_close_matches(run, [row.name for row in rows], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the latest is {rows[-1].name}"
    raise UnknownRun(f"there is no run {run!r} in {path}; {hint}")


def _main_region(scores: Sequence[EvaluationRow], updates: Mapping[int, Sequence[UpdateRow]]) -> str:
    """Return the region that the run is judged by: one that nobody trains on, and scored most often."""
    trained_on = {update.worker for of_round in updates.values() for update in of_round}
    counts = Counter(score.region for score in scores)
    return min(counts, key=lambda region: (region in trained_on, -counts[region], region), default="")


def _parts(updates: Sequence[UpdateRow]) -> dict[str, WorkerPart]:
    """Return each worker's own part in a round, apart from its other messages."""
    by_worker: dict[str, list[UpdateRow]] = {}
    for update in updates:
        by_worker.setdefault(update.worker, []).append(update)
    return {worker: _part(by_worker[worker]) for worker in sorted(by_worker)}


def _part(updates: Sequence[UpdateRow]) -> WorkerPart:
    own = min(updates, key=lambda one: (one.outcome != "accepted", one.outcome in ASIDE))
    return WorkerPart(update=own, aside=tuple(one for one in updates if one is not own))
