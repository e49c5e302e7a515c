"""From settings to samples: region files, a features file that is dealt out, or what a program draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from federation.config import worker_name
from federation.errors import SettingsError
from federation.learning import (
    LearningError,
    PartitionError,
    Region,
    RegionMeta,
    generator_for,
    load_features,
    load_region,
    make_partition,
)
from federation.simulation.config import BY_REGION, OfData
from federation.simulation.data import DrawnShards, Numbered, PooledShards, Samples, Shards, pooled

# By how much workers differ when nothing is said, by partition; see `federation.learning.make_partition`.
DEFAULT_ALPHAS = {"dirichlet": 0.3, "by-size": 1.0}


class Data(NamedTuple):
    """What a simulation learns from, and what it is scored on."""

    shards: Shards
    evaluation: Region


class Deal(NamedTuple):
    """A features file whose samples are dealt out, and how.

    Attributes:
        file: Where they are.
        partition: The name of the partition.
        alpha: See `make_partition`; None for its default.
        shards: See `make_partition`.
        workers: To how many.
        holdout: The part that nobody trains on, above 0 and below 1.
        seed: Of the draw.
    """

    file: Path
    partition: str
    alpha: float | None
    shards: int
    workers: int
    holdout: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All that decides which samples each worker has. Small, so it is sent to processes instead of samples.

    Attributes:
        drawn: Where a program draws them; None where they come from files.
        regions: Files of one worker each, in the order of their names.
        evaluation: The file to score on, of `regions`.
        deal: The file that is dealt out; None where there is none.
    """

    drawn: DrawnShards | None = None
    regions: tuple[Path, ...] = ()
    evaluation: Path | None = None
    deal: Deal | None = None


def source_of(config: OfData, seed: int) -> Source:
    """Return where the samples of a simulation come from."""
    if config.partition == BY_REGION:
        return Source(
            regions=tuple(config.region_file(one) for one in sorted(config.region, key=worker_name)),
            evaluation=config.region_file(config.evaluation_region),
        )
    if config.features is not None:
        how = (config.partition, config.alpha, config.shards, config.workers, config.holdout, seed)
        return Source(deal=Deal(config.features, *how))
    return Source(
        drawn=DrawnShards(
            workers=config.workers,
            samples=config.samples,
            feature_count=config.feature_count,
            class_count=config.class_count,
            partition=config.partition,
            alpha=config.alpha or DEFAULT_ALPHAS.get(config.partition, 1.0),
            shards=config.shards,
            seed=seed,
        )
    )


@lru_cache(maxsize=1)
def shards_of(source: Source) -> Shards:
    """Return the samples of all workers, read once in a process. See `read`."""
    return read(source).shards


def read(source: Source) -> Data:
    """Read or make the samples. Blocking.

    Raises:
        SettingsError: A file cannot be used, or its samples cannot be dealt out so; the text says why.
    """
    if source.drawn is not None:
        return Data(source.drawn, source.drawn.evaluation())
    try:
        return _by_region(source) if source.deal is None else _dealt(source.deal)
    except LearningError as error:
        flag = "--partition" if isinstance(error, PartitionError) else "--region"
        flag = "--features" if source.deal is not None and flag == "--region" else flag
        raise SettingsError(f"{flag}: {error}") from error


def _by_region(source: Source) -> Data:
    assert source.evaluation is not None
    regions = {worker_name(str(path)): load_region(path) for path in source.regions}
    evaluation = load_region(source.evaluation)
    for name, region in (*regions.items(), ("to score on", evaluation)):
        found, needed = (region.feature_count, region.class_count), _kind_of(next(iter(regions.values())))
        if found != needed:
            raise SettingsError(
                f"--region: region {name} has {found[0]} features and {found[1]} classes, and "
                f"{next(iter(regions))} has {needed[0]} and {needed[1]}; give regions of one data set"
            )
    parts = [Samples(region.X, region.y) for region in regions.values()]
    return Data(pooled(tuple(regions), parts, next(iter(regions.values())).meta), evaluation)


def _kind_of(region: Region) -> tuple[int, int]:
    return region.feature_count, region.class_count


def _dealt(deal: Deal) -> Data:
    whole = load_features(deal.file)
    order = generator_for(deal.seed, "held out").permutation(whole.sample_count)
    held = max(1, round(deal.holdout * whole.sample_count))
    X, y = whole.X[np.sort(order[held:])], whole.y[np.sort(order[held:])]
    partition = make_partition(deal.partition, alpha=deal.alpha, shards=deal.shards)
    rows = partition(y, deal.workers, generator_for(deal.seed, "partition"))
    everyone = PooledShards(
        names=Numbered(deal.workers),
        class_names=whole.meta.class_names,
        source=whole.meta.source,
        synthetic=whole.meta.synthetic,
        X=X[np.concatenate(rows)],
        y=y[np.concatenate(rows)],
        starts=np.cumsum([0, *map(len, rows)]),
    )
    kept = np.sort(order[:held])
    meta = RegionMeta(
        class_names=whole.meta.class_names,
        source=whole.meta.source,
        extractor=whole.meta.extractor,
        region="held out",
        synthetic=whole.meta.synthetic,
        seed=deal.seed,
    )
    return Data(everyone, Region(whole.X[kept], whole.y[kept], meta))
