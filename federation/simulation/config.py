"""Settings of a simulation: those of a run where they mean the same, and what stands in for the world."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from federation.config import (
    DEFAULT_REGIONS,
    EVALUATION_REGION,
    Deciding,
    Learning,
    ReadingRegions,
    check_run_name,
    worker_name,
)
from federation.errors import SettingsError
from federation.learning import PARTITIONS, PartitionError, make_partition
from federation.models import SIMPLE
from federation.settings import A_DAY_SECONDS, MANY, Settings, setting

# One worker for each region file, with the samples that it would have as a process of its own.
BY_REGION = "regions"

# More workers than these are compared only where the user wants it: each trains alone for all rounds.
MOST_COMPARED = 20

ENGINES = ("inline", "processes", "ray")

# What is said to one engine means nothing to another.
OF_ONE_ENGINE = frozenset({"processes", "ray_address"})

# What may be given anew to a run that goes on, and what is always as it is given then. Anything else would
# make it another run. (`device` changes the last bits.)
FREE_WHEN_RESUMED = frozenset(
    {"rounds", "engine", "processes", "ray_address", "vectorised", "memory_mib", "compare"}
)
FRESH_WHEN_RESUMED = frozenset({"workspace", "plain", "resume"})
RESUMED_WITH_ANY = FREE_WHEN_RESUMED | FRESH_WHEN_RESUMED | {"run"}


@dataclass(frozen=True, kw_only=True)
class OfData(ReadingRegions):
    """Who takes part, and which samples each has."""

    SECTION = "Workers and their data"

    workers: int = setting(
        1000, "How many workers; with --partition regions there is one for each region.", least=1, most=MANY
    )
    partition: str = setting("iid", "How samples are dealt out to workers.", choices=(*PARTITIONS, BY_REGION))
    alpha: float | None = setting(
        None, "Of --partition dirichlet (by default 0.3), by-size (1): smaller is more skewed.", above=0.0
    )
    shards: int = setting(
        2, "Of --partition by-class: about how many classes a worker has.", least=1, most=MANY
    )
    features: Path | None = setting(
        None,
        "Features file, from bin/prepare, whose samples are dealt out [default: a program draws the samples "
        "of a worker when it is asked].",
        metavar="FILE",
    )
    holdout: float = setting(
        0.2, "Of --features: the part of the samples that nobody trains on.", above=0.0, most=0.9
    )
    samples: int = setting(60, "Of drawn data: samples of a worker.", least=1, most=MANY)
    feature_count: int = setting(512, "Of drawn data: numbers that describe a sample.", least=1, most=100_000)
    class_count: int = setting(10, "Of drawn data: classes.", least=2, most=10_000)
    region: tuple[str, ...] = setting(
        DEFAULT_REGIONS,
        "Of --partition regions: a name in the dataset, or a file. Give it once for each worker.",
    )
    evaluation_region: str = setting(
        EVALUATION_REGION, "Of --partition regions: the region to score on, that nobody trains on."
    )
    memory_mib: int = setting(
        256,
        "How much of the samples that were drawn a process keeps for later rounds, in MiB.",
        least=0,
        most=MANY,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partition == BY_REGION:
            self._check_regions()
        else:
            try:
                make_partition(self.partition, alpha=self.alpha, shards=self.shards)
            except PartitionError as error:
                raise SettingsError(f"--partition {self.partition}: {error}") from error
        if self.features is None and self.partition == "by-class" and self.shards > self.class_count:
            raise SettingsError(
                f"--shards {self.shards}: there are {self.class_count} classes; give as many, or fewer"
            )

    def _check_regions(self) -> None:
        if self.features is not None:
            raise SettingsError(
                "--features and --partition regions: the regions have samples; give one of them"
            )
        names = [worker_name(region) for region in self.region]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            raise SettingsError(
                f"--region {twice[0]}: given twice" if twice else "--region: give at least one"
            )

    @property
    def worker_count(self) -> int:
        """How many workers there are."""
        return len(self.region) if self.partition == BY_REGION else self.workers


@dataclass(frozen=True, kw_only=True)
class OfScenario(Settings):
    """What becomes of workers, in seconds that pass only in the simulation."""

    SECTION = "Scenario, in virtual time"

    worker_seconds: float = setting(
        1.0, "How long a worker usually takes over a round.", least=0.0, most=A_DAY_SECONDS
    )
    jitter: float = setting(
        0.0, "How much that varies: the deviation of its logarithm.", least=0.0, most=10.0
    )
    stragglers: float = setting(
        0.0, "Part of the workers that are slow, the same ones always.", least=0.0, most=1.0
    )
    slowdown: float = setting(10.0, "How many times as long those take.", least=1.0, most=1e6)
    dropouts: float = setting(
        0.0, "Chance that a worker that is asked is lost before it answers.", least=0.0, most=0.99
    )
    away_seconds: float = setting(
        30.0, "How long such a worker is away, on average.", least=0.0, most=A_DAY_SECONDS
    )
    late_joins: float = setting(
        0.0, "Part of the workers that is not there at the beginning.", least=0.0, most=0.99
    )
    join_seconds: float = setting(
        60.0, "Within how many seconds those join, at even chances.", least=0.0, most=A_DAY_SECONDS
    )


@dataclass(frozen=True, kw_only=True)
class OfEngine(Settings):
    """Where and how workers are trained. None of it changes what is learnt, save `device` the last bits."""

    SECTION = "Engine"

    engine: str = setting(
        "inline",
        "Where workers train: in this process, in a pool of processes, or on Ray.",
        choices=ENGINES,
    )
    processes: int | None = setting(
        None, "Of --engine processes, ray: how many at a time [default: one a core].", least=1, most=10_000
    )
    ray_address: str | None = setting(
        None, "Of --engine ray: a cluster that runs [default: one is started here].", metavar="ADDRESS"
    )
    vectorised: bool = setting(True, "Train many small linear workers at once; the bytes are the same.")
    device: str | None = setting(
        None,
        "Train them with PyTorch there, like cpu or cuda; equal to within rounding only [default: NumPy].",
        metavar="DEVICE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes is not None and self.engine == "inline":
            raise SettingsError(
                "--processes: --engine inline has one; give --engine processes, or leave it out"
            )
        if self.ray_address is not None and self.engine != "ray":
            raise SettingsError(f"--ray-address: --engine {self.engine} has no cluster; give --engine ray")
        if self.device is not None and not self.vectorised:
            raise SettingsError("--device and --no-vectorised: PyTorch trains many at once; leave one out")


@dataclass(frozen=True, kw_only=True)
class SimulationConfig(Learning, Deciding, OfScenario, OfData, OfEngine):
    """A whole federation in one program, without sockets and in virtual time."""

    run: str = setting("", "Name of the run; no other in the record has it [default: from the time].")
    resume: str = setting("", "Go on with a run that was stopped: its name, or 'last'.", metavar="RUN")
    compare: bool | None = setting(
        None,
        "Have each worker score every model on its own samples and, at the end, train alone "
        f"[default: with up to {MOST_COMPARED} workers].",
    )
    min_workers: int = setting(
        0,
        "How many workers the first round waits for [default: who is there at the beginning].",
        least=0,
        most=MANY,
    )
    plain: bool = setting(False, "Print lines instead of a live table.")

    def __post_init__(self) -> None:
        if self.min_workers == 0:
            object.__setattr__(self, "min_workers", self.workers_at_start)
        super().__post_init__()
        check_run_name(self.run)
        if self.run and self.resume and self.run != self.resume:
            raise SettingsError("--run and --resume: a run that goes on has its name; leave --run out")
        if self.min_workers > self.worker_count:
            raise SettingsError(
                f"--min-workers {self.min_workers:,}: there are {self.worker_count:,} workers; give fewer"
            )
        if self.device is not None and self.model != SIMPLE:
            raise SettingsError(
                f"--device and --model {self.model}: a model of yours sees to its device itself"
            )

    @property
    def compares(self) -> bool:
        """Whether workers are compared with the federation: what it is worth to each."""
        return self.worker_count <= MOST_COMPARED if self.compare is None else self.compare

    @property
    def workers_at_start(self) -> int:
        """How many workers are there at the beginning, at least 1."""
        return max(1, self.worker_count - math.ceil(round(self.late_joins * self.worker_count, 9)))
