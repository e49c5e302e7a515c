"""Simulated federations: ours from the command line, inline and on Ray, beside Flower's simulation on Ray.

The job is FLUTE's protocol for a linear model (Garcia et al., 2022): 1,000 workers of 60 samples, 10 of them
a round, batches of 10, one epoch, 100 rounds. All sides train the same class on the same samples, so what is
compared is what stands around the training. Ours writes its record to the disk as well, and scores as often.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from federation.simulation.data import DrawnShards
from tests.benchmarks import flower, plain
from tests.benchmarks.flower import Done
from tests.benchmarks.measure import Row, Spread, compare
from tests.benchmarks.processes import ROOT
from tests.benchmarks.tree import Tree

WORKERS, SAMPLES, FEATURES, CLASSES = 1000, 60, 512, 10
ASKED, ROUNDS = 10, 100
LEARNING = ("--epochs", "1", "--batch-size", "10")
FLUTE = ("--workers", str(WORKERS), "--fraction", str(ASKED / WORKERS), *LEARNING)

# What is promised: seconds from the start of the process, updates a second on two cores, and MiB in all.
MOST_SECONDS, LEAST_UPDATES, MOST_MIB = 2.0, 5000.0, 1024.0

# What one core of the machine of that promise did in a plain loop: elsewhere the ratio of both counts.
PLAIN_UPDATES = 7800.0
PLAIN = "a plain NumPy loop on one core"

MIB = 1024 * 1024

Progress = Callable[[str], None]


def rows(*, quick: bool, progress: Progress) -> list[Row]:
    """Measure on all sides in turn. Ray and Flower take minutes, so they are left out when quick."""
    return [*_beside_the_limit(quick=quick, progress=progress), *([] if quick else _flute(progress))]


def _beside_the_limit(*, quick: bool, progress: Progress) -> list[Row]:
    """Every worker in every round. What is promised was said of a machine whose plain loop made 7,800."""
    target = LEAST_UPDATES / PLAIN_UPDATES
    with tempfile.TemporaryDirectory() as name:
        return [
            row
            for engine in ("inline", "processes")
            for row in compare(
                f"all {WORKERS:,} workers in each round, engine {engine}",
                {
                    "ours": partial(_updates_a_second, Path(name), engine, 6 if quick else 25),
                    PLAIN: partial(
                        plain.updates_a_second, WORKERS, SAMPLES, FEATURES, CLASSES, rounds=3 if quick else 7
                    ),
                },
                {PLAIN: target},
                rounds=1 if quick else 5,
                warm_up=False,
                unit="updates/s",
                progress=progress,
            )
        ]


def _updates_a_second(folder: Path, engine: str, rounds: int) -> float:
    flags = ("--workers", str(WORKERS), *LEARNING, "--engine", engine, "--rounds", str(rounds))
    return WORKERS / median(ours(folder, *flags).round_seconds[2:])  # by then all samples are drawn


def _flute(progress: Progress) -> list[Row]:
    """Measure FLUTE's job."""
    rounds = ROUNDS
    with tempfile.TemporaryDirectory() as name:
        sides = _sides(Path(name), rounds)
        done: dict[str, list[Done]] = {side: [] for side in sides}
        for number in range(3):
            for side, run in sides.items():
                progress(f"{WORKERS:,} workers, {rounds} rounds: {side} ({number + 1})")
                done[side].append(run())
    theirs = done.pop("Flower on Ray", None)
    return (
        [] if theirs is None else [row for side in done for row in _beside(side, done[side], theirs, rounds)]
    )


