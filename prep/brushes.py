"""What tiles are painted with: noise, curves, parcels of land, blocks of buildings.

Everything here is 64 x 64 and float32. A mask holds 0 to 1 for each pixel, a canvas (64, 64, 3) holds
red, green and blue from 0 to 255. Chance is always an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]  # (64, 64): one number per pixel
Canvas = NDArray[np.float32]  # (64, 64, 3)
Colour = NDArray[np.float32]  # (3,)

SIZE = 64  # pixels; EuroSAT's tiles are 64 x 64 at 10 m
_PAST_THE_CORNER = np.float32(90)  # pixels; added to a turned and warped place, it is above zero everywhere
_CENTRED = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
_RIGHTWARDS, _DOWNWARDS = np.meshgrid(_CENTRED, _CENTRED)  # pixels from the middle


def _upsampling(cells: int) -> NDArray[np.float32]:
    """Return the matrix (64, cells + 1) that draws a smooth curve through cells + 1 values."""
    place = (np.arange(SIZE) + 0.5) * (cells / SIZE)
    left = np.floor(place).astype(int)
    part = place - left
    part = part * part * (3 - 2 * part)  # smoothstep: no kinks at the cells' borders
    matrix = np.zeros((SIZE, cells + 1), np.float32)
    matrix[np.arange(SIZE), left] = 1 - part
    matrix[np.arange(SIZE), left + 1] = part
    return matrix


_UPSAMPLING = {cells: _upsampling(cells) for cells in (2, 4, 8, 16, 32)}


def noise(chance: np.random.Generator, cells: int) -> Plane:
    """Return smooth noise with about `cells` hills across: 2, 4, 8, 16 or 32. Mean 0, deviation near 0.7."""
    matrix = _UPSAMPLING[cells]
    heights: Plane = chance.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(matrix @ heights @ matrix.T, np.float32)


def grain(chance: np.random.Generator) -> Plane:
    """Return noise that differs from pixel to pixel. Mean 0, deviation 1."""
    grains: Plane = chance.standard_normal((SIZE, SIZE), dtype=np.float32)
    return grains


def pick(
    chance: np.random.Generator, palette: NDArray[np.float32], spread: float = 6.0
) -> NDArray[np.float32]:
    """Return one colour (3,) of a palette (colours, 3), a little off: more in its light than in its hue."""
    off: Colour = (chance.normal(0, spread) + chance.normal(0, spread / 3, 3)).astype(np.float32)
    colour: Colour = palette[chance.integers(len(palette))]
    return colour + off


def filled(colour: Colour) -> Canvas:
    """Return a canvas of one colour."""
    canvas = np.empty((SIZE, SIZE, 3), np.float32)
    canvas[:] = colour
    return canvas


def shade(canvas: Canvas, by: Plane) -> None:
    """Make every pixel lighter or darker by a share of itself: 0.1 is ten percent lighter."""
    canvas *= (1 + by)[:, :, None]


def cover(canvas: Canvas, mask: Plane, colour: NDArray[np.float32]) -> None:
    """Lay a colour, (3,) or a canvas, over the pixels of a mask; 0.5 lets half of the ground through."""
    canvas += mask[:, :, None] * (colour - canvas)


def turned(angle: float) -> tuple[Plane, Plane]:
    """Return each pixel's place along and across a direction, in pixels from the middle."""
    cos, sin = math.cos(angle), math.sin(angle)
    return _RIGHTWARDS * cos + _DOWNWARDS * sin, _DOWNWARDS * cos - _RIGHTWARDS * sin


def curve(chance: np.random.Generator, bend: float, off_centre: float = 14.0) -> tuple[Plane, Plane]:
    """Return each pixel's place along a random curve through the tile, and its distance, signed by side.

    Args:
        chance: Where it runs.
        bend: How far it swings from a straight line, in pixels.
        off_centre: How far from the middle it passes at most, in pixels.
    """
    along, across = turned(chance.uniform(0, math.pi))
    turns = chance.uniform(0.3, 1.3)
    swing = bend * np.sin(along * np.float32(turns * math.tau / 90) + np.float32(chance.uniform(0, math.tau)))
    return along, across - swing - np.float32(chance.uniform(-off_centre, off_centre))


def band(distance: Plane, width: float) -> Plane:
    """Return the mask of what lies within half a width of a curve, on either side, with soft edges."""
    mask: Plane = np.clip(width / 2 + 0.5 - np.abs(distance), 0, 1)
    return mask


def beyond(distance: Plane, start: float) -> Plane:
    """Return the mask of what lies farther than that to one side of a curve, with a soft edge."""
    mask: Plane = np.clip(distance - start + 0.5, 0, 1)
    return mask


