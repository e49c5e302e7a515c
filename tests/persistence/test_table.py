"""Runs as tables that other tools open: CSV, JSON lines, Parquet, pandas and notebooks say the same."""

from __future__ import annotations

import csv
import io
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from persistence import GossipPersistence, PeerMetricsRow
from persistence.__main__ import main
from persistence.errors import MissingExtra
from persistence.gossip_history import GossipHistory, load_gossip_run
from persistence.history import RunHistory, load_run
from persistence.lines import LINES
from persistence.table import Column, Table
from tests.extras import need
from tests.persistence.samples import keep_a_run, keep_a_troubled_run
from tests.persistence.test_gossip import new_run as new_gossip_run

SIDES = tuple(LINES)


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


@pytest.fixture
def run(path: Path) -> RunHistory:
    """Return a run in which all that can go wrong has."""
    keep_a_troubled_run(path)
    return load_run(path)


@pytest.fixture
def gossip(tmp_path: Path) -> GossipHistory:
    with GossipPersistence(tmp_path / "gossip.db") as store:
        run = store.enter_run(new_gossip_run("among peers")).id
        for number in (1, 2):
            store.save_metrics(
                run, PeerMetricsRow(peer="A", round=number, at_unix=1.7e9, seconds=0.5, accuracy=number / 3)
            )
    return load_gossip_run(tmp_path / "gossip.db")


def objects(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.heads, row, strict=True)) for row in table.rows]


# --- forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", SIDES)
def test_json_lines_are_the_rows(run: RunHistory, by: str) -> None:
    table = run.table(by)

    assert [json.loads(line) for line in table.as_jsonl().splitlines()] == objects(table)


@pytest.mark.parametrize("by", SIDES)
def test_csv_has_the_same_with_nothing_for_what_is_missing(run: RunHistory, by: str) -> None:
    table = run.table(by)

    rows = list(csv.reader(io.StringIO(table.as_csv())))
    assert rows[0] == list(table.heads)
    assert rows[1:] == [["" if value is None else str(value) for value in row] for row in table.rows]


@pytest.mark.parametrize("by", SIDES)
def test_parquet_has_the_same_and_its_kinds_hang_on_no_value(run: RunHistory, by: str, path: Path) -> None:
    need("pyarrow")
    import pyarrow.parquet as pq

    table = run.table(by)
    read = pq.read_table(io.BytesIO(table.as_parquet()))

    assert read.to_pylist() == objects(table)
    empty = Table(table.columns, ())
    assert pq.read_schema(io.BytesIO(empty.as_parquet())) == read.schema


@pytest.mark.parametrize("by", SIDES)
def test_pandas_has_the_same(run: RunHistory, by: str) -> None:
    need("pandas")
    frame = run.to_pandas(by)

    assert list(frame.columns) == list(run.table(by).heads)
    values = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    assert values == [list(row) for row in run.table(by).rows]


def test_pandas_knows_whole_numbers_from_those_that_miss_some(run: RunHistory) -> None:
    need("pandas")
    kinds = run.to_pandas("worker").dtypes.astype(str)

    assert (kinds["round"], kinds["samples"], kinds["loss"]) == ("int64", "Int64", "float64")


def test_a_gossip_run_is_a_table_too(gossip: GossipHistory) -> None:
    assert [(row["peer"], row["round"], row["accuracy"]) for row in objects(gossip.table())] == [
        ("A", 1, 1 / 3),
        ("A", 2, 2 / 3),
    ]
    assert "gossip of 1 peers" in gossip._repr_html_()


def test_a_gossip_run_is_a_frame_too(gossip: GossipHistory) -> None:
    need("pandas")
    assert gossip.to_pandas()["round"].tolist() == [1, 2]


# --- notebooks ----------------------------------------------------------------------------------


