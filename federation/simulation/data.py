"""The samples of simulated workers: drawn when they are needed, or taken out of one pool.

A worker is known by its place, from 0, in the order of the workers' names. Whatever holds samples here can be
sent to another process, and gives the same samples there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from federation.learning import Region, RegionMeta, generator_for

MIB = 1024 * 1024


class Samples(NamedTuple):
    """What one worker trains on.

    Attributes:
        X: float32 (samples, features), at least one sample.
        y: int64 (samples,).
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]


class Shards(Protocol):
    """The samples of all workers."""

    @property
    def names(self) -> Sequence[str]:
        """The workers' names, ascending: a worker's place is that of its name."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of all classes."""
        ...

    @property
    def feature_count(self) -> int:
        """How many numbers describe a sample."""
        ...

    @property
    def source(self) -> str:
        """Where the samples come from, for the record."""
        ...

    @property
    def synthetic(self) -> bool:
        """Whether a program has drawn them."""
        ...

    def samples_of(self, place: int) -> Samples:
        """Return what a worker has; the same whenever it is asked."""
        ...


@dataclass(frozen=True, slots=True)
class Numbered(Sequence[str]):
    """The names of so many workers: "w000" to "w999". They are made when they are asked for.

    Attributes:
        workers: How many.
    """

    workers: int

    def __len__(self) -> int:
        return self.workers

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(self.workers))]
        if not -self.workers <= place < self.workers:
            raise IndexError(f"place {place} of {self.workers} workers")
        return f"w{place % self.workers:0{len(str(self.workers - 1))}}"


# --- drawn --------------------------------------------------------------------------------------

# The centres of two classes lie about 0.1 * sqrt(2 * features) apart, in deviations of the samples around
# them: 3.2 for 512 features. A linear classifier that knew the centres would be right in some 75 %.
SPREAD_OF_CENTRES = 0.1

# Samples are scaled to a length of about 8, so that the usual step lengths neither crawl nor jump.
SQUARED_LENGTH = 60.0

