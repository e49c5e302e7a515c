"""A larger round, deployed over mutual TLS, beside a pool of two plain NumPy processes.

The job: 3 workers of 2,000 samples x 512 features and 10 classes, 5 epochs, 20 rounds. Deployed: `--tls`,
six processes, every round committed to disk with `synchronous=FULL` and scored. The pool trains the same
workers with the same classes in two processes that have the data already, averages and scores: no disk, no
TLS, nobody who could be lost. Both come to the same bytes, or there is no figure. Flower, where it is
installed, trains the same workers with the same chance, on Ray and deployed without TLS; it averages in
float32 in the order of arrival, so its accuracy must be the same, not its bytes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from federation.config import StartConfig
from federation.learning import (
    Contribution,
    FedAvg,
    Params,
    Region,
    RegionMeta,
    SimpleClassifier,
    load_region,
    model_sha256,
    one_blas_thread,
    save_region,
    worker_generator,
)
from tests.benchmarks import flower
from tests.benchmarks.measure import Row, compare
from tests.benchmarks.processes import ends_of, federated, median_gap

# A deployed round takes at most 1.3 times as long.
TARGET = 1 / 1.3

WORKERS = ("A", "B", "C")
SAMPLES, FEATURES, CLASSES = 2_000, 512, 10
ROUNDS = 20
FEW_ROUNDS = 3  # of Flower deployed: one takes ten seconds and more
FLOWER_SIMULATED, FLOWER_DEPLOYED = "Flower, simulated on Ray", "Flower, deployed, no TLS"
NEAR = 0.005  # how far Flower's accuracy may be from ours: one sample in two hundred
DEFAULTS = StartConfig()

_regions: dict[str, Region] = {}  # of a process of the pool, read once
_model: list[SimpleClassifier] = []


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Return the seconds of a median round, ours and those of the pool."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        make_regions(workspace / "dataset", dict.fromkeys(WORKERS, SAMPLES))
        shas: set[str] = set()
        scores: dict[int, float] = {}
        cases = {
            "deployed": lambda: _deployed(workspace, shas),
            "a pool of two NumPy processes": lambda: _pool(workspace / "dataset", shas, scores),
        }
        seldom: dict[str, int] = {}
        if flower.python() is not None and not quick:
            simulated = lambda: _flower(workspace / "dataset", Path(folder) / "simulated", ROUNDS, scores)
            deployed = lambda: _flower(workspace / "dataset", Path(folder) / "deployed", FEW_ROUNDS, scores)
            cases[FLOWER_SIMULATED] = simulated
            cases[FLOWER_DEPLOYED] = deployed
            seldom = {FLOWER_SIMULATED: 3, FLOWER_DEPLOYED: 1}
        return compare(
            f"a round of {len(WORKERS)} x {SAMPLES:,} x {FEATURES}, over mutual TLS",
            cases,
            {"a pool of two NumPy processes": TARGET},
            rounds=1 if quick else 7,
            warm_up=not quick,
            unit="s",
            more_is_better=False,
            seldom=seldom,
            progress=progress,
        )


def make_regions(folder: Path, sizes: Mapping[str, int]) -> None:
    """Write regions of so many samples, of classes that overlap, and a region D."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CLASSES, FEATURES)) * 0.1
    for name, size in {**sizes, "D": SAMPLES}.items():
        y = chance.integers(0, CLASSES, size)
        X = (centres[y] + chance.normal(size=(size, FEATURES)) * 0.5).astype(np.float32)
        names = tuple(f"class {number}" for number in range(CLASSES))
        meta = RegionMeta(class_names=names, source="synthetic", region=name)
        save_region(folder / f"region_{name}.npz", Region(X, y, meta))


def _deployed(workspace: Path, shas: set[str]) -> float:
    history = federated(workspace, ROUNDS, "--tls")
    assert history.model_sha256 is not None
    shas.add(history.model_sha256)
    assert len(shas) == 1, f"different models: {shas}"
    return median_gap(ends_of(history))


def _pool(dataset: Path, shas: set[str], scores: dict[int, float]) -> float:
    judge = load_region(dataset / "region_D.npz")
    model = SimpleClassifier(FEATURES, CLASSES)
    strategy = FedAvg()
    state = strategy.start(model.get_weights())
    ended = []
    context = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=_enter, initargs=(dataset,)) as pool:
        for number in range(1, ROUNDS + 1):
            jobs = [pool.submit(_train, name, number, state.params) for name in WORKERS]
            trained = [Contribution(*job.result()) for job in jobs]
            state = strategy.combine(state, trained)
            model.set_weights(state.params)
            scores[number] = model.evaluate(judge.X, judge.y).accuracy
            ended.append(time.perf_counter())
    shas.add(model_sha256(state.params))
    return median_gap(ended)


def _flower(dataset: Path, folder: Path, rounds: int, scores: Mapping[int, float]) -> float:
    regions = [load_region(dataset / f"region_{name}.npz") for name in (*WORKERS, "D")]
    *parts, judge = [(one.X, one.y) for one in regions]
    job = flower.Job(
        names=WORKERS,
        rounds=rounds,
        epochs=DEFAULTS.epochs,
        batch_size=DEFAULTS.batch_size,
        learning_rate=DEFAULTS.learning_rate,
        mu=DEFAULTS.mu,
        seed=DEFAULTS.seed,
        features=FEATURES,
        classes=CLASSES,
    )
    flower.write_job(folder, job, tuple(np.stack(arrays) for arrays in zip(*parts, strict=True)), judge)
    done = flower.deployed(folder) if folder.name == "deployed" else flower.simulated(folder)
    assert abs(done.accuracy - scores[rounds]) <= NEAR, f"Flower reaches {done.accuracy}, we {scores[rounds]}"
    return statistics.median(done.round_seconds[1:])


def _enter(dataset: Path) -> None:
    one_blas_thread().__enter__()  # for the life of the process
    for name in WORKERS:
        _regions[name] = load_region(dataset / f"region_{name}.npz")
    _model.append(SimpleClassifier(FEATURES, CLASSES))


def _train(name: str, number: int, params: Params) -> tuple[str, Params, int]:
    region, model = _regions[name], _model[0]
    model.set_weights(params)
    model.fit(
        region.X,
        region.y,
        epochs=DEFAULTS.epochs,
        batch_size=DEFAULTS.batch_size,
        learning_rate=DEFAULTS.learning_rate,
        mu=DEFAULTS.mu,
        generator=worker_generator(DEFAULTS.seed, name, number),
    )
    model.evaluate(region.X, region.y)  # as a worker does, for the record
    return name, model.get_weights(), region.sample_count
