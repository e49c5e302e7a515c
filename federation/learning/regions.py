"""Region files and feature files: what they hold, and every check before anyone learns from them.

| file | arrays | what else |
| --- | --- | --- |
| `region_X.npz` | `X` float32 (samples, features), `y` int64 (samples,) | `meta`, a JSON text |
| `eurosat_features.npz` | `features` float32 (samples, features), `labels` int64 (samples,) | `meta` |

Files of other makers are welcome: X may be any real floating type, y any integer type, `meta` may be
missing. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .archive import read_archive, write_archive
from .errors import ArchiveError, RegionError

_FIX = "make it again with bin/prepare"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMeta:
    """Where the samples of a file come from.

    Attributes:
        class_names: The name of class 0, 1, ...; all classes of the federation, also those that have no
            sample in this file.
        source: What the samples are of: "synthetic", "digits", "eurosat".
        extractor: What made features of them: "patches", "pixels", "resnet18".
        region: The name of the region, like "A"; empty for a file of all samples.
        shift: The domain shift that was applied, in words; "none" when there was none.
        synthetic: Whether the samples were drawn by a program rather than seen in the world.
        seed: The seed that they were made or split with.
        digest: SHA-256 of what the file was made from: its settings and the code that made it.
        image_size: The side of the images that features were made of, in pixels; None when there were none.
        images_sha256: Of the names and contents of all images; empty when there were none.
        weights_sha256: Of the file of the extractor's weights; empty when it has none.
        left_out: How many images were broken, and left out.
    """

    class_names: tuple[str, ...]
    source: str = "unknown"
    extractor: str = "unknown"
    region: str = ""
    shift: str = "none"
    synthetic: bool = False
    seed: int | None = None
    digest: str = ""
    image_size: int | None = None
    images_sha256: str = ""
    weights_sha256: str = ""
    left_out: int = 0

    def to_json(self) -> str:
        """Return the text that stands in a file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RegionMeta:
        """Read that text back. Keys of later versions are passed over.

        Raises:
            RegionError: It is no JSON object, or a value is not of its kind.
        """
        try:
            found = json.loads(text)
        except ValueError as error:
            raise RegionError(f"meta is not JSON ({error}); {_FIX}") from error
        if not isinstance(found, dict):
            raise RegionError(f"meta is a JSON {type(found).__name__}, it must be an object; {_FIX}")
        names = found.get("class_names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RegionError(f"meta names no classes; class_names must be a list of texts; {_FIX}")
        known: dict[str, Any] = {
            field.name: found[field.name] for field in fields(cls) if field.name in found
        }
        for name, kinds in _META_KINDS.items():
            if name in known and not isinstance(known[name], kinds):
                raise RegionError(f"meta: {name} is {known[name]!r}, which is not of its kind; {_FIX}")
        return cls(**{**known, "class_names": tuple(names)})


_META_KINDS: dict[str, Any] = {
    "source": str,
    "extractor": str,
    "region": str,
    "shift": str,
    "synthetic": bool,
    "seed": int | None,
    "digest": str,
    "image_size": int | None,
    "images_sha256": str,
    "weights_sha256": str,
    "left_out": int,
}


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Samples to learn from or to score on. Every `Region` has passed every check.

    Attributes:
        X: float32 (samples, features), finite, read-only when it came from a file.
        y: int64 (samples,), 0 to class_count - 1.
        meta: Where they come from.

    Raises:
        RegionError: A check failed; the text says what was found, what is allowed, and the fix.
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    meta: RegionMeta

    def __post_init__(self) -> None:
        _check_shapes(self.X, self.y, ("X", "y"))
        if self.X.dtype != np.float32 or self.y.dtype != np.int64:
            raise RegionError(f"X is {self.X.dtype} and y is {self.y.dtype}; float32 and int64 are needed")
        _check_values(self.X, self.y, self.meta.class_names, ("X", "y"))

    @property
    def sample_count(self) -> int:
        """How many samples there are, at least 1."""
        return len(self.y)

    @property
    def feature_count(self) -> int:
        """How many numbers describe a sample, at least 1."""
        return int(self.X.shape[1])

    @property
    def class_count(self) -> int:
        """How many classes the federation has, at least 2."""
        return len(self.meta.class_names)


def save_region(path: Path, region: Region) -> None:
    """Write a region file, whole or not at all.

    Raises:
        OSError: It could not be written; an older file of that name is untouched.
    """
    _save(path, region, ("X", "y"))


def load_region(path: Path) -> Region:
    """Read a region file and check everything in it.

    Raises:
        RegionError: The file is missing, cut off or no .npz file; it lacks an array, or one has the wrong
            shape or type; a value is NaN or infinite; a label has no class. The text names the file,
            what was found, what is allowed and the fix.
    """
    return _load(path, ("X", "y"))


def save_features(path: Path, region: Region) -> None:
    """Write a features file, as `save_region` but with the arrays `features` and `labels`."""
    _save(path, region, ("features", "labels"))


def load_features(path: Path) -> Region:
    """Read a features file, as `load_region` but with the arrays `features` and `labels`."""
    return _load(path, ("features", "labels"))


def load_meta(path: Path) -> RegionMeta | None:
    """Return what a region or features file says of itself, or None when it says nothing.

    Reads all of the file, so that a damaged one is noticed, but does not check the samples.

    Raises:
        RegionError: The file is missing or damaged, or its meta is not readable.
    """
    return _meta_of(_arrays_of(path))


def _save(path: Path, region: Region, names: tuple[str, str]) -> None:
    arrays: dict[str, NDArray[Any]] = {names[0]: region.X, names[1]: region.y}
    arrays["meta"] = np.array(region.meta.to_json())
    write_archive(path, arrays)


def _load(path: Path, names: tuple[str, str]) -> Region:
    arrays = _arrays_of(path)
    try:
        return _region_of(arrays, names)
    except RegionError as error:
        raise RegionError(f"{path}: {error}") from error


def _arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_archive(path)
    except ArchiveError as error:
        there = sorted(other.name for other in path.parent.glob("region_*.npz")) if not path.exists() else []
        beside = f"; beside it there is {', '.join(there)}" if there else ""
        raise RegionError(f"{error}{beside}; {_FIX}") from error


def _region_of(arrays: dict[str, NDArray[Any]], names: tuple[str, str]) -> Region:
    missing = [name for name in names if name not in arrays]
    if missing:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise RegionError(f"lacks {' and '.join(missing)}, it holds {found}; {_FIX}")
    X, y = arrays[names[0]], arrays[names[1]]
    _check_kinds(X, y, names)
    _check_shapes(X, y, names)
    meta = _meta_of(arrays) or RegionMeta(class_names=_names_for(y))
    _check_values(X, y, meta.class_names, names)
    X, y = np.ascontiguousarray(X, np.float32), np.ascontiguousarray(y, np.int64)
    X.flags.writeable = y.flags.writeable = False
    return Region(X, y, meta)


def _meta_of(arrays: dict[str, NDArray[Any]]) -> RegionMeta | None:
    text = arrays.get("meta")
    if text is None:
        return None
    if text.ndim != 0 or text.dtype.kind != "U":
        raise RegionError(f"meta is {text.dtype} of shape {text.shape}, it must be one text; {_FIX}")
    return RegionMeta.from_json(str(text))


def _names_for(y: NDArray[Any]) -> tuple[str, ...]:
    """Name the classes of a file that names none: as many as its labels need."""
    return tuple(f"class {label}" for label in range(max(2, int(y.max()) + 1)))


def _check_kinds(X: NDArray[Any], y: NDArray[Any], names: tuple[str, str]) -> None:
    if X.dtype.kind != "f":
        raise RegionError(f"{names[0]} is {X.dtype}, it must be float32; save it with .astype('float32')")
    if y.dtype.kind not in "iu":
        raise RegionError(f"{names[1]} is {y.dtype}, it must be int64; save it with .astype('int64')")


def _check_shapes(X: NDArray[Any], y: NDArray[Any], names: tuple[str, str]) -> None:
    if X.ndim != 2:
        raise RegionError(
            f"{names[0]} has shape {X.shape}, it must be (samples, features); "
            f"save it with .reshape(len({names[0]}), -1)"
        )
    if y.ndim != 1:
        raise RegionError(f"{names[1]} has shape {y.shape}, it must be (samples,), one class number each")
    if len(X) != len(y):
        raise RegionError(
            f"{names[0]} has {len(X):,} samples and {names[1]} has {len(y):,}; they must be equal"
        )
    if X.size == 0:
        raise RegionError(f"{names[0]} has shape {X.shape}; at least one sample and one feature are needed")


def _check_values(
    X: NDArray[Any], y: NDArray[Any], class_names: tuple[str, ...], names: tuple[str, str]
) -> None:
    if len(class_names) < 2 or len(set(class_names)) < len(class_names):
        raise RegionError(f"class_names is {class_names}; at least two different names are needed; {_FIX}")
    # float32 holds less than float64 does: what would become infinite counts as such.
    bad_rows = np.flatnonzero(~(np.abs(X) <= np.finfo(np.float32).max).all(axis=1))
    if bad_rows.size:
        raise RegionError(
            f"{names[0]} holds NaN or infinity in {bad_rows.size:,} of {len(X):,} rows, first in row "
            f"{bad_rows[0]}; every value must be finite: leave those rows out and save it again, or {_FIX}"
        )
    bad_labels = np.flatnonzero((y < 0) | (y >= len(class_names)))
    if bad_labels.size:
        row = bad_labels[0]
        raise RegionError(
            f"{names[1]} holds the label {y[row]} in row {row}; there are {len(class_names)} class names, "
            f"so 0 to {len(class_names) - 1} are allowed; correct the labels or name the classes in meta"
        )
