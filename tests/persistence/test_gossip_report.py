"""A gossip run for people and for programs, from its record; and the page that says what is in there."""

from __future__ import annotations

import csv
import json
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import persistence
from persistence import (
    GossipEventRow,
    GossipPersistence,
    PeerMetricsRow,
    PeerStateRow,
    RoundPersistence,
)
from persistence.__main__ import main
from persistence.gossip_history import load_gossip_run, load_gossip_runs, table_of_peers
from persistence.gossip_plot import draw_gossip
from persistence.gossip_report import gossip_as_json, gossip_as_table
from persistence.gossip_schema import GOSSIP_SCHEMA
from persistence.rounds import UnknownRun
from tests.persistence.test_gossip import new_run

SAME = "ab" * 32
PAGE = Path(persistence.__file__).with_name("GOSSIP_SCHEMA.md").read_text()


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Return a record of two runs: one that has converged, and one that is under way."""
    path = tmp_path / "workspace" / "gossip.db"
    path.parent.mkdir()
    with GossipPersistence(path) as store:
        for name in ("first", "second"):
            run = store.enter_run(new_run(name)).id
            for place, peer in enumerate("AB"):
                save(store, run, peer, SAME if name == "first" else f"{place}{place}" * 32)
        store.end_run(1, status="finished", ended_unix=1.8e9, model_sha256=SAME)
        store.add_events(1, [GossipEventRow(at_unix=1.7e9, source="A", kind="dead", text="B is dead")])
    return path


def save(store: GossipPersistence, run: int, peer: str, sha: str) -> None:
    for number in (1, 2, 3):
        store.save_metrics(
            run,
            PeerMetricsRow(
                peer=peer,
                round=number,
                at_unix=1.7e9,
                seconds=0.5,
                train_loss=1 / number,
                train_accuracy=0.5,
                accuracy=0.2 * number,
                loss=0.9,
                delta=2.0 / number,
                known_peers=2,
                live_peers=2,
                models=2,
                bytes_in=1000 * number,
                bytes_out=2000 * number,
                average_sha256=sha,
            ),
        )
    state = PeerStateRow(
        peer=peer,
        round=3,
        finished=True,
        samples=480,
        life=2,
        saved_unix=1.7e9,
        accuracy=0.6,
        delta=0.5,
        models=2,
        bytes_in=3000,
        bytes_out=6000,
        average_sha256=sha,
    )
    store.save_snapshot(run, state)


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


# --- reading ------------------------------------------------------------------------------------------


def test_the_latest_run_is_read_unless_one_is_named(record: Path) -> None:
    assert load_gossip_run(record).run.name == "second"
    assert load_gossip_run(record, "first").run.name == "first"
    assert load_gossip_run(record, "1").run.name == "first"
    assert [one.run.name for one in load_gossip_runs(record)] == ["first", "second"]


def test_a_run_that_is_not_there_is_told_with_a_guess(record: Path) -> None:
    with pytest.raises(UnknownRun, match="did you mean first"):
        load_gossip_run(record, "frist")


def test_a_run_has_converged_when_all_hold_the_same(record: Path) -> None:
    first, second = load_gossip_runs(record)

    assert (first.converged, first.common_sha256, first.accuracy) == (True, SAME, 0.6)
    assert not second.converged


# --- programs -----------------------------------------------------------------------------------------


def test_json_has_rounds_accuracy_bytes_and_the_final_model_of_each_peer(record: Path) -> None:
    told = json.loads(json.dumps(gossip_as_json(load_gossip_run(record, "first")), allow_nan=False))

    assert told["model_sha256"] == SAME
    assert told["peers"].keys() == {"A", "B"}
    peer = told["peers"]["A"]
    assert (peer["rounds_trained"], peer["accuracy"], peer["average_sha256"]) == (3, 0.6, SAME)
    assert (peer["bytes_in"], peer["bytes_out"]) == (3000, 6000)
    assert [row["round"] for row in peer["rounds"]] == [1, 2, 3]
    assert told["events"][0]["text"] == "B is dead"


def test_csv_has_a_line_for_each_round_of_each_peer(record: Path) -> None:
    lines = list(csv.DictReader(table_of_peers(load_gossip_runs(record)).as_csv().splitlines()))

    assert len(lines) == 12
    assert {(line["run"], line["peer"]) for line in lines} == {
        (r, p) for r in ("first", "second") for p in "AB"
    }


# --- people -------------------------------------------------------------------------------------------


def test_the_table_tells_who_stands_where_and_that_all_agree(record: Path) -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(gossip_as_table(load_gossip_run(record, "first")))
    text = console.export_text()
    console.file.close()

    assert "first  gossip  finished" in text
    assert "converged: all 2 peers hold the same average, accuracy 0.600" in text
    assert "A: B is dead" in text
    assert SAME in text


def test_the_table_tells_when_peers_differ(record: Path) -> None:
    done = report("--db", str(record))

    assert done.exit_code == 0, done.output
    assert "not converged: 1 of 2 peers hold the same average" in done.output


def test_the_picture_has_a_line_for_each_peer(record: Path) -> None:
    figure = draw_gossip(load_gossip_run(record, "first"))
    above, below = figure.axes

    assert [np.asarray(line.get_xdata()).tolist() for line in above.lines] == [[1, 2, 3]] * 2
    assert [np.asarray(line.get_ydata()).tolist() for line in below.lines] == [[2.0, 1.0, 2.0 / 3]] * 2
    legend = above.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["peer A", "peer B"]


def test_the_picture_of_a_crowd_says_how_many_there_are(record: Path) -> None:
    first = load_gossip_run(record, "first")
    rounds = {f"P{place:02}": first.rounds["A"] for place in range(20)}
    above, _ = draw_gossip(replace(first, states={}, rounds=rounds)).axes

    legend = above.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["20 peers"]
    assert len(above.lines) == 20


# --- the command --------------------------------------------------------------------------------------


def test_the_record_that_was_written_last_is_shown(record: Path) -> None:
    training = record.with_name("training.db")
    with RoundPersistence(training) as other:
        other.create_run(new_run("coordinated"))
    for newer, older, runs in (
        (record, training, {"first", "second"}),
        (training, record, {"coordinated"}),
    ):
        os.utime(older, (1, 1))
        os.utime(newer, (2, 2))
        listed = json.loads(report("--workspace", str(record.parent), "--list", "--json").stdout)
        assert {one["run"] for one in listed} == runs


def test_all_runs_are_listed(record: Path) -> None:
    assert "first" in report("--db", str(record), "--list").output
    listed = json.loads(report("--db", str(record), "--list", "--json").stdout)
    assert [(one["run"], one["converged"]) for one in listed] == [("first", True), ("second", False)]


def test_files_are_written_where_they_are_wanted(record: Path, tmp_path: Path) -> None:
    done = report("--db", str(record), "--plot", str(tmp_path / "p.png"), "--csv", str(tmp_path / "m.csv"))

    assert done.exit_code == 0, done.output
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "m.csv").read_text().startswith("run,peer,round")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "worker"], "a gossip run is shown by round"),
        (["nothing"], "no run 'nothing'"),
        (["--plot", "/no/such/folder/p.png"], "cannot be written"),
        (["--plot", "p.txt"], "Format 'txt' is not supported"),
        (["first", "second", "--plot", "p.png"], "one gossip run at a time"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_line(arguments: list[str], said: str, record: Path) -> None:
    done = report("--db", str(record), *arguments)

    assert done.exit_code == 2
    assert said in done.output
    assert done.output.count("\n") == 1


# --- the page -----------------------------------------------------------------------------------------


def test_the_page_names_every_table_and_column(record: Path) -> None:
    rows = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `")}
    with closing(sqlite3.connect(record)) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        columns = {
            table: [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
            for table in tables
            if not table.startswith("sqlite_")
        }

    assert rows.keys() == columns.keys()
    for table, names in columns.items():
        also = rows["peer_states"] if table == "peer_metrics" else ""
        missing = [name for name in names if f"`{name}`" not in rows[table] + also]
        assert not missing, f"{table}: {missing}"


def test_the_page_tells_mark_and_version() -> None:
    assert f"is 0x{GOSSIP_SCHEMA.application_id:08x}" in PAGE
    assert f"now {GOSSIP_SCHEMA.version}." in PAGE


def test_the_queries_of_the_page_work(record: Path) -> None:
    agreeing, by_round = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    with closing(sqlite3.connect(f"file:{record}?mode=ro", uri=True)) as file:
        assert len(file.execute(agreeing).fetchall()) == 2
        assert len(file.execute(by_round).fetchall()) == 6
