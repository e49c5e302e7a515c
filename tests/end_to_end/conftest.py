"""Real processes over real TCP, on data that is made once for all tests.

Every command runs in a process group of its own; a test fails when one of its processes is left at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Nothing here takes longer than a few seconds, also on a machine that is busy with other things.
PATIENCE_SECONDS = 30.0


class Command:
    """One of our commands, running.

    Attributes:
        process: The process.
        stdout: What it has written there so far is in this file; stderr likewise.
    """

    def __init__(self, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = " ".join(arguments)
        self._out = folder / f"out-{time.monotonic_ns()}"
        self._err = folder / f"err-{time.monotonic_ns()}"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Return the exit status."""
        return self.process.wait(timeout=seconds)

    def wait_for(self, words: str, stream: str = "stderr") -> None:
        """Return when the command has written these words."""
        self.until(lambda: words in getattr(self, stream), f"{words!r} on {stream}")

    def until(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            assert time.monotonic() < deadline, f"{self.name}: no {what}\n{self.stdout}\n{self.stderr}"
            assert self.process.poll() is None or ready(), f"{self.name} ended: {self.stderr}"
            time.sleep(0.01)

    def send(self, number: int) -> None:
        self.process.send_signal(number)


class Workspace:
    """A folder with data, and commands that run in it.

    Attributes:
        path: The workspace itself; commands run in the folder around it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "workspace"
        self.commands: list[Command] = []

    def begin(self, *arguments: str, **environment: str) -> Command:
        """Start `python -m ...`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FEDERATION_")}
        command = Command(
            list(arguments),
            self.folder,
            {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        )
        self.commands.append(command)
        return command

    def start(self, *flags: str) -> Command:
        """Start the coordinated mode, with a small job unless the flags say otherwise."""
        return self.begin("federation", "start", "--plain", *flags)

    def ours(self) -> dict[int, str]:
        """Return the command lines, by process id, of the processes that work in this workspace."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if (entry / "cwd").resolve() == self.folder and (
                    " federation " in line or " gossip " in line
                ):
                    found[int(entry.name)] = line
            except OSError:
                continue
        return found

    def process_of(self, words: str) -> int:
        """Return the process id of the one command whose line has these words."""
        (pid,) = [pid for pid, line in self.ours().items() if words in line]
        return pid

    def wait_until_empty(self, seconds: float) -> None:
        """Return when none of our processes is left."""
        deadline = time.monotonic() + seconds
        while left := self.ours():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.01)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset folder with a few tiles."""
    workspace = tmp_path_factory.mktemp("data") / "workspace"
    command = ["prep", "prepare", "--samples", "200", "--workspace", str(workspace)]
    subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_SECONDS
    )
    return workspace / "dataset"


@pytest.fixture
def workspace(tmp_path: Path, dataset: Path) -> Iterator[Workspace]:
    """Hand out a workspace with data; when the test is over no process of it may be left."""
    place = Workspace(tmp_path)
    shutil.copytree(dataset, place.path / "dataset")
    yield place
    left = place.ours()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    for command in place.commands:
        command.process.wait(timeout=PATIENCE_SECONDS)
    assert not left, f"left behind: {left}"


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Return a port that another process holds."""
    holder = (
        "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        out: IO[str] | None = process.stdout
        assert out is not None
        yield int(out.readline())
        process.kill()
