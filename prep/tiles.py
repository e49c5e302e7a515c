"""Procedural stand-ins for EuroSAT: 64 x 64 RGB tiles of its ten classes, painted from a seed.

They are no pictures of the Earth, and everything made from them says `synthetic`. But each class has its
own texture and colour, two tiles of a class differ as two places do, and classes are mistaken for each
other where one would expect it: highways and rivers run through fields, forests and pastures.

The palette follows what Sentinel-2 tiles look like: dull, dark greens, brown fields, near-black water.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from federation.learning import generator_for

from .brushes import (
    SIZE,
    Canvas,
    Parcels,
    Plane,
    band,
    beyond,
    blocks,
    cover,
    curve,
    filled,
    grain,
    noise,
    parcels,
    pick,
    shade,
    softened,
)
from .errors import PrepError

Tile = NDArray[np.uint8]  # (64, 64, 3)
Painter = Callable[[np.random.Generator], Canvas]


def _palette(*colours: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(colours, np.float32)


_CROPS = _palette(
    (152, 121, 94), (170, 138, 108), (122, 101, 82), (98, 103, 76), (76, 93, 72), (188, 150, 122)
)
_ORCHARDS = _palette((118, 104, 80), (134, 112, 88), (96, 96, 70), (84, 88, 68), (146, 120, 96))
_GRASS = _palette((72, 98, 76), (84, 108, 80), (64, 90, 72), (94, 112, 86), (78, 94, 82))
_SCRUB = _palette((104, 104, 80), (124, 112, 90), (92, 98, 78), (138, 122, 100))
_CANOPY = _palette((40, 58, 52), (46, 66, 56), (36, 52, 50), (52, 70, 58))
_SHRUBS = _palette((66, 76, 62), (58, 70, 58))
_ROADS = _palette((158, 150, 146), (142, 138, 140), (176, 164, 156), (124, 122, 126))
_ROOFS = _palette((172, 138, 126), (154, 118, 108), (186, 178, 172), (136, 132, 132), (206, 198, 192))
_HALLS = _palette((232, 230, 230), (204, 206, 212), (158, 166, 184), (122, 130, 150), (206, 182, 170))
_PAVING = _palette((116, 114, 118), (132, 126, 124), (104, 106, 114), (146, 136, 128))
_GARDENS = _palette((88, 96, 82), (102, 104, 92), (78, 90, 76), (114, 110, 102))
_WATER = _palette((48, 68, 84), (62, 82, 90), (38, 52, 76), (88, 98, 98), (56, 74, 76))
_DEEP = _palette((30, 48, 78), (36, 62, 86), (50, 80, 98), (26, 40, 66), (44, 72, 84))
_SKY = _palette((0.9, 1.0, 1.25))  # blue light scattered in the air, times how much air
_SAND = _palette((172, 156, 136), (140, 132, 116))


def _field_colours(
    chance: np.random.Generator, land: Parcels, palette: NDArray[np.float32], spread: float
) -> Canvas:
    """Give every field a colour of the palette; most of a tile shares two or three of them."""
    few = palette[chance.integers(len(palette), size=3)]
    off = chance.normal(0, spread, (land.count, 1)) + chance.normal(0, spread / 3, (land.count, 3))
    colours: Canvas = (few[chance.integers(3, size=land.count)] + off).astype(np.float32)
    return colours[land.number]


def _annual_crop(chance: np.random.Generator) -> Canvas:
    """Large fields with straight borders, faint marks of the plough."""
    land = parcels(chance, width=chance.uniform(10, 30), length=chance.uniform(16, 50), warp=1.5)
    canvas = _field_colours(chance, land, _CROPS, 10)
    period = chance.uniform(3.0, 6.0)
    furrows = np.sin(land.across * np.float32(math.tau / period))
    strength = chance.uniform(0, 0.05, land.count).astype(np.float32)[land.number]
    shade(canvas, strength * furrows + 0.04 * noise(chance, 8) + 0.02 * grain(chance))
    border = pick(chance, _SHRUBS if chance.random() < 0.5 else _SAND)
    cover(canvas, land.edge * np.float32(chance.uniform(0.1, 0.6)), border)
    return canvas


def _permanent_crop(chance: np.random.Generator) -> Canvas:
    """Vineyards and orchards: smaller fields of rows, or of single trees, on brown ground."""
    land = parcels(chance, width=chance.uniform(9, 20), length=chance.uniform(12, 30), warp=2.5)
    canvas = _field_colours(chance, land, _ORCHARDS, 9)
    period = np.float32(math.tau / chance.uniform(2.8, 4.6))
    rows = np.sin(land.across * period)
    trees = rows * np.sin(land.along * period)  # an orchard's grid
    orchard = (chance.random(land.count) < chance.random()).astype(np.float32)[land.number]
    planted = chance.uniform(0.02, 0.16, land.count).astype(np.float32)[land.number]
    shade(
        canvas, planted * (rows + orchard * (trees - rows)) + 0.06 * noise(chance, 16) + 0.03 * grain(chance)
    )
    cover(canvas, land.edge * np.float32(chance.uniform(0.1, 0.5)), pick(chance, _SAND))
    return canvas


def _pasture(chance: np.random.Generator) -> Canvas:
    """Smooth green, few and crooked borders with hedges, a tree here and there."""
    land = parcels(chance, width=chance.uniform(18, 40), length=chance.uniform(24, 60), warp=5)
    canvas = _field_colours(chance, land, _GRASS, 4)
    shade(canvas, 0.06 * noise(chance, 4) + 0.03 * noise(chance, 16) + 0.012 * grain(chance))
    hedge = land.edge * np.clip(0.7 + noise(chance, 8), 0, 1)
    cover(canvas, hedge * np.float32(chance.uniform(0.2, 0.9)), pick(chance, _CANOPY))
    trees = np.clip((noise(chance, 32) - chance.uniform(1.4, 2.2)) * 3, 0, 1)
    cover(canvas, trees, pick(chance, _CANOPY))
    if chance.random() < 0.25:
        _add_farm(chance, canvas)
    return canvas


def _add_farm(chance: np.random.Generator, canvas: Canvas) -> None:
    yard = blocks(chance, pitch=4.0, filled_share=0.8, rows_per_street=3, warp=4)
    near = np.clip((noise(chance, 4) - chance.uniform(0.9, 1.5)) * 4, 0, 1)
    roofs = _ROOFS[chance.integers(len(_ROOFS), size=yard.count)]
    cover(canvas, yard.roofs * near, roofs[yard.number])
    cover(canvas, yard.shadows * near * np.float32(0.5), _CANOPY[0])


def _herbaceous(chance: np.random.Generator) -> Canvas:
    """Heath and scrub: mottled, without borders, bare ground between shrubs."""
    canvas = filled(pick(chance, _SCRUB))
    cover(canvas, _patches(chance, 8, 0.2, 0.9), pick(chance, _GRASS))
    cover(canvas, _patches(chance, 16, 0.4, 1.4), pick(chance, _SHRUBS))
    cover(canvas, _patches(chance, 8, 0.8, 1.6), pick(chance, _SAND))
    shade(canvas, 0.08 * noise(chance, 4) + 0.07 * noise(chance, 32) + 0.03 * grain(chance))
    if chance.random() < 0.4:  # a track
        cover(canvas, 0.7 * band(curve(chance, bend=12)[1], 1.0), pick(chance, _SAND))
    return canvas


def _patches(chance: np.random.Generator, cells: int, least: float, most: float) -> Plane:
    """Return the mask of where noise is high: more of it for a low threshold."""
    field = noise(chance, cells) + 0.4 * noise(chance, 32)
    mask: Plane = np.clip((field - np.float32(chance.uniform(least, most))) * 2.5, 0, 1) * np.float32(0.85)
    return mask


def _forest(chance: np.random.Generator) -> Canvas:
    """Dark crowns close together, over the slopes of the ground."""
    canvas = filled(pick(chance, _CANOPY, 4))
    other = pick(chance, _CANOPY, 4)
    cover(canvas, np.clip(0.5 + noise(chance, 4), 0, 1), other)  # stands of another kind
    slopes = chance.uniform(0.03, 0.14) * noise(chance, 4)
    crowns = chance.uniform(0.05, 0.13) * noise(chance, 32)
    shade(canvas, slopes + crowns + 0.06 * noise(chance, 16) + 0.03 * grain(chance))
    if chance.random() < 0.3:  # a clearing
        cover(canvas, _patches(chance, 4, 0.7, 1.1), pick(chance, _SCRUB))
    return canvas


def _residential(chance: np.random.Generator) -> Canvas:
    """Small roofs in rows along streets, gardens between them."""
    canvas = filled(pick(chance, _GARDENS))
    cover(canvas, _patches(chance, 16, 0.0, 0.8), pick(chance, _SHRUBS))
    town = blocks(
        chance,
        pitch=chance.uniform(3.6, 6.0),
        filled_share=chance.uniform(0.5, 0.95),
        rows_per_street=int(chance.integers(2, 5)),
        warp=chance.uniform(0, 6),
    )
    cover(canvas, town.streets * np.float32(0.75), pick(chance, _ROADS))
    few = _ROOFS[chance.integers(len(_ROOFS), size=3)]
    roofs = few[chance.integers(3, size=town.count)] + chance.normal(0, 14, (town.count, 1))
    cover(canvas, town.shadows * np.float32(0.5), _CANOPY[0])
    cover(canvas, town.roofs, roofs.astype(np.float32)[town.number])
    if chance.random() < 0.3:  # a park
        cover(canvas, _patches(chance, 4, 0.5, 1.0), pick(chance, _GRASS))
    shade(canvas, 0.05 * noise(chance, 4) + 0.05 * grain(chance))
    return canvas


def _industrial(chance: np.random.Generator) -> Canvas:
    """Large bright halls and yards, smaller sheds between them, wide roads, deep shadows."""
    canvas = filled(pick(chance, _PAVING))
    shade(canvas, 0.12 * noise(chance, 8))
    cover(canvas, _patches(chance, 8, 0.6, 1.4), pick(chance, _GARDENS))
    warp = chance.uniform(0, 3)
    for pitch, filled_share in (
        (chance.uniform(4, 8), 0.45),
        (chance.uniform(9, 19), chance.uniform(0.4, 0.85)),
    ):
        yard = blocks(chance, pitch, filled_share, rows_per_street=int(chance.integers(1, 4)), warp=warp)
        cover(canvas, yard.streets, pick(chance, _ROADS))
        few = _HALLS[chance.integers(len(_HALLS), size=4)]
        halls = few[chance.integers(4, size=yard.count)] + chance.normal(0, 12, (yard.count, 1))
        cover(canvas, yard.shadows * np.float32(0.75), _CANOPY[0])
        cover(canvas, yard.roofs, halls.astype(np.float32)[yard.number])
    ridges = np.sin(curve(chance, 0)[1] * np.float32(chance.uniform(0.8, 1.8)))
    shade(canvas, 0.04 * yard.roofs * ridges + 0.05 * grain(chance))
    return canvas


def _built_up(chance: np.random.Generator) -> Canvas:
    return _residential(chance) if chance.random() < 0.7 else _industrial(chance)


_COUNTRY: tuple[Painter, ...] = (_annual_crop, _pasture, _herbaceous, _forest, _permanent_crop)


def _country(chance: np.random.Generator) -> Canvas:
    """Whatever a road or a river may run through."""
    return _COUNTRY[chance.integers(len(_COUNTRY))](chance)


def _highway(chance: np.random.Generator) -> Canvas:
    """A wide road, often two lanes apart, through any country; sometimes a crossing."""
    canvas = _built_up(chance) if chance.random() < 0.25 else _country(chance)
    colour = pick(chance, _ROADS)
    verge = pick(chance, _SCRUB)
    for _ in range(int(chance.integers(1, 4))):
        _, distance = curve(chance, bend=chance.uniform(0, 5))
        width = chance.uniform(2.2, 5.6)
        cover(canvas, 0.7 * band(distance, width + 4), verge)
        cover(canvas, band(distance, width), colour)
        if width > 3.2:  # the strip between two directions
            cover(canvas, 0.8 * band(distance, 0.7), _SHRUBS[0])
    if chance.random() < 0.4:  # a slip road
        cover(canvas, 0.9 * band(curve(chance, bend=16)[1], 1.6), colour)
    return canvas


def _river(chance: np.random.Generator) -> Canvas:
    """A winding band of water through any country, with its banks."""
    canvas = _country(chance)
    along, distance = curve(chance, bend=chance.uniform(4, 20), off_centre=18)
    swelling = 1 + 0.2 * np.sin(along * np.float32(chance.uniform(0.03, 0.12)))
    width = chance.uniform(6, 26)
    distance = distance / swelling + 0.8 * noise(chance, 16)
    bank = pick(chance, _CANOPY if chance.random() < 0.6 else _SAND)
    cover(canvas, 0.8 * band(distance, width + chance.uniform(1.5, 6)), bank)
    water = filled(pick(chance, _WATER))
    shade(water, 0.05 * noise(chance, 4) + 0.02 * noise(chance, 16))
    cover(canvas, band(distance, width), water)
    shade(canvas, 0.012 * grain(chance))
    return canvas


def _sea_lake(chance: np.random.Generator) -> Canvas:
    """Open water: almost one colour, streaks of sediment, waves; now and then a shore."""
    canvas = filled(pick(chance, _DEEP))
    cover(canvas, np.clip(0.3 + 0.5 * noise(chance, 2), 0, 0.8), pick(chance, _DEEP))
    along, _ = curve(chance, bend=4)
    waves = np.sin(along * np.float32(chance.uniform(0.5, 1.4))) * np.clip(noise(chance, 4), 0, 1)
    shade(canvas, chance.uniform(0, 0.05) * waves + 0.03 * noise(chance, 8) + 0.015 * grain(chance))
    if chance.random() < 0.2:
        _, distance = curve(chance, bend=6, off_centre=4)
        distance = distance + noise(chance, 8)
        cover(canvas, 0.8 * beyond(distance, 15), pick(chance, _SAND))
        cover(canvas, beyond(distance, 17), _country(chance))
    return canvas


PAINTERS: dict[str, Painter] = {
    "AnnualCrop": _annual_crop,
    "Forest": _forest,
    "HerbaceousVegetation": _herbaceous,
    "Highway": _highway,
    "Industrial": _industrial,
    "Pasture": _pasture,
    "PermanentCrop": _permanent_crop,
    "Residential": _residential,
    "River": _river,
    "SeaLake": _sea_lake,
}
CLASS_NAMES = tuple(PAINTERS)  # EuroSAT's order: a label is a place in it


def draw_tile(class_name: str, number: int, seed: int = 0) -> Tile:
    """Return tile `number` of a class: uint8 (64, 64, 3).

    It depends on the three arguments and nothing else, so a larger set begins with the smaller one.

    Args:
        class_name: One of `CLASS_NAMES`.
        number: Which tile of the class, from 0.
        seed: Of the whole set.
    """
    chance = generator_for(seed, "tile", class_name, number)
    return _photographed(PAINTERS[class_name](chance), chance)


def _photographed(canvas: Canvas, chance: np.random.Generator) -> Tile:
    """Return what a camera makes of a scene: light, haze, a soft lens, a noisy sensor."""
    light = np.exp(chance.normal(0, 0.10) + chance.normal(0, 0.035, 3)).astype(np.float32)
    canvas = softened(canvas) * light
    canvas += np.float32(chance.exponential(5)) * _SKY
    canvas += np.float32(2.0) * chance.standard_normal((SIZE, SIZE, 3), dtype=np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def shrunk(tile: Tile, size: int) -> Tile:
    """Return a tile of so many pixels on each side, each the mean of those that it covers.

    Raises:
        PrepError: The size does not divide that of a tile.
    """
    if size == SIZE:
        return tile
    if size < 1 or SIZE % size:
        fits = ", ".join(str(one) for one in (16, 32, SIZE))
        raise PrepError(f"--image-size {size}: synthetic tiles have {SIZE} pixels a side; use {fits}")
    step = SIZE // size
    means = tile.reshape(size, step, size, step, 3).mean(axis=(1, 3))
    small: Tile = np.rint(means).astype(np.uint8)
    return small
