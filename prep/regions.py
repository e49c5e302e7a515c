"""Who has which samples: regions A, B and C with classes of their own, and D for evaluation with all.

The built-in split of EuroSAT: A rural, B urban, C water and agriculture, each with its own domain shift;
D a held-out fifth of every class, without a shift. No sample is in two regions. Other data sets have other
regions, named by the classes that each has, or dealt out by one of `federation.learning.PARTITIONS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from federation.learning import LearningError, Region, generator_for, make_partition

from .errors import PrepError
from .shifts import Shift

EVALUATION = "D"  # the region nobody trains on
HELD_OUT_SHARE = 0.2  # of every class, for D

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """What a region is to hold.

    Attributes:
        name: Of the region, as in `region_NAME.npz`; not "D".
        class_names: The classes that it has samples of; none when the samples are dealt out by a partition.
        shift: How it sees them; None for as they are.
        fraction: Its share, above 0 to 1, of the samples of each of its classes that D leaves; None for an
            even part of what those with a share leave.
    """

    name: str
    class_names: tuple[str, ...] = ()
    shift: Shift | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Dealing:
    """A partition that deals out what D leaves, whatever the classes.

    Attributes:
        name: One of `federation.learning.PARTITIONS`.
        alpha: Of "dirichlet" and "by-size"; None for their defaults.
        shards: Of "by-class".
    """

    name: str
    alpha: float | None = None
    shards: int = 2


EUROSAT_REGIONS = (
    RegionPlan("A", ("Forest", "HerbaceousVegetation", "Pasture"), Shift("haze", 0.4)),
    RegionPlan("B", ("Highway", "Industrial", "Residential"), Shift("colour", 0.3)),
    RegionPlan("C", ("AnnualCrop", "PermanentCrop", "River", "SeaLake"), Shift("contrast", 0.5)),
)

DIGIT_REGIONS = (
    RegionPlan("A", ("0", "1", "2")),
    RegionPlan("B", ("3", "4", "5")),
    RegionPlan("C", ("6", "7", "8", "9")),
)


def split_rows(
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    plans: Sequence[RegionPlan],
    seed: int,
    *,
    dealing: Dealing | None = None,
    held_out: float = HELD_OUT_SHARE,
) -> dict[str, Rows]:
    """Deal out the rows of a data set: to every plan's region, and to D.

    Of each class a fifth, at least one row, goes to D. The rest goes to the regions whose plans name the
    class, evenly or by their fractions; or, with a dealing, to all regions as it says.

    Args:
        labels: int64 (samples,).
        class_names: The name of class 0, 1, ...
        plans: Who gets which class. A class that no plan names is an error: a federation that nobody
            taught a class cannot know it.
        seed: Of the dealing.
        dealing: Deals out the rest instead of the plans' classes, of which there must be none then.
        held_out: The share of each class that D gets, above 0 and below 1.

    Returns:
        The rows of each region by its name, ascending, D last; no row twice.

    Raises:
        PrepError: A plan names a class that does not exist, or a class is in no plan, or has too few rows;
            fractions of a class exceed 1; the dealing is not possible; a name is not that of a region.
    """
    _check_names(plans)
    if not 0 < held_out < 1:
        raise PrepError(f"a held-out share of {held_out}; it must be above 0 and below 1, like 0.2")
    if dealing is None:
        _check_classes(class_names, plans)
    elif named := [plan.name for plan in plans if plan.class_names or plan.fraction is not None]:
        raise PrepError(
            f"region {', '.join(named)} has classes or a fraction, and the partition {dealing.name} deals "
            "out all samples; give the one or the other"
        )
    evaluation, rest = _hold_out(labels, class_names, plans, seed, held_out, dealing)
    if dealing is None:
        dealt = _by_plan(rest, class_names, plans)
    else:
        dealt = _by_partition(np.sort(np.concatenate(rest)), labels, plans, seed, dealing)
    return {**dealt, EVALUATION: evaluation}


def split_regions(
    features: Region,
    plans: Sequence[RegionPlan] = EUROSAT_REGIONS,
    seed: int = 0,
    *,
    dealing: Dealing | None = None,
    held_out: float = HELD_OUT_SHARE,
) -> dict[str, Region]:
    """Return every plan's region with its shift applied, and D as it is.

    Raises:
        PrepError: As `split_rows`.
    """
    regions = {}
    by_name = {plan.name: plan for plan in plans}
    rows_of = split_rows(
        features.y, features.meta.class_names, plans, seed, dealing=dealing, held_out=held_out
    )
    for name, rows in rows_of.items():
        plan = by_name.get(name)
        X = features.X[rows]
        shift = plan.shift if plan is not None else None
        if shift is not None:
            X = shift.apply(X, generator_for(seed, "shift", name))
        meta = replace(
            features.meta,
            region=name,
            shift="none" if shift is None else str(shift),
            seed=seed,
            digest=region_digest(features.meta.digest, name, plans, seed, dealing=dealing, held_out=held_out),
        )
        regions[name] = Region(X, features.y[rows], meta)
    return regions


def region_digest(
    source_digest: str,
    name: str,
    plans: Sequence[RegionPlan],
    seed: int,
    *,
    dealing: Dealing | None = None,
    held_out: float = HELD_OUT_SHARE,
) -> str:
    """Return the digest of all that a region's bytes depend on, for its meta."""
    return settings_digest(
        {
            "of": source_digest,
            "region": name,
            "plans": [asdict(plan) for plan in plans],
            "dealing": None if dealing is None else asdict(dealing),
            "held_out": held_out,
            "seed": seed,
        }
    )


