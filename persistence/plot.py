"""A run as a picture: accuracy and loss by round, of the global model and of every worker.

`plot(history, path)` writes a file. `draw(history)` returns matplotlib's `Figure`, and `draw_accuracy`
and `draw_loss` draw on axes of your own, so that a picture can be part of yours. Nothing here uses
pyplot or changes matplotlib's settings.
"""

from __future__ import annotations

import math
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persistence.history import RunHistory
from persistence.wording import describe_data, in_words

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008): told apart also by those who do not see red or green.
# Black is kept for the global model, and yellow is left out: it is too faint on white.
GLOBAL_COLOUR = "#000000"
WORKER_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
# With more workers than colours the marker tells those of one colour apart.
WORKER_MARKERS = ("o", "s", "^")
CROWD_COLOUR = "#56B4E9"  # of workers too many to be told apart
FAINT = "0.35"
FAILED_COLOUR = "0.88"

WIDTH_INCHES, HEIGHT_INCHES = 10.0, 7.5
DOTS_PER_INCH = 150
CAPTION_LETTERS = 150  # as many of the caption's size as fit into the width

MOST_MARKERS = 15  # on one line; more would hide it
MOST_LABELS = 6  # of single workers beside the axes; more would not fit
MOST_NAMED = 13  # workers with a colour and an entry in the legend, which stands beside the lower axes
LABEL_GAP = 0.055  # between two of them, in accuracy

# Beyond this a linear axis shows the smaller losses as one line along its foot.
LOG_FROM_RATIO = 30.0


def plot(history: RunHistory, path: Path | str) -> None:
    """Write the picture of a run to a file; its ending (.png, .svg, .pdf) says in which format.

    Raises:
        ValueError: The ending names no format that matplotlib knows.
        OSError: The file cannot be written.
    """
    figure = draw(history)
    figure.savefig(Path(path), dpi=DOTS_PER_INCH)


def draw(history: RunHistory) -> Figure:
    """Return the picture of a run: accuracy above, loss below, the legend beside it."""
    figure = _new_figure()
    from matplotlib.text import Text

    above, below = figure.subplots(2, 1, sharex=True)
    draw_accuracy(history, above)
    draw_loss(history, below)
    above.set_xlabel("")
    above.tick_params(labelbottom=False)
    figure.align_ylabels()
    run = history.run
    ending = f" ({run.status})" if run.status != "finished" else ""
    figure.suptitle(f"{run.name}{ending}", x=0.01, ha="left", fontsize=13, fontweight="bold")
    above.set_title(_summary(history), loc="left", fontsize=10, color=FAINT)
    _add_legend(history, below)
    figure.supxlabel(caption(history), x=0.01, ha="left", fontsize=8, color=FAINT)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name with a dollar sign is a name, not a formula
    return figure


def draw_accuracy(history: RunHistory, ax: Axes | None = None) -> Axes:
    """Draw the accuracy by round, and return the axes.

    Args:
        history: The run.
        ax: Where to draw; the only axes of a new figure when left out.
    """
    ax = ax or _new_figure().subplots()
    _draw_lines(history, ax, "accuracy")
    _draw_the_alone(history, ax)
    _label_the_alone(history, ax)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("accuracy")
    return ax


def draw_loss(history: RunHistory, ax: Axes | None = None) -> Axes:
    """Draw the loss by round, and return the axes. See `draw_accuracy`."""
    ax = ax or _new_figure().subplots()
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    drawn = [loss for loss in _draw_lines(history, ax, "loss") if loss]
    if drawn and max(drawn) > LOG_FROM_RATIO * min(drawn):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_ylabel("loss (logarithmic)")
    else:
        ax.set_ylim(0, None if drawn else 1)
        ax.set_ylabel("loss")
    return ax


def caption(history: RunHistory) -> str:
    """Return the run's data, seed and settings, in lines that fit under the picture."""
    run = history.run
    # A name and its value stay on one line: no line is broken at the space between them.
    settings = [
        f"{name.replace('_', ' ')} {in_words(value)}".replace(" ", "\N{NO-BREAK SPACE}")
        for name, value in run.settings.items()
        if name not in ("seed", "source") and value not in ("", None)
    ]
    said = ", ".join([describe_data(history), f"seed {run.seed}", *settings])
    lines = textwrap.wrap(said, CAPTION_LETTERS, break_on_hyphens=False)
    if history.model_sha256:
        lines.append(f"model {history.model_sha256}")
    return "\n".join(lines)


