"""The crew: roles as processes that come back, with real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from federation.crew import Crew, Role, process_name
from trioactor import ActorSystem
from trioactor.process import ProcessStatus, SendSignal

PATIENCE_SECONDS = 20

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


class Story:
    """What a crew tells of its roles, and a way to wait for it."""

    def __init__(self) -> None:
        self.exits: list[tuple[str, int, str]] = []
        self.given_up: list[str] = []
        self._news = trio.Event()

    def see_exit(self, role: str, status: int, words: str) -> None:
        self.exits.append((role, status, words))
        self._tell()

    def see_given_up(self, role: str, reason: str) -> None:
        assert "SIGKILL" in reason
        self.given_up.append(role)
        self._tell()

    async def wait_for(self, wanted: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_SECONDS):
            while not wanted():
                await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


def role(folder: Path, program: str, name: str = "evaluator") -> Role:
    environment = {"PATH": os.environ["PATH"], "GREETING": "hello"}
    return Role(name, lambda: [sys.executable, "-c", program], folder / f"{name}.log", environment)


async def pid_of(system: ActorSystem, name: str) -> int:
    """Return the process id of a role, waiting for one that is being started again."""
    process = system.find(process_name(name))
    assert process is not None
    with trio.fail_after(PATIENCE_SECONDS):
        return (await process.ask(ProcessStatus())).pid


async def test_what_a_role_writes_goes_into_its_log_and_it_has_the_environment_that_it_is_given(
    tmp_path: Path,
) -> None:
    story = Story()
    program = "import os, sys; print(sorted(os.environ), flush=True); sys.exit('error: no data')"
    async with ActorSystem() as system:
        make = lambda: Crew([role(tmp_path, program)], story.see_exit, story.see_given_up)
        await system.actor_of(make, "crew")
        await story.wait_for(lambda: bool(story.exits))

    assert story.exits == [("evaluator", 1, "no data")]
    log = (tmp_path / "evaluator.log").read_text().splitlines()
    assert log[-1] == "error: no data"
    assert "'GREETING'" in log[0]
    assert "HOME" not in log[0]


async def test_what_an_earlier_process_said_is_not_taken_for_the_error_of_this_one(tmp_path: Path) -> None:
    story = Story()
    (tmp_path / "evaluator.log").write_text("error: that was yesterday\n")
    async with ActorSystem() as system:
        make = lambda: Crew([role(tmp_path, "raise SystemExit(1)")], story.see_exit, story.see_given_up)
        await system.actor_of(make, "crew")
        await story.wait_for(lambda: bool(story.exits))

    assert story.exits == [("evaluator", 1, "it ended with status 1")]


async def test_a_log_that_cannot_be_written_costs_neither_the_role_nor_what_it_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story()
    program = "print('up'); print('and at work'); raise SystemExit('error: no room left')"
    full = Role("evaluator", lambda: [sys.executable, "-c", program], Path("/dev/full"), dict(os.environ))
    async with ActorSystem() as system:
        await system.actor_of(lambda: Crew([full], story.see_exit, story.see_given_up), "crew")
        await story.wait_for(lambda: bool(story.exits))

    assert story.exits == [("evaluator", 1, "no room left")]
    told = "/dev/full: the log cannot be written (No space left on device); the run goes on without it\n"
    assert capsys.readouterr().err == told


async def test_a_role_that_crashes_comes_back_and_one_that_ends_by_itself_does_not(tmp_path: Path) -> None:
    story = Story()
    async with ActorSystem() as system:
        roles = [role(tmp_path, SLEEPER, "A"), role(tmp_path, "raise SystemExit(3)", "B")]
        await system.actor_of(lambda: Crew(roles, story.see_exit, story.see_given_up), "crew")
        first = await pid_of(system, "A")
        process = system.find(process_name("A"))
        assert process is not None
        await process.tell(SendSignal(signal.SIGKILL))
        await story.wait_for(lambda: len(story.exits) == 2)
        assert await pid_of(system, "A") != first

    assert sorted(story.exits) == [
        ("A", -signal.SIGKILL, "it was ended by SIGKILL"),
        ("B", 3, "it ended with status 3"),
    ]
    assert story.given_up == []


async def test_a_role_that_cannot_live_is_given_up_and_the_others_stay(tmp_path: Path) -> None:
    story = Story()
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    async with ActorSystem() as system:
        roles = [role(tmp_path, SLEEPER, "A"), role(tmp_path, crash, "B")]
        await system.actor_of(lambda: Crew(roles, story.see_exit, story.see_given_up), "crew")
        await story.wait_for(lambda: story.given_up == ["B"])
        assert await pid_of(system, "A")
        assert system.find(process_name("B")) is None

    assert len(story.exits) == 1 + 5
