"""What the tests enter into a record, also those that run in a process of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from persistence import BaselineRow, EvaluationRow, NewRun, RoundPersistence, RoundRow, UpdateRow
from persistence.arrays import Array


def new_run(name: str = "first") -> NewRun:
    return NewRun(
        name=name,
        created_unix=1_700_000_000.0,
        settings={"rounds": 3, "mu": 0.0},
        seed=7,
        source="synthetic",
        synthetic=True,
    )


def model(number: int) -> dict[str, Array]:
    """The weights that the tests commit for a round: every number in them tells which round it is."""
    return {"W": np.full((4, 3), number, np.float32), "b": np.full(3, -number, np.float32)}


def sha(number: int) -> str:
    return f"{number:064x}"


def round_row(number: int, model_sha256: str | None = None, reason: str = "") -> RoundRow:
    return RoundRow(
        number=number,
        started_unix=1_700_000_000.0 + number,
        ended_unix=1_700_000_000.5 + number,
        seconds=0.5,
        train_loss=1.0 / number,
        train_accuracy=1 - 1 / (number + 1),
        model_sha256=model_sha256,
        reason=reason,
    )


def accepted(worker: str, samples: int = 100) -> UpdateRow:
    return UpdateRow(
        worker=worker,
        outcome="accepted",
        samples=samples,
        loss=0.5,
        accuracy=0.75,
        seconds=0.25,
        bytes_in=60,
        bytes_out=60,
    )


def commit(record: RoundPersistence, run_id: int, number: int) -> bool:
    return record.commit_round(
        run_id,
        round_row(number, sha(number)),
        weights=model(number),
        updates=[accepted("A"), accepted("B", 50)],
    )


def keep_a_run(
    path: Path,
    *,
    workers: Sequence[str] = ("A", "B", "C"),
    rounds: int = 3,
    status: str = "finished",
    name: str = "first",
    alone: bool = True,
) -> None:
    """Enter a run whose numbers can be told in advance.

    In round n of N the global model reaches n / (N + 1) on D, worker number k of K trains on 100 + k samples,
    and reaches (k + 1) / 20 alone, or (k + 1) / K when there are more than 20.
    """
    with RoundPersistence(path) as record:
        run_id = record.create_run(new_run(name)).id
        for number in range(1, rounds + 1):
            record.commit_round(
                run_id,
                round_row(number, sha(number)),
                weights=model(number),
                updates=[accepted(worker, 100 + place) for place, worker in enumerate(workers)],
            )
            record.save_evaluation(
                run_id,
                EvaluationRow(
                    round=number,
                    region="D",
                    samples=40,
                    loss=2.0 / number,
                    accuracy=number / (rounds + 1),
                    per_class={"Forest": 0.5, "River": None},
                    confusion=((1, 1), (1, 1)),
                ),
            )
        if alone:
            for place, worker in enumerate(workers):
                record.save_baseline(
                    run_id,
                    BaselineRow(
                        worker=worker,
                        region="D",
                        samples=40,
                        loss=3.0,
                        accuracy=(place + 1) / max(20, len(workers)),
                    ),
                )
        if status != "running":
            reason = "" if status == "finished" else "no update was accepted"
            record.end_run(run_id, status=status, ended_unix=1_700_000_100.0, reason=reason)


def keep_a_troubled_run(path: Path) -> None:
    """Enter a run in which B is lost again and again, and that fails in its eighth round."""
    with RoundPersistence(path) as record:
        run_id = record.create_run(new_run("[red]odd[/red] name")).id
        for number in range(1, 8):
            lost = UpdateRow(worker="B", outcome="lost", reason=f"reset {number}")
            partner = lost if number in (2, 4, 5, 6) else accepted("B")
            record.commit_round(
                run_id,
                round_row(number, sha(number)),
                weights=model(number),
                updates=[accepted("A"), partner],
            )
        record.add_update(run_id, 3, UpdateRow(worker="A", outcome="duplicate"))
        refused = UpdateRow(worker="A", outcome="refused", reason="NaN in W")
        record.record_failed_round(run_id, round_row(8, reason="no update was accepted"), updates=[refused])
        record.end_run(run_id, status="failed", ended_unix=9.0, reason="no update was accepted in round 8")
