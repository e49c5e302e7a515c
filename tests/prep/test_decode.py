"""From a file to pixels, and what is wrong with broken files, in words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prep.decode import decode
from tests.extras import need


def test_pixels_of_the_right_size_are_left_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / "some.png"
    Image.fromarray(pixels).save(path)

    decoded = decode(path, 64)

    assert decoded.pixels is not None
    assert (decoded.pixels == pixels).all()
    assert decoded.sha256 == hashlib.sha256(path.read_bytes()).digest()


def test_others_are_resized_as_the_weights_ask(tree_folder: Path) -> None:
    """Against torchvision's own resize, with the interpolation of ResNet18's transform."""
    need("torch", "torchvision")
    from torchvision.models import ResNet18_Weights
    from torchvision.transforms import functional

    path = tree_folder / "Highway" / "Highway_1.jpg"
    wanted = ResNet18_Weights.IMAGENET1K_V1.transforms()
    with Image.open(path) as image:
        theirs = functional.resize(
            image.convert("RGB"), [224, 224], wanted.interpolation, antialias=wanted.antialias
        )

    np.testing.assert_array_equal(decode(path, 224).pixels, np.asarray(theirs))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_kinds_of_pixels_become_colours(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "some.tif"
    Image.new("RGB", (20, 10), (255, 255, 255)).convert(mode).save(path)

    decoded = decode(path, 16)

    assert decoded.pixels is not None
    assert decoded.pixels.shape == (16, 16, 3)
    assert decoded.pixels.min() > 240


def test_sixteen_bits_are_not_cut_off_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)

    assert decode(path, 8).pixels is None
    assert decode(path, 8).problem == "pixels of the kind I;16; eight bits a colour are read"


def test_what_is_wrong_with_a_file_is_said(tree_folder: Path, tmp_path: Path) -> None:
    whole = (tree_folder / "River" / "River_1.jpg").read_bytes()
    path = tmp_path / "some.jpg"
    problems = []
    for content in (whole[: len(whole) // 2], b"", b"<html>not found</html>", whole[:30]):
        path.write_bytes(content)
        decoded = decode(path, 64)
        assert decoded.pixels is None
        assert decoded.sha256 == hashlib.sha256(content).digest()
        problems.append(decoded.problem)

    assert "truncated" in problems[0]
    assert problems[1:3] == ["no image that can be read"] * 2
    assert problems[3] == "Truncated File Read"


def test_a_file_that_is_gone_is_no_broken_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "gone.jpg", 64)
