"""The source `synthetic`: procedural tiles, and their features from the patch bank."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from federation.learning import Region, RegionMeta

from .patches import FEATURE_COUNT, PatchBank
from .tiles import CLASS_NAMES, draw_tile

Progress = Callable[[int, int], None]
"""Told how many samples are done, and how many there are. What it raises ends the work."""

BANK_SEED = 0  # the extractor is one and the same, whatever the seed of the tiles


def synthetic_features(samples: int, seed: int, digest: str, progress: Progress) -> Region:
    """Draw tiles, as many of each class as of any other give or take one, and extract their features.

    Args:
        samples: How many tiles in all.
        seed: Of the tiles. The first tiles of a class are the same for any number of samples.
        digest: For the meta.
        progress: Told after every tile, and once before the first.

    Returns:
        float32 (samples, 512), the classes in turn.
    """
    progress(0, samples)
    bank = PatchBank.make(BANK_SEED)
    X = np.empty((samples, FEATURE_COUNT), np.float32)
    y = np.arange(samples, dtype=np.int64) % len(CLASS_NAMES)
    for row in range(samples):
        tile = draw_tile(CLASS_NAMES[y[row]], row // len(CLASS_NAMES), seed)
        X[row] = bank.features(tile)
        progress(row + 1, samples)
    meta = RegionMeta(
        class_names=CLASS_NAMES,
        source="synthetic",
        extractor="patches",
        synthetic=True,
        seed=seed,
        digest=digest,
    )
    return Region(X, y, meta)
