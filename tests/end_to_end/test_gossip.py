"""The whole gossip mode, as a user runs it: real processes over TCP and TLS."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from federation.learning import Budget, load_params, load_region, model_sha256, train_together
from tests.end_to_end.conftest import Command, Workspace

QUICK = ("--no-alone", "--no-picture")

# Rounds that take long enough for something to happen in one of them.
LONG = ("--rounds", "400", "--epochs", "60", *QUICK)


def start(workspace: Workspace, *flags: str) -> Command:
    return workspace.begin("gossip", "start", "--plain", *flags)


def report(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    database = str(workspace.path / "gossip.db")
    command = workspace.begin("persistence", "report", "--db", database, "--json", *arguments)
    assert command.wait() == 0, command.stderr
    found = json.loads(command.stdout)
    assert isinstance(found, dict)
    return found


def averages(workspace: Workspace) -> set[str]:
    """Return what each peer says it holds, as far as they differ."""
    return {peer["average_sha256"] for peer in report(workspace)["peers"].values()}


def sha_in(run: Command) -> str:
    found = re.search(r"average SHA-256 +([0-9a-f]{64})", run.stdout)
    assert found is not None, run.stdout
    return found[1]


def run_folder(workspace: Workspace) -> Path:
    (folder,) = (workspace.path / "runs").iterdir()
    return folder


def test_three_rounds_from_one_command(workspace: Workspace) -> None:
    run = start(workspace, "--rounds", "3")
    assert run.wait() == 0, run.stderr

    sha = sha_in(run)
    assert averages(workspace) == {sha}
    assert "round 3/3" in run.stderr
    assert "made by a program" in run.stdout
    for name in "ABC":
        assert f"peer {name} alone, same budget" in run.stdout
    folder = run_folder(workspace)
    assert model_sha256(load_params(folder / "model.npz")) == sha
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    lines = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert [(line["peer"], line["round"]) for line in lines] == [
        (peer, str(number)) for peer in "ABC" for number in (1, 2, 3)
    ]
    logs = {log.stem: log.read_text() for log in (folder / "logs").iterdir()}
    assert logs.keys() == {"A", "B", "C", "reporter", "launcher"}
    assert "Traceback" not in "".join(logs.values())
    reports = [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]
    assert set(reports[-1]["peers"]) == {"A", "B", "C"}
    found = report(workspace)
    assert (found["mode"], found["status"], found["converged"]) == ("gossip", "finished", True)
    assert found["model_sha256"] == sha
    for peer in found["peers"].values():
        assert peer["rounds_trained"] == 3
        assert [row["round"] for row in peer["rounds"]] == [1, 2, 3]
        assert peer["rounds"][-1]["accuracy"] == found["accuracy"]
        assert peer["bytes_in"] > 0
        assert peer["bytes_out"] > 0


def test_over_tls_each_word_has_the_seal_of_its_owner(workspace: Workspace) -> None:
    run = start(workspace, "--rounds", "2", *QUICK, "--tls")
    assert run.wait() == 0, run.stderr

    assert averages(workspace) == {sha_in(run)}
    assert not (run_folder(workspace) / "certificates" / "ca.key").exists()
    with closing(sqlite3.connect(workspace.path / "gossip.db")) as record:
        rows = record.execute("SELECT value FROM crdt_snapshots").fetchall()
    assert len(rows) == 18  # three peers know three models and three peers
    assert all(json.loads(value)["proof"] for (value,) in rows)


def test_a_peer_killed_in_mid_run_comes_back_and_all_agree(workspace: Workspace) -> None:
    run = start(workspace, "--rounds", "50", "--epochs", "60", *QUICK)
    run.wait_for("round  4/50")
    os.kill(workspace.process_of("--name B"), signal.SIGKILL)

    assert run.wait() == 0, run.stderr
    assert "the process of peer B has ended: it was ended by SIGKILL; it is started again" in run.stderr
    assert averages(workspace) == {sha_in(run)}
    found = report(workspace)["peers"]
    assert {peer["rounds_trained"] for peer in found.values()} == {50}
    assert found["B"]["life"] == 2
    assert found["A"]["life"] == 1
    for peer in found.values():
        assert [row["round"] for row in peer["rounds"]] == list(range(1, 51))
        assert all(row["accuracy"] is not None for row in peer["rounds"])
        assert peer["rounds"][-1]["average_sha256"] == sha_in(run)


def test_a_peer_killed_with_its_disk_comes_back_and_all_agree(workspace: Workspace) -> None:
    """The disk here is the file that all share: whoever has it open finds out, and begins anew, too."""
    run = start(workspace, "--rounds", "30", "--epochs", "60", *QUICK)
    run.wait_for("round  4/30")
    for path in workspace.path.glob("gossip.db*"):
        path.unlink()
    os.kill(workspace.process_of("--name B"), signal.SIGKILL)

    assert run.wait() == 0, run.stderr
    assert len(averages(workspace)) == 1


def test_a_stopped_run_goes_on_where_it_was(workspace: Workspace) -> None:
    run = start(workspace, *LONG)
    run.wait_for("round   5/400")
    run.send(signal.SIGTERM)
    asked = time.monotonic()
    assert run.wait() == 143
    assert time.monotonic() - asked < 2.0
    workspace.wait_until_empty(1.0)
    assert "Stopped by SIGTERM." in run.stderr
    trained = min(peer["rounds_trained"] for peer in report(workspace)["peers"].values())
    assert trained >= 4
    name = run_folder(workspace).name
    assert f"--resume {name}" in run.stderr

    again = start(workspace, "--resume", "last", "--rounds", str(trained + 3))

    assert again.wait() == 0, again.stderr
    assert f"round {trained + 3}/" in again.stderr
    assert "round 2/" not in again.stderr
    assert averages(workspace) == {sha_in(again)}
    assert report(workspace)["run"] == name


def test_results_that_cannot_be_written_are_told_and_the_record_has_them(workspace: Workspace) -> None:
    run = start(workspace, "--rounds", "30", "--epochs", "60", "--in-process", *QUICK)
    run.wait_for("round  3/30")
    (run_folder(workspace) / "metrics.csv").mkdir()

    assert run.wait() == 1
    assert "error: the results could not all be written" in run.stderr
    assert "Traceback" not in run.stderr
    sha_in(run)
    assert report(workspace)["status"] == "finished"


def test_roles_one_by_one_find_each_other_and_end_when_all_agree(workspace: Workspace) -> None:
    """A peer and a reporter that come late are no trouble, nor is one that goes."""
    flags = ("--rounds", "3", "--min-peers", "3", "--until-converged")
    reporter = workspace.begin(
        "gossip", "reporter", "--plain", "--every-seconds", "0.2", "--output", "report.jsonl"
    )
    peers = [workspace.begin("gossip", "peer", "--region", name, *flags) for name in "AB"]
    reporter.wait_for("A ", "stdout")
    reporter.send(signal.SIGTERM)
    assert reporter.wait() == 143
    reports = (workspace.folder / "report.jsonl").read_text().splitlines()
    assert {"A", "B"} >= set(json.loads(reports[-1])["peers"])
    peers.append(workspace.begin("gossip", "peer", "--region", "C", *flags))

    for peer in peers:
        assert peer.wait() == 0, peer.stderr
    (average,) = averages(workspace)
    assert {peer.stdout for peer in peers} == {f"Converged: all live peers hold the average {average}.\n"}
    assert report(workspace)["status"] == "finished"
    assert not list((workspace.path / "peers").iterdir())


def test_a_damaged_record_is_kept_aside_with_a_word(workspace: Workspace) -> None:
    (workspace.path / "gossip.db").write_bytes(b"not a database" * 1000)

    run = start(workspace, "--rounds", "1", *QUICK, "--in-process")

    assert run.wait() == 0, run.stderr
    assert "this file is no SQLite database" in run.stderr
    assert "gossip.db.aside-1; a new record is begun" in run.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--peers", "A,D"], "nobody trains on D"),
        (["--peers", "A,A"], "A is there twice"),
        (["--peers", "A,,B"], "give names of regions"),
        (["--resume", "last"], "no run of that name"),
        (["--peers", "A,E"], "region_E.npz"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_started(
    flags: list[str], said: str, workspace: Workspace
) -> None:
    run = start(workspace, *flags)

    assert run.wait() == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_certificate_of_another_name_is_told_before_anything_is_started(workspace: Workspace) -> None:
    made = workspace.begin("prep", "certificates", "--out", "certs", "--roles", "peer-A")
    assert made.wait() == 0, made.stderr
    files = ("--tls-cert", "certs/peer-A.crt", "--tls-key", "certs/peer-A.key", "--tls-ca", "certs/ca.crt")

    run = workspace.begin("gossip", "peer", "--region", "B", *files)

    assert run.wait() == 2
    assert "does not have the name 'peer-B'" in run.stderr


def test_gossip_is_as_good_as_rounds(workspace: Workspace) -> None:
    """Within two points of what a Provider reaches on the same data with the same budget.

    Who has heard of which model when is for the clock to say, and that moves some images to and fro: of the
    40 of the other tests two would decide it, so this one has the 400 of the built-in data.
    """
    prepared = workspace.begin("prep", "prepare", "--samples", "2000")
    assert prepared.wait() == 0, prepared.stderr
    run = start(workspace, "--rounds", "8", *QUICK, "--in-process")
    assert run.wait() == 0, run.stderr
    regions = {name: load_region(workspace.path / "dataset" / f"region_{name}.npz") for name in "ABCD"}
    evaluation = regions.pop("D")
    together = train_together(regions, Budget(rounds=8, seed=0)).evaluate(evaluation.X, evaluation.y)

    assert report(workspace)["accuracy"] > together.accuracy - 0.02 - 1 / evaluation.sample_count
