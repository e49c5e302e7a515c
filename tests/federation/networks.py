"""Small networks of torch, and regions of tiles as pixels to train them on. For `--model`, too."""

from __future__ import annotations

import numpy as np

from federation.learning import Region, RegionMeta
from prep.tiles import CLASS_NAMES, draw_tile
from tests.extras import need

need("torch")

from torch import nn

from federation.learning.torch_model import TorchModel, seeded

SIDE = 16  # pixels, of the 64 that a tile has: every 4 x 4 become their mean
CHANNELS_FIRST = (3, SIDE, SIDE)
PIXELS = 3 * SIDE * SIDE
CLASSES = CLASS_NAMES[:4]


def tiles(name: str, per_class: int) -> Region:
    """Return a region of synthetic tiles as pixels, channels first, from -1 to 1."""
    first = ord(name) * 1000
    drawn = [draw_tile(one, first + number) for number in range(per_class) for one in CLASSES]
    small = np.stack(drawn).reshape(-1, SIDE, 4, SIDE, 4, 3).mean(axis=(2, 4), dtype=np.float32)
    X = (small.transpose(0, 3, 1, 2) / np.float32(127.5) - np.float32(1)).reshape(-1, PIXELS)
    y = np.tile(np.arange(len(CLASSES)), per_class)
    meta = RegionMeta(
        class_names=CLASSES, source="synthetic", extractor="pixels", region=name, synthetic=True, seed=0
    )
    return Region(np.ascontiguousarray(X), y, meta)


def convolutional(feature_count: int, class_count: int, chance: np.random.Generator) -> TorchModel:
    """Make two convolutions with batch norm, so with buffers, and dropout, so with chance."""
    assert feature_count == PIXELS
    with seeded(chance):
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(256, class_count),
        )
    return TorchModel(module, input_shape=CHANNELS_FIRST)


def large(feature_count: int, class_count: int, chance: np.random.Generator) -> TorchModel:
    """Make a network of 11.3 million weights, 45 MB: as many as ResNet-18 has."""
    with seeded(chance):
        module = nn.Sequential(
            nn.Linear(feature_count, 3000),
            nn.ReLU(),
            nn.Linear(3000, 3000),
            nn.ReLU(),
            nn.Linear(3000, class_count),
        )
    return TorchModel(module)
