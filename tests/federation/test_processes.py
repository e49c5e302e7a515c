"""Processes: how they end, what they say, and that they end with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from federation.processes import PARENT_VARIABLE, RoleProcess, error_in, how_it_ended
from federation.workspace import started_ticks

ROOT = Path(__file__).resolve().parents[2]


def wait_until(ready: Callable[[], bool]) -> None:
    """Return when something about another process is so."""
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def process(program: str, log: Path) -> RoleProcess:
    return RoleProcess("role", [sys.executable, "-c", program], log, {**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("all is well\n", ""),
        ("error: no data\n", "no data"),
        ("starting\nerror: first\nerror: no data;\n  make some\n", "no data; make some"),
        ("an error: in the middle\n", ""),
    ],
)
def test_the_last_error_of_a_log_is_what_it_ended_with(log: str, words: str) -> None:
    assert error_in(log) == words


def test_an_exit_status_in_words() -> None:
    assert how_it_ended(-9) == "it was ended by SIGKILL"
    assert how_it_ended(3) == "it ended with status 3"
    assert how_it_ended(None) == "it is still running"


async def test_what_a_process_says_goes_into_its_log(tmp_path: Path) -> None:
    one = process("print('hello'); raise SystemExit('error: no data')", tmp_path / "log")
    status = await one.wait()
    await one.end()

    assert status == one.status == 1
    assert one.last_words() == "no data"
    assert (tmp_path / "log").read_text() == "hello\nerror: no data\n"


async def test_a_process_that_is_asked_to_end_does(tmp_path: Path) -> None:
    one = process("import time; time.sleep(60)", tmp_path / "log")
    with trio.fail_after(5):
        await one.end()

    assert one.status == -signal.SIGTERM
    assert one.last_words() == "it was ended by SIGTERM"


async def test_a_process_that_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    log = tmp_path / "log"
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    one = process(deaf, log)
    wait_until(lambda: "deaf" in log.read_text())
    with trio.fail_after(5):
        await one.end(grace_seconds=0.1)

    assert one.status == -signal.SIGKILL


async def test_ctrl_c_does_not_reach_it_by_itself(tmp_path: Path) -> None:
    one = process("import time; time.sleep(60)", tmp_path / "log")

    assert os.getpgid(one.pid) != os.getpgid(0)
    await one.end()


STARTER = """
import os, sys, time
from pathlib import Path
from federation.processes import RoleProcess
sleeper = "from federation.processes import end_with_starter as end; end(); print('up', flush=True)"
log = Path(sys.argv[1])
command = [sys.executable, "-c", sleeper + "; import time; time.sleep(60)"]
one = RoleProcess("role", command, log, dict(os.environ))
while "up" not in log.read_text():
    time.sleep(0.01)
print(one.pid, flush=True)
time.sleep(60)
"""


def test_a_process_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    """Without any help of its own code: it only sleeps."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as starter:
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        starter.kill()
        starter.wait()

    wait_until(lambda: started_ticks(child) is None)


def test_a_process_whose_starter_is_gone_already_does_not_begin() -> None:
    program = "from federation.processes import end_with_starter; end_with_starter(); print('up')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), PARENT_VARIABLE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")