def _summary(history: RunHistory) -> str:
    workers, rounds = len(history.workers), len(history.committed)
    said = [
        f"{workers} worker{'s' if workers != 1 else ''}",
        f"{rounds} round{'s' if rounds != 1 else ''}",
        describe_data(history),
    ]
    if (scored := history.scored) is not None:
        said.append(f"accuracy on {history.region} {scored.accuracy:.3f}")
    return ", ".join(said)


def _draw_lines(history: RunHistory, ax: Axes, measure: str) -> list[float | None]:
    """Draw one measure of the global model and of every worker; return all that was drawn."""
    from matplotlib.ticker import MaxNLocator

    numbers = [one.number for one in history.rounds]
    every = max(1, math.ceil(len(numbers) / MOST_MARKERS))
    crowded = len(history.workers) > MOST_NAMED
    drawn: list[float | None] = []
    for place, worker in enumerate(history.workers):
        parts = [one.workers.get(worker) for one in history.rounds]
        values = [getattr(part.update, measure) if part and part.accepted else None for part in parts]
        colour, marker = _look(history, worker)
        ax.plot(
            numbers,
            _with_gaps(values),
            color=colour,
            linewidth=1.2,
            marker=marker,
            markersize=4.5,
            markevery=_marked(values, start=-1 if crowded else place % every, every=every),
        )
        drawn += values
    values = [getattr(one, measure) for one in history.rounds]
    ax.plot(
        numbers, _with_gaps(values), color=GLOBAL_COLOUR, linewidth=2.6, marker="o", markersize=4, zorder=3
    )
    for one in history.rounds:
        if one.row.status == "failed":
            ax.axvspan(one.number - 0.5, one.number + 0.5, color=FAILED_COLOUR, linewidth=0, zorder=0)
    ax.set_xlim(0.5, max(numbers, default=1) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.set_xlabel("round")
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if not numbers:
        ax.text(0.5, 0.5, "no round has ended yet", transform=ax.transAxes, ha="center", color=FAINT)
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
        ax.axhline(level, color=_look(history, worker)[0], linestyle="--", linewidth=width, zorder=1)


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
            color=_look(history, one.worker)[0],
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


def _add_legend(history: RunHistory, ax: Axes) -> None:
    """Put the legend beside the axes, where it hides nothing."""
    handles = _legend_handles(history)
    labels = [str(handle.get_label()) for handle in handles]
    legend = ax.legend(
        handles,
        ["."] * len(labels),  # matplotlib leaves out a label that begins with "_"; a worker may be called so
        loc="upper left",
        bbox_to_anchor=(1.0, 1.02),
        frameon=False,
        fontsize=9,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)


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
            colour, marker = _look(history, worker)
            entries.append(line(worker, color=colour, linewidth=1.2, marker=marker, markersize=4.5))
    if history.alone:
        entries.append(line(f"trained alone{region}", color=FAINT, linewidth=1.2, linestyle="--"))
    if any(one.row.status == "failed" for one in history.rounds):
        entries.append(Patch(color=FAILED_COLOUR, label="round failed"))
    return entries


def _look(history: RunHistory, worker: str) -> tuple[str, str]:
    """Return the colour and the marker of a worker; those of a crowd look alike."""
    if len(history.workers) > MOST_NAMED:
        return CROWD_COLOUR, "."
    place = history.workers.index(worker)
    return (
        WORKER_COLOURS[place % len(WORKER_COLOURS)],
        WORKER_MARKERS[place // len(WORKER_COLOURS)],
    )


def _with_gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _marked(values: list[float | None], *, start: int, every: int) -> list[int]:
    """Return which points get a marker: every so many (none for a start below 0), and the lonely ones.

    A lonely point has no neighbour to draw a line to, and could not be seen without a marker.
    """

    def lonely(place: int) -> bool:
        around = values[max(0, place - 1) : place] + values[place + 1 : place + 2]
        return all(value is None for value in around)

    return [place for place in range(len(values)) if place % every == start or lonely(place)]


def _new_figure() -> Figure:
    figure_class = _import_figure()
    return figure_class(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")


def _import_figure() -> type[Figure]:
    """Import matplotlib, and have its font list kept with the environment instead of the home folder.

    That holds for an environment of our own. Where matplotlib is already in use, where the user has
    said where it keeps its files, or where Python is the system's, it stays as it is.
    """
    home = Path(sys.prefix)
    ours = sys.prefix != sys.base_prefix and os.access(home, os.W_OK)
    if not ours or "matplotlib" in sys.modules or "MPLCONFIGDIR" in os.environ:
        from matplotlib.figure import Figure

        return Figure
    folder = home / "var" / "matplotlib"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["MPLCONFIGDIR"] = str(folder)  # read once, while it is imported
    try:
        from matplotlib.figure import Figure
    finally:
        del os.environ["MPLCONFIGDIR"]
    return Figure
