"""What every picture of a run shares: size, colours, the axis of rounds, the legend. No pyplot."""

from __future__ import annotations

import math
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from persistence.history import RunHistory
from persistence.wording import describe_data, describe_learning, in_words

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
MOST_NAMED = 13  # lines with a colour and an entry in the legend, which stands beside the lower axes

# Beyond this a linear axis shows the smaller losses as one line along its foot.
LOG_FROM_RATIO = 30.0

# What the caption says in its own words.
SAID_ELSEWHERE = ("run", "seed", "source", "strategy", "mode")


def new_figure() -> Figure:
    """Return an empty picture of the house's size."""
    figure_class = _import_figure()
    return figure_class(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")


def save(figure: Figure, path: Path | str) -> None:
    """Write a picture to a file; its ending (.png, .svg, .pdf) says in which format.

    Raises:
        ValueError: The ending names no format that matplotlib knows.
        OSError: The file cannot be written.
    """
    figure.savefig(Path(path), dpi=DOTS_PER_INCH)


def finish(figure: Figure, title: str, subtitle: str, caption: str) -> Figure:
    """Write above the picture what it is of, and below it what that was made from."""
    from matplotlib.text import Text

    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.axes[0].set_title(subtitle, loc="left", fontsize=10, color=FAINT)
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=FAINT)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name with a dollar sign is a name, not a formula
    return figure


# --- what is said ---------------------------------------------------------------------------


def title_of(history: RunHistory) -> str:
    """Return the name of the run, with its status when it has not finished."""
    run = history.run
    return run.name + (f" ({run.status})" if run.status != "finished" else "")


def summary_of(history: RunHistory) -> str:
    """Return what the run is of and what it has reached, in a line."""
    workers, rounds = len(history.workers), len(history.committed)
    said = [
        f"{workers} worker{'s' if workers != 1 else ''}",
        f"{rounds} round{'s' if rounds != 1 else ''}",
        describe_data(history),
    ]
    if (scored := history.scored) is not None:
        said.append(f"accuracy on {history.region} {scored.accuracy:.3f}")
    return ", ".join(said)


def caption_of(history: RunHistory) -> str:
    """Return the run's data, seed and settings, in lines that fit under the picture."""
    run = history.run
    # A name and its value stay on one line: no line is broken at the space between them.
    settings = [
        f"{name.replace('_', ' ')} {in_words(value)}".replace(" ", "\N{NO-BREAK SPACE}")
        for name, value in run.settings.items()
        if name not in (*SAID_ELSEWHERE, *run.strategy_parameters) and value not in ("", None)
    ]
    said = ", ".join([describe_data(history), describe_learning(history), f"seed {run.seed}", *settings])
    return "\n".join([*wrapped(said), *([f"model {history.model_sha256}"] if history.model_sha256 else [])])


def wrapped(text: str) -> list[str]:
    """Return a text in lines that fit under the picture."""
    return textwrap.wrap(text, CAPTION_LETTERS, break_on_hyphens=False)


# --- what is drawn --------------------------------------------------------------------------


def count_rounds(ax: Axes, *histories: RunHistory) -> None:
    """Make the axis below one of whole rounds; those that failed are marked where there is one run."""
    from matplotlib.ticker import MaxNLocator

    last = max((one.number for history in histories for one in history.rounds), default=0)
    for one in histories[0].rounds if len(histories) == 1 else ():
        if one.row.status == "failed":
            ax.axvspan(one.number - 0.5, one.number + 0.5, color=FAILED_COLOUR, linewidth=0, zorder=0)
    ax.set_xlim(0.5, max(last, 1) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.set_xlabel("round")
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if not last:
        ax.text(0.5, 0.5, "no round has ended yet", transform=ax.transAxes, ha="center", color=FAINT)


def fit_loss(ax: Axes, drawn: Sequence[float | None]) -> None:
    """Scale the axis of losses: from 0, or logarithmic where they are of very different size."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    losses = [loss for loss in drawn if loss]
    if losses and max(losses) > LOG_FROM_RATIO * min(losses):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_ylabel("loss (logarithmic)")
    else:
        ax.set_ylim(0, None if losses else 1)
        ax.set_ylabel("loss")


def fit_accuracy(ax: Axes) -> None:
    """Scale the axis of accuracies: from 0 to 1, with room for a line along the top."""
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("accuracy")


def draw_line(
    ax: Axes, numbers: Sequence[int], values: Sequence[float | None], place: int, colour: str, marker: str
) -> None:
    """Draw one of several lines: thin, with gaps, and with markers at other rounds than its neighbours."""
    every = max(1, math.ceil(len(numbers) / MOST_MARKERS))
    ax.plot(
        numbers,
        with_gaps(values),
        color=colour,
        linewidth=1.2,
        marker=marker,
        markersize=4.5,
        markevery=_marked(values, start=place % every if place >= 0 else -1, every=every),
    )


def draw_main_line(ax: Axes, numbers: Sequence[int], values: Sequence[float | None]) -> None:
    """Draw the line that the picture is about: thick and black, above all others."""
    ax.plot(
        numbers, with_gaps(values), color=GLOBAL_COLOUR, linewidth=2.6, marker="o", markersize=4, zorder=3
    )


def look(names: Sequence[str], name: str) -> tuple[str, str]:
    """Return the colour and the marker of one of several; those of a crowd look alike."""
    if len(names) > MOST_NAMED:
        return CROWD_COLOUR, "."
    place = names.index(name)
    return (
        WORKER_COLOURS[place % len(WORKER_COLOURS)],
        WORKER_MARKERS[place // len(WORKER_COLOURS)],
    )


def with_gaps(values: Sequence[float | None]) -> list[float]:
    """Return what matplotlib leaves out where there is no value."""
    return [math.nan if value is None else value for value in values]


def _marked(values: Sequence[float | None], *, start: int, every: int) -> list[int]:
    """Return which points get a marker: every so many (none for a start below 0), and the lonely ones.

    A lonely point has no neighbour to draw a line to, and could not be seen without a marker.
    """

    def lonely(place: int) -> bool:
        around = [*values[max(0, place - 1) : place], *values[place + 1 : place + 2]]
        return all(value is None for value in around)

    return [place for place in range(len(values)) if place % every == start or lonely(place)]


def add_legend(ax: Axes, handles: Sequence[Artist]) -> None:
    """Put the legend beside the axes, where it hides nothing."""
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


def add_names(ax: Axes, names: Sequence[str], what: str, label: str = "{}") -> None:
    """Put a legend beside the axes that says which line is whose; of a crowd, how many lines there are.

    Args:
        ax: Where the lines are.
        names: Whose they are, in their order.
        what: What those are, in the plural.
        label: How the legend calls one of them.
    """
    from matplotlib.lines import Line2D

    if len(names) > MOST_NAMED:
        add_legend(ax, [Line2D([], [], color=CROWD_COLOUR, linewidth=1.2, label=f"{len(names)} {what}")])
        return
    handles = []
    for name in names:
        colour, marker = look(names, name)
        handles.append(
            Line2D(
                [], [], color=colour, linewidth=1.2, marker=marker, markersize=4.5, label=label.format(name)
            )
        )
    if handles:
        add_legend(ax, handles)


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