@dataclass(frozen=True, slots=True)
class Parcels:
    """A tile cut into fields.

    Attributes:
        number: int (64, 64): which field a pixel lies in, 0 to count - 1.
        count: How many numbers there are.
        edge: Mask of the pixels where one field ends.
        along: Place along the fields, in pixels.
        across: Place across them.
    """

    number: NDArray[np.int64]
    count: int
    edge: Plane
    along: Plane
    across: Plane


def parcels(chance: np.random.Generator, width: float, length: float, warp: float = 0.0) -> Parcels:
    """Cut a tile into strips, and every strip into fields.

    Args:
        chance: Where the borders run.
        width: Of a strip on average, in pixels.
        length: Of a field on average, in pixels.
        warp: How crooked the borders are, in pixels.
    """
    along, across = turned(chance.uniform(0, math.pi))
    if warp:
        along = along + warp * noise(chance, 4)
        across = across + warp * noise(chance, 4)
    widths = width * chance.uniform(0.5, 1.5, math.ceil(2 * SIZE / (0.5 * width)))
    strip = np.searchsorted(np.cumsum(widths) - SIZE, across)
    strips = int(strip.max()) + 1
    lengths = length * chance.uniform(0.6, 1.6, strips)
    starts = chance.uniform(0, 1, strips)
    field = np.floor((along + _PAST_THE_CORNER) / lengths[strip] + starts[strip]).astype(np.int64)
    fields = int(field.max()) + 1
    number = strip * fields + field
    edge = np.zeros((SIZE, SIZE), np.float32)
    edge[:, 1:] = number[:, 1:] != number[:, :-1]
    edge[1:] = np.maximum(edge[1:], number[1:] != number[:-1])
    return Parcels(number, strips * fields, edge, along, across)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Buildings in rows.

    Attributes:
        roofs: Mask of the roofs.
        shadows: Mask of the ground that they shade.
        number: int (64, 64): which building a pixel belongs to, 0 to count - 1.
        count: How many numbers there are.
        streets: Mask of the streets between every few rows, and of those that cross them.
    """

    roofs: Plane
    shadows: Plane
    number: NDArray[np.int64]
    count: int
    streets: Plane


def blocks(
    chance: np.random.Generator, pitch: float, filled_share: float, rows_per_street: int, warp: float
) -> Blocks:
    """Set buildings in rows along streets, each of its own size, some lots empty.

    Args:
        chance: All that differs between two towns.
        pitch: From one building to the next, in pixels.
        filled_share: Share of the lots that are built on.
        rows_per_street: Rows of buildings between two streets.
        warp: How crooked the rows are, in pixels.
    """
    u, v = turned(chance.uniform(0, math.pi))
    u, v = u + warp * noise(chance, 2), v + warp * noise(chance, 2)
    u, v = u + _PAST_THE_CORNER, v + _PAST_THE_CORNER
    row = np.floor(v / pitch).astype(np.int64)
    rows = int(row.max()) + 1
    pitches = pitch * chance.uniform(0.75, 1.5, rows).astype(np.float32)  # each row in its own rhythm
    place = u / pitches[row]
    lot = np.floor(place).astype(np.int64)
    lots = int(lot.max()) + 1
    number = row * lots + lot
    count = rows * lots
    # A roof fills its lot from one corner to a random share of it; what is left is yard.
    wide = chance.uniform(0.45, 0.95, count).astype(np.float32)[number]
    deep = chance.uniform(0.45, 0.9, count).astype(np.float32)[number]
    built = (chance.random(count) < filled_share).astype(np.float32)[number]
    beside, below = place - lot, v / pitch - row
    roofs = built * (beside < wide) * (below < deep)
    cast = np.float32(1.2 / pitch)  # a shadow is about a pixel long
    shadows = built * (beside < wide + cast) * (below < deep + cast) * (1 - roofs)
    streets = band(((v / pitch + 0.05) % rows_per_street - 0.05) * pitch, 2.0)
    streets = np.maximum(streets, band((u + 9) % (pitch * 6) - pitch * 3, 1.4))
    return Blocks(roofs, shadows, number, count, streets)


def softened(canvas: Canvas) -> Canvas:
    """Return a canvas as a lens of about a pixel's blur sees it."""
    wide = np.pad(canvas, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = wide[:-2] + wide[1:-1] * 2 + wide[2:]
    soft: Canvas = (rows[:, :-2] + rows[:, 1:-1] * 2 + rows[:, 2:]) / 16
    return soft
