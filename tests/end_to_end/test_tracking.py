"""Runs beside which a tracker is told, or cannot be."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from persistence.history import load_run
from tests.end_to_end.conftest import Workspace
from tests.extras import need

QUICK = ("--rounds", "3", "--no-alone", "--no-picture")


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Return a port where nobody listens, and nobody else can begin to."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize("where", [(), ("--in-process",)], ids=["processes", "one process"])
def test_a_server_that_is_not_there_fails_nothing(
    workspace: Workspace, dead_port: int, where: tuple[str, ...]
) -> None:
    need("mlflow")
    run = workspace.start(*QUICK, *where, "--track", f"mlflow:http://127.0.0.1:{dead_port}")

    assert run.wait() == 0, run.stderr
    history = load_run(workspace.path / "training.db")
    assert (history.run.status, len(history.committed)) == ("finished", 3)
    assert all(len(one.accepted) == 3 for one in history.rounds)
    assert "Finished: 3 rounds" in run.stdout
    assert "Not all of the run was told to its trackers" in run.stderr
    assert f"Tell them with: bin/track {history.run.name} --workspace workspace --to mlflow:" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_killed_tracker_is_no_matter_of_the_run(workspace: Workspace) -> None:
    need("tensorboardX")
    run = workspace.start(*QUICK[2:], "--rounds", "200", "--epochs", "20", "--track", "tensorboard")
    run.until(lambda: any(" track " in line for line in workspace.ours().values()), "tracker")
    run.wait_for("round   2/200")
    os.kill(workspace.process_of(" track "), signal.SIGKILL)
    killed = len(run.stderr)
    run.until(lambda: run.stderr[killed:].count("round ") > 3, "further rounds")
    run.send(signal.SIGINT)

    assert run.wait() == 130
    assert "Stopped by Ctrl-C" in run.stderr


def test_a_tracker_that_cannot_be_is_refused_before_anything_starts(workspace: Workspace) -> None:
    run = workspace.start(*QUICK, "--track", "wandb")

    assert run.wait() == 2
    assert "--track wandb: give tensorboard, tensorboard:DIR or mlflow:URI" in run.stderr
    assert not (workspace.path / "runs").exists()
