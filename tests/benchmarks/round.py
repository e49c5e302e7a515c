"""A round of the built-in job, deployed, beside the same arithmetic in one plain NumPy loop.

Deployed: `start` with its defaults, six processes over TCP, every round committed to disk and scored. The
plain loop trains the same workers one after the other, averages and scores, and does nothing else: no
process, no message, no disk. Both come to the same bytes, or there is no figure.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from federation.config import StartConfig
from federation.learning import Budget, Params, SimpleClassifier, load_region, model_sha256, train_together
from tests.benchmarks.measure import Row, compare
from tests.benchmarks.processes import ROOT, ends_of, federated, run

# A deployed round takes at most twice as long as the plain loop.
TARGET = 0.5

ROUNDS = 20


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Return the seconds of a round, ours and those of the plain loop."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        progress("preparing the data")
        run("prep", "prepare", "--workspace", str(workspace))
        shas: set[str] = set()
        return compare(
            "a round of the built-in job",
            {
                "deployed": lambda: _deployed(workspace, shas),
                "one plain NumPy loop": lambda: _plain(workspace, shas),
            },
            {"one plain NumPy loop": TARGET},
            rounds=1 if quick else 9,
            warm_up=not quick,
            unit="s",
            more_is_better=False,
            progress=progress,
        )


def warm_start(*, quick: bool) -> dict[str, float]:
    """Return the seconds from the command to the first finished round, data and environment being there."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        run("prep", "prepare", "--workspace", str(workspace))
        for _ in range(1 if quick else 5):
            started = time.perf_counter()
            command = [sys.executable, "-m", "federation", "start", "--plain", "--workspace", str(workspace)]
            with subprocess.Popen(
                command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
            ) as process:
                assert process.stderr is not None
                first = next(line for line in process.stderr if line.startswith("round"))
                seconds.append(time.perf_counter() - started)
                assert first.startswith("round  1/20")
                process.terminate()
                process.stderr.read()
    return {"least": min(seconds), "median": sorted(seconds)[len(seconds) // 2], "most": max(seconds)}


def _deployed(workspace: Path, shas: set[str]) -> float:
    history = federated(workspace, ROUNDS)
    assert history.model_sha256 is not None
    shas.add(history.model_sha256)
    assert len(shas) == 1, f"different models: {shas}"
    ended = ends_of(history)
    return (ended[-1] - ended[0]) / (ROUNDS - 1)


def _plain(workspace: Path, shas: set[str]) -> float:
    regions = {name: load_region(workspace / "dataset" / f"region_{name}.npz") for name in "ABCD"}
    judge = regions.pop("D")
    model = SimpleClassifier(judge.feature_count, judge.class_count)
    ended: list[float] = []

    def score(_number: int, weights: Params) -> None:
        model.set_weights(weights)
        model.evaluate(judge.X, judge.y)
        ended.append(time.perf_counter())

    defaults = StartConfig()
    budget = Budget(
        rounds=ROUNDS,
        epochs=defaults.epochs,
        batch_size=defaults.batch_size,
        learning_rate=defaults.learning_rate,
        mu=defaults.mu,
        seed=defaults.seed,
    )
    together = train_together(regions, budget, on_round=score)
    shas.add(model_sha256(together.get_weights()))
    return (ended[-1] - ended[0]) / (ROUNDS - 1)
