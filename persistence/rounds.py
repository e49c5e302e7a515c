"""`RoundPersistence`: the record of coordinated runs, in training.db.

The rule that everything rests on: a round is *committed* when `commit_round` has returned. Its weights,
its updates and its metrics are then on the disk, all of them; before that, none of them. So whoever is
killed at any moment goes on at `last_committed_round(run) + 1`, and no round is lost or counted twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from persistence.arrays import Array, from_columns, to_columns
from persistence.columns import columns_of, insert, insert_many, plain, without
from persistence.database import BUSY_SECONDS, Database
from persistence.errors import Damaged
from persistence.rows import (
    BaselineRow,
    EvaluationRow,
    EventRow,
    NewRun,
    RegionScoreRow,
    RoundRow,
    RunRow,
    UpdateRow,
)
from persistence.schema import TRAINING_SCHEMA

RUN_JSON = ("settings", "strategy_parameters")  # kept as JSON objects


class RoundConflict(ValueError):
    """The round does not fit what is already in the record; nothing was written."""


class UnknownRun(LookupError):
    """There is no such run in the file."""


class RoundPersistence:
    """The record of coordinated runs, in one SQLite file.

    Blocking: an actor calls it through a worker thread, one call at a time. Several processes may have
    the file open, each by its own `RoundPersistence`.

    Args:
        path: The file, by habit training.db. It is made when it is missing, its folder is not.
        read_only: Open it to read only; works while a run writes.
        busy_seconds: How long to wait for another program that holds the file.

    Raises:
        DatabaseError: The file cannot be used; the text says why. Every method may raise it too.
    """

    def __init__(
        self, path: Path | str, *, read_only: bool = False, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.database = Database(path, TRAINING_SCHEMA, read_only=read_only, busy_seconds=busy_seconds)

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- runs ------------------------------------------------------------------------------

    def create_run(self, new: NewRun) -> RunRow:
        """Enter a run, with the status "running", and return it with its id.

        Raises:
            ValueError: A run of that name is there already.
        """
        with self.database.transaction() as connection:
            if connection.execute("SELECT 1 FROM runs WHERE name = ?", (new.name,)).fetchone():
                raise ValueError(f"there is a run {new.name!r} in {self.database.path}; choose another name")
            as_json = {name: json.dumps(dict(getattr(new, name))) for name in RUN_JSON}
            insert(connection, "runs", {**columns_of(new), **as_json, "status": "running"})
            (run_id,) = connection.execute("SELECT last_insert_rowid()").fetchone()
        return self.run(run_id)

    def end_run(
        self,
        run_id: int,
        *,
        status: str,
        ended_unix: float,
        reason: str = "",
        model_sha256: str | None = None,
    ) -> RunRow:
        """Say how a run ended. Said again it replaces what was said before.

        Args:
            run_id: Which run.
            status: One of `RUN_STATUSES` but "running".
            ended_unix: When.
            reason: Why, in words, where there is more to say than the status.
            model_sha256: Of the final model. Left out it is that of the last committed round.
        """
        if status == "running":
            raise ValueError("a run that ends is not running; reopen_run makes it run again")
        replace(self.run(run_id), status=status)  # checks it, before anything is written
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET status = ?, reason = ?, ended_unix = ?, model_sha256 = coalesce(?, "
                "(SELECT model_sha256 FROM rounds WHERE run = runs.id AND status = 'committed' "
                "ORDER BY number DESC LIMIT 1)) WHERE id = ?",
                (status, reason, ended_unix, model_sha256, run_id),
            )
        return self.run(run_id)

    def reopen_run(self, run_id: int) -> RunRow:
        """Make a run that was stopped, or whose process was killed, run again."""
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET status = 'running', reason = '', ended_unix = NULL, model_sha256 = NULL "
                "WHERE id = ?",
                (run_id,),
            )
        return self.run(run_id)

    def run(self, run_id: int) -> RunRow:
        """Return a run by its id.

        Raises:
            UnknownRun: There is none.
        """
        found = self.database.rows(_run, "SELECT * FROM runs WHERE id = ?", run_id)
        if not found:
            raise UnknownRun(f"there is no run with id {run_id} in {self.database.path}")
        return found[0]

    def find_run(self, name: str) -> RunRow | None:
        """Return the run of that name, or None."""
        found = self.database.rows(_run, "SELECT * FROM runs WHERE name = ?", name)
        return found[0] if found else None

    def runs(self) -> tuple[RunRow, ...]:
        """Return all runs, the oldest first."""
        return self.database.rows(_run, "SELECT * FROM runs ORDER BY id")

    # --- rounds ----------------------------------------------------------------------------

    def commit_round(
        self,
        run_id: int,
        row: RoundRow,
        *,
        weights: Mapping[str, Array],
        updates: Iterable[UpdateRow],
        strategy_state: Mapping[str, Array] | None = None,
        durable: bool = True,
    ) -> bool:
        """Put a whole round on the disk: its row, its weights and its updates, in one transaction.

        After a crash the caller need not know whether it had got this far: the same round with the same
        model is written once, however often it is committed.

        Args:
            run_id: Which run.
            row: The round; its `model_sha256` is that of `weights`, as the caller computes it.
            weights: The global model after the round.
            updates: What became of every worker and of every message, in the order of arrival.
            strategy_state: Arrays that the strategy carries to the next round, like momentum.
            durable: Whether it outlives a power cut, too; see `Database.transaction`.

        Returns:
            True when it was written now, False when it was there already.

        Raises:
            RoundConflict: Another model is committed for this round, or the round before is not there.
            ValueError: An array cannot be kept, or the round has no `model_sha256`.
        """
        if row.model_sha256 is None:
            raise ValueError(f"round {row.number} has no model_sha256; record_failed_round keeps it")
        if not weights:
            raise ValueError(f"round {row.number} has no weights; a committed round has a model")
        arrays = [("model", name, to_columns(name, array)) for name, array in weights.items()]
        arrays += [
            ("strategy", name, to_columns(name, array)) for name, array in (strategy_state or {}).items()
        ]
        with self._writing(run_id, durable=durable) as connection:
            if self._is_committed(connection, run_id, row):
                return False
            _replace_round(connection, run_id, row, updates)
            for kind, name, kept in arrays:
                key = {"run": run_id, "round": row.number, "kind": kind, "name": name}
                insert(connection, "weights", {**key, **asdict(kept)})
        return True

    def record_failed_round(self, run_id: int, row: RoundRow, *, updates: Iterable[UpdateRow]) -> None:
        """Keep what happened in a round that brought no model. A later try of it takes its place.

        Raises:
            RoundConflict: The round is committed.
        """
        if row.model_sha256 is not None:
            raise ValueError(f"round {row.number} has a model; commit_round keeps it")
        with self._writing(run_id) as connection:
            if row.number <= _last_committed(connection, run_id):
                raise RoundConflict(f"round {row.number} is committed; it cannot have failed")
            _replace_round(connection, run_id, row, updates)

    def add_update(self, run_id: int, number: int, update: UpdateRow) -> None:
        """Add a message that came after its round was kept, like one that was late.

        Raises:
            RoundConflict: The round is not in the record.
        """
        with self._writing(run_id) as connection:
            kept = connection.execute("SELECT 1 FROM rounds WHERE run = ? AND number = ?", (run_id, number))
            if kept.fetchone() is None:
                raise RoundConflict(
                    f"round {number} is not in the record yet; hand the update to commit_round"
                )
            (position,) = connection.execute(
                "SELECT coalesce(max(position) + 1, 0) FROM worker_updates WHERE run = ? AND round = ?",
                (run_id, number),
            ).fetchone()
            key = {"run": run_id, "round": number, "position": position}
            insert(connection, "worker_updates", {**key, **columns_of(update)})

    def last_committed_round(self, run_id: int) -> int:
        """Return the number of the last committed round, 0 when there is none."""
        (row,) = self.database.read(_LAST_COMMITTED, (run_id,))
        return int(row[0])

    def load_weights(self, run_id: int, number: int) -> dict[str, Array]:
        """Return the global model after a committed round: read-only arrays, in the order they came.

        Raises:
            LookupError: The round is not committed.
            Damaged: The arrays in the file are not whole. Arrays of the right size with wrong bits in
                them are found by the caller, who knows how `model_sha256` is computed.
        """
        weights = self._load(run_id, number, "model")
        if not weights:
            raise LookupError(f"round {number} of run {run_id} is not committed; it has no model")
        return weights

    def load_strategy_state(self, run_id: int, number: int) -> dict[str, Array]:
        """Return what the strategy carried out of a round; empty when it carries nothing."""
        return self._load(run_id, number, "strategy")

    def rounds(self, run_id: int) -> tuple[RoundRow, ...]:
        """Return all rounds of a run in order, a failed one among them."""
        return self.database.rows(
            lambda row: RoundRow(**without(row, "run", "status")),
            "SELECT * FROM rounds WHERE run = ? ORDER BY number",
            run_id,
        )

    def updates(self, run_id: int) -> dict[int, tuple[UpdateRow, ...]]:
        """Return what became of the workers, by round, in the order of arrival."""
        found = self.database.rows(
            lambda row: (row["round"], _update(row)),
            "SELECT * FROM worker_updates WHERE run = ? ORDER BY round, position",
            run_id,
        )
        by_round: dict[int, list[UpdateRow]] = {}
        for number, update in found:
            by_round.setdefault(number, []).append(update)
        return {number: tuple(updates) for number, updates in by_round.items()}

    def updates_of_round(self, run_id: int, number: int) -> tuple[UpdateRow, ...]:
        """Return what became of the workers in one round, in the order of arrival."""
        return self.database.rows(
            _update,
            "SELECT * FROM worker_updates WHERE run = ? AND round = ? ORDER BY position",
            run_id,
            number,
        )

    # --- scores ----------------------------------------------------------------------------

    def save_evaluation(self, run_id: int, evaluation: EvaluationRow, *, durable: bool = True) -> None:
        """Keep a score; the same model of the same round on the same region is scored anew.

        Args:
            run_id: Which run.
            evaluation: The score.
            durable: Whether it outlives a power cut, too; see `Database.transaction`.

        Raises:
            RoundConflict: The round is not committed.
        """
        with self._writing(run_id, durable=durable) as connection:
            if not _has_model(connection, run_id, evaluation.round):
                raise RoundConflict(f"round {evaluation.round} is not committed; only its model is scored")
            as_json = {
                "per_class": _shares_as_json(evaluation.per_class),
                "confusion": json.dumps([list(map(int, row)) for row in evaluation.confusion]),
            }
            insert(
                connection, "evaluations", {"run": run_id, **columns_of(evaluation), **as_json}, replace=True
            )

    def evaluations(self, run_id: int) -> tuple[EvaluationRow, ...]:
        """Return all scores of a run, by round."""
        return self.database.rows(
            _evaluation, "SELECT * FROM evaluations WHERE run = ? ORDER BY round, model, region", run_id
        )

    def save_region_scores(self, run_id: int, scores: Iterable[RegionScoreRow]) -> None:
        """Keep what workers say of a global model on their regions; said again it replaces what was said.

        What is said of a round that is not committed is left out: a worker may be wrong. Nothing waits for
        these scores, so like `add_events` they outlive the death of the process, not always a power cut.
        """
        with self._writing(run_id, durable=False) as connection:
            for score in scores:
                if _has_model(connection, run_id, score.round):
                    columns = {**columns_of(score), "per_class": _shares_as_json(score.per_class)}
                    insert(connection, "region_scores", {"run": run_id, **columns}, replace=True)

    def region_scores(self, run_id: int) -> tuple[RegionScoreRow, ...]:
        """Return what workers said of the global models on their regions, by round and worker."""
        return self.database.rows(
            lambda row: RegionScoreRow(**{**without(row, "run"), "per_class": json.loads(row["per_class"])}),
            "SELECT * FROM region_scores WHERE run = ? ORDER BY round, worker",
            run_id,
        )

    def save_baseline(self, run_id: int, baseline: BaselineRow) -> None:
        """Keep what a worker reaches alone; said again it replaces what was said before."""
        with self._writing(run_id) as connection:
            insert(connection, "baselines", {"run": run_id, **columns_of(baseline)}, replace=True)

    def baselines(self, run_id: int) -> tuple[BaselineRow, ...]:
        """Return what each worker reaches alone, by worker."""
        return self.database.rows(
            lambda row: BaselineRow(**without(row, "run")),
            "SELECT * FROM baselines WHERE run = ? ORDER BY worker, region",
            run_id,
        )

    # --- events ----------------------------------------------------------------------------

    def add_events(self, run_id: int, events: Iterable[EventRow]) -> None:
        """Keep what happened. Outlives the death of the process, not always a power cut."""
        with self._writing(run_id, durable=False) as connection:
            for event in events:
                insert(connection, "events", {"run": run_id, **columns_of(event)})

    def events(self, run_id: int) -> tuple[EventRow, ...]:
        """Return all events of a run in the order they were kept."""
        return self.database.rows(
            lambda row: EventRow(**without(row, "id", "run")),
            "SELECT * FROM events WHERE run = ? ORDER BY id",
            run_id,
        )

    # --- inside ----------------------------------------------------------------------------

    @contextmanager
    def _writing(self, run_id: int, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self.database.transaction(durable=durable) as connection:
            if connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is None:
                raise UnknownRun(f"there is no run with id {run_id} in {self.database.path}")
            yield connection

    def _is_committed(self, connection: sqlite3.Connection, run_id: int, row: RoundRow) -> bool:
        last = _last_committed(connection, run_id)
        if row.number > last + 1:
            raise RoundConflict(
                f"round {row.number} cannot be committed, the last one is round {last}; "
                f"go on with round {last + 1}"
            )
        if row.number == last + 1:
            return False
        (kept,) = connection.execute(
            "SELECT model_sha256 FROM rounds WHERE run = ? AND number = ?", (run_id, row.number)
        ).fetchone()
        if kept != row.model_sha256:
            raise RoundConflict(
                f"round {row.number} is committed with model {kept}, and was to be committed again with "
                f"{row.model_sha256}; load_weights returns the one that counts"
            )
        return True

    def _load(self, run_id: int, number: int, kind: str) -> dict[str, Array]:
        found = self.database.read(
            "SELECT name, dtype, shape, data FROM weights WHERE run = ? AND round = ? AND kind = ? "
            "ORDER BY id",
            (run_id, number, kind),
        )
        arrays = {}
        for row in found:
            try:
                arrays[row["name"]] = from_columns(row["dtype"], row["shape"], row["data"])
            except ValueError as error:
                raise Damaged(
                    self.database.path, f"array {row['name']!r} of round {number}, run {run_id}: {error}"
                ) from error
        return arrays


_LAST_COMMITTED = "SELECT coalesce(max(number), 0) FROM rounds WHERE run = ? AND status = 'committed'"


def _last_committed(connection: sqlite3.Connection, run_id: int) -> int:
    number: int = connection.execute(_LAST_COMMITTED, (run_id,)).fetchone()[0]
    return number


def _has_model(connection: sqlite3.Connection, run_id: int, number: int) -> bool:
    found = connection.execute(
        "SELECT 1 FROM rounds WHERE run = ? AND number = ? AND status = 'committed'", (run_id, number)
    )
    return found.fetchone() is not None


def _shares_as_json(per_class: Mapping[str, float | None]) -> str:
    return json.dumps({name: plain(share) for name, share in per_class.items()})


def _replace_round(
    connection: sqlite3.Connection, run_id: int, row: RoundRow, updates: Iterable[UpdateRow]
) -> None:
    """Write the round and its updates, in place of an earlier try of it that failed."""
    connection.execute("DELETE FROM rounds WHERE run = ? AND number = ?", (run_id, row.number))
    insert(connection, "rounds", {"run": run_id, "status": row.status, **columns_of(row)})
    key = {"run": run_id, "round": row.number}
    rows = ({**key, "position": place, **columns_of(update)} for place, update in enumerate(updates))
    insert_many(connection, "worker_updates", rows)


def _run(row: sqlite3.Row) -> RunRow:
    columns = dict(row)
    from_json = {name: json.loads(columns[name]) for name in RUN_JSON}
    return RunRow(**{**columns, **from_json, "synthetic": bool(columns["synthetic"])})


def _update(row: sqlite3.Row) -> UpdateRow:
    return UpdateRow(**without(row, "run", "round", "position"))


def _evaluation(row: sqlite3.Row) -> EvaluationRow:
    columns = without(row, "run")
    return EvaluationRow(
        **{
            **columns,
            "per_class": json.loads(columns["per_class"]),
            "confusion": tuple(map(tuple, json.loads(columns["confusion"]))),
        }
    )
