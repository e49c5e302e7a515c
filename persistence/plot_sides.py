"""One side of a run as a picture: its workers, the regions or the classes that its model is scored on.

Each `draw_by_...` returns matplotlib's `Figure`; `DRAWINGS` has them by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from persistence.canvas import (
    FAINT,
    GLOBAL_COLOUR,
    MOST_NAMED,
    add_legend,
    add_names,
    caption_of,
    count_rounds,
    draw_line,
    draw_main_line,
    finish,
    fit_accuracy,
    fit_loss,
    look,
    new_figure,
    summary_of,
    title_of,
    with_gaps,
)
from persistence.history import RunHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What became of a worker in a round: no colour says by itself what a mark says as well.
OUTCOME_LOOKS = {
    "accepted": ("#56B4E9", "s", "took part"),
    "late": ("#E69F00", "D", "late"),
    "refused": ("#D55E00", "X", "refused"),
    "failed": ("#CC79A7", "P", "training failed"),
    "lost": ("#000000", "x", "lost"),
    "declined": ("#009E73", "v", "declined"),
    "asked": ("#999999", ".", "no answer"),
}

MOST_ROWS = 40  # of workers with their names beside the axis; more are numbered
MOST_CELLS_WITH_NUMBERS = 12  # rows and columns of a confusion matrix


def draw_by(history: RunHistory, by: str) -> Figure:
    """Return the picture of one side of a run: "worker", "region" or "class"."""
    return DRAWINGS[by](history)


# --- workers --------------------------------------------------------------------------------


def draw_by_worker(history: RunHistory) -> Figure:
    """Who took part in which round and who did not, how long each took, and what it lost in training."""
    figure = new_figure()
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(1.3, 1, 1))
    draw_attendance(history, above)
    fit_loss(below, _draw_updates(history, below, "loss"))
    below.set_ylabel(f"training {below.get_ylabel()}")
    _draw_updates(history, middle, "seconds")
    middle.set_ylim(0, None)
    middle.set_ylabel("seconds to answer")
    for ax in (above, middle):
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    figure.align_ylabels()
    add_names(middle, history.workers, "workers")
    return finish(figure, f"{title_of(history)}: by worker", summary_of(history), caption_of(history))


def draw_attendance(history: RunHistory, ax: Axes) -> Axes:
    """Draw a row for each worker and a mark for each round, by what became of it; return the axes."""
    from matplotlib.lines import Line2D

    seen: dict[str, list[tuple[int, int]]] = {outcome: [] for outcome in OUTCOME_LOOKS}
    for row, worker in enumerate(history.workers):
        for one in history.rounds:
            if worker in one.asked:
                seen[one.workers[worker].update.outcome].append((one.number, row))
    handles = []
    size = min(7.0, max(1.5, min(450 / max(len(history.rounds), 1), 130 / max(len(history.workers), 1))))
    for outcome, places in seen.items():
        if not places:
            continue
        colour, marker, label = OUTCOME_LOOKS[outcome]
        numbers, rows = zip(*places, strict=True)
        ax.plot(numbers, rows, linestyle="none", color=colour, marker=marker, markersize=size)
        handles.append(Line2D([], [], linestyle="none", color=colour, marker=marker, label=label))
    count_rounds(ax, history)
    ax.set_ylim(len(history.workers) - 0.4, -0.6)  # the first worker above
    ax.grid(visible=False)
    if len(history.workers) <= MOST_ROWS:
        ax.set_yticks(range(len(history.workers)), history.workers, fontsize=_row_size(history.workers))
    else:
        ax.set_ylabel(f"{len(history.workers)} workers")
    if handles:
        add_legend(ax, handles)
    return ax


def _row_size(names: Sequence[str]) -> float:
    """Return a size of letters with which so many rows fit into the height of the axes."""
    return min(10.0, 150 / max(len(names), 1))


def _draw_updates(history: RunHistory, ax: Axes, measure: str) -> list[float | None]:
    """Draw one measure of every worker's accepted updates; return all that was drawn."""
    numbers = [one.number for one in history.rounds]
    crowded = len(history.workers) > MOST_NAMED
    drawn: list[float | None] = []
    for place, worker in enumerate(history.workers):
        parts = [one.workers.get(worker) for one in history.rounds]
        values = [getattr(part.update, measure) if part and part.accepted else None for part in parts]
        draw_line(ax, numbers, values, -1 if crowded else place, *look(history.workers, worker))
        drawn += values
    count_rounds(ax, history)
    return drawn


# --- regions --------------------------------------------------------------------------------


