"""Named arrays in an .npz file that is there whole or not at all. Never pickle.

The bytes depend on the arrays alone: no time stamp, no name of the machine. The same arrays give the
same file.
"""

from __future__ import annotations

import os
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArchiveError

# What NumPy and zipfile raise on members that are damaged or not NumPy's: TokenError on a head that breaks
# off, MemoryError on a shape that no memory holds, RuntimeError on what is encrypted, or packed otherwise.
_DAMAGE = (
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def writing_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its place under `path` only when the block ends well.

    Readers see the old file or the new one, never half of one, also when the machine loses power: the
    bytes are on disk before the name is. When the block raises, nothing is left behind. The folder is made.

    Raises:
        OSError: The disk is full, the folder cannot be written, and so on. `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two writers of one path must not share a partial file: hence process and thread.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)


def write_archive(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as an uncompressed .npz file, whole or not at all.

    Raises:
        ValueError: An array holds Python objects.
        OSError: The file could not be written; an older one of that name is untouched.
    """
    with writing_whole(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_archive(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an .npz file.

    Raises:
        ArchiveError: There is no such file, it is cut off or damaged, it is no .npz file, or it holds
            Python objects, which are never unpickled.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                size = path.stat().st_size
                raise ArchiveError(
                    f"{path}: {size:,} bytes that are no whole .npz file (cut off, or another kind)"
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {name: _read_member(path, archive, name) for name in archive.files}
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"{path}: a damaged .npz file: {error}") from error


def _read_member(path: Path, archive: Mapping[str, Any], name: str) -> NDArray[Any]:
    try:
        member = archive[name]
    except _DAMAGE as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise ArchiveError(
                f"{path}: the array {name!r} holds Python objects, which could run code when read; "
                f"only arrays of numbers or text are read"
            ) from error
        raise ArchiveError(f"{path}: the array {name!r} is damaged or cut off: {error}") from error
    if not isinstance(member, np.ndarray):  # a member that is no .npy file comes as bytes
        raise ArchiveError(f"{path}: {name!r} is no array; it was not written by NumPy")
    return member
