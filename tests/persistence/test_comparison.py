"""Runs side by side."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from persistence import RegionScoreRow, RoundPersistence, UpdateRow
from persistence.comparison import (
    comparison_as_json,
    comparison_as_table,
    differences,
    letters,
    same_models,
)
from persistence.history import RunHistory, load_run, load_runs
from tests.persistence.samples import accepted, keep_a_run, model, new_run, round_row, sha


def shown(*histories: RunHistory, by: str = "round", width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(comparison_as_table(histories, by, width=width))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def with_settings(history: RunHistory, **choices: object) -> RunHistory:
    return replace(history, run=replace(history.run, **choices))  # type: ignore[arg-type]  # passed on


@pytest.fixture
def pair(path: Path) -> tuple[RunHistory, RunHistory]:
    """Two runs, of three rounds and of two, with different models in the end."""
    keep_a_run(path, name="long")
    keep_a_run(path, name="short", rounds=2, status="failed")
    long, short = load_runs(path)
    return long, short


# --- what differs ---------------------------------------------------------------------------


def test_only_settings_that_differ_are_told(pair: tuple[RunHistory, RunHistory]) -> None:
    long, short = pair
    assert differences([long, short]) == {}
    one = with_settings(long, settings={"run": "long", "epochs": 1, "mu": 0.1, "same": 5}, seed=3)
    other = with_settings(
        short,
        settings={"epochs": 2, "same": 5},
        strategy="trimmed-mean",
        strategy_parameters={"trim": 0.2},
        seed=3,
    )
    assert differences([one, other]) == {
        "strategy": ["fedavg", "trimmed-mean"],
        "epochs": [1, 2],
        "mu": [0.1, None],
        "trim": [None, 0.2],
    }


def test_a_setting_is_shown_as_it_is(pair: tuple[RunHistory, RunHistory]) -> None:
    long, short = pair
    one = with_settings(long, settings={"epochs": 1, "alone": True, "batch_size": 32})
    other = with_settings(short, settings={"epochs": 2, "alone": False})

    found = rows(shown(one, other))

    assert ["epochs", "1", "2"] in found
    assert ["alone", "yes", "no"] in found
    assert ["batch", "size", "32", "-"] in found


def test_runs_that_have_the_same_model_are_named(path: Path, tmp_path: Path) -> None:
    for name, rounds in (("one", 3), ("two", 2), ("three", 3), ("none", 0)):
        keep_a_run(path, name=name, rounds=rounds)
    histories = load_runs(path)

    assert same_models(histories) == [[0, 2]]
    text = shown(*histories)
    assert f"A and C: model {sha(3)}\nB: model {sha(2)}" in text
    assert "All of them" not in text
    assert "All of them have the same model, to the last bit." in shown(histories[0], histories[2])


# --- the table ------------------------------------------------------------------------------


def test_accuracy_stands_side_by_side_and_missing_rounds_are_blank(
    pair: tuple[RunHistory, RunHistory],
) -> None:
    text = shown(*pair)

    assert text.startswith("A  long  finished  synthetic data\nB  short  failed  synthetic data\n")
    found = rows(text)
    assert ["1", "0.250", "0.333"] in found
    assert ["3", "0.750", "-"] in found
    assert ["rounds", "3", "2"] in found
    assert ["accuracy", "0.750", "0.667"] in found
    assert ["seconds", "1.50", "1.00"] in found
    assert ["from", "workers", "540", "B", "360", "B"] in found
    assert ["best", "alone", "0.150", "0.150"] in found


def test_a_round_that_failed_is_said_to_have_failed(path: Path) -> None:
    keep_a_run(path, name="well")
    keep_a_run(path, name="badly", rounds=1, status="running", alone=False)
    with RoundPersistence(path) as record:
        record.record_failed_round(2, round_row(2, reason="nobody answered"), updates=[])
    assert ["2", "0.500", "failed"] in rows(shown(*load_runs(path)))


def test_workers_regions_and_classes_stand_side_by_side(path: Path) -> None:
    keep_a_run(path, name="one")
    keep_a_run(path, name="two", workers=("A", "B"), rounds=1)
    with RoundPersistence(path) as record:
        record.save_region_scores(
            1, [RegionScoreRow(round=2, worker="A", samples=8, loss=0.5, accuracy=0.125)]
        )
    histories = load_runs(path)

    assert ["C", "3", "of", "3", "0", "of", "0"] in rows(shown(*histories, by="worker"))
    by_region = rows(shown(*histories, by="region"))
    assert ["D", "0.750", "0.500"] in by_region
    assert ["A", "0.125", "-"] in by_region
    assert ["worst", "region", "A", "0.125", "-"] in by_region
    assert ["Forest", "0.500", "0.500"] in rows(shown(*histories, by="class"))


def test_a_worker_that_was_left_out_is_counted(path: Path) -> None:
    with RoundPersistence(path) as record:
        for name in ("one", "two"):
            run_id = record.create_run(new_run(name)).id
            late = UpdateRow(worker="B", outcome="late", reason="too slow")
            record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=[accepted("A"), late])
    assert ["B", "0", "of", "1", "0", "of", "1"] in rows(shown(*load_runs(path), by="worker"))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("by", ["round", "worker", "region", "class"])
def test_as_many_runs_stand_beside_each_other_as_fit(path: Path, width: int, by: str) -> None:
    for number in range(11):
        keep_a_run(path, name=f"20261124-083826-a-run-{number}", rounds=2)
    histories = [
        with_settings(one, strategy=name)
        for one, name in zip(load_runs(path), ["fedavg", "coordinate-median-of-all"] * 6, strict=False)
    ]

    text = shown(*histories, by=by, width=width)

    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    heads = [line for line in text.splitlines() if line.startswith(" in the end")]
    assert " ".join(heads).replace("in the end", "").split() == list("ABCDEFGHIJK")


def test_many_runs_have_letters_too(pair: tuple[RunHistory, RunHistory]) -> None:
    named = letters([pair[0]] * 30)
    assert named[24:] == ["Y", "Z", "AA", "AB", "AC", "AD"]
    assert len(set(letters([pair[0]] * 800))) == 800


# --- JSON -----------------------------------------------------------------------------------


def test_the_json_object_has_the_runs_and_what_differs(path: Path) -> None:
    keep_a_run(path, name="one")
    keep_a_run(path, name="two")
    one, two = load_run(path, "one"), with_settings(load_run(path, "two"), seed=8)

    told = json.loads(json.dumps(comparison_as_json([one, two]), allow_nan=False))

    assert told["differences"] == {"seed": [7, 8]}
    assert told["same_model"] == [["one", "two"]]
    assert [len(run["rounds"]) for run in told["runs"]] == [3, 3]
