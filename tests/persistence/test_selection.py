"""Which runs are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from persistence import NoDatabase, UnknownRun
from persistence.database import mark_of
from persistence.schema import TRAINING_SCHEMA
from persistence.selection import select_runs
from tests.persistence.samples import keep_a_run


@pytest.fixture
def records(tmp_path: Path) -> tuple[Path, Path]:
    """Two records; both have a run "same", and each one of its own."""
    here, there = tmp_path / "here.db", tmp_path / "there.db"
    for path, own in ((here, "alpha"), (there, "beta")):
        keep_a_run(path, name="same", rounds=1)
        keep_a_run(path, name=own, rounds=1)
    return here, there


def names(records: tuple[Path, ...], *wanted: str) -> list[str]:
    return [f"{one.database.stem}:{one.run.name}" for one in select_runs(records, wanted)]


def test_without_a_name_it_is_the_latest_of_each_record(records: tuple[Path, Path]) -> None:
    assert names(records) == ["here:alpha", "there:beta"]
    assert names(records[:1]) == ["here:alpha"]


def test_a_name_is_looked_for_in_every_record_and_the_order_is_that_of_the_question(
    records: tuple[Path, Path],
) -> None:
    assert names(records, "beta", "alpha") == ["there:beta", "here:alpha"]


def test_a_name_that_two_records_know_is_asked_back(records: tuple[Path, Path]) -> None:
    here, there = records
    with pytest.raises(UnknownRun, match=rf"in 2 of the records; say which: {here}:same or {there}:same"):
        names(records, "same")
    assert names(records, f"{there}:same", f"{here}:1") == ["there:same", "here:same"]


def test_a_file_by_itself_is_its_latest_run(records: tuple[Path, Path]) -> None:
    here, there = records
    assert names((here,), str(there), "same") == ["there:beta", "here:same"]
    assert names((here,), f"{there}:") == ["there:beta"]


def test_a_run_that_no_record_knows_is_told_with_what_is_near_in_each(records: tuple[Path, Path]) -> None:
    with pytest.raises(UnknownRun, match=r"'bets' in .*here.db; the latest is alpha; .*did you mean beta\?"):
        names(records, "bets")


def test_a_number_that_is_the_name_of_a_run_is_the_name(tmp_path: Path) -> None:
    path = tmp_path / "training.db"
    for name in ("first", "3", "third"):
        keep_a_run(path, name=name, rounds=1)
    assert names((path,), "3") == ["training:3"]
    assert names((path,), "1") == ["training:first"]


def test_a_record_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoDatabase, match=r"nowhere\.db: there is no such file"):
        names((tmp_path / "nowhere.db",), "x")
    with pytest.raises(NoDatabase, match=r"nowhere\.db: there is no such file"):
        names((), f"{tmp_path}/nowhere.db:3")


def test_the_kind_of_a_record_is_told_by_its_mark(tmp_path: Path, records: tuple[Path, Path]) -> None:
    text = tmp_path / "text.db"
    text.write_text("dear diary" * 100)
    assert mark_of(records[0]) == TRAINING_SCHEMA.application_id
    assert [mark_of(path) for path in (text, tmp_path, tmp_path / "nowhere")] == [0, 0, 0]
