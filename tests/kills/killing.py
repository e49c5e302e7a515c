"""A coordinated run whose processes are killed again and again, beside one that nobody disturbs."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("provider", "aggregator", "evaluator", "A", "B", "C")

# How far into a round a kill may come.
LATEST_SECONDS = 0.1

# Longer than a role takes to come back, and a round with it.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Kill:
    """What is killed.

    Attributes:
        after_round: When this round is over.
        seconds: So long after that.
        role: Of `ROLES`.
    """

    after_round: int
    seconds: float
    role: str


def plan(rounds: int, kills: int, seed: int) -> list[Kill]:
    """Return kills at rounds that are drawn, of all roles in turn, in an order that is drawn.

    Raises:
        ValueError: There are not as many rounds to kill in.
    """
    chance = random.Random(seed)
    if kills > rounds - 2:
        raise ValueError(f"{kills} kills in {rounds} rounds; at most one in a round, none in the last two")
    roles: list[str] = []
    while len(roles) < kills:
        roles += chance.sample(ROLES, len(ROLES))
    places = sorted(chance.sample(range(1, rounds - 1), kills))
    return [
        Kill(place, chance.uniform(0, LATEST_SECONDS), role)
        for place, role in zip(places, roles, strict=False)
    ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went.

    Attributes:
        status: Its exit status.
        model_sha256: What it says of its model; empty when it says nothing.
        said: All that it wrote to stderr.
        rounds: The rounds in the record, with who took part in each.
    """

    status: int
    model_sha256: str
    said: str
    rounds: tuple[tuple[int, tuple[str, ...]], ...]


class Place:
    """A folder in which runs are made, with data in its workspace.

    Args:
        folder: Where.
        job: The flags of every run.
    """

    def __init__(self, folder: Path, job: tuple[str, ...]) -> None:
        self._folder = folder
        self._job = job

    def undisturbed(self) -> Outcome:
        """Run in one process, and kill nobody."""
        return self._outcome(self._start("--in-process"))

    def killed(self, kills: list[Kill]) -> Iterator[Kill | Outcome]:
        """Run in processes; yield each kill as it is done, and the outcome at last."""
        run = self._start()
        try:
            for kill in kills:
                if not self._wait_for_round(run, kill.after_round):
                    break
                time.sleep(kill.seconds)
                pid = self._wait_for_process(run, kill.role)
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    yield kill
            yield self._outcome(run)
        finally:
            if run.poll() is None:
                run.terminate()
                run.wait()

    def _start(self, *flags: str) -> subprocess.Popen[bytes]:
        with self._said.open("wb") as said, self._printed.open("wb") as printed:
            return subprocess.Popen(
                [sys.executable, "-m", "federation", "start", "--plain", *self._job, *flags],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=said,
            )

    @property
    def _said(self) -> Path:
        return self._folder / "stderr"

    @property
    def _printed(self) -> Path:
        return self._folder / "stdout"

    def _wait_for_round(self, run: subprocess.Popen[bytes], number: int) -> bool:
        """Wait until a round is over; return False when the run is."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(rf"^round +{number}/", self._said.read_text(), re.MULTILINE):
            if run.poll() is not None:
                return False
            if time.monotonic() > deadline:
                raise TimeoutError(f"round {number} does not end:\n{self._said.read_text()}")
            time.sleep(0.005)
        return True

    def _wait_for_process(self, run: subprocess.Popen[bytes], role: str) -> int | None:
        """Return the process of a role, which may be on its way back still; None when the run is over."""
        while (pid := self._pid_of(role)) is None and run.poll() is None:
            time.sleep(0.005)
        return pid

    def _pid_of(self, role: str) -> int | None:
        words = f"region_{role}.npz" if len(role) == 1 else f"federation {role}"
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if words in line and (entry / "cwd").resolve() == self._folder.resolve():
                    return int(entry.name)
            except OSError:
                continue
        return None

    def _outcome(self, run: subprocess.Popen[bytes]) -> Outcome:
        status = run.wait()
        sha = re.search(r"SHA-256 +(\w+)", self._printed.read_text())
        told = subprocess.run(
            [sys.executable, "-m", "persistence", "report", "--json"],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
        rounds = tuple((one["round"], tuple(one["workers"])) for one in json.loads(told.stdout)["rounds"])
        return Outcome(status, sha[1] if sha else "", self._said.read_text(), rounds)


def judged(killed: Outcome, undisturbed: Outcome) -> list[str]:
    """Return what a run with kills has other than one without."""
    found = []
    if killed.status != 0:
        found.append(f"exit status {killed.status}; the last words: {killed.said.splitlines()[-1:]}")
    if killed.rounds != undisturbed.rounds:
        other = set(killed.rounds) ^ set(undisturbed.rounds)
        found.append(f"other rounds are in the record: {sorted(other)[:5]}")
    if killed.model_sha256 != undisturbed.model_sha256:
        found.append(
            f"another model: {killed.model_sha256[:12] or 'none'}, not {undisturbed.model_sha256[:12]}"
        )
    return found
