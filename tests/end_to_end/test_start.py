"""The whole coordinated mode, as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from federation.learning import load_params, model_sha256
from tests.end_to_end.conftest import PATIENCE_SECONDS, ROOT, Command, Workspace
from tests.kills.killing import ROLES, Kill, Outcome, Place, judged, plan

# Rounds that take long enough for something to happen in one of them.
LONG = ("--rounds", "500", "--epochs", "100", "--no-alone", "--no-picture")


def report(workspace: Workspace, *arguments: str) -> dict[str, object]:
    command = workspace.begin("persistence", "report", *arguments, "--json")
    assert command.wait() == 0, command.stderr
    found = json.loads(command.stdout)
    assert isinstance(found, dict)
    return found


def round_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("round ")]


def test_three_rounds_from_one_command(workspace: Workspace) -> None:
    run = workspace.start("--rounds", "3")
    assert run.wait() == 0, run.stderr

    assert len(round_lines(run.stderr)) == 3
    assert "made by a program" in run.stdout
    found = report(workspace)
    rounds = found["rounds"]
    assert isinstance(rounds, list)
    assert [one["round"] for one in rounds] == [1, 2, 3]
    sha = found["model_sha256"]
    assert isinstance(sha, str)
    assert sha in run.stdout

    (folder,) = (workspace.path / "runs").iterdir()
    assert model_sha256(load_params(folder / "model.npz")) == sha
    lines = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert [line["round"] for line in lines] == ["1", "2", "3"]
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert {log.stem for log in (folder / "logs").iterdir()} == {
        "provider",
        "aggregator",
        "evaluator",
        "launcher",
        "A",
        "B",
        "C",
    }
    assert "Traceback" not in "".join(log.read_text() for log in (folder / "logs").iterdir())
    for name in "ABC":
        assert f"worker {name} alone, same budget" in run.stdout


def test_the_same_seed_gives_the_same_bytes_in_processes_and_in_one(workspace: Workspace) -> None:
    shas = set()
    for flags in ((), ("--in-process",)):
        run = workspace.start("--rounds", "2", "--no-alone", "--no-picture", "--seed", "5", *flags)
        assert run.wait() == 0, run.stderr
        found = re.search(r"model SHA-256 +([0-9a-f]{64})", run.stdout)
        assert found is not None
        shas.add(found[1])

    assert len(shas) == 1


def test_settings_of_a_run_make_the_same_run_again(workspace: Workspace) -> None:
    first = workspace.start("--rounds", "2", "--no-alone", "--no-picture", "--mu", "0.1", "--in-process")
    assert first.wait() == 0, first.stderr
    (folder,) = (workspace.path / "runs").iterdir()

    again = workspace.start("--config", str(folder / "settings.toml"))
    assert again.wait() == 0, again.stderr

    one, two = (re.search(r"SHA-256 +(\w+)", run.stdout) for run in (first, again))
    assert one is not None
    assert two is not None
    assert one[1] == two[1]
    assert len(round_lines(again.stderr)) == 2


def test_others_read_the_record_while_the_run_writes_it(workspace: Workspace) -> None:
    run = workspace.start(*LONG)
    run.wait_for("round   3/500")

    with sqlite3.connect(f"file:{workspace.path}/training.db?mode=ro", uri=True) as other:
        (count,) = other.execute("SELECT count(*) FROM rounds").fetchone()
        (status,) = other.execute("SELECT status FROM runs").fetchone()
    other.close()

    assert count >= 3
    assert status == "running"
    run.send(signal.SIGTERM)
    assert run.wait() == 143


def test_roles_that_are_killed_come_back_and_the_model_is_the_same(workspace: Workspace) -> None:
    """No committed round is lost or counted twice, or without a worker: `bin/kill-roles`, in short."""
    place = Place(workspace.folder, ("--rounds", "16", "--epochs", "250", "--no-alone", "--no-picture"))
    *kills, killed = place.killed(plan(rounds=16, kills=len(ROLES), seed=1))

    assert isinstance(killed, Outcome)
    assert {kill.role for kill in kills if isinstance(kill, Kill)} == set(ROLES)
    assert killed.said.count("has ended: it was ended by SIGKILL; it is started again") == len(ROLES)
    assert judged(killed, place.undisturbed()) == []


def test_a_plan_of_kills_has_room_in_its_rounds() -> None:
    with pytest.raises(ValueError, match="20 kills in 10 rounds; at most one in a round"):
        plan(rounds=10, kills=20, seed=0)


def test_a_run_that_loses_all_workers_keeps_what_it_has_and_says_so(workspace: Workspace) -> None:
    """Their data is gone as well, so they cannot come back."""
    run = workspace.start(*LONG, "--register-seconds", "8")
    run.wait_for("round   2/500")
    for name in "ABC":
        (workspace.path / "dataset" / f"region_{name}.npz").unlink()
    for name in "ABC":
        os.kill(workspace.process_of(f"region_{name}.npz"), signal.SIGKILL)

    assert run.wait(10) == 3
    assert "Kept: " in run.stderr
    assert "--resume" in run.stderr
    assert report(workspace)["status"] == "quorum lost"


def stop(workspace: Workspace, run: Command, number: int, status: int) -> None:
    """Stop a run, and see that it ends at once, in good order, with nothing left."""
    run.send(number)
    asked = time.monotonic()

    assert run.wait() == status
    assert time.monotonic() - asked < 2.0
    workspace.wait_until_empty(0.1)
    assert "Traceback" not in run.stderr
    assert "Kept: " in run.stderr
    assert report(workspace)["status"] == "stopped"
    assert not list(workspace.path.glob("processes/*"))


def test_a_run_that_is_stopped_ends_at_once_and_goes_on_to_the_same_bytes(workspace: Workspace) -> None:
    job = ("--rounds", "10", "--epochs", "100", "--no-alone", "--no-picture")
    run = workspace.start(*job)
    run.wait_for("round  2/10")
    stop(workspace, run, signal.SIGINT, 130)

    again = workspace.start("--resume", "last", "--no-picture")
    assert again.wait() == 0, again.stderr
    undisturbed = workspace.start(*job, "--in-process")
    assert undisturbed.wait() == 0, undisturbed.stderr
    shas = [re.search(r"SHA-256 +(\w+)", one.stdout) for one in (again, undisturbed)]
    assert all(shas)
    assert len({sha[1] for sha in shas if sha}) == 1


def test_a_run_ends_at_once_when_it_is_told_to(workspace: Workspace) -> None:
    run = workspace.start(*LONG)
    run.wait_for("round   2/500")

    stop(workspace, run, signal.SIGTERM, 143)


def test_the_roles_end_with_a_launcher_that_is_killed(workspace: Workspace) -> None:
    run = workspace.start(*LONG)
    run.wait_for("round   2/500")
    assert len(workspace.ours()) == 7

    run.send(signal.SIGKILL)
    run.wait()

    workspace.wait_until_empty(2.0)
    with sqlite3.connect(workspace.path / "training.db") as record:
        assert record.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    record.close()


def test_results_that_cannot_be_written_are_told_and_the_record_has_them(workspace: Workspace) -> None:
    run = workspace.start("--rounds", "30", "--epochs", "60", "--no-alone", "--no-picture")
    run.wait_for("round  3/30")
    (folder,) = (workspace.path / "runs").iterdir()
    (folder / "metrics.csv").mkdir()

    assert run.wait() == 1
    assert "the results could not all be written" in run.stderr
    assert "Traceback" not in run.stderr
    assert "model SHA-256" in run.stdout
    assert report(workspace)["status"] == "finished"


def test_on_a_terminal_there_is_a_live_table(workspace: Workspace) -> None:
    parent, child = pty.openpty()
    subprocess.run(["stty", "rows", "24", "cols", "80"], stdin=child, check=True)
    command = [sys.executable, "-m", "federation", "start", "--rounds", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, cwd=workspace.folder, env=environment
    ) as process:
        os.close(child)
        seen = b""
        while True:
            try:
                chunk = os.read(parent, 65536)
            except OSError:  # the terminal has no other end any more
                break
            if not chunk:
                break
            seen += chunk
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
    os.close(parent)

    text = seen.decode()
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert "worker A" in plain
    assert "accuracy on D" in plain
    assert "round 3 of 3" in plain
    assert "Finished: 3 rounds" in plain
    assert max(len(line.rstrip("\r")) for line in plain.split("\n") if "accuracy on D" in line) <= 80


def test_data_is_prepared_when_there_is_none(tmp_path: Path) -> None:
    fresh = Workspace(tmp_path)
    run = fresh.start("--rounds", "1", "--no-alone", "--no-picture", "--samples", "100", "--in-process")

    assert run.wait() == 0, run.stderr
    assert "100 of 100" in run.stderr
    with np.load(fresh.path / "dataset" / "region_A.npz") as region:
        assert region["X"].shape[1] == 512
    again = fresh.start("--rounds", "1", "--no-alone", "--no-picture", "--in-process")
    assert again.wait() == 0, again.stderr
    assert "of 100" not in again.stderr
