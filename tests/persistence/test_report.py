"""A run as a table for people and as JSON for programs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from persistence import RoundPersistence, UpdateRow
from persistence.history import load_run, load_runs
from persistence.report import as_json, as_table, runs_as_table, summary_as_json
from tests.persistence.samples import accepted, keep_a_run, model, new_run, round_row, sha


def shown(renderable: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def keep_a_troubled_run(path: Path) -> None:
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


# --- the table ------------------------------------------------------------------------------


def test_the_table_shows_rounds_workers_and_what_federating_brought(path: Path) -> None:
    keep_a_run(path)

    lines = shown(as_table(load_run(path))).splitlines()

    assert lines[0] == "first  finished"
    assert lines[1].endswith(", synthetic data, seed 7")
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

    assert ["2026-11-24T03-08-00-synthetic", "finished", "synthetic", "4", "0.800"] in rows
    assert ["2026-11-24T03-09-00-synthetic", "quorum", "lost", "synthetic", "0", "-"] in rows


# --- JSON -----------------------------------------------------------------------------------


def test_the_json_object_has_everything(path: Path) -> None:
    keep_a_run(path, workers=["A"], rounds=2)

    told = json.loads(json.dumps(as_json(load_run(path)), allow_nan=False))

    assert told == {
        "run": "first",
        "status": "finished",
        "reason": "",
        "created_unix": 1_700_000_000.0,
        "ended_unix": 1_700_000_100.0,
        "seed": 7,
        "source": "synthetic",
        "synthetic": True,
        "settings": {"rounds": 3, "mu": 0.0},
        "region": "D",
        "rounds": [
            {
                "round": number,
                "status": "committed",
                "reason": "",
                "accuracy": number / 3,
                "loss": 2.0 / number,
                "samples": 40,
                "per_class": {"Forest": 0.5, "River": None},
                "confusion": [[1, 1], [1, 1]],
                "train_accuracy": 1 - 1 / (number + 1),
                "train_loss": 1.0 / number,
                "asked": 1,
                "accepted": 1,
                "workers": {
                    "A": {
                        "outcome": "accepted",
                        "reason": "",
                        "samples": 100,
                        "loss": 0.5,
                        "accuracy": 0.75,
                        "seconds": 0.25,
                        "bytes_in": 60,
                        "bytes_out": 60,
                        "aside": [],
                    }
                },
                "seconds": 0.5,
                "started_unix": 1_700_000_000.0 + number,
                "ended_unix": 1_700_000_000.5 + number,
                "bytes_in": 60,
                "bytes_out": 60,
                "model_sha256": sha(number),
            }
            for number in (1, 2)
        ],
        "alone": {"A": {"accuracy": 0.05, "loss": 3.0, "samples": 40}},
        "events": [],
        "model_sha256": sha(2),
    }


def test_the_json_of_a_failed_run_says_where_and_why(path: Path) -> None:
    keep_a_troubled_run(path)

    told = as_json(load_run(path))

    assert (told["status"], told["reason"]) == ("failed", "no update was accepted in round 8")
    last = told["rounds"][-1]
    assert (last["status"], last["accuracy"], last["model_sha256"]) == ("failed", None, None)
    assert last["workers"]["A"]["reason"] == "NaN in W"
    assert told["rounds"][2]["workers"]["A"]["aside"] == [{"outcome": "duplicate", "reason": ""}]
    assert told["model_sha256"] == sha(7)


def test_the_json_of_a_list_is_short(path: Path) -> None:
    keep_a_run(path)
    told = summary_as_json(load_run(path))
    assert (told["run"], told["rounds"], told["accuracy"]) == ("first", 3, 0.75)
