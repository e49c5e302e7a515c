"""A run as tables for people."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from persistence import RegionScoreRow, RoundPersistence, UpdateRow
from persistence.history import load_run, load_runs
from persistence.report import as_table, as_table_by, runs_as_table
from tests.persistence.samples import (
    accepted,
    keep_a_run,
    keep_a_troubled_run,
    model,
    new_run,
    round_row,
    sha,
)


def shown(renderable: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


# --- the table ------------------------------------------------------------------------------


def test_the_table_shows_rounds_workers_and_what_federating_brought(path: Path) -> None:
    keep_a_run(path)

    lines = shown(as_table(load_run(path))).splitlines()

    assert lines[0] == "first  finished"
    assert lines[1].endswith(", synthetic data, fedavg, seed 7")
    rows = [line.split() for line in lines]
    assert [
        "round",
        "workers",
        "train",
        "loss",
        "accuracy",
        "on",
        "D",
        "loss",
        "on",
        "D",
        "seconds",
        "traffic",
    ] in rows
    assert ["2", "3", "of", "3", "0.500", "0.500", "1.000", "0.50", "360", "B"] in rows
    assert ["B", "3", "of", "3", "101", "0.500", "0.750", "0.25", "0.100"] in rows
    said = " ".join(" ".join(row) for row in rows)
    assert (
        "accuracy on D 0.750 after round 3; the best alone is C with 0.150, federated 5.00 times that" in said
    )
    assert f"model {sha(3)}" in said


def test_the_table_says_once_who_was_missing_when_and_why(path: Path) -> None:
    keep_a_troubled_run(path)

    text = shown(as_table(load_run(path)))

    assert text.startswith("[red]odd[/red] name  failed: no update was accepted in round 8\n")
    assert "B lost in rounds 2 and 4 to 6, the last time: reset 6\n" in text
    assert "A duplicate in round 3\n" in text
    assert "A refused in round 8: NaN in W\n" in text
    assert "round 8 failed: no update was accepted\n" in text
    assert ["8", "0", "of", "1", "failed", "-", "-", "0.50", "0", "B"] in [
        line.split() for line in text.splitlines()
    ]
    assert "no round has been scored yet" in text


def test_the_table_of_a_run_that_has_just_begun(path: Path) -> None:
    keep_a_run(path, rounds=0, status="running", alone=False)
    assert shown(as_table(load_run(path))).splitlines()[2:] == ["no round has ended yet"]


@pytest.mark.parametrize("workers", [3, 40])
def test_the_table_fits_80_columns(path: Path, workers: int) -> None:
    keep_a_run(path, workers=[f"a-hospital-in-the-north-{n:02}" for n in range(workers)], rounds=120)
    text = shown(as_table(load_run(path)))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text  # nothing is cut
    assert "train loss" in text


def test_the_list_of_runs_has_a_line_for_each(path: Path) -> None:
    keep_a_run(path, name="2026-11-24T03-08-00-synthetic", rounds=4)
    keep_a_run(path, name="2026-11-24T03-09-00-synthetic", rounds=0, status="quorum lost", alone=False)

    rows = [line.split() for line in shown(runs_as_table(load_runs(path))).splitlines()]

    assert ["1", "2026-11-24T03-08-00-synthetic", "finished", "synthetic", "fedavg", "4", "0.800"] in rows
    assert ["2", "2026-11-24T03-09-00-synthetic", "quorum", "lost", "synthetic", "fedavg", "0", "-"] in rows
    assert shown(runs_as_table([])) == "no run yet"


def test_runs_of_two_records_are_listed_apart(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    keep_a_run(path, rounds=1)
    keep_a_run(other, rounds=2)

    lines = shown(runs_as_table([*load_runs(path), *load_runs(other)])).splitlines()

    folded = "".join(lines)  # a long path goes on in the next line
    assert 0 <= folded.index(str(path)) < folded.index(str(other))
    assert [line.split()[-2] for line in lines if " first " in line] == ["1", "2"]


def test_how_updates_become_a_model_is_said(path: Path) -> None:
    with RoundPersistence(path) as record:
        record.create_run(
            replace(new_run(), mode="buffered", strategy="fedadam", strategy_parameters={"server_lr": 0.01})
        )
    said = " ".join(shown(as_table(load_run(path))).split())
    assert "synthetic data, fedadam (server lr 0.01), buffered, seed 7" in said


# --- by worker, region, class ---------------------------------------------------------------


def rows_by(path: Path, by: str) -> list[list[str]]:
    return [line.split() for line in shown(as_table_by(load_run(path), by)).splitlines()]


def test_the_table_by_worker_says_how_often_why_not_and_how_long(path: Path) -> None:
    with RoundPersistence(path) as record:
        run_id = record.create_run(new_run()).id
        for number, seconds in ((1, 0.5), (2, 0.25), (3, 3.0)):
            of_a = replace(accepted("A"), seconds=seconds, staleness=number)
            of_b = UpdateRow(worker="B", outcome="late", reason="no answer", bytes_out=60)
            record.commit_round(
                run_id, round_row(number, sha(number)), weights=model(1), updates=[of_a, of_b]
            )
        record.add_update(run_id, 3, UpdateRow(worker="A", outcome="duplicate", bytes_in=1000))
        record.add_update(run_id, 3, UpdateRow(worker="Z", outcome="stranger", bytes_in=5))

    rows = rows_by(path, "worker")

    heads = "worker  took part  left out  seconds  slowest  staleness  from it  to it"
    assert heads.split() in rows
    assert ["A", "3", "of", "3", "1", "duplicate", "0.50", "3.00", "2.0", "1.2", "kB", "180", "B"] in rows
    assert ["B", "0", "of", "3", "3", "late", "-", "-", "-", "0", "B", "180", "B"] in rows
    assert ["Z", "0", "of", "0", "1", "stranger", "-", "-", "-", "5", "B", "0", "B"] in rows


def test_a_worker_that_answers_twice_before_the_model_moves_on_took_part_twice(path: Path) -> None:
    with RoundPersistence(path) as record:
        run_id = record.create_run(replace(new_run(), mode="buffered")).id
        updates = [replace(accepted("A"), staleness=0), replace(accepted("A"), staleness=1)]
        record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=updates)
    assert ["A", "2", "of", "2", "0.25", "0.25", "0.5", "120", "B", "120", "B"] in rows_by(path, "worker")


def test_the_age_of_models_is_shown_where_there_is_any(path: Path) -> None:
    keep_a_run(path)
    assert "staleness" not in shown(as_table_by(load_run(path), "worker"))


def keep_region_scores(path: Path) -> None:
    keep_a_run(path)
    with RoundPersistence(path) as record:
        record.save_region_scores(
            1,
            [
                RegionScoreRow(
                    round=number,
                    worker=worker,
                    samples=1000,
                    loss=0.5,
                    accuracy=accuracy,
                    per_class={"Forest": 0.5, "Lake": accuracy / 2, "River": None},
                )
                for worker, accuracies in (("A", (0.25, 0.75, 0.5)), ("C", (0.125, 0.25)))
                for number, accuracy in enumerate(accuracies, start=1)
            ],
        )


def test_the_table_by_region_has_the_judge_first(path: Path) -> None:
    keep_region_scores(path)

    rows = rows_by(path, "region")

    regions = [row for row in rows if row and row[0] in ("A", "B", "C", "D")]
    assert regions == [
        ["D", "40", "0.250", "0.750", "0.750", "0.667", "Forest", "0.50"],
        ["A", "1,000", "0.250", "0.750", "0.500", "0.500", "Lake", "0.25"],
        ["C", "1,000", "0.125", "0.250", "0.250", "0.500", "Lake", "0.12"],
    ]
    assert "global model on" in shown(as_table(load_run(path)))  # part of the whole picture, too


def test_the_table_by_class_says_what_each_is_taken_for(path: Path) -> None:
    keep_a_run(path)
    with RoundPersistence(path) as record:
        per_class = {"Forest": 0.75, "River": 0.0, "Lake": None}
        confusion = ((6, 2, 0), (1, 0, 3), (0, 0, 0))
        (kept,) = (one for one in record.evaluations(1) if one.round == 3)
        record.save_evaluation(1, replace(kept, per_class=per_class, confusion=confusion))

    rows = rows_by(path, "class")

    assert ["class", "on", "D", "samples", "first", "best", "latest", "most", "often", "taken", "for"] in rows
    assert ["Forest", "8", "0.500", "0.750", "0.750", "River", "(2)"] in rows
    assert ["River", "4", "0.000", "0.000", "0.000", "Lake", "(3)"] in rows
    assert ["Lake", "0", "-", "-", "-", "-"] in rows


@pytest.mark.parametrize("by", ["region", "class"])
def test_without_a_score_there_is_no_table_of_scores(path: Path, by: str) -> None:
    with RoundPersistence(path) as record:
        run_id = record.create_run(new_run()).id
        record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=[accepted("A")])
    assert "no round has been scored yet" in shown(as_table_by(load_run(path), by))


@pytest.mark.parametrize("by", ["round", "worker", "region", "class"])
def test_every_table_fits_80_columns(path: Path, by: str) -> None:
    keep_a_run(path, workers=[f"a-hospital-in-the-north-{n:02}" for n in range(14)], rounds=12)
    text = shown(as_table_by(load_run(path), by))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
