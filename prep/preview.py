"""A sheet of example tiles of each class of a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.learning import generator_for

from .decode import decode
from .digits import digits_features
from .errors import PrepError
from .fetch import find_inputs
from .images import ImageTree, list_images
from .picture import draw_sheet, save
from .tiles import CLASS_NAMES, draw_tile

TILES = 10  # of each class
SHOWN_PIXELS = 64  # larger images are shown in this size
_DIGIT_PIXELS = 8

Tiles = dict[str, list[NDArray[np.uint8]]]


def save_sheet(
    source: str, workspace: Path, images: Path | None, path: Path, *, seed: int = 0, tiles: int = TILES
) -> None:
    """Draw a sheet of examples of a source's classes into a file.

    Args:
        source: "synthetic", "digits" or "eurosat".
        workspace: Where the images of "eurosat" are looked for.
        images: Another folder of images, for "eurosat".
        path: The picture; its ending says of which kind.
        seed: Which synthetic tiles, or which of the images.
        tiles: How many of each class.

    Raises:
        PrepError: There are no images, those of a class are broken, or the ending names no format.
        OSError: The file cannot be written.
    """
    if source == "synthetic":
        found: Tiles = {name: [draw_tile(name, n, seed) for n in range(tiles)] for name in CLASS_NAMES}
        title = f"synthetic tiles, drawn by a program, seed {seed}"
    elif source == "digits":
        found, title = _digits(tiles), "handwritten digits (UCI, by scikit-learn)"
    else:
        tree = list_images(images or find_inputs(workspace, None).images)
        found, title = _images(tree, seed, tiles), f"{tree.source}: {len(tree.names):,} images"
    save(draw_sheet(found, title), path)


def _digits(tiles: int) -> Tiles:
    data = digits_features("")
    pixels = np.rint(255 * (1 - data.X)).astype(np.uint8).reshape(-1, _DIGIT_PIXELS, _DIGIT_PIXELS)
    return {name: list(pixels[data.y == label][:tiles]) for label, name in enumerate(data.meta.class_names)}


def _images(tree: ImageTree, seed: int, tiles: int) -> Tiles:
    """Return some images of each class, by chance; broken ones are passed over.

    Raises:
        PrepError: Of a class all that were tried are broken.
    """
    sheet: Tiles = {}
    for label, class_name in enumerate(tree.class_names):
        rows = generator_for(seed, "preview", class_name).permutation(np.flatnonzero(tree.labels == label))
        decoded = (decode(tree.folder / tree.names[row], SHOWN_PIXELS).pixels for row in rows[: 2 * tiles])
        sheet[class_name] = [pixels for pixels in decoded if pixels is not None][:tiles]
        if not sheet[class_name]:
            raise PrepError(
                f"{tree.folder / class_name}: {min(2 * tiles, len(rows))} of its images were tried, and not "
                "one can be decoded; copy them again"
            )
    return sheet
