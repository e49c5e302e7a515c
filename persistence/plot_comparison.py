"""Several runs in one picture: accuracy and loss of their global models by round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from persistence.canvas import (
    add_legend,
    count_rounds,
    draw_line,
    finish,
    fit_accuracy,
    fit_loss,
    look,
    new_figure,
    wrapped,
)
from persistence.comparison import differences, letters
from persistence.history import RunHistory
from persistence.wording import describe_data, describe_learning, in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_comparison(histories: Sequence[RunHistory]) -> Figure:
    """Return the picture: accuracy above, loss below, and under it the settings that differ."""
    figure = new_figure()
    above, below = figure.subplots(2, 1, sharex=True)
    _draw_runs(histories, above, "accuracy")
    fit_accuracy(above)
    fit_loss(below, _draw_runs(histories, below, "loss"))
    above.set_xlabel("")
    above.tick_params(labelbottom=False)
    figure.align_ylabels()
    _add_letters(histories, above)
    regions = sorted({one.region for one in histories if one.region})
    subtitle = f"global models on {', '.join(regions)}, {_data(histories)}" if regions else _data(histories)
    return finish(figure, f"{len(histories)} runs side by side", subtitle, _caption(histories))


def _data(histories: Sequence[RunHistory]) -> str:
    return ", ".join(sorted({describe_data(one) for one in histories}))


def _draw_runs(histories: Sequence[RunHistory], ax: Axes, measure: str) -> list[float | None]:
    named = letters(histories)
    drawn: list[float | None] = []
    for place, (letter, history) in enumerate(zip(named, histories, strict=True)):
        values: list[float | None] = [getattr(one, measure) for one in history.rounds]
        draw_line(ax, [one.number for one in history.rounds], values, place, *look(named, letter))
        drawn += values
    count_rounds(ax, *histories)
    return drawn


def _add_letters(histories: Sequence[RunHistory], ax: Axes) -> None:
    from matplotlib.lines import Line2D

    named = letters(histories)
    handles = []
    for letter, history in zip(named, histories, strict=True):
        colour, marker = look(named, letter)
        latest = f" {history.scored.accuracy:.3f}" if history.scored and history.scored.accuracy else ""
        label = f"{letter}{latest}"
        handles.append(
            Line2D([], [], color=colour, linewidth=1.2, marker=marker, markersize=4.5, label=label)
        )
    add_legend(ax, handles)


def _caption(histories: Sequence[RunHistory]) -> str:
    """Return a line for each run: its name, how it averages, and the settings in which it differs."""
    differing = differences(histories)
    lines = []
    for place, (letter, history) in enumerate(zip(letters(histories), histories, strict=True)):
        told = {**history.run.strategy_parameters, "strategy": "", "mode": ""}
        own = [
            f"{name.replace('_', ' ')} {in_words(values[place])}".replace(" ", "\N{NO-BREAK SPACE}")
            for name, values in differing.items()
            if name not in told and values[place] is not None
        ]
        lines += wrapped(", ".join([f"{letter}  {history.run.name}", describe_learning(history), *own]))
    return "\n".join(lines)
