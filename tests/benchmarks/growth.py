"""What grows with what: actors of one process, workers of a federation, parameters of a model."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from federation.learning import Region, RegionMeta, save_region
from persistence.history import load_run
from tests.benchmarks.curve import Curve
from tests.benchmarks.processes import ROOT, ends_of, median_gap
from tests.benchmarks.runtime import spawn_figures
from tests.benchmarks.tree import Tree

ACTORS = (100, 1_000, 10_000, 100_000)
WORKERS = (1, 2, 4, 8, 16, 32, 64)
FEATURES = (512, 5_000, 50_000, 500_000)  # times ten classes
CLASSES = 10
ROUNDS = 8


def actors(*, quick: bool, progress: Callable[[str], None]) -> list[Curve]:
    """Return what an actor costs, by how many there are, each count in a fresh process."""
    spawned: dict[int, tuple[float, float]] = {}
    for count in ACTORS[:-1] if quick else ACTORS:
        progress(f"{count:,} actors")
        runs = [spawn_figures("ours", count) for _ in range(1 if quick else 3)]
        spawned[count] = (
            statistics.median(run[0] for run in runs),
            statistics.median(run[1] for run in runs),
        )
    return [
        Curve(
            "starting actors", "actors", "us an actor", {"ours": [(n, one[0]) for n, one in spawned.items()]}
        ),
        Curve(
            "memory of idle actors",
            "actors",
            "KiB an actor",
            {"ours": [(n, one[1]) for n, one in spawned.items()]},
        ),
    ]


def workers(*, quick: bool, progress: Callable[[str], None]) -> list[Curve]:
    """Return a round and the memory of all roles, by the number of workers, who share two processes.

    A worker has so few samples that what is measured is bringing weights to and fro, deciding, averaging,
    committing and scoring.
    """
    seconds, memory = [], []
    for count in WORKERS[:2] if quick else WORKERS:
        progress(f"{count} workers")
        names = [f"w{number}" for number in range(count)]
        taken, used = _federated(names, samples=60, features=512)
        seconds.append((count, 1000 * taken))
        memory.append((count, used / 2**20))
    return [
        Curve("a round by workers, 60 samples each", "workers", "ms a round", {"all roles": seconds}),
        Curve("memory by workers", "workers", "MiB, all processes", {"all roles": memory}),
    ]


def parameters(*, progress: Callable[[str], None]) -> list[Curve]:
    """Return a round and the memory of all roles, by the parameters of the model, with two workers."""
    seconds, memory = [], []
    for features in FEATURES:
        progress(f"{features * CLASSES:,} parameters")
        taken, used = _federated(["w0", "w1"], samples=20, features=features)
        seconds.append((features * CLASSES, 1000 * taken))
        memory.append((features * CLASSES, used / 2**20))
    return [
        Curve(
            "a round by parameters of the model, two workers, 20 samples each",
            "parameters (float32)",
            "ms a round",
            {"all roles": seconds},
        ),
        Curve("memory by parameters", "parameters (float32)", "MiB, all processes", {"all roles": memory}),
    ]


def _federated(names: Sequence[str], *, samples: int, features: int) -> tuple[float, float]:
    """Return the seconds of a median round, and the peak memory of all processes in bytes."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workspace = Path(folder)
        _write_regions(workspace / "dataset", [*names, "D"], samples, features)
        job = ["--rounds", str(ROUNDS), "--min-workers", str(len(names)), "--epochs", "1"]
        provider = stack.enter_context(_role(workspace, "provider", *job))
        processes = [provider]
        for role in "aggregator", "evaluator":
            processes.append(stack.enter_context(_role(workspace, role)))
        for half in names[::2], names[1::2]:
            if half:
                regions = [flag for name in half for flag in ("--region", name)]
                processes.append(stack.enter_context(_role(workspace, "workers", *regions)))
        tree = Tree([one.pid for one in processes])
        while provider.poll() is None:
            tree.look()
            time.sleep(0.1)
        if provider.returncode:
            raise RuntimeError(f"the Provider ended with {provider.returncode}")
        return median_gap(ends_of(load_run(workspace / "training.db"))), tree.peak_bytes


@contextmanager
def _role(workspace: Path, role: str, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "federation", role, *flags, "--workspace", str(workspace)]
    with (workspace / f"{role}.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _write_regions(folder: Path, names: Sequence[str], samples: int, features: int) -> None:
    folder.mkdir()
    classes = tuple(f"class {number}" for number in range(CLASSES))
    chance = np.random.default_rng(0)
    for name in names:
        X = chance.normal(size=(samples, features)).astype(np.float32)
        y = chance.integers(0, CLASSES, samples)
        meta = RegionMeta(class_names=classes, source="synthetic", region=name)
        save_region(folder / f"region_{name}.npz", Region(X, y, meta))
