"""The source `synthetic`: procedural tiles, and their features from the patch bank, or their pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from federation.learning import Region, RegionMeta

from .extractors import Extractor
from .tiles import CLASS_NAMES, draw_tile, shrunk

Progress = Callable[[int, int], None]
"""Told how many samples are done, and how many there are. What it raises ends the work."""


def synthetic_features(
    extractor: Extractor, samples: int, seed: int, digest: str, progress: Progress
) -> Region:
    """Draw tiles, as many of each class as of any other give or take one, and extract their features.

    Args:
        extractor: What makes features of them, of the size that it wants its images in.
        samples: How many tiles in all.
        seed: Of the tiles. The first tiles of a class are the same for any number of samples.
        digest: For the meta.
        progress: Told after every tile, and once before the first.

    Returns:
        float32 (samples, features), the classes in turn.
    """
    progress(0, samples)
    X = np.empty((samples, extractor.feature_count), np.float32)
    y = np.arange(samples, dtype=np.int64) % len(CLASS_NAMES)
    for row in range(samples):
        tile = draw_tile(CLASS_NAMES[y[row]], row // len(CLASS_NAMES), seed)
        X[row] = extractor.features(shrunk(tile, extractor.image_size)[None])[0]
        progress(row + 1, samples)
    meta = RegionMeta(
        class_names=CLASS_NAMES,
        source="synthetic",
        extractor=extractor.name,
        synthetic=True,
        seed=seed,
        digest=digest,
        image_size=extractor.image_size,
    )
    return Region(X, y, meta)
