import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.learning import generator_for
from prep import CLASS_NAMES, draw_tile
from prep.brushes import SIZE, blocks, noise, parcels


def test_the_classes_are_eurosats_in_its_order() -> None:
    assert CLASS_NAMES == (
        "AnnualCrop",
        "Forest",
        "HerbaceousVegetation",
        "Highway",
        "Industrial",
        "Pasture",
        "PermanentCrop",
        "Residential",
        "River",
        "SeaLake",
    )


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_a_tile_is_a_picture_that_depends_on_class_number_and_seed(class_name: str) -> None:
    tile = draw_tile(class_name, 3, seed=5)

    assert tile.shape == (64, 64, 3)
    assert tile.dtype == np.uint8
    assert (tile == draw_tile(class_name, 3, seed=5)).all()
    assert (tile != draw_tile(class_name, 4, seed=5)).any()
    assert (tile != draw_tile(class_name, 3, seed=6)).any()


def test_no_two_tiles_are_alike() -> None:
    tiles = [draw_tile(name, number, 0) for name in CLASS_NAMES for number in range(20)]

    assert len({hashlib.sha256(tile.tobytes()).digest() for tile in tiles}) == len(tiles)


def mean_colour(class_name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    colours: np.ndarray[tuple[int], np.dtype[np.float64]] = np.mean(
        [draw_tile(class_name, number).mean(axis=(0, 1)) for number in range(15)], axis=0
    )
    return colours


def test_the_land_has_its_colours() -> None:
    """Water is blue, pasture green, crops brown, forest dark, industry bright."""
    assert mean_colour("SeaLake").argmax() == 2
    assert mean_colour("Pasture").argmax() == 1
    assert mean_colour("PermanentCrop").argmax() == 0
    brightness = {name: mean_colour(name).mean() for name in CLASS_NAMES}
    assert brightness["Industrial"] == max(brightness.values())
    assert brightness["Forest"] < 70 < brightness["HerbaceousVegetation"]


def test_towns_are_rough_and_water_is_smooth() -> None:
    def roughness(class_name: str) -> float:
        tiles = [draw_tile(class_name, number).astype(np.float64) for number in range(10)]
        return float(np.mean([np.abs(np.diff(tile, axis=0)).mean() for tile in tiles]))

    assert roughness("Residential") > 3 * roughness("SeaLake")
    assert roughness("Industrial") > 2 * roughness("Pasture")


@given(st.integers())
def test_every_pixel_belongs_to_a_field_and_a_lot(seed: int) -> None:
    """However the land is turned and warped, numbers stay within their count."""
    chance = generator_for(seed, "land")

    land = parcels(chance, width=8, length=10, warp=6)
    town = blocks(chance, pitch=4, filled_share=0.8, rows_per_street=2, warp=6)

    for number, count in ((land.number, land.count), (town.number, town.count)):
        assert number.shape == (SIZE, SIZE)
        assert number.min() >= 0
        assert number.max() < count


@pytest.mark.parametrize("cells", [2, 4, 8, 16, 32])
def test_noise_is_smooth_and_centred(cells: int) -> None:
    fields = np.stack([noise(generator_for(seed, cells), cells) for seed in range(100)])

    assert abs(fields.mean()) < 0.1
    assert 0.5 < fields.std() < 0.9
    assert np.abs(np.diff(fields, axis=1)).max() < cells / 64 * 12
