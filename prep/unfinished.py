"""The features of an extraction that is not finished: a file beside the one that they are for.

The first line is JSON: the settings, so that nobody goes on with others. Then batch after batch, each
behind its CRC-32. A batch that was cut off, by a kill or by a power failure, does not match its sum and is
made anew. Nothing is written to the finished file until everything is there.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import PrepError

Rows = NDArray[Any]  # (images,) of the type that `row_type` gives

_SUM_BYTES = 4  # CRC-32, big-endian
_LONGEST_FIRST_LINE = 1_000_000  # bytes; ours has a thousand


def unfinished_file(output: Path) -> Path:
    """Return where the unfinished features of a features file lie."""
    return output.with_name(f"{output.name}.unfinished")


def row_type(feature_count: int) -> np.dtype[Any]:
    """Return what is kept of an image: its file's SHA-256, whether it is good, its features."""
    return np.dtype([("sha256", "u1", 32), ("good", "?"), ("features", "<f4", feature_count)])


class Unfinished:
    """What there is of an extraction; batches are appended to it.

    Args:
        file: It stands behind the first line.
        sizes: How many images each batch has.
        kind: The type of a row.
    """

    def __init__(self, file: io.BufferedRandom, sizes: Sequence[int], kind: np.dtype[Any]) -> None:
        self._file = file
        self._start = file.tell()
        self._sizes = sizes
        self._kind = kind
        self._whole = sum(1 for _ in self._batches())
        file.truncate(self._start + sum(self._bytes(size) for size in sizes[: self._whole]))

    @property
    def done(self) -> int:
        """How many batches are there, from the first."""
        return self._whole

    def append(self, rows: Rows) -> None:
        """Add the next batch. It is there when the process is killed thereafter.

        Raises:
            OSError: The disk is full, and so on.
        """
        content = rows.tobytes()
        self._file.seek(0, os.SEEK_END)
        self._file.write(zlib.crc32(content).to_bytes(_SUM_BYTES, "big") + content)
        self._file.flush()
        self._whole += 1

    def rows(self) -> Rows:
        """Return the rows of all batches that are there."""
        return np.concatenate([np.empty(0, self._kind), *self._batches()])

    def _bytes(self, size: int) -> int:
        return _SUM_BYTES + size * self._kind.itemsize

    def _batches(self) -> Iterator[Rows]:
        """Yield the batches up to the first that is not there whole."""
        self._file.seek(self._start)
        for size in self._sizes:
            found = self._file.read(self._bytes(size))
            content = found[_SUM_BYTES:]
            whole = len(found) == self._bytes(size)
            if not whole or zlib.crc32(content).to_bytes(_SUM_BYTES, "big") != found[:_SUM_BYTES]:
                return
            yield np.frombuffer(content, self._kind)


@contextmanager
def unfinished(
    output: Path, settings: Mapping[str, object], sizes: Sequence[int], feature_count: int, *, restart: bool
) -> Iterator[Unfinished]:
    """Open what there is of an extraction, or begin it; nobody else may write it meanwhile.

    Args:
        output: The features file that it is for; its folder is made.
        settings: All that the features depend on.
        sizes: How many images each batch has.
        feature_count: Of each image.
        restart: Begin anew, whatever is there.

    Raises:
        PrepError: What is there was made with other settings, or another process writes it.
        OSError: It cannot be written.
    """
    path = unfinished_file(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    first_line = json.dumps(settings, sort_keys=True).encode() + b"\n"
    with path.open("a+b") as file:
        assert isinstance(file, io.BufferedRandom)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PrepError(f"{path}: another process extracts to it; wait for it, or end it") from error
        file.seek(0)
        found = b"" if restart else file.readline(_LONGEST_FIRST_LINE)
        if found and found.endswith(b"\n"):
            _check_settings(path, found, settings)
        if found != first_line:
            file.truncate(0)
            file.write(first_line)
            file.flush()
        file.seek(len(first_line))
        yield Unfinished(file, sizes, row_type(feature_count))


def _check_settings(path: Path, found: bytes, settings: Mapping[str, object]) -> None:
    """See that an extraction goes on with the settings that it was begun with.

    Raises:
        PrepError: It would not; the text says which of them differ.
    """
    try:
        begun = json.loads(found)
    except ValueError:
        begun = None
    if not isinstance(begun, dict):
        raise PrepError(f"{path} is no unfinished extraction; move it away")
    now = json.loads(json.dumps(settings))
    differ = [name for name in sorted(begun.keys() | now.keys()) if begun.get(name) != now.get(name)]
    if differ:
        said = "; ".join(
            f"{name} was {_shown(begun.get(name))}, is {_shown(now.get(name))}" for name in differ
        )
        raise PrepError(
            f"{path} was begun with other settings ({said}): go on with those, or begin anew with --restart"
        )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
