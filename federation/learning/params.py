"""The weights of a model: named float32 arrays, checked, fingerprinted, kept in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .archive import read_archive, write_archive
from .errors import ParamsError

Params = Mapping[str, NDArray[np.float32]]
"""A model's weights by name. Whoever receives one does not write to its arrays."""


def check_params(params: Params, like: Params | None = None) -> None:
    """Check that weights are finite float32 numbers, and of the names and shapes of `like`.

    Args:
        params: The weights in question, for example those a worker sent.
        like: Weights known to be good, for example the global model's. None checks no shape.

    Raises:
        ParamsError: With the first thing that is wrong, in words that can go into a record.
    """
    if not params:
        raise ParamsError("weights without a single array; a model has at least one")
    if like is not None and params.keys() != like.keys():
        raise ParamsError(f"weights named {_listed(params)}, the model's are {_listed(like)}")
    for name in sorted(params):
        array = params[name]
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise ParamsError(f"weight {name!r} is {found}, it must be an array of float32")
        if like is not None and array.shape != like[name].shape:
            raise ParamsError(f"weight {name!r} has shape {array.shape}, the model's has {like[name].shape}")
        if not np.isfinite(array).all():
            count = int(array.size - np.count_nonzero(np.isfinite(array)))
            raise ParamsError(f"weight {name!r} holds NaN or infinity in {count:,} of {array.size:,} values")


def copy_params(params: Params) -> dict[str, NDArray[np.float32]]:
    """Return weights that share no memory with `params`, in C order."""
    return {name: np.array(array, dtype=np.float32, order="C") for name, array in params.items()}


def model_sha256(params: Params) -> str:
    """Return the fingerprint of a model: 64 hexadecimal digits, equal only for equal bytes.

    SHA-256 over the arrays in the order of their names; for each a line of JSON with name, shape and
    dtype, then its little-endian bytes in C order. So it does not depend on the order of the mapping,
    on the machine's byte order or on how the arrays lie in memory.
    """
    digest = hashlib.sha256()
    for name in sorted(params):
        array = np.ascontiguousarray(params[name], dtype=np.dtype("<f4"))
        digest.update(json.dumps([name, list(params[name].shape), "<f4"]).encode() + b"\n")
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_params(path: Path, params: Params) -> None:
    """Write weights to an .npz file, whole or not at all.

    Raises:
        ParamsError: They are not finite float32 numbers.
        OSError: The file could not be written; an older one of that name is untouched.
    """
    check_params(params)
    write_archive(path, params)


def load_params(path: Path, like: Params | None = None) -> dict[str, NDArray[np.float32]]:
    """Read weights from an .npz file, checked as by `check_params`.

    Raises:
        ArchiveError: The file is missing, damaged, or not one of arrays.
        ParamsError: What it holds are no weights, or not those of this model. The text names the file.
    """
    params = read_archive(path)
    try:
        check_params(params, like)
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from error
    return params


def _listed(params: Params) -> str:
    return ", ".join(sorted(params)) or "nothing"
