"""Gossip: how long until all agree, and how many bytes that takes.

Deployed on this machine, three peers in processes: beside the coordinated mode with the same job, and
beside the least that can be sent, each model of each round once to each other peer. For networks that do
not fit one machine the same rules without I/O, in virtual time: rounds until all have a new model, and the
bytes that it takes, by the number of peers.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from federation.learning import load_region
from persistence.gossip_history import load_gossip_run
from tests.benchmarks.curve import Curve
from tests.benchmarks.measure import Row, compare
from tests.benchmarks.processes import run
from tests.simulation.gossip_cells import Cell, convergence, model_traffic

PEERS = (4, 16, 64, 256, 1024)
TRAFFIC_PEERS = (4, 8, 16, 32, 64)
MODEL_BYTES = 20_000
LOSSES = (0.0, 0.1, 0.3)
ROUNDS = 20
NAMES = ("A", "B", "C")


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Return seconds until three peers hold the same average, and the bytes that they received."""
    rounds = 1 if quick else 5
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        progress("preparing the data")
        run("prep", "prepare", "--workspace", str(workspace))
        found: list[float] = []
        seconds = compare(
            f"from the command until all three agree, {ROUNDS} rounds",
            {
                "ours": lambda: _until_agreed(workspace, found),
                "the coordinated mode, same job": lambda: _coordinated(workspace),
            },
            {},
            rounds=rounds,
            warm_up=not quick,
            unit="s",
            more_is_better=False,
            progress=progress,
        )
        judge = load_region(workspace / "dataset" / "region_D.npz")
        model = 4 * (judge.feature_count + 1) * judge.class_count
        least = float(ROUNDS * len(NAMES) * (len(NAMES) - 1) * model)
        received = iter(found)
        size = compare(
            f"received by three peers in {ROUNDS} rounds",
            {"ours": lambda: next(received), "each model once to each other": lambda: least},
            {},
            rounds=rounds,
            warm_up=not quick,
            unit="bytes",
            more_is_better=False,
        )
    return [*seconds, *size]


def _until_agreed(workspace: Path, received: list[float]) -> float:
    flags = ["--plain", "--no-alone", "--no-picture", "--rounds", str(ROUNDS), "--workspace", str(workspace)]
    start = time.perf_counter()
    run("gossip", "start", *flags)
    seconds = time.perf_counter() - start
    history = load_gossip_run(workspace / "gossip.db")
    assert history.converged, f"{history.run.name} has not converged"
    received.append(float(sum(one.bytes_in for one in history.states.values())))
    return seconds


def _coordinated(workspace: Path) -> float:
    flags = ["--plain", "--no-alone", "--no-picture", "--rounds", str(ROUNDS), "--workspace", str(workspace)]
    start = time.perf_counter()
    run("federation", "start", *flags)
    return time.perf_counter() - start


def curves(*, quick: bool, progress: Callable[[str], None]) -> list[Curve]:
    """Return rounds to convergence and bytes per peer, by the number of peers, in virtual time."""
    sizes, seeds = (PEERS[:2], 3) if quick else (PEERS, 20)
    rounds = {}
    for loss in LOSSES:
        points = []
        for peers in sizes:
            progress(f"{peers} peers, {loss:.0%} of all messages lost")
            points.append((peers, statistics.median(convergence(Cell(peers, loss), range(seeds)))))
        rounds[f"{loss:.0%} of messages lost"] = points
    traffic = []
    for peers in TRAFFIC_PEERS[:2] if quick else TRAFFIC_PEERS:
        progress(f"bytes with {peers} peers")
        one = model_traffic(peers, 0.0, MODEL_BYTES, 2 if quick else 8)
        traffic.append((peers, (one.entered * MODEL_BYTES + one.overhead_bytes) / 1000))
    return [
        Curve("gossip: exchanges a peer until all have a new model", "peers", "rounds, median", rounds),
        Curve(
            f"gossip: what one new model of {MODEL_BYTES // 1000} kB costs a peer",
            "peers",
            "kB a peer",
            {"received, and all that is said around it": traffic},
        ),
    ]
