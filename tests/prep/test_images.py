"""Folders of images: what is listed, in which order, and which copies of EuroSAT are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prep import CLASS_NAMES, EUROSAT_COUNTS, PrepError, check_whole, list_images
from tests.extras import need
from tests.prep.conftest import link_tree

SIX = dict.fromkeys(CLASS_NAMES, 6)


@pytest.fixture
def copy(tree_folder: Path, tmp_path: Path) -> Path:
    """A tree of one's own, to damage."""
    return Path(shutil.copytree(tree_folder, tmp_path / "2750"))


@pytest.mark.parametrize("above", [0, 1, 2], ids=["2750", "eurosat", "its root"])
def test_a_tree_is_found_from_the_folder_that_people_name(tree_folder: Path, above: int) -> None:
    tree = list_images([tree_folder, *tree_folder.parents][above])

    assert tree.folder == tree_folder
    assert tree.class_names == CLASS_NAMES
    assert tree.counts == SIX
    assert tree.labels.tolist() == [label for label in range(10) for _ in range(6)]


def test_the_order_is_that_of_torchvision(copy: Path) -> None:
    """So rows of features are the same images as in anyone else's file: _1, _10, _2."""
    need("torchvision")
    from torchvision.datasets import ImageFolder

    for number in (10, 11):
        shutil.copy(copy / "River" / "River_1.jpg", copy / "River" / f"River_{number}.jpg")

    theirs = ImageFolder(str(copy))
    ours = list_images(copy)

    assert [
        (str(copy / name), label) for name, label in zip(ours.names, ours.labels.tolist(), strict=True)
    ] == (theirs.samples)
    assert list(ours.class_names) == theirs.classes


def test_other_folders_are_named_for_themselves_and_have_no_counts_to_keep(copy: Path) -> None:
    for name in CLASS_NAMES[2:]:
        shutil.rmtree(copy / name)
    photos = copy.rename(copy.with_name("photos"))

    tree = list_images(photos)

    assert not tree.is_eurosat
    assert tree.source == "photos"


def test_files_that_are_no_images_are_passed_over_and_counted(copy: Path) -> None:
    (copy / "Forest" / "Thumbs.db").touch()
    (copy / "Forest" / "notes.txt").touch()
    (copy / "__MACOSX").mkdir()
    (copy / ".cache").mkdir()

    tree = list_images(copy)

    assert tree.counts == SIX
    assert tree.passed_over == 2


def test_a_whole_eurosat_is_taken(tree_folder: Path, tmp_path: Path) -> None:
    """27,000 images, by their real counts."""
    folder = link_tree(tmp_path / "2750", tree_folder / "Forest" / "Forest_1.jpg")

    tree = list_images(folder)
    check_whole(tree)

    assert tree.source == "eurosat"
    assert len(tree.names) == 27_000
    (folder / "Pasture" / "Pasture_17.jpg").unlink()
    half = list_images(folder)
    assert half.source == "part of eurosat"
    with pytest.raises(
        PrepError, match=r"no whole EuroSAT: 1,999 of 2,000 Pasture\. It may be unpacked by half"
    ):
        check_whole(half)


def test_a_class_that_is_missing_is_named(copy: Path) -> None:
    """torchvision takes nine classes, and every label behind the missing one shifts."""
    shutil.rmtree(copy / "Highway")
    with pytest.raises(PrepError, match=r"2750 is no whole EuroSAT: no Highway\. .*--any-counts"):
        check_whole(list_images(copy), SIX)


def test_all_that_is_wrong_with_a_copy_is_said_at_once(copy: Path) -> None:
    shutil.rmtree(copy / "Highway")
    (copy / "River" / "River_3.jpg").unlink()
    shutil.copytree(copy / "Forest", copy / "Swamp")
    shutil.copy(copy / "Forest" / "Forest_1.jpg", copy / "Forest" / "copy.jpg")

    with pytest.raises(PrepError, match="no Highway; 5 of 6 River; 7 Forest, not 6; also Swamp"):
        check_whole(list_images(copy), SIX)


def test_a_class_without_images_is_refused(copy: Path) -> None:
    shutil.rmtree(copy / "River")
    (copy / "River").mkdir()
    with pytest.raises(
        PrepError, match=r"2750/River holds no image \(.jpg, .*copy the images again, or remove"
    ):
        list_images(copy)


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match="there is no such folder; name the one that holds a folder for each"):
        list_images(tmp_path / "nothing")
    with pytest.raises(PrepError, match="holds no folders; it must hold a folder of images for each class"):
        list_images(tmp_path)
    (tmp_path / "cats").mkdir()
    with pytest.raises(PrepError, match="holds only the folder cats; it must hold"):
        list_images(tmp_path)


def test_a_changed_tree_has_another_digest(copy: Path) -> None:
    before = list_images(copy).listing_sha256()
    assert list_images(copy).listing_sha256() == before

    (copy / "River" / "River_3.jpg").write_bytes(b"shorter")

    assert list_images(copy).listing_sha256() != before


def test_eurosat_has_its_known_counts() -> None:
    assert sum(EUROSAT_COUNTS.values()) == 27_000
    assert tuple(EUROSAT_COUNTS) == CLASS_NAMES
