"""NumPy arrays as columns: dtype, shape and little-endian bytes that any language can read."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Booleans, integers, unsigned integers and floats. No objects (they would need pickle) and no text.
KINDS = frozenset("biuf")

# SQLite's own limit on one value is 1,000,000,000 bytes; a larger array must be split by its owner.
MAX_ARRAY_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array as the columns `dtype`, `shape` and `data`."""

    dtype: str
    shape: str
    data: bytes


def to_columns(name: str, array: Array) -> StoredArray:
    """Return the array as columns. `name` is for the error text only.

    Raises:
        ValueError: Its dtype cannot be kept, or it is too large for one value.
    """
    if array.dtype.kind not in KINDS or array.dtype.itemsize > 8:  # long double differs between machines
        raise ValueError(
            f"array {name!r} has dtype {array.dtype}; kept are booleans, integers and floats of up to 64 bits"
        )
    if array.nbytes > MAX_ARRAY_BYTES:
        raise ValueError(
            f"array {name!r} has {array.nbytes:,} bytes; one value holds at most "
            f"{MAX_ARRAY_BYTES:,}; split it"
        )
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return StoredArray(array.dtype.name, json.dumps(array.shape), little.tobytes(order="C"))


def from_columns(dtype: str, shape: str, data: bytes) -> Array:
    """Return the array that the columns describe. It is read-only, and shares `data`.

    Raises:
        ValueError: The three columns do not belong together.
    """
    try:
        kept = np.dtype(dtype).newbyteorder("<")
        sides = tuple(json.loads(shape))
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"dtype {dtype!r} and shape {shape!r} describe no array") from error
    if kept.kind not in KINDS or not all(isinstance(side, int) and side >= 0 for side in sides):
        raise ValueError(f"dtype {dtype!r} and shape {shape!r} describe no array of numbers")
    needed = math.prod(sides) * kept.itemsize
    if len(data) != needed:
        raise ValueError(f"{dtype} of shape {shape} takes {needed:,} bytes, {len(data):,} are there")
    array = np.frombuffer(data, dtype=kept).reshape(sides)
    if sys.byteorder == "big":
        array = array.astype(np.dtype(dtype))
        array.flags.writeable = False
    return array