EVALUATION_SAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class DrawnShards:
    """Workers whose samples are drawn when they are asked for, each from the seed and its name alone.

    Each class has a centre, and its samples lie around it, normally distributed. Nothing is kept, so a
    million workers take no more memory than ten.

    Attributes:
        workers: How many.
        samples: Of a worker; with "by-size" on average.
        feature_count: Numbers that describe a sample.
        class_count: How many classes.
        partition: How workers differ, as `federation.learning.PARTITIONS` have it, each drawn by itself: a
            worker's class shares from Dir(alpha / classes) for "dirichlet", its classes for "by-class", its
            size from a gamma distribution, whose shares are Dir(alpha), for "by-size".
        alpha: Of "dirichlet" and "by-size".
        shards: Of "by-class": how many classes a worker has.
        seed: Of everything.
    """

    workers: int
    samples: int
    feature_count: int
    class_count: int
    partition: str = "iid"
    alpha: float = 1.0
    shards: int = 2
    seed: int = 0

    source = "drawn"
    synthetic = True

    @property
    def names(self) -> Sequence[str]:
        """See `Shards`."""
        return Numbered(self.workers)

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Shards`."""
        return tuple(f"class {label}" for label in range(self.class_count))

    def samples_of(self, place: int) -> Samples:
        """See `Shards`."""
        chance = generator_for(self.seed, "samples of", self.names[place])
        count, shares = self.samples, None
        match self.partition:
            case "dirichlet":
                shares = chance.dirichlet(np.full(self.class_count, self.alpha / self.class_count))
            case "by-class":
                mine = chance.permutation(self.class_count)[: self.shards]
                shares = np.zeros(self.class_count)
                shares[mine] = 1 / len(mine)
            case "by-size":
                count = 1 + int((self.samples - 1) * chance.gamma(self.alpha) / self.alpha + 0.5)
        return self._draw(count, shares, chance)

    def evaluation(self) -> Region:
        """Return samples of nobody, of all classes alike, to score on."""
        chance = generator_for(self.seed, "samples of nobody")
        X, y = self._draw(EVALUATION_SAMPLES, None, chance)
        meta = RegionMeta(class_names=self.class_names, source=self.source, region="drawn", synthetic=True)
        return Region(X, y, meta)

    def _draw(self, count: int, shares: NDArray[np.float64] | None, chance: np.random.Generator) -> Samples:
        if shares is None:
            y = chance.integers(0, self.class_count, count)
        else:
            y = chance.choice(self.class_count, count, p=shares)
        X = chance.standard_normal((count, self.feature_count), dtype=np.float32)
        X *= self._scale
        X += self._centres[y]
        return Samples(X, y)

    @property
    def _scale(self) -> np.float32:
        return np.float32(np.sqrt(SQUARED_LENGTH / self.feature_count))

    @cached_property
    def _centres(self) -> NDArray[np.float32]:
        """float32 (classes, features)."""
        chance = generator_for(self.seed, "centres")
        centres = chance.standard_normal((self.class_count, self.feature_count), dtype=np.float32)
        return centres * np.float32(SPREAD_OF_CENTRES) * self._scale


def region_of(shards: Shards, place: int, samples: Samples) -> Region:
    """Return the samples of a worker as the region that it would have as a role."""
    meta = RegionMeta(
        class_names=shards.class_names,
        source=shards.source,
        region=shards.names[place],
        synthetic=shards.synthetic,
    )
    return Region(samples.X, samples.y, meta)


class Kept:
    """Samples that were drawn before, the last ones of so many bytes. Threads may share it.

    Args:
        shards: Whose.
        max_bytes: How much is kept; at least what was asked for last is not counted.
    """

    def __init__(self, shards: Shards, max_bytes: int) -> None:
        self._shards = shards
        self._max_bytes = max_bytes
        self._bytes = 0
        self._one_at_a_time = Lock()  # not while samples are drawn, which is what takes long
        self._kept: OrderedDict[int, Samples] = OrderedDict()

    def samples_of(self, place: int) -> Samples:
        """Return what a worker has."""
        if not isinstance(self._shards, DrawnShards):  # the others have theirs in memory
            return self._shards.samples_of(place)
        with self._one_at_a_time:
            samples = self._kept.get(place)
            if samples is not None:
                self._kept.move_to_end(place)
                return samples
        samples = self._shards.samples_of(place)
        with self._one_at_a_time:
            if place not in self._kept:
                self._kept[place] = samples
                self._bytes += _bytes_of(samples)
            while self._bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _bytes_of(oldest)
        return samples


def _bytes_of(samples: Samples) -> int:
    return samples.X.nbytes + samples.y.nbytes


# --- out of a pool ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class PooledShards:
    """Workers whose samples stand one behind the other in two arrays.

    A process that is sent it holds the samples once, however many workers it trains, and on Ray all processes
    of a machine share them.

    Attributes:
        names: See `Shards`.
        class_names: See `Shards`.
        source: See `Shards`.
        synthetic: See `Shards`.
        X: float32 (samples of all, features).
        y: int64 (samples of all,).
        starts: int64 (workers + 1,): those of the worker at a place are from starts[place] to the next.
    """

    names: Sequence[str]
    class_names: tuple[str, ...]
    source: str
    synthetic: bool
    X: NDArray[np.float32]
    y: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def feature_count(self) -> int:
        """See `Shards`."""
        return int(self.X.shape[1])

    def samples_of(self, place: int) -> Samples:
        """See `Shards`."""
        mine = slice(self.starts[place], self.starts[place + 1])
        return Samples(self.X[mine], self.y[mine])


def pooled(names: Sequence[str], parts: Sequence[Samples], meta: RegionMeta) -> PooledShards:
    """Return the shards of workers with these samples.

    Args:
        names: Ascending.
        parts: In the order of the names.
        meta: What the samples are.
    """
    return PooledShards(
        names=names,
        class_names=meta.class_names,
        source=meta.source,
        synthetic=meta.synthetic,
        X=np.concatenate([part.X for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        starts=np.cumsum([0, *(len(part.y) for part in parts)]),
    )
