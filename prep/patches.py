"""512 features of a tile from an untrained bank of patch filters. NumPy only.

The recipe of Coates, Ng and Lee (2011), without its k-means: 6 x 6 patches, whitened; 128 random ones of
them are the filters; each filter's answers over the tile are pooled in four ways. No labels, no training,
no weights to download, and yet far better for a linear classifier than a random convolutional network or
colour statistics.

Filters and scaling come from reference tiles that belong to the bank alone: they are in no data set, so
no region's data leaks into the features of another, and everybody computes the same features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from federation.learning import generator_for

from .tiles import CLASS_NAMES, Tile, draw_tile

FILTERS = 128
POOLINGS = 4
FEATURE_COUNT = FILTERS * POOLINGS

_PATCH = 6  # pixels a side
_STRIDE = 2  # every second place: a quarter of the work, and no worse
_REFERENCE_TILES_PER_CLASS = 20
_PATCHES_TO_WHITEN = 20_000

# Added to the variances (grey levels squared) before whitening, so that directions which hold little but
# sensor noise are not blown up. A probe on real tiles gains until about 1,000 and loses after 5,000.
_WHITENING_FLOOR = 1000.0
# SGD's best step falls with the squared length of a row of features. It is near 15 for digits as pixels
# from 0 to 1; with this deviation it is 512 * 0.17^2 = 15 here, and one learning rate suits both.
_FEATURE_DEVIATION = 0.17


@dataclass(frozen=True, slots=True, eq=False)
class PatchBank:
    """Filters and scaling; everything that turns tiles into features.

    Attributes:
        filters: float32 (108, filters), for a patch as a row of rows, columns and colours.
        offset: float32 (filters,), subtracted, so that the answers over the reference tiles have mean 0
            and deviation 1.
        centre: float32 (features,), the mean of each feature over the reference tiles.
        scale: float32 (features,), what each is divided by.
    """

    filters: NDArray[np.float32]
    offset: NDArray[np.float32]
    centre: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def make(cls, seed: int = 0) -> PatchBank:
        """Draw the filters of a seed. The seed is the extractor's own, not that of a data set."""
        chance = generator_for(seed, "patch bank")
        tiles = np.stack(
            [
                draw_tile(class_name, -1 - number, seed)  # data sets count from 0 upwards
                for class_name in CLASS_NAMES
                for number in range(_REFERENCE_TILES_PER_CLASS)
            ]
        )
        filters, offset = _draw_filters(tiles, chance)
        bank = cls(filters, offset, np.zeros(FEATURE_COUNT, np.float32), np.ones(FEATURE_COUNT, np.float32))
        raw = np.stack([bank.features(tile) for tile in tiles])
        # A feature that hardly varies says nothing; it must not be divided by nearly zero either.
        scale = np.maximum(raw.std(axis=0), 0.01) / _FEATURE_DEVIATION
        return cls(filters, offset, raw.mean(axis=0), scale.astype(np.float32))

    def features(self, tile: Tile) -> NDArray[np.float32]:
        """Return the features of one tile (height, width, 3) of uint8: float32 (512,).

        Four poolings of each filter's answers: their mean; the logarithm of their deviation; the root of
        how far they exceed +1, and of how far they fall below -1, on average.
        """
        answers = _patches(tile, _STRIDE) @ self.filters
        answers -= self.offset
        pooled = np.concatenate(
            [
                answers.mean(axis=0),
                np.log(answers.std(axis=0) + np.float32(0.05)),
                np.sqrt(np.maximum(answers - 1, 0).mean(axis=0)),
                np.sqrt(np.maximum(-1 - answers, 0).mean(axis=0)),
            ]
        )
        scaled: NDArray[np.float32] = (pooled - self.centre) / self.scale
        return scaled


def _patches(tile: Tile, stride: int) -> NDArray[np.float32]:
    """Return all patches of a tile, one a row: float32 (patches, 108)."""
    windows = sliding_window_view(tile, (_PATCH, _PATCH), axis=(0, 1))[::stride, ::stride]
    return windows.reshape(-1, 3 * _PATCH * _PATCH).astype(np.float32)


def _draw_filters(
    tiles: NDArray[np.uint8], chance: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    patches = np.concatenate([_patches(tile, 5) for tile in tiles]).astype(np.float64)
    patches = patches[chance.permutation(len(patches))[:_PATCHES_TO_WHITEN]]
    mean = patches.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
    whiten = directions / np.sqrt(variances + _WHITENING_FLOOR) @ directions.T  # ZCA, (108, 108)
    chosen = (patches[chance.permutation(len(patches))[:FILTERS]] - mean) @ whiten
    filters = whiten @ chosen.T
    filters /= ((patches - mean) @ filters).std(axis=0)
    return filters.astype(np.float32), (mean @ filters).astype(np.float32)
