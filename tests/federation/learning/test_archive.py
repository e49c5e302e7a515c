import errno
import struct
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from federation.learning import ArchiveError, read_archive, write_archive, writing_whole


def test_arrays_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "some.npz"

    write_archive(path, {"a": np.arange(3), "text": np.array("words")})

    found = read_archive(path)
    assert found["a"].tolist() == [0, 1, 2]
    assert str(found["text"]) == "words"


def test_the_same_arrays_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"

    write_archive(one, {"a": np.arange(3)})
    write_archive(other, {"a": np.arange(3)})

    assert one.read_bytes() == other.read_bytes()


def _fill_then_fail(file: IO[bytes]) -> None:
    file.write(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    path.write_bytes(b"old")

    with pytest.raises(OSError, match="No space left"), writing_whole(path) as file:
        _fill_then_fail(file)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_objects_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        write_archive(tmp_path / "some.npz", {"a": np.array([{}], dtype=object)})

    assert list(tmp_path.iterdir()) == []


def test_objects_are_not_read(tmp_path: Path) -> None:
    """They would be unpickled, and a pickle may run anything."""
    path = tmp_path / "some.npz"
    np.savez(path, a=np.array([{}], dtype=object))

    with pytest.raises(ArchiveError, match=r"some\.npz: the array 'a' holds Python objects"):
        read_archive(path)


def test_any_cut_of_a_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    write_archive(path, {"a": np.arange(100), "b": np.zeros(3)})
    whole = path.read_bytes()

    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(ArchiveError, match=r"some\.npz: "):
            read_archive(path)


def test_a_flipped_bit_in_an_array_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    write_archive(path, {"a": np.arange(1000)})
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(ArchiveError, match="'a' is damaged or cut off"):
        read_archive(path)


def npy(header: bytes) -> bytes:
    """Return an array file with this header, and without values."""
    line = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }",
        b"{'descr': (((",
    ],
)
def test_an_array_whose_head_says_nonsense_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "some.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(header))

    with pytest.raises(ArchiveError, match="'a' is damaged or cut off"):
        read_archive(path)


@pytest.mark.parametrize(("place", "value"), [(8, 1), (10, 9)], ids=["encrypted", "packed otherwise"])
def test_a_member_that_cannot_be_unpacked_is_refused(tmp_path: Path, place: int, value: int) -> None:
    """The flags and the method of packing stand at these places of its entry (APPNOTE.TXT, 4.3.12)."""
    path = tmp_path / "some.npz"
    write_archive(path, {"a": np.arange(3)})
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + place] = value
    content[content.find(b"PK\x03\x04") + place - 2] = value
    path.write_bytes(content)

    with pytest.raises(ArchiveError, match="'a' is damaged or cut off"):
        read_archive(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00"])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.npz"
    path.write_bytes(content)

    with pytest.raises(ArchiveError, match=r"some\.npz: \d+ bytes that are no whole \.npz file"):
        read_archive(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cannot be read: Is a directory"):
        read_archive(tmp_path)
