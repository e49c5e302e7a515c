"""From an image file to pixels: red, green and blue, eight bits each, in the size that is asked for."""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.uint8]  # (size, size, 3)

# What Pillow makes of eight bits a colour without a guess; sixteen bits and floats it would cut off.
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")

# What Pillow raises on damaged files, beside OSError (of which "cannot identify" and "truncated" are).
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One image file.

    Attributes:
        sha256: Of the file's bytes.
        pixels: uint8 (size, size, 3), or None when the file is broken.
        problem: What is wrong with a broken one; empty when nothing is.
    """

    sha256: bytes
    pixels: Pixels | None
    problem: str = ""


def decode(path: Path, size: int) -> Decoded:
    """Read an image; one of another size is resized: bilinear, antialiased, as torchvision's weights ask.

    Both sides become `size`: nothing is cut off, and what is not square is stretched.

    Raises:
        OSError: The file cannot be read at all. What is wrong with its contents is an answer, no exception.
    """
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).digest()
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in _MODES:
                return Decoded(sha256, None, f"pixels of the kind {image.mode}; eight bits a colour are read")
            colours = image.convert("RGB")
        if colours.size != (size, size):
            colours = colours.resize((size, size), Image.Resampling.BILINEAR)
        return Decoded(sha256, np.asarray(colours))
    except _DAMAGE as error:
        # Pillow names the memory that it read from; people know the file.
        reason = "no image that can be read" if isinstance(error, UnidentifiedImageError) else str(error)
        return Decoded(sha256, None, reason or type(error).__name__)
