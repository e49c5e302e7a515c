"""Who has which samples: regions A, B and C with classes of their own, and D for evaluation with all.

The split of the seed document: A rural, B urban, C water and agriculture, each with its own domain shift;
D a held-out fifth of every class, without a shift. No sample is in two regions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from federation.learning import Region, generator_for

from .errors import PrepError
from .shifts import Shift

EVALUATION = "D"  # the region nobody trains on
HELD_OUT_SHARE = 0.2  # of every class, for D


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """What a region is to hold.

    Attributes:
        name: Of the region, as in `region_NAME.npz`; not "D".
        class_names: The classes that it has samples of.
        shift: How it sees them; None for as they are.
    """

    name: str
    class_names: tuple[str, ...]
    shift: Shift | None = None


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
    labels: NDArray[np.int64], class_names: Sequence[str], plans: Sequence[RegionPlan], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Deal out the rows of a data set: to every plan's region, and to D.

    Of each class a fifth, at least one row, goes to D; regions that share a class share the rest evenly.

    Args:
        labels: int64 (samples,).
        class_names: The name of class 0, 1, ...
        plans: Who gets which class. A class that no plan names is an error: a federation that nobody
            taught a class cannot know it.
        seed: Of the dealing.

    Returns:
        The rows of each region by its name, ascending; no row twice.

    Raises:
        PrepError: A plan names a class that does not exist, or a class is in no plan, or has too few rows.
    """
    _check_plans(class_names, plans)
    dealt: dict[str, list[NDArray[np.int64]]] = {
        name: [] for name in [*(plan.name for plan in plans), EVALUATION]
    }
    for label, class_name in enumerate(class_names):
        takers = [plan.name for plan in plans if class_name in plan.class_names]
        rows = np.flatnonzero(labels == label)
        if len(rows) < len(takers) + 1:
            raise PrepError(
                f"class {class_name} has {len(rows)} samples; at least {len(takers) + 1} are needed, "
                f"one for {' and '.join([*takers, EVALUATION])} each: prepare more samples"
            )
        rows = generator_for(seed, "split", class_name).permutation(rows)
        held_out = min(max(1, round(len(rows) * HELD_OUT_SHARE)), len(rows) - len(takers))
        dealt[EVALUATION].append(rows[:held_out])
        for taker, part in zip(takers, np.array_split(rows[held_out:], len(takers)), strict=True):
            dealt[taker].append(part)
    return {name: np.sort(np.concatenate(parts)) for name, parts in dealt.items()}


def split_regions(
    features: Region, plans: Sequence[RegionPlan] = EUROSAT_REGIONS, seed: int = 0
) -> dict[str, Region]:
    """Return every plan's region with its shift applied, and D as it is.

    Raises:
        PrepError: As `split_rows`.
    """
    regions = {}
    by_name = {plan.name: plan for plan in plans}
    for name, rows in split_rows(features.y, features.meta.class_names, plans, seed).items():
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
            digest=region_digest(features.meta.digest, name, plans, seed),
        )
        regions[name] = Region(X, features.y[rows], meta)
    return regions


def region_digest(source_digest: str, name: str, plans: Sequence[RegionPlan], seed: int) -> str:
    """Return the digest of all that a region's bytes depend on, for its meta."""
    return settings_digest(
        {"of": source_digest, "region": name, "plans": [asdict(p) for p in plans], "seed": seed}
    )


def settings_digest(settings: Mapping[str, object]) -> str:
    """Return the SHA-256 of settings, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _check_plans(class_names: Sequence[str], plans: Sequence[RegionPlan]) -> None:
    names = [plan.name for plan in plans]
    if len(set(names)) < len(names) or EVALUATION in names or not names:
        raise PrepError(
            f"regions named {', '.join(names) or 'nothing'}; at least one is needed, each name once, "
            f"and {EVALUATION} is the one for evaluation"
        )
    planned = {class_name for plan in plans for class_name in plan.class_names}
    if unknown := sorted(planned - set(class_names)):
        raise PrepError(f"no class is named {', '.join(unknown)}; there are {', '.join(class_names)}")
    if left := [name for name in class_names if name not in planned]:
        raise PrepError(
            f"class {', '.join(left)} is in no region; name it in one, so that someone teaches it"
        )
