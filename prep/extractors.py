"""What turns images into features: one seam, whether a network, the patch bank or nothing is behind.

| `--extractor` | features of an image |
| --- | --- |
| a network of torchvision | what its last layer is given |
| `patches` | how much of it is like each of the patches of a bank |
| `pixels` | its pixels, for a network that is trained itself |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from federation.learning import one_blas_thread

from .brushes import SIZE
from .errors import PrepError
from .patches import FEATURE_COUNT, PatchBank

BANK_SEED = 0  # the bank is one and the same, whatever the seed of the tiles
CHANNELS = 3  # red, green, blue

Images = NDArray[np.uint8]  # (images, size, size, 3)
Features = NDArray[np.float32]  # (images, features)


class Extractor(Protocol):
    """Turns images into features.

    Attributes:
        name: As in `--extractor`.
        image_size: In pixels, both sides, that it wants its images in.
        feature_count: How many numbers it makes of an image.
        batch_size: How many images it is best given at once.
        settings: Everything that its features depend on, by name, as JSON can hold it.
        conditions: What their last bits depend on beside: the device, the number of threads.
        weights_sha256: Of the file of its weights; empty when it has none.
    """

    name: str
    image_size: int
    feature_count: int
    batch_size: int
    settings: Mapping[str, object]
    conditions: Mapping[str, object]
    weights_sha256: str

    def features(self, images: Images) -> Features:
        """Return the features of some images; the same images give the same bytes.

        Blocking and busy. Called in a thread, one call at a time.
        """
        ...


class PatchExtractor:
    """The patch bank of the synthetic source, on any images. NumPy only: nothing is downloaded.

    Args:
        image_size: In pixels; the bank's scaling was measured at 64.
        batch_size: None for 64. It does not change the features.
    """

    def __init__(self, image_size: int | None = None, batch_size: int | None = None) -> None:
        self.name = "patches"
        self.image_size = image_size or SIZE
        if self.image_size < 16:
            raise PrepError(f"--image-size {self.image_size}: the patch bank needs at least 16 pixels")
        self.feature_count = FEATURE_COUNT
        self.batch_size = batch_size or 64
        self.settings: Mapping[str, object] = {
            "extractor": self.name,
            "image_size": self.image_size,
            "bank": BANK_SEED,
        }
        self.conditions: Mapping[str, object] = {}
        self.weights_sha256 = ""
        with one_blas_thread():
            self._bank = PatchBank.make(BANK_SEED)

    def features(self, images: Images) -> Features:
        """Return float32 (images, 512), image by image."""
        with one_blas_thread():
            return np.stack([self._bank.features(image) for image in images])


class PixelExtractor:
    """The pixels themselves, for networks that learn from images: `TorchModel` gives them their shape again.

    Args:
        image_size: In pixels; None for 64.
        batch_size: None for 64. It does not change the features.
    """

    def __init__(self, image_size: int | None = None, batch_size: int | None = None) -> None:
        self.name = "pixels"
        self.image_size = image_size or SIZE
        self.feature_count = CHANNELS * self.image_size**2
        self.batch_size = batch_size or 64
        self.settings: Mapping[str, object] = {
            "extractor": self.name,
            "image_size": self.image_size,
            "axes": "channels, rows, columns",
        }
        self.conditions: Mapping[str, object] = {}
        self.weights_sha256 = ""

    def features(self, images: Images) -> Features:
        """Return float32 (images, 3 * size * size), 0 to 1: red, green, blue, each row by row from the top.

        So `features.reshape(-1, 3, size, size)` are images as PyTorch has them.
        """
        scaled = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return scaled.reshape(len(images), self.feature_count)
