"""Pictures of data: a sheet of example tiles, and a split with its shifts. matplotlib, without pyplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from federation.learning import Region

from .errors import PrepError
from .regions import EVALUATION
from .split import Split

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008): told apart also by those who do not see red or green.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
_EVALUATION_COLOUR = "#4D4D4D"
_MARKERS = ("o", "s", "^", "D", "v", "P")
_MOST_POINTS = 1500  # of all regions together; more would hide each other
_MOST_CLASSES = 40  # whose names can still be read
_DOTS_PER_INCH = 150
_WHITE = 255
_TILE_INCHES = 0.95

Plane = NDArray[np.float64]  # (points, 2)


def save(figure: Figure, path: Path) -> None:
    """Write a picture; the ending says in which format.

    Raises:
        PrepError: The ending names no format.
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=_DOTS_PER_INCH)
    except ValueError as error:
        raise PrepError(
            f"{path}: {path.suffix or 'no ending'} is no kind of picture; use .png, .svg or .pdf"
        ) from error


def draw_sheet(tiles: Mapping[str, Sequence[NDArray[np.uint8]]], title: str) -> Figure:
    """Draw a sheet of tiles, a row for each class.

    Args:
        tiles: By the name of the class, uint8 (size, size, 3) or (size, size) each, all of one size.
        title: Over the sheet.
    """
    from matplotlib.figure import Figure

    widest = max(len(row) for row in tiles.values())
    names_inches = 0.3 + 0.09 * max(len(name) for name in tiles)
    width, height = names_inches + widest * _TILE_INCHES, 0.5 + len(tiles) * _TILE_INCHES
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=names_inches / width,
        right=1 - 0.1 / width,
        bottom=0.1 / height,
        top=1 - 0.4 / height,
        hspace=0.06,
    )
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(len(tiles), 1, squeeze=False)
    for (axes,), (class_name, row) in zip(grid, tiles.items(), strict=True):
        axes.imshow(_strip(row, widest), cmap="gray", interpolation="nearest", vmin=0, vmax=_WHITE)
        axes.set_ylabel(class_name, rotation=0, ha="right", va="center", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    return figure


def _strip(tiles: Sequence[NDArray[np.uint8]], places: int) -> NDArray[np.uint8]:
    """Return tiles side by side with white between them, and white where there are fewer than places."""
    side = len(tiles[0])
    gap = max(1, side // 12)
    strip = np.full((side, places * (side + gap) - gap, *tiles[0].shape[2:]), _WHITE, np.uint8)
    for place, tile in enumerate(tiles):
        strip[:, place * (side + gap) : place * (side + gap) + side] = tile
    return strip


def draw_split(split: Split, title: str) -> Figure:
    """Draw how a data set was split: class counts, the features as each region sees them, and its shift.

    The first two directions of the features' variation (their principal components) make the middle
    picture. A shift runs mostly across these; so the right one has the two directions in which the means
    of the classes moved most, with an arrow for each. It is left out when nothing is shifted.
    """
    from matplotlib.figure import Figure

    shifted = any(region.meta.shift != "none" for region in split.regions.values())
    width = 15.0 if shifted else 10.5
    figure = Figure(figsize=(width, _height(split)), layout="constrained")
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(1, 3 if shifted else 2, width_ratios=[1.15, 1, 1] if shifted else [1.15, 1])
    _draw_counts(panels[0], split)
    _draw_features(panels[1], split)
    if shifted:
        _draw_shifts(panels[2], split)
    return figure


def _height(split: Split) -> float:
    classes = min(len(split.class_names), _MOST_CLASSES)
    return max(5.6, 1.5 + 0.24 * classes)


def _colour(split: Split, name: str) -> str:
    return _EVALUATION_COLOUR if name == EVALUATION else _COLOURS[_place(split, name) % len(_COLOURS)]


def _place(split: Split, name: str) -> int:
    return list(split.regions).index(name)


def _label(name: str, region: Region) -> str:
    if name == EVALUATION:
        return f"{name}, for evaluation"
    return name if region.meta.shift == "none" else f"{name}: {region.meta.shift}"


def _draw_counts(axes: Axes, split: Split) -> None:
    """Draw a bar for each class, in parts for the regions."""
    class_count = len(split.class_names)
    left = np.zeros(class_count)
    for name, region in split.regions.items():
        counts = np.bincount(region.y, minlength=class_count)
        axes.barh(
            range(class_count),
            counts,
            left=left,
            height=0.78,
            color=_colour(split, name),
            label=_label(name, region),
        )
        left += counts
    shown = split.class_names if class_count <= _MOST_CLASSES else ()
    axes.set_yticks(range(len(shown)), shown, fontsize=9)
    axes.set_ylim(class_count - 0.4, -0.6)  # the first class on top
    axes.set_xlabel("samples")
    axes.set_title("Who has which classes", fontsize=11)
    _frameless(axes)
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(6, len(split.regions)),
        frameon=False,
    )


def _draw_features(axes: Axes, split: Split) -> None:
    """Draw samples of every region on the first two principal components."""
    every = max(1, sum(region.sample_count for region in split.regions.values()) // _MOST_POINTS)
    some = {name: region.X[::every].astype(np.float64) for name, region in split.regions.items()}
    together = np.concatenate(list(some.values()))
    mean = together.mean(axis=0)
    _, lengths, directions = np.linalg.svd(together - mean, full_matrices=False)
    shares = lengths**2 / max(float((lengths**2).sum()), np.finfo(float).tiny)
    basis = _two(directions)
    for name, X in some.items():
        points = (X - mean) @ basis
        axes.scatter(points[:, 0], points[:, 1], s=9, alpha=0.55, linewidths=0, **_style(split, name))
    axes.set_title("The features, as each region sees them", fontsize=11)
    axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({shares[1]:.0%})" if len(shares) > 1 else "")
    _frameless(axes)


def _draw_shifts(axes: Axes, split: Split) -> None:
    """Draw from where to where each region's classes moved."""
    before, after = split.class_means()
    moves = np.concatenate([after[name] - before[name] for name in before])
    _, _, directions = np.linalg.svd(moves, full_matrices=False)
    basis = _two(directions)
    centre = split.regions[EVALUATION].X.mean(axis=0, dtype=np.float64)
    for name in before:
        start, end = (before[name] - centre) @ basis, (after[name] - centre) @ basis
        style = _style(split, name)
        axes.scatter(
            start[:, 0],
            start[:, 1],
            s=26,
            facecolors="none",
            edgecolors=style["color"],
            marker=style["marker"],
        )
        axes.scatter(end[:, 0], end[:, 1], s=26, **style)
        if name != EVALUATION:
            for (x, y), (to_x, to_y) in zip(start, end, strict=True):
                axes.annotate(
                    "",
                    (to_x, to_y),
                    (x, y),
                    arrowprops={"arrowstyle": "->", "color": style["color"], "lw": 0.9},
                )
    axes.set_title("Means of the classes: before (hollow) and after", fontsize=11)
    axes.set_xlabel("the direction in which they move most")
    axes.set_ylabel("the second direction")
    _frameless(axes)


def _style(split: Split, name: str) -> dict[str, Any]:
    place = _place(split, name)
    return {"color": _colour(split, name), "marker": _MARKERS[place // len(_COLOURS) % len(_MARKERS)]}


def _two(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first two directions as columns (features, 2), each with its largest part positive."""
    basis = np.zeros((directions.shape[1], 2))
    for column, direction in enumerate(directions[:2]):
        basis[:, column] = direction * np.sign(direction[np.argmax(np.abs(direction))])
    return basis


def _frameless(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