class Cells(HTMLParser):
    """Reads the texts of a page's cells and of its paragraphs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.words = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self._inside == "p":
            self.words += data
        else:
            self.cells[-1] += data


def test_a_notebook_shows_the_rounds(path: Path) -> None:
    keep_a_run(path, rounds=2, workers=["A"])
    found = Cells(load_run(path)._repr_html_())

    assert found.words == "first finished; synthetic data (made by a program), fedavg, seed 7"
    assert found.cells[:7] == ["round", "accepted", "asked", "train_loss", "loss", "accuracy", "seconds"]
    assert found.cells[7:10] == ["1", "1", "1"]
    assert found.cells[12] == "0.3333"


def test_what_a_notebook_shows_is_text_whatever_stands_in_it() -> None:
    table = Table((Column("<b>", "text"), Column("n", "whole")), (("<script>&", None),))

    assert Cells(table._repr_html_()).cells == ["<b>", "n", "<script>&", ""]


# --- bin/report ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_lines_go_to_stdout_or_into_a_file(path: Path, tmp_path: Path, form: str) -> None:
    keep_a_run(path)
    shown = report("--db", path, "--format", form, "--by", "worker")
    kept = report("--db", path, "--format", form, "--by", "worker", "--out", tmp_path / "here")

    table = load_run(path).table("worker")
    assert shown.stdout == (table.as_csv() if form == "csv" else table.as_jsonl())
    assert (tmp_path / "here").read_text() == shown.stdout
    assert (kept.stdout, kept.stderr) == ("", f"the {form} is in {tmp_path / 'here'}\n")


def test_parquet_goes_into_a_file_or_through_a_pipe(path: Path, tmp_path: Path) -> None:
    need("pyarrow", "pandas")
    import pandas as pd

    keep_a_run(path)
    piped = report("--db", path, "--format", "parquet")
    kept = report("--db", path, "--format", "parquet", "--out", tmp_path / "rounds.parquet")

    assert (piped.exit_code, kept.exit_code) == (0, 0)
    assert (tmp_path / "rounds.parquet").read_bytes() == piped.stdout_bytes
    assert pd.read_parquet(tmp_path / "rounds.parquet")["round"].tolist() == [1, 2, 3]


def test_tables_for_people_and_json_go_into_a_file_as_well(path: Path, tmp_path: Path) -> None:
    keep_a_run(path)
    assert report("--db", path, "--out", tmp_path / "t.txt").exit_code == 0
    assert report("--db", path, "--json", "--out", tmp_path / "t.json").exit_code == 0

    assert (tmp_path / "t.txt").read_text() == report("--db", path).stdout
    assert json.loads((tmp_path / "t.json").read_text())["run"] == "first"


def test_a_gossip_run_goes_into_the_same_forms(gossip: GossipHistory, tmp_path: Path) -> None:
    shown = report("--db", gossip.database, "--format", "jsonl")

    assert [json.loads(line)["round"] for line in shown.stdout.splitlines()] == [1, 2]


def test_parquet_is_not_for_a_terminal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_a_run(path)
    monkeypatch.setattr("persistence.delivery.sys", type("Terminal", (), {"stdout": Tty()}))
    result = report("--db", path, "--format", "parquet")

    assert result.exit_code == 2
    assert "no text for a terminal; add --out FILE" in result.stderr


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_that_cannot_be_written_is_named(path: Path, tmp_path: Path) -> None:
    keep_a_run(path)
    result = report("--db", path, "--format", "csv", "--out", tmp_path / "no" / "such" / "folder")

    assert result.exit_code == 2
    assert "--out" in result.stderr
    assert "No such file or directory; give another path" in result.stderr


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    keep_a_run(path)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    table = load_run(path).table()
    with pytest.raises(MissingExtra, match=rf"package {package}.*pip install 'trioactor\[tables\]'"):
        table.to_pandas() if package == "pandas" else table.as_parquet()

    if package == "pyarrow":
        result = report("--db", path, "--format", "parquet")
        assert result.exit_code == 2
        assert "pip install 'trioactor[tables]'" in result.stderr
