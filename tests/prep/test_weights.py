"""Files of weights that do not hold what their name says are not loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from prep import PrepError
from prep.weights import check_weights


def test_a_file_that_its_name_speaks_for_is_taken(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(b"weights").hexdigest()
    for digits in (8, 16, 64):
        path = tmp_path / f"net-{sha256[:digits]}.pth"
        path.write_bytes(b"weights")
        assert check_weights(path) == sha256


def test_other_contents_are_refused(tmp_path: Path) -> None:
    """torch loads them without a word when they lie in its cache."""
    path = tmp_path / "resnet18-f37072fd.pth"
    path.write_bytes(b"random")
    with pytest.raises(
        PrepError, match="other weights than its name says: its SHA-256 begins with a441b15f, not"
    ):
        check_weights(path)


def test_a_name_that_says_nothing_is_refused_with_the_one_it_should_have(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(b"random")
    with pytest.raises(PrepError, match=r"if you trust this file, call it mine-a441b15f\.pth"):
        check_weights(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match=r"gone\.pth: the weights cannot be read \(No such file"):
        check_weights(tmp_path / "gone.pth")