def settings_digest(settings: Mapping[str, object]) -> str:
    """Return the SHA-256 of settings, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _hold_out(
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    plans: Sequence[RegionPlan],
    seed: int,
    share: float,
    dealing: Dealing | None,
) -> tuple[Rows, list[Rows]]:
    """Return D's rows, ascending, and what it leaves of each class, shuffled."""
    evaluation, rest = [], []
    for label, class_name in enumerate(class_names):
        takers = (
            [plan.name for plan in plans if class_name in plan.class_names] if dealing is None else ["any"]
        )
        rows = np.flatnonzero(labels == label)
        if len(rows) < len(takers) + 1:
            whose = (
                " and ".join([*takers, EVALUATION]) if dealing is None else f"the regions and {EVALUATION}"
            )
            raise PrepError(
                f"class {class_name} has {len(rows)} samples; at least {len(takers) + 1} are needed, "
                f"one for {whose} each: prepare more samples"
            )
        rows = generator_for(seed, "split", class_name).permutation(rows)
        count = min(max(1, round(len(rows) * share)), len(rows) - len(takers))
        evaluation.append(rows[:count])
        rest.append(rows[count:])
    return np.sort(np.concatenate(evaluation)), rest


def _by_plan(
    rest: Sequence[Rows], class_names: Sequence[str], plans: Sequence[RegionPlan]
) -> dict[str, Rows]:
    dealt: dict[str, list[Rows]] = {plan.name: [] for plan in plans}
    for class_name, rows in zip(class_names, rest, strict=True):
        takers = [plan for plan in plans if class_name in plan.class_names]
        for plan, part in zip(takers, _shared(class_name, rows, takers), strict=True):
            dealt[plan.name].append(part)
    return {name: np.sort(np.concatenate(parts)) for name, parts in dealt.items()}


def _shared(class_name: str, rows: Rows, takers: Sequence[RegionPlan]) -> list[Rows]:
    """Return the part of each taker: its fraction, or an even part of what the fractions leave."""
    fractions = [plan.fraction for plan in takers if plan.fraction is not None]
    left = 1 - sum(fractions)
    evenly = len(takers) - len(fractions)
    if left < -1e-9 or (evenly and left < 1e-9):
        raise PrepError(
            f"class {class_name}: the fractions of {' and '.join(plan.name for plan in takers)} add up to "
            f"{1 - left:g}{', which leaves nothing for the others' if evenly else ''}; 1 is all there is"
        )
    if not fractions:
        return np.array_split(rows, evenly)
    shares = [left / evenly if plan.fraction is None else plan.fraction for plan in takers]
    ends = np.rint(np.cumsum(shares) * len(rows)).astype(int)
    parts = np.split(rows, ends)[: len(takers)]
    if empty := [plan.name for plan, part in zip(takers, parts, strict=True) if not len(part)]:
        raise PrepError(
            f"class {class_name}: of {len(rows)} samples the fraction of {', '.join(empty)} is not even one; "
            "give it a larger one, or prepare more samples"
        )
    return parts


def _by_partition(
    rest: Rows, labels: NDArray[np.int64], plans: Sequence[RegionPlan], seed: int, dealing: Dealing
) -> dict[str, Rows]:
    try:
        partition = make_partition(dealing.name, alpha=dealing.alpha, shards=dealing.shards)
        parts = partition(labels[rest], len(plans), generator_for(seed, "partition", dealing.name))
    except LearningError as error:
        raise PrepError(str(error)) from error
    return {plan.name: rest[part] for plan, part in zip(plans, parts, strict=True)}


def check_region_name(name: str) -> None:
    """See that a name can be that of a region, and of its file.

    Raises:
        PrepError: It cannot.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise PrepError(f"region {name!r}: its file is called so, too; use letters, digits, '-' and '_'")


def _check_names(plans: Sequence[RegionPlan]) -> None:
    names = [plan.name for plan in plans]
    for name in names:
        check_region_name(name)
    if len(set(names)) < len(names) or EVALUATION in names or not names:
        raise PrepError(
            f"regions named {', '.join(names) or 'nothing'}; at least one is needed, each name once, "
            f"and {EVALUATION} is the one for evaluation"
        )


def _check_classes(class_names: Sequence[str], plans: Sequence[RegionPlan]) -> None:
    planned = {class_name for plan in plans for class_name in plan.class_names}
    if unknown := sorted(planned - set(class_names)):
        raise PrepError(f"no class is named {', '.join(unknown)}; there are {', '.join(class_names)}")
    if bare := [plan.name for plan in plans if not plan.class_names]:
        raise PrepError(f"region {', '.join(bare)} has no class; name some, or choose a partition")
    if left := [name for name in class_names if name not in planned]:
        raise PrepError(
            f"class {', '.join(left)} is in no region; name it in one, so that someone teaches it"
        )
