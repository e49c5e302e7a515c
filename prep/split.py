"""A split data set: what each region holds, how far its shift moved it, its files, and lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.learning import Region, load_features, load_meta, save_region

from .errors import PrepError
from .plans import SplitPlan
from .regions import EVALUATION, Rows

Means = dict[str, NDArray[np.float64]]  # by the region's name: (classes that it has, features)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A data set and its regions.

    Attributes:
        features: All samples, as they were.
        rows: Which of them each region has, in the order of its samples.
        regions: As each region sees them, D last.
    """

    features: Region
    rows: Mapping[str, Rows]
    regions: Mapping[str, Region]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of all classes of the data set."""
        return self.regions[EVALUATION].meta.class_names

    def moved(self, name: str) -> float:
        """Return how far a region's shift moved its samples.

        The root of the mean square of all differences, in units of the deviation of all features.
        """
        before = self.features.X[self.rows[name]]
        change = np.sqrt(np.mean((self.regions[name].X - before) ** 2, dtype=np.float64))
        unit = self.features.X.std(dtype=np.float64)
        return float(change / unit) if unit > 0 else 0.0

    def class_means(self) -> tuple[Means, Means]:
        """Return the mean of every class in every region, before its shift and after."""
        before, after = {}, {}
        for name, region in self.regions.items():
            raw = self.features.X[self.rows[name]]
            classes = np.unique(region.y)
            before[name] = np.stack([raw[region.y == k].mean(axis=0, dtype=np.float64) for k in classes])
            after[name] = np.stack([region.X[region.y == k].mean(axis=0, dtype=np.float64) for k in classes])
        return before, after


def load_any_features(path: Path) -> Region:
    """Read a features file; one that does not say what it is of is called by its name.

    Raises:
        RegionError: As `federation.learning.load_features`.
    """
    features = load_features(path)
    if load_meta(path) is not None:
        return features
    return Region(features.X, features.y, replace(features.meta, source=path.stem))


def split_features(features: Region, plan: SplitPlan, seed: int = 0) -> Split:
    """Split a data set by a plan.

    Raises:
        PrepError: The plan does not fit the data; the text says why.
    """
    return Split(features, plan.rows(features, seed), plan.apply(features, seed))


def region_file(folder: Path, name: str) -> Path:
    """Return where the region of a name lies in a folder of regions."""
    return folder / f"region_{name}.npz"


def save_split(regions: Mapping[str, Region], folder: Path) -> None:
    """Write the regions to their files, each whole or not at all.

    Raises:
        PrepError: A region of another split lies there, and would be taken for one of these.
        OSError: A file cannot be written.
    """
    ours = {region_file(folder, name) for name in regions}
    if strangers := sorted(path.name for path in folder.glob("region_*.npz") if path not in ours):
        raise PrepError(
            f"{folder} holds {', '.join(strangers)} of another split, which would be taken for part of this "
            "one; remove it, or choose another --dataset"
        )
    for name, region in regions.items():
        save_region(region_file(folder, name), region)


def summary(split: Split) -> list[str]:
    """Return lines for people: what each region holds, and how far it is shifted."""
    meta = split.regions[EVALUATION].meta
    total = sum(region.sample_count for region in split.regions.values())
    about = f"{meta.source}, drawn by a program" if meta.synthetic else meta.source
    by = "" if meta.extractor == "unknown" else f" ({meta.extractor})"
    lines = [
        f"{total:,} samples of {about}; {split.features.feature_count} features each{by}, seed {meta.seed}"
    ]
    rows = [("region", "samples", "classes", "shift", "moved")]
    for name, region in split.regions.items():
        moved = "-" if region.meta.shift == "none" else f"{split.moved(name):.2f}"
        rows.append((name, f"{region.sample_count:,}", _classes(region), region.meta.shift, moved))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for first, samples, *others in rows:
        cells = [f"{first:<{widths[0]}}", f"{samples:>{widths[1]}}"]
        cells += [f"{text:<{width}}" for text, width in zip(others, widths[2:], strict=True)]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    if unused := len(split.features.y) - total:
        lines.append(f"{unused:,} samples are in no region, as the fractions ask")
    if any(region.meta.shift != "none" for region in split.regions.values()):
        lines.append("moved: how far a shift moves a value, as a part of the deviation of all of them")
    return lines


def _classes(region: Region) -> str:
    """Return how many samples of each class there are, the largest first; all of many, in short."""
    counts = np.bincount(region.y, minlength=region.class_count)
    there = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    if len(there) == region.class_count and region.meta.region == EVALUATION:
        return f"all {len(there)}, for evaluation"
    named = [f"{region.meta.class_names[k]} {counts[k]:,}" for k in there[:4]]
    more = f", {len(there) - 4} more" if len(there) > 4 else ""
    return ", ".join(named) + more