def draw_by_region(history: RunHistory) -> Figure:
    """Draw the global model on every region where it was scored: accuracy above, loss below."""
    from matplotlib.lines import Line2D

    figure = new_figure()
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_regions(history, above, "accuracy")
    fit_accuracy(above)
    fit_loss(below, _draw_regions(history, below, "loss"))
    above.set_xlabel("")
    above.tick_params(labelbottom=False)
    figure.align_ylabels()
    others = _others(history)
    if history.region:
        label = f"on {history.region}, which\nit is judged by"
        main = Line2D([], [], color=GLOBAL_COLOUR, linewidth=2.6, marker="o", markersize=4, label=label)
        add_legend(above, [main])
    add_names(below, others, "regions of workers")
    if not history.regions:
        _say_nothing(above)
    return finish(figure, f"{title_of(history)}: by region", summary_of(history), caption_of(history))


def _others(history: RunHistory) -> tuple[str, ...]:
    return tuple(region for region in history.regions if region != history.region)


def _draw_regions(history: RunHistory, ax: Axes, measure: str) -> list[float | None]:
    numbers = [one.number for one in history.rounds]
    others = _others(history)
    crowded = len(others) > MOST_NAMED
    drawn: list[float | None] = []
    for place, region in enumerate(others):
        values = [_measure(one.by_region.get(region), measure) for one in history.rounds]
        draw_line(ax, numbers, values, -1 if crowded else place, *look(others, region))
        drawn += values
    values = [_measure(one.by_region.get(history.region), measure) for one in history.rounds]
    draw_main_line(ax, numbers, values)
    count_rounds(ax, history)
    return drawn + values


def _measure(score: object | None, measure: str) -> float | None:
    return None if score is None else getattr(score, measure)


# --- classes --------------------------------------------------------------------------------


def draw_by_class(history: RunHistory) -> Figure:
    """Draw how well every class is known after each round, and what it is taken for in the end."""
    figure = new_figure()
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    if not history.classes:
        for ax in (left, right):
            count_rounds(ax, history)
        _say_nothing(left)
    else:
        _draw_class_accuracy(history, left)
        _draw_confusion(history, right)
    subtitle = f"accuracy on {history.region} by class" if history.region else ""
    return finish(figure, f"{title_of(history)}: by class", subtitle, caption_of(history))


def _draw_class_accuracy(history: RunHistory, ax: Axes) -> None:
    classes = history.classes
    scored = [one for one in history.rounds if one.score is not None]
    shares = [
        with_gaps([one.score.per_class.get(name) if one.score else None for one in scored])
        for name in classes
    ]
    edges = (scored[0].number - 0.5, scored[-1].number + 0.5, len(classes) - 0.5, -0.5)
    image = ax.imshow(shares, aspect="auto", extent=edges, cmap="cividis", vmin=0, vmax=1)
    count_rounds(ax, history)
    ax.grid(visible=False)
    ax.set_xlim(*edges[:2])
    ax.set_yticks([])
    ax.set_ylabel(f"{len(classes)} classes")
    if len(classes) <= MOST_ROWS:
        letters = min(9.0, 240 / len(classes))
        ax.set_yticks(range(len(classes)), classes, fontsize=letters)
        ax.set_ylabel("")
        for row, name in enumerate(classes):
            latest = scored[-1].score.per_class.get(name) if scored[-1].score else None
            said = "-" if latest is None else f"{latest:.2f}"
            ax.text(1.01, row, said, transform=ax.get_yaxis_transform(), va="center", fontsize=letters)
    place = ax.inset_axes((0.0, -0.2, 1.0, 0.035))  # in the room that the names beside it take
    bar = ax.figure.colorbar(image, cax=place, orientation="horizontal")
    bar.set_label("accuracy (beside it: the latest)", fontsize=9)


def _draw_confusion(history: RunHistory, ax: Axes) -> None:
    scored = history.scored
    assert scored is not None
    assert scored.score is not None
    confusion = scored.score.confusion
    ax.set_title(
        f"after round {scored.number}: true by predicted class", loc="left", fontsize=10, color=FAINT
    )
    if not confusion:
        ax.set_axis_off()
        return
    shares = [[count / max(1, sum(row)) for count in row] for row in confusion]
    ax.imshow(shares, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    names = history.classes
    ticks = range(len(names)) if len(names) <= MOST_ROWS else []
    ax.set_yticks(ticks, [""] * len(ticks))
    ax.set_xticks(ticks, names[: len(ticks)], rotation=90, fontsize=min(9.0, 240 / len(names)))
    if len(names) <= MOST_CELLS_WITH_NUMBERS:
        for row, counts in enumerate(confusion):
            for column, count in enumerate(counts):
                if count:
                    colour = "white" if shares[row][column] > 0.5 else "black"
                    ax.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)


def _say_nothing(ax: Axes) -> None:
    if not ax.texts:
        ax.text(0.5, 0.5, "no round has been scored yet", transform=ax.transAxes, ha="center", color=FAINT)


DRAWINGS: Mapping[str, Callable[[RunHistory], Figure]] = {
    "worker": draw_by_worker,
    "region": draw_by_region,
    "class": draw_by_class,
}
