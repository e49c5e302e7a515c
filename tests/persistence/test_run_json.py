"""Runs for programs: JSON objects and CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from persistence import RegionScoreRow, RoundPersistence, UpdateRow
from persistence.history import load_run, load_runs
from persistence.lines import table_of
from persistence.run_json import as_json, summary_as_json
from tests.persistence.samples import (
    accepted,
    keep_a_run,
    keep_a_troubled_run,
    model,
    new_run,
    round_row,
    sha,
)

# --- JSON -----------------------------------------------------------------------------------


def test_the_json_object_has_everything(path: Path) -> None:
    keep_a_run(path, workers=["A"], rounds=2)

    told = json.loads(json.dumps(as_json(load_run(path)), allow_nan=False))

    assert told == {
        "run": "first",
        "database": str(path),
        "status": "finished",
        "reason": "",
        "created_unix": 1_700_000_000.0,
        "ended_unix": 1_700_000_100.0,
        "seed": 7,
        "source": "synthetic",
        "synthetic": True,
        "mode": "rounds",
        "strategy": "fedavg",
        "strategy_parameters": {},
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
                "regions": {
                    "D": {
                        "accuracy": number / 3,
                        "loss": 2.0 / number,
                        "samples": 40,
                        "per_class": {"Forest": 0.5, "River": None},
                    }
                },
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
                        "train_seconds": None,
                        "staleness": None,
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
        "seconds": 1.0,
        "bytes_in": 120,
        "bytes_out": 120,
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


# --- CSV ------------------------------------------------------------------------------------


def lines(text: str) -> list[dict[str, str]]:
    """Read CSV as other programs do."""
    return list(csv.DictReader(io.StringIO(text)))


def test_a_line_for_each_round(path: Path) -> None:
    keep_a_run(path)
    first, _, last = lines(load_run(path).table().as_csv())
    assert first == {
        "database": str(path),
        "run": "first",
        "round": "1",
        "status": "committed",
        "reason": "",
        "asked": "3",
        "accepted": "3",
        "train_loss": "1.0",
        "train_accuracy": "0.5",
        "region": "D",
        "loss": "2.0",
        "accuracy": "0.25",
        "seconds": "0.5",
        "started_unix": "1700000001.0",
        "ended_unix": "1700000001.5",
        "bytes_in": "180",
        "bytes_out": "180",
        "model_sha256": sha(1),
    }
    assert (last["round"], last["accuracy"]) == ("3", "0.75")


def test_a_line_for_each_worker_and_each_message_that_did_not_count(path: Path) -> None:
    with RoundPersistence(path) as record:
        run_id = record.create_run(new_run("one, two")).id
        updates = [
            replace(accepted("A"), staleness=2, train_seconds=0.125),
            UpdateRow(worker="B", outcome="refused", reason='W has "NaN", says the judge', bytes_in=60),
            UpdateRow(worker="A", outcome="duplicate", reason="the first counts", bytes_in=60),
        ]
        record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=updates)

    of_a, again, of_b = lines(load_run(path).table("worker").as_csv())

    assert (of_a["run"], of_a["outcome"], of_a["staleness"], of_a["train_seconds"]) == (
        "one, two",
        "accepted",
        "2",
        "0.125",
    )
    assert (again["worker"], again["outcome"], again["loss"], again["bytes_in"]) == (
        "A",
        "duplicate",
        "",
        "60",
    )
    assert of_b["reason"] == 'W has "NaN", says the judge'


def test_a_line_for_each_region_and_for_each_class_on_it(path: Path) -> None:
    keep_a_run(path, rounds=1)
    with RoundPersistence(path) as record:
        on_a = RegionScoreRow(
            round=1, worker="A", samples=8, loss=0.25, accuracy=0.75, per_class={"Forest": 0.75}
        )
        record.save_region_scores(1, [on_a])

    regions = lines(load_run(path).table("region").as_csv())
    classes = lines(load_run(path).table("class").as_csv())

    assert [(one["region"], one["samples"], one["loss"], one["accuracy"]) for one in regions] == [
        ("A", "8", "0.25", "0.75"),
        ("D", "40", "2.0", "0.5"),
    ]
    assert [(one["region"], one["class"], one["accuracy"]) for one in classes] == [
        ("A", "Forest", "0.75"),
        ("D", "Forest", "0.5"),
        ("D", "River", ""),
    ]


@pytest.mark.parametrize("by", ["round", "worker", "region", "class"])
def test_runs_stand_one_after_the_other_under_one_line_of_heads(path: Path, by: str) -> None:
    keep_a_run(path, name="one")
    keep_a_run(path, name="two")
    text = table_of(load_runs(path), by).as_csv()
    runs = [line["run"] for line in lines(text)]
    assert runs == sorted(runs)
    assert set(runs) == {"one", "two"}
    assert text.count("database,run,round") == 1


def test_a_run_without_rounds_is_a_line_of_heads(path: Path) -> None:
    keep_a_run(path, rounds=0, status="running", alone=False)
    assert load_run(path).table().as_csv().count("\n") == 1
