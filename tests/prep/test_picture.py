"""Pictures of data: what stands in them, and that they can be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from federation.learning import Region, RegionMeta, generator_for
from prep import (
    Dealing,
    PrepError,
    RegionPlan,
    Shift,
    SplitPlan,
    draw_sheet,
    draw_split,
    draw_tile,
    split_features,
)
from prep.picture import save
from prep.preview import save_sheet
from tests.prep.conftest import write_tree


def data(classes: int, features: int = 8, per_class: int = 20) -> Region:
    y = np.repeat(np.arange(classes), per_class)
    X = generator_for(0, "picture").normal(y[:, None], 1, (len(y), features)).astype(np.float32)
    return Region(X, y, RegionMeta(class_names=tuple(f"class {k}" for k in range(classes))))


def test_a_split_shows_counts_features_and_shifts() -> None:
    plan = SplitPlan(
        (RegionPlan("A", ("class 0", "class 1"), Shift("haze", 0.5)), RegionPlan("B", ("class 2",)))
    )

    figure: Any = draw_split(split_features(data(3), plan), "mine in 3 regions")

    counts, points, shifts = figure.axes
    bars = {container.get_label(): [bar.get_width() for bar in container] for container in counts.containers}
    assert bars == {"A: haze 0.5": [16, 16, 0], "B": [0, 0, 16], "D, for evaluation": [4, 4, 4]}
    assert [label.get_text() for label in counts.get_yticklabels()] == ["class 0", "class 1", "class 2"]
    assert [len(dots.get_offsets()) for dots in points.collections] == [32, 16, 12]
    arrows = [text for text in shifts.texts if text.arrow_patch is not None]
    assert len(arrows) == 3, "one for each class of A and B"
    assert figure.get_suptitle() == "mine in 3 regions"


def test_without_shifts_there_is_no_picture_of_them() -> None:
    figure: Any = draw_split(split_features(data(3), SplitPlan(dealing=Dealing("iid"))), "dealt out")

    assert len(figure.axes) == 2


def test_regions_have_colours_of_their_own_and_markers_where_colours_run_out() -> None:
    regions = tuple(RegionPlan(f"R{number}") for number in range(8))

    figure: Any = draw_split(split_features(data(4), SplitPlan(regions, Dealing("iid"))), "many")

    looks = {
        (tuple(dots.get_facecolor()[0].round(3)), dots.get_paths()[0].vertices.tobytes())
        for dots in figure.axes[1].collections
    }
    assert len(looks) == 9


@pytest.mark.parametrize(("classes", "features"), [(2, 1), (60, 2)])
def test_any_shape_of_data_can_be_drawn(classes: int, features: int, tmp_path: Path) -> None:
    plan = SplitPlan((RegionPlan("A", ("all",), Shift("colour", 1)),))

    save(draw_split(split_features(data(classes, features), plan), "any"), tmp_path / "new" / "any.png")

    with Image.open(tmp_path / "new" / "any.png") as image:
        assert min(image.size) > 500


def test_a_sheet_has_a_row_for_each_class_and_white_where_tiles_are_missing() -> None:
    tile = draw_tile("Forest", 0)

    figure: Any = draw_sheet({"Forest": [tile] * 3, "River": [tile]}, "two classes")

    assert [axes.get_ylabel() for axes in figure.axes] == ["Forest", "River"]
    forest, river = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    assert forest.shape == river.shape == (64, 3 * 64 + 2 * 5, 3)
    assert (forest[:, 2 * 69 :] == tile).all()
    assert (river[:, :64] == tile).all()
    assert (river[:, 64:] == 255).all()


def test_sheets_of_all_sources(tree_folder: Path, tmp_path: Path) -> None:
    """The images of a class that are broken are passed over."""
    for source in ("synthetic", "digits", "eurosat"):
        save_sheet(source, tmp_path, tree_folder, tmp_path / f"{source}.png", tiles=2)
        assert (tmp_path / f"{source}.png").stat().st_size > 10_000


def test_a_class_of_which_no_image_can_be_decoded_is_named(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", per_class=2, classes=("Forest", "River"))
    for path in (tree / "River").iterdir():
        path.write_bytes(b"no image")

    with pytest.raises(PrepError, match="River: 2 of its images were tried, and not one can be decoded"):
        save_sheet("eurosat", tmp_path, tree, tmp_path / "sheet.png")


def test_an_ending_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match=r"\.docx is no kind of picture; use \.png, \.svg or \.pdf"):
        save(draw_sheet({"a": [draw_tile("Forest", 0)]}, ""), tmp_path / "some.docx")
