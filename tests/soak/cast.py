"""Who is soaked: a coordinated run under its launcher and one worker far away; four peers of gossip."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from federation.config import StartConfig
from federation.learning import (
    Contribution,
    FedAvg,
    Region,
    SimpleClassifier,
    load_region,
    model_sha256,
    one_blas_thread,
    save_region,
    worker_generator,
)
from persistence.gossip_history import load_gossip_run
from persistence.history import RoundHistory, load_run
from tests.benchmarks.processes import ROOT, run
from tests.benchmarks.tree import Tree
from tests.soak.verdict import Sample

COUNTED = Path(__file__).parent / "counted"

WITHOUT_END = 1_000_000  # rounds
EPOCHS = 20
SAMPLES = 800
FAR = "E"  # the region of who sits behind a slow link
WORKERS = ("A", "B", "C", FAR)
MORE_ROUNDS = 3  # of gossip, after the soak, until all agree
END_SECONDS = 30.0
RETURN_SECONDS = 300.0
BEGIN_SECONDS = 120.0
AGREE_SECONDS = 600.0  # who is behind has to train as many rounds as the one ahead


class Mode(ABC):
    """One of the two modes, as processes.

    Args:
        folder: Its workspace; the data is in it.
        tasks: The folder in which processes count their tasks.

    Attributes:
        kills: How many of its processes have been killed.
    """

    name: str
    record: str

    def __init__(self, folder: Path, tasks: Path) -> None:
        self.folder = folder
        self._tasks = tasks
        self._started: dict[str, tuple[list[str], subprocess.Popen[bytes]]] = {}
        self.kills = 0

    def start(self, who: str, *command: str) -> None:
        """Start a process of ours; what it says goes to a file."""
        environment = {
            **os.environ,
            "PYTHONPATH": f"{COUNTED}{os.pathsep}{ROOT}",
            "TRIOACTOR_SOAK_TASKS": str(self._tasks),
        }
        with (self.folder / f"{who}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started[who] = (list(command), process)

    def revive(self) -> list[str]:
        """Start again who was killed; return who has ended by itself, in sentences."""
        wrong = []
        for who, (command, process) in list(self._started.items()):
            status = process.poll()
            if status == -signal.SIGKILL:
                self.start(who, *command)
            elif status is not None:
                wrong.append(f"{self.name}: {who} has ended with {status}: {self.last_words(who)}")
                del self._started[who]
        return wrong

    def last_words(self, who: str) -> str:
        """Return the last line that a process has written."""
        lines = (self.folder / f"{who}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def look(self, seconds: float) -> Sample:
        """Return what there is now."""
        tree = Tree([process.pid for _, process in self._started.values()])
        seen = tree.look()
        tasks = 0
        for process in tree.processes():
            with suppress(OSError, ValueError):
                tasks += int((self._tasks / f"{process.pid}").read_text())
        files = [self.folder / f"{self.record}{suffix}" for suffix in ("", "-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
        return Sample(
            seconds=seconds,
            mode=self.name,
            memory_mib=seen.memory_bytes / 2**20,
            handles=seen.handles,
            tasks=tasks,
            threads=seen.threads,
            processes=seen.processes,
            database_mib=size / 2**20,
            rounds=self.rounds(),
        )

    @abstractmethod
    def rounds(self) -> int:
        """Return how far it is."""

    @abstractmethod
    def losses(self) -> list[str]:
        """Return what was lost, in sentences."""

    def victims(self) -> list[int]:
        """Return the processes that may be killed."""
        return [process.pid for _, process in self._started.values() if process.poll() is None]

    def end(self) -> list[str]:
        """Ask all to end; return in sentences who did not."""
        for _, process in self._started.values():
            process.terminate()
        wrong = []
        for who, (_, process) in self._started.items():
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                Tree([process.pid]).end()
                wrong.append(f"{self.name}: {who} did not end within {END_SECONDS:.0f} s of SIGTERM")
        self._started.clear()
        return wrong

    def query(self, statement: str) -> int:
        """Return one number from the record, 0 while there is none."""
        file = self.folder / self.record
        if not file.exists():
            return 0
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
                (found,) = connection.execute(statement).fetchone()
                return int(found or 0)
        except sqlite3.OperationalError:  # its tables are about to be made
            return 0


class Coordinated(Mode):
    """The launcher with all its roles, and one worker more, who reaches the Provider through a slow link."""

    name = "coordinated"
    record = "training.db"

    def __init__(self, folder: Path, tasks: Path) -> None:
        super().__init__(folder, tasks)
        self.port = free_port()

    def begin(self, slow_port: int) -> None:
        """Start the run, and the far worker, who is told of the slow port alone."""
        job = ["--rounds", str(WITHOUT_END), "--epochs", str(EPOCHS)]
        # Who is killed is waited for, so that no update is missing; a busy machine may take its time.
        job += ["--return-seconds", str(RETURN_SECONDS), "--register-seconds", str(BEGIN_SECONDS)]
        listen = ["--listen", f"127.0.0.1:{self.port}"]
        place = ["--workspace", str(self.folder)]
        self.start("launcher", "federation", "start", "--plain", "--no-alone", *job, *listen, *place)
        far = ["--region", FAR, "--provider", f"127.0.0.1:{slow_port}"]
        self.start("far-worker", "federation", "workers", *far, *place)

    def victims(self) -> list[int]:
        """Return the roles and the far worker; the launcher is whom one runs, and stays."""
        far = [pid for pid in super().victims() if pid != self._started["launcher"][1].pid]
        launcher = psutil.Process(self._started["launcher"][1].pid)
        with suppress(psutil.Error):
            return [*far, *(child.pid for child in launcher.children())]
        return far

    def rounds(self) -> int:
        return self.query("SELECT max(number) FROM rounds WHERE status = 'committed'")

    def losses(self) -> list[str]:
        """Return what the record lacks, or has other than a run without kills, links and strangers."""
        return list(self._losses())

    def _losses(self) -> Iterator[str]:
        history = load_run(self.folder / "training.db")
        numbers = [one.number for one in history.committed]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"coordinated: the committed rounds are not 1 to {len(numbers)} without a gap"
        there: set[str] = set()  # three of the four begin; who comes later takes part from then on
        for one in history.committed:
            lacking = there - set(one.accepted)
            there |= set(one.accepted)
            if lacking:
                yield f"coordinated: round {one.number} lacks the update of {', '.join(sorted(lacking))}"
                return
        if history.committed and history.committed[-1].row.model_sha256 != self._again(history.committed):
            yield f"coordinated: the model after {len(numbers)} rounds is not what its updates must come to"

    def _again(self, rounds: Sequence[RoundHistory]) -> str:
        """Return the digest of the model that the same workers come to in one loop: no kills, no links."""
        job, strategy = StartConfig(), FedAvg()
        regions = {name: load_region(region_file(self.folder, name)) for name in WORKERS}
        model = SimpleClassifier(regions[FAR].feature_count, regions[FAR].class_count)
        state = strategy.start(model.get_weights())
        with one_blas_thread():
            for one in rounds:
                updates = []
                for name in one.accepted:
                    region = regions[name]
                    model.set_weights(state.params)
                    model.fit(
                        region.X,
                        region.y,
                        epochs=EPOCHS,
                        batch_size=job.batch_size,
                        learning_rate=job.learning_rate,
                        mu=job.mu,
                        generator=worker_generator(job.seed, name, one.number),
                    )
                    updates.append(Contribution(name, model.get_weights(), region.sample_count))
                state = strategy.combine(state, updates)
        return model_sha256(state.params)


class Gossip(Mode):
    """Four peers without a launcher; who dials the last one does so through a slow link."""

    name = "gossip"
    record = "gossip.db"

    def __init__(self, folder: Path, tasks: Path) -> None:
        super().__init__(folder, tasks)
        self.ports = {name: free_port() for name in WORKERS}

    def begin(self, slow_host: str) -> None:
        """Start the peers; the last one says that it is reached at another host, where the slow link is."""
        for name in WORKERS:
            self.start(f"peer-{name}", *self._command(name, slow_host, WITHOUT_END))

    def _command(self, name: str, slow_host: str, rounds: int) -> list[str]:
        command = ["gossip", "peer", "--region", name, "--listen", f"127.0.0.1:{self.ports[name]}"]
        command += ["--rounds", str(rounds), "--epochs", str(EPOCHS), "--min-peers", str(len(WORKERS))]
        command += ["--workspace", str(self.folder), "--patience-seconds", "0.5", "--join-seconds", "5"]
        return command + (["--advertise", slow_host] if name == FAR else [])

    def rounds(self) -> int:
        reached = "(SELECT peer, max(round) AS last FROM peer_metrics GROUP BY peer)"
        least = f"SELECT CASE WHEN count(*) = {len(WORKERS)} THEN min(last) ELSE 0 END FROM {reached}"
        return self.query(least)

    def agree(self, slow_host: str) -> list[str]:
        """Let all train to the same round; return in sentences who does not get there."""
        wrong = []
        most = max(rows[-1].round for rows in load_gossip_run(self.folder / "gossip.db").rounds.values())
        for name in WORKERS:
            command = self._command(name, slow_host, most + MORE_ROUNDS)
            self.start(f"peer-{name}", *command, "--until-converged")
        for who, (_, process) in self._started.items():
            try:
                status = process.wait(AGREE_SECONDS)
            except subprocess.TimeoutExpired:
                wrong.append(f"gossip: {who} did not converge within {AGREE_SECONDS:.0f} s")
                continue
            if status:
                wrong.append(f"gossip: {who} ended with {status}: {self.last_words(who)}")
        self.end()
        return wrong

    def losses(self) -> list[str]:
        """Return what the record lacks: rounds of a peer, or one average that all hold."""
        return list(self._losses())

    def _losses(self) -> Iterator[str]:
        history = load_gossip_run(self.folder / "gossip.db")
        for name, rows in history.rounds.items():
            missing = set(range(1, rows[-1].round + 1)) - {row.round for row in rows}
            if len(missing) > self.kills:  # a round's metrics are written after what the peer must not lose
                yield f"gossip: the metrics of {name} lack {len(missing)} of {rows[-1].round} rounds"
        if not history.converged:
            averages = {one.peer: (one.average_sha256 or "")[:12] for one in history.states.values()}
            yield f"gossip: in the end not all hold the same average: {averages}"
        lacking = [one.peer for one in history.states.values() if one.models != len(WORKERS)]
        if lacking:
            yield f"gossip: the average of {', '.join(lacking)} is not of {len(WORKERS)} models"


def prepare(folder: Path) -> None:
    """Make the regions A to D, and one more out of half of C.

    Raises:
        RuntimeError: The data could not be made.
    """
    run("prep", "prepare", "--samples", str(SAMPLES), "--workspace", str(folder))
    source = load_region(region_file(folder, "C"))
    half = source.sample_count // 2
    more = Region(source.X[:half], source.y[:half], replace(source.meta, region=FAR))
    save_region(region_file(folder, FAR), more)


def region_file(folder: Path, name: str) -> Path:
    """Return where a region lies in a workspace."""
    return folder / "dataset" / f"region_{name}.npz"


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def hostile(port: int, connections: int, seconds: float, seed: int) -> Sequence[str]:
    """Return the command of hostile peers of every kind, who come again and again."""
    return [
        sys.executable,
        "-m",
        "tests.siege.attackers",
        str(port),
        str(connections),
        f"{seconds:.1f}",
        str(seed),
        "1",  # address that they come from
    ]