def said(*, quick: bool, progress: Progress) -> list[str]:
    """Measure what has a target and no peer, and say it."""
    rounds, crowd = (10, 20_000) if quick else (ROUNDS, 100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress("FLUTE's job, from process start")
        whole = [ours(folder, *FLUTE, "--rounds", str(rounds)) for _ in range(1 if quick else 3)]
        seconds = median(one.total_seconds for one in whole)
        sentences = [
            f"{WORKERS:,} workers, {ASKED} a round, {rounds} rounds: {seconds:.2f} s from process start to "
            f"its end (promised for {ROUNDS}: {MOST_SECONDS:g} s)."
        ]
        progress(f"{crowd:,} workers")
        large = ours(folder, "--workers", str(crowd), "--fraction", "0.01", *LEARNING, "--rounds", "10")
        sentences.append(
            f"{crowd:,} workers, 1 % a round, drawn on demand: {large.peak_bytes / MIB:,.0f} MiB at most "
            f"(promised for 100,000: {MOST_MIB:,.0f}), {median(large.round_seconds):.2f} s a round."
        )
    return sentences


def _sides(folder: Path, rounds: int) -> Mapping[str, Callable[[], Done]]:
    flags = (*FLUTE, "--rounds", str(rounds))
    sides: dict[str, Callable[[], Done]] = {"inline": lambda: ours(folder, *flags)}
    if find_spec("ray"):
        sides["on Ray"] = lambda: ours(folder, *flags, "--engine", "ray")
    if flower.python() is not None:
        _write_for_flower(folder / "flower", rounds)
        sides["Flower on Ray"] = lambda: flower.simulated(folder / "flower")
    return sides


def _write_for_flower(folder: Path, rounds: int) -> None:
    """Write the very samples that our workers draw."""
    shards = DrawnShards(workers=WORKERS, samples=SAMPLES, feature_count=FEATURES, class_count=CLASSES)
    parts = [shards.samples_of(place) for place in range(WORKERS)]
    judge = shards.evaluation()
    job = flower.Job(
        names=tuple(shards.names),
        rounds=rounds,
        epochs=1,
        batch_size=10,
        learning_rate=0.1,
        features=FEATURES,
        classes=CLASSES,
        fraction=ASKED / WORKERS,
    )
    stacked = np.stack([part.X for part in parts]), np.stack([part.y for part in parts])
    flower.write_job(folder, job, stacked, (judge.X, judge.y))


def _beside(side: str, ours: Sequence[Done], theirs: Sequence[Done], rounds: int) -> list[Row]:
    figures: Mapping[str, tuple[str, Callable[[Done], float], float | None]] = {
        f"{rounds} rounds, from the command to its end": ("s", lambda one: one.total_seconds, 5.0),
        "from the command to the first finished round": ("s", lambda one: one.start_seconds, None),
        "a round": ("ms", lambda one: 1000 * median(one.round_seconds[1:]), 5.0),
        "memory of all processes, at most": ("MiB", lambda one: one.peak_bytes / MIB, None),
    }
    found = []
    for what, (unit, figure, target) in figures.items():
        mine, peer = [figure(one) for one in ours], [figure(one) for one in theirs]
        ratios = [b / a for a, b in zip(mine, peer, strict=True)]
        title = f"{WORKERS:,} workers, {ASKED} a round, ours {side}: {what}"
        spreads = Spread.of(mine), Spread.of(peer), Spread.of(ratios)
        found.append(Row(title, unit, spreads[0], "Flower on Ray", spreads[1], spreads[2], target))
    return found


def ours(folder: Path, *flags: str) -> Done:
    """Run our command to its end; every round is a line that it writes.

    Raises:
        RuntimeError: It has failed; the end of what it wrote is in the message.
    """
    command = [sys.executable, "-m", "federation.simulation", "run", "--plain", "--workspace", str(folder)]
    began = time.time()
    lines: list[tuple[float, str]] = []
    with subprocess.Popen(
        [*command, *flags], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        reader = threading.Thread(
            target=lambda pipe: lines.extend((time.time(), line) for line in pipe), args=(process.stderr,)
        )
        reader.start()
        tree = Tree([process.pid])
        while process.poll() is None:
            tree.look()
            time.sleep(0.05)
        ended = time.time()
        reader.join()
    if process.returncode:
        raise RuntimeError(f"the simulation failed: {''.join(line for _, line in lines[-3:])}")
    (begun,) = (at for at, line in lines if line.startswith("run "))
    rounds = [(at, line) for at, line in lines if line.startswith("round ")]
    stamps = [at for at, _ in rounds]
    accuracy = float(rounds[-1][1].partition("accuracy ")[2].split()[0])
    return Done(
        round_seconds=tuple(after - before for before, after in zip([begun, *stamps], stamps, strict=False)),
        start_seconds=stamps[0] - began,
        total_seconds=ended - began,
        peak_bytes=tree.peak_bytes,
        accuracy=accuracy,
    )
