"""`bin/extract-features` beside the bare network: what decoding, checking and writing cost.

Both see the same images in the same batches, as files and as pixels. The bare loop has its batches in memory,
as float32 and in channels last, and keeps nothing: a limit that no program which reads files can pass.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from prep import CLASS_NAMES, ImageTree, TorchExtractor, draw_tile, extract_features, list_images
from prep.decode import decode
from tests.benchmarks.measure import Row, compare

TARGET = 0.85  # of the bare network's images per second
IMAGE_SIZE = 64


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Return one row: images per second at 64 pixels, on the CPU."""
    import torch

    with TemporaryDirectory() as folder:
        tree = _write_tiles(Path(folder) / "tiles", per_class=26 if quick else 154)  # 1 or 6 batches of 256
        extractor = TorchExtractor(_random_weights(Path(folder)), image_size=IMAGE_SIZE, device="cpu")
        batches = _batches(tree, extractor)

        def ours() -> float:
            output = Path(folder) / "features.npz"
            began = time.perf_counter()
            extract_features(tree, extractor, output, restart=True)
            return len(tree.names) / (time.perf_counter() - began)

        def bare() -> float:
            began = time.perf_counter()
            with torch.inference_mode():
                for batch in batches:
                    extractor.network(batch)
            return len(tree.names) / (time.perf_counter() - began)

        return compare(
            f"extraction of {len(tree.names):,} images, {IMAGE_SIZE} px, {extractor.batch_size} a batch",
            {"ours": ours, "the bare network": bare},
            {"the bare network": TARGET},
            rounds=1 if quick else 7,
            unit="images/s",
            progress=progress,
        )


def _write_tiles(folder: Path, per_class: int) -> ImageTree:
    for class_name in CLASS_NAMES:
        (folder / class_name).mkdir(parents=True)
        for number in range(per_class):
            path = folder / class_name / f"{class_name}_{number + 1}.jpg"
            Image.fromarray(draw_tile(class_name, number)).save(path, quality=90)
    return list_images(folder)


def _random_weights(folder: Path) -> Path:
    """Random weights take as long as trained ones; their features are of no use and are thrown away."""
    import torch
    import torchvision

    plain = folder / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), plain)
    return plain.rename(folder / f"resnet18-{hashlib.sha256(plain.read_bytes()).hexdigest()[:8]}.pth")


def _batches(tree: ImageTree, extractor: TorchExtractor) -> list[Any]:
    """Return what the network sees, decoded, normalised and laid out: all but the network itself."""
    import torch

    pixels = [decode(tree.folder / name, IMAGE_SIZE).pixels for name in tree.names]
    images = np.stack([one for one in pixels if one is not None])
    size = extractor.batch_size
    return [
        extractor.normalised(torch.from_numpy(images[start : start + size]))
        for start in range(0, len(images), size)
    ]
