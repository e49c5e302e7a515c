"""A model as the bytes that travel: a mark, a fingerprint of its shape, and its arrays one behind the other.

All peers of a network train models of one shape, so nothing in the bytes has to be understood: the length
and the fingerprint fit, or the model is refused. There is no parser to be attacked.
"""

from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from federation.learning import Params, ParamsError, check_params

MARK = b"trioactor model\x01"
SHAPE_BYTES = 16
HEAD_BYTES = len(MARK) + SHAPE_BYTES

_FLOAT = np.dtype("<f4")


def to_bytes(params: Params) -> bytes:
    """Return a model as bytes: equal for equal models, whatever the order of their names."""
    arrays = [np.ascontiguousarray(params[name], dtype=_FLOAT).tobytes() for name in sorted(params)]
    return b"".join((MARK, _shape_of(params), *arrays))


def from_bytes(data: bytes, like: Params) -> dict[str, NDArray[np.float32]]:
    """Return the model that bytes hold. Its arrays are read-only.

    Args:
        data: From anyone.
        like: A model of the shape that it must have.

    Raises:
        ParamsError: It is no model, or one of another shape, or holds a value that is not finite.
    """
    if data[: len(MARK)] != MARK:
        raise ParamsError("these bytes are no model")
    if data[len(MARK) : HEAD_BYTES] != _shape_of(like):
        raise ParamsError("a model of another shape; all peers must train on the same features and classes")
    needed = HEAD_BYTES + sum(array.size for array in like.values()) * _FLOAT.itemsize
    if len(data) != needed:
        raise ParamsError(f"a model of {len(data):,} bytes; one of this shape has {needed:,}")
    params: dict[str, NDArray[np.float32]] = {}
    start = HEAD_BYTES
    for name in sorted(like):
        flat = np.frombuffer(data, _FLOAT, like[name].size, start).astype(np.float32, copy=False)
        params[name] = flat.reshape(like[name].shape)
        params[name].flags.writeable = False
        start += flat.size * _FLOAT.itemsize
    check_params(params, like)
    return params


def _shape_of(params: Params) -> bytes:
    shapes = [[name, list(params[name].shape)] for name in sorted(params)]
    return sha256(json.dumps(shapes).encode()).digest()[:SHAPE_BYTES]
