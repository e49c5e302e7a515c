"""What it means for a gossip run when a process is not there: the launcher's side."""

from __future__ import annotations

import io
import signal

import pytest
from trio.testing import MockClock

from federation.errors import ExitStatus
from gossip.config import StartGossipConfig
from gossip.launch import REPORTER_NAME, Attendance, NetworkWatch
from gossip.network import NetworkView
from gossip.terminal import PlainNetwork


class Run:
    """A run of three peers, and what is told of their processes."""

    def __init__(self) -> None:
        config = StartGossipConfig(peers="A,B,C")
        view = NetworkView(run="run", rounds=3)
        for name in config.peer_names:
            view = view.process_changed(name, "running", 0.0)
        self.out = io.StringIO()
        self.watch = NetworkWatch(view, PlainNetwork(self.out))
        self.attendance = Attendance(self.watch, config)


@pytest.fixture
async def run(autojump_clock: MockClock) -> Run:
    return Run()


async def test_a_peer_that_crashes_is_started_again(run: Run) -> None:
    for name in ("A", "B", "C", REPORTER_NAME):
        run.attendance.see_exit(name, -signal.SIGKILL, "SIGKILL")

    assert not run.watch.over.is_set()
    assert "the process of peer A has ended: SIGKILL; it is started again" in run.out.getvalue()
    assert "the process of the reporter has ended" in run.out.getvalue()


async def test_a_peer_that_is_given_up_is_told_of_as_a_peer(run: Run) -> None:
    run.attendance.see_given_up("A", "SIGKILL")
    run.attendance.see_given_up(REPORTER_NAME, "SIGKILL")

    assert not run.watch.over.is_set(), "the others go on"
    assert "peer A crashed too often, and is not started again: SIGKILL" in run.out.getvalue()
    assert "the reporter crashed too often" in run.out.getvalue()


async def test_a_run_without_peers_has_failed(run: Run) -> None:
    for name in ("A", "B", "C"):
        run.attendance.see_exit(name, ExitStatus.FAILED, "these words")

    assert run.watch.failure == (ExitStatus.FAILED, "peer C has ended: these words")


async def test_a_peer_whose_settings_are_wrong_ends_the_run(run: Run) -> None:
    run.attendance.see_exit("B", ExitStatus.USAGE, "no such region")

    assert run.watch.failure == (ExitStatus.USAGE, "peer B has ended: no such region")


async def test_at_the_end_all_may_go(run: Run) -> None:
    run.attendance.over = True
    run.attendance.see_exit("A", ExitStatus.TERMINATED, "asked to")
    run.attendance.see_given_up("B", "SIGKILL")

    assert run.watch.failure is None
    assert run.out.getvalue() == ""
