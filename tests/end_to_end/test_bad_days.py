"""What goes wrong is said in one line with its fix and the right exit status, never as a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.conftest import PATIENCE_SECONDS, ROOT, Command, Workspace


def check(command: Command, status: int, *words: str) -> None:
    """See that a command has failed as it should."""
    assert command.wait() == status, command.stderr
    assert "Traceback" not in command.stderr
    assert command.stdout == ""
    errors = [line for line in command.stderr.splitlines() if line.lower().startswith("error: ")]
    assert len(errors) == 1, command.stderr
    for word in words:
        assert word in errors[0]


def test_a_port_that_is_taken(workspace: Workspace, taken_port: int) -> None:
    run = workspace.start("--listen", f"127.0.0.1:{taken_port}")

    check(run, 2, str(taken_port), "held by python", "pid")
    assert not (workspace.path / "runs").exists()


def test_a_port_that_is_taken_for_a_provider(workspace: Workspace, taken_port: int) -> None:
    check(
        workspace.begin("federation", "provider", "--listen", f"127.0.0.1:{taken_port}"), 2, "held by python"
    )


def remove(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def rewrite(path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def poison(path: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["X"][3, 4] = np.nan

    rewrite(path, change)


def flatten(path: Path) -> None:
    rewrite(path, lambda arrays: arrays.update(X=arrays["X"].reshape(-1)))


def narrow(path: Path) -> None:
    rewrite(path, lambda arrays: arrays.update(X=arrays["X"][:, :64]))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (remove, "no such file"),
        (cut_off, "cut off"),
        (poison, "NaN or infinity in 1 of"),
        (flatten, "must be (samples, features)"),
        (narrow, "64 features"),
    ],
)
def test_a_region_file_that_cannot_be_learnt_from(
    workspace: Workspace, harm: Callable[[Path], None], words: str
) -> None:
    harm(workspace.path / "dataset" / "region_B.npz")
    run = workspace.start()

    check(run, 2, "region_B.npz", words)
    assert not (workspace.path / "runs").exists()


def test_a_region_file_that_a_worker_cannot_learn_from(workspace: Workspace) -> None:
    poison(workspace.path / "dataset" / "region_B.npz")

    check(workspace.begin("federation", "workers", "--region", "B"), 2, "region_B.npz", "NaN")


def test_no_worker_registers(workspace: Workspace) -> None:
    aggregator = workspace.begin("federation", "aggregator")
    evaluator = workspace.begin("federation", "evaluator")
    provider = workspace.begin("federation", "provider", "--register-seconds", "2")

    check(provider, 1, "0 of 1 workers have registered", "--register-seconds")
    for member in (aggregator, evaluator):
        assert member.wait() == 1
        assert "0 of 1 workers have registered" in member.stderr


def test_a_provider_that_cannot_be_reached(workspace: Workspace) -> None:
    worker = workspace.begin(
        "federation", "workers", "--provider", "127.0.0.1:1", "--connect-seconds", "0.5", "--region", "A"
    )

    check(worker, 1, "127.0.0.1:1 did not answer for 0.5 s", "--provider")


def test_a_provider_that_has_not_said_where_it_is(workspace: Workspace) -> None:
    aggregator = workspace.begin("federation", "aggregator", "--connect-seconds", "0.3")

    check(aggregator, 1, "no Provider has written its address to workspace/address.json within 0.3 s")


def test_a_database_of_somebody_else(workspace: Workspace) -> None:
    other = sqlite3.connect(workspace.path / "training.db")
    other.execute("CREATE TABLE bills (amount REAL)")
    other.commit()
    other.close()

    check(workspace.start(), 2, "training.db", "another")
    check(workspace.begin("federation", "aggregator"), 2, "training.db")


def test_a_database_that_is_no_database(workspace: Workspace) -> None:
    (workspace.path / "training.db").write_text("dear diary\n" * 100)

    check(workspace.start(), 2, "training.db")


ALONE = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], capture_output=True).returncode != 0,
    reason="this system lets nobody mount a small disk of their own (unshare --user --mount)",
)
def test_a_disk_that_is_full_stops_the_run_at_a_committed_round(workspace: Workspace) -> None:
    """A real disk of 1.8 MiB, mounted for this run alone."""
    full = workspace.folder / "full"
    full.mkdir()
    job = "-m federation start --plain --rounds 200 --no-alone --no-picture --workspace full/workspace"
    script = f"""
        mount -t tmpfs -o size=1800k tmpfs full && mkdir full/workspace || exit 9
        cp -r workspace/dataset full/workspace || exit 9
        {{ {sys.executable} {job}; status=$?; }}
        {sys.executable} -m persistence report --json --workspace full/workspace
        exit $status
    """

    run = subprocess.run(
        [*ALONE, "sh", "-c", script],
        cwd=workspace.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )

    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert re.search(
        "error: .*(no room left on the disk|No space left on device).*; make room", run.stderr
    ), run.stderr
    kept = re.search(r"Kept: (\d+) of 200 rounds", run.stderr)
    assert kept is not None, run.stderr
    rounds = [one["round"] for one in json.loads(run.stdout)["rounds"]]
    assert rounds == list(range(1, int(kept[1]) + 1))


def test_a_workspace_that_cannot_be_written(workspace: Workspace) -> None:
    (workspace.folder / "file").write_text("in the way")

    check(workspace.start("--workspace", "file/workspace"), 2, "--workspace file/workspace", "choose another")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--round", "3"), ("--round", "--rounds")),
        (("--rounds", "0"), ("--rounds 0", "1 or more")),
        (("--rounds", "many"), ("'--rounds'", "'many'")),
        (("--learning-rate", "nan"), ("--learning-rate nan", "finite")),
        (("--listen", "here"), ("--listen here", "HOST:PORT")),
        (("--source", "eurosat"), ("'synthetic'", "'digits'")),
        (("--resume", "yesterday"), ("--resume yesterday", "no run of that name")),
        (("--config", "missing.toml"), ("missing.toml",)),
    ],
)
def test_a_wrong_flag(workspace: Workspace, flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    check(workspace.start(*flags), 2, *words)
    assert not (workspace.path / "runs").exists()


def test_a_wrong_setting_in_a_file(workspace: Workspace) -> None:
    (workspace.folder / "job.toml").write_text("# my job\nrounds = 3\nlearning_rat = 0.2\n")

    check(workspace.start("--config", "job.toml"), 2, "job.toml, line 3", "did you mean 'learning_rate'?")


def test_a_run_in_which_no_update_was_accepted_has_failed(workspace: Workspace) -> None:
    run = workspace.start("--learning-rate", "3e38")

    check(run, 1, "round 1: no update was accepted", "A, B, C failed", "use a smaller one")
