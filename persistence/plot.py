"""A run as a picture: accuracy and loss by round, of the global model and of every worker.

`plot(history, path)` writes a file. `draw(history)` returns matplotlib's `Figure`, and `draw_accuracy`
and `draw_loss` draw on axes of your own, so that a picture can be part of yours. Nothing here uses
pyplot or changes matplotlib's settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persistence.canvas import (
    CROWD_COLOUR,
    FAILED_COLOUR,
    FAINT,
    GLOBAL_COLOUR,
    MOST_NAMED,
    add_legend,
    caption_of,
    count_rounds,
    draw_line,
    draw_main_line,
    finish,
    fit_accuracy,
    fit_loss,
    look,
    new_figure,
    save,
    summary_of,
    title_of,
)
from persistence.history import RunHistory

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELS = 6  # of single workers beside the axes; more would not fit
LABEL_GAP = 0.055  # between two of them, in accuracy


def plot(history: RunHistory, path: Path | str) -> None:
    """Write the picture of a run to a file; its ending (.png, .svg, .pdf) says in which format.

    Raises:
        ValueError: The ending names no format that matplotlib knows.
        OSError: The file cannot be written.
    """
    save(draw(history), path)


def draw(history: RunHistory) -> Figure:
    """Return the picture of a run: accuracy above, loss below, the legend beside it."""
    figure = new_figure()
    above, below = figure.subplots(2, 1, sharex=True)
    draw_accuracy(history, above)
    draw_loss(history, below)
    above.set_xlabel("")
    above.tick_params(labelbottom=False)
    figure.align_ylabels()
    add_legend(below, _legend_handles(history))
    return finish(figure, title_of(history), summary_of(history), caption_of(history))


def draw_accuracy(history: RunHistory, ax: Axes | None = None) -> Axes:
    """Draw the accuracy by round, and return the axes.

    Args:
        history: The run.
        ax: Where to draw; the only axes of a new figure when left out.
    """
    ax = ax or new_figure().subplots()
    _draw_lines(history, ax, "accuracy")
    _draw_the_alone(history, ax)
    _label_the_alone(history, ax)
    fit_accuracy(ax)
    return ax


def draw_loss(history: RunHistory, ax: Axes | None = None) -> Axes:
    """Draw the loss by round, and return the axes. See `draw_accuracy`."""
    ax = ax or new_figure().subplots()
    fit_loss(ax, _draw_lines(history, ax, "loss"))
    return ax


def _draw_lines(history: RunHistory, ax: Axes, measure: str) -> list[float | None]:
    """Draw one measure of the global model and of every worker; return all that was drawn."""
    numbers = [one.number for one in history.rounds]
    crowded = len(history.workers) > MOST_NAMED
    drawn: list[float | None] = []
    for place, worker in enumerate(history.workers):
        parts = [one.workers.get(worker) for one in history.rounds]
        values = [getattr(part.update, measure) if part and part.accepted else None for part in parts]
        draw_line(ax, numbers, values, -1 if crowded else place, *look(history.workers, worker))
        drawn += values
    values = [getattr(one, measure) for one in history.rounds]
    draw_main_line(ax, numbers, values)
    count_rounds(ax, history)
    return drawn + values


def _draw_the_alone(history: RunHistory, ax: Axes) -> None:
    """Draw what each worker reaches alone as a dashed line, and that of a crowd as a band."""
    levels = {worker: one.accuracy for worker, one in history.alone.items()}
    if len(levels) > MOST_NAMED:
        low, high = min(levels, key=levels.__getitem__), max(levels, key=levels.__getitem__)
        ax.axhspan(levels[low], levels[high], color=CROWD_COLOUR, alpha=0.15, linewidth=0, zorder=0)
        levels = {low: levels[low], high: levels[high]}
    width = 1.2 if len(levels) <= MOST_LABELS else 0.8
    for worker, level in levels.items():
        ax.axhline(level, color=look(history.workers, worker)[0], linestyle="--", linewidth=width, zorder=1)


def _label_the_alone(history: RunHistory, ax: Axes) -> None:
    """Write beside the axes who reaches what alone, so that no label covers another."""
    alone = sorted(history.alone.values(), key=lambda one: one.accuracy)
    if len(alone) > MOST_LABELS:
        low, high = alone[0].accuracy, alone[-1].accuracy
        text = f"each alone\n{low:.2f} to {high:.2f}"
        ax.text(1.01, (low + high) / 2, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
        return
    heights = _spread([one.accuracy for one in alone], LABEL_GAP)
    for one, height in zip(alone, heights, strict=True):
        ax.text(
            1.01,
            height,
            f"{one.worker} alone {one.accuracy:.2f}",
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=look(history.workers, one.worker)[0],
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending heights apart, so that neighbours are `gap` from each other, within 0 and 1."""
    groups: list[tuple[float, int]] = []  # the centre of a stack of labels, and how many it holds
    for height in heights:
        centre, count = height, 1
        while groups and centre - groups[-1][0] < gap * (count + groups[-1][1]) / 2:
            below, many = groups.pop()
            centre, count = (centre * count + below * many) / (count + many), count + many
        groups.append((centre, count))
    apart = [centre + gap * (place - (count - 1) / 2) for centre, count in groups for place in range(count)]
    room = [(gap * place, 1 - gap * (len(apart) - 1 - place)) for place in range(len(apart))]
    return [min(max(height, least), most) for height, (least, most) in zip(apart, room, strict=True)]


def _legend_handles(history: RunHistory) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def line(label: str, **look: Any) -> Line2D:
        return Line2D([], [], label=label, **look)

    region = f" on {history.region}" if history.region else ""
    entries: list[Artist] = [
        line(f"global model{region}", color=GLOBAL_COLOUR, linewidth=2.6, marker="o", markersize=4),
    ]
    if len(history.workers) > MOST_NAMED:
        label = f"{len(history.workers)} workers in training,\neach on its own region"
        entries.append(line(label, color=CROWD_COLOUR, linewidth=1.2))
    elif history.workers:
        entries.append(line("in training, each\non its own region:", linestyle="none"))
        for worker in history.workers:
            colour, marker = look(history.workers, worker)
            entries.append(line(worker, color=colour, linewidth=1.2, marker=marker, markersize=4.5))
    if history.alone:
        entries.append(line(f"trained alone{region}", color=FAINT, linewidth=1.2, linestyle="--"))
    if any(one.row.status == "failed" for one in history.rounds):
        entries.append(Patch(color=FAILED_COLOUR, label="round failed"))
    return entries
