"""A gossip run as a picture: how good each peer's average is by round, and how far apart the peers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from persistence.canvas import (
    FAINT,
    MOST_NAMED,
    add_names,
    draw_line,
    finish,
    fit_accuracy,
    look,
    new_figure,
    wrapped,
)
from persistence.gossip_history import GossipHistory
from persistence.gossip_report import describe_gossip_data
from persistence.wording import in_words, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAID_ELSEWHERE = ("seed", "source")


def draw_gossip(history: GossipHistory) -> Figure:
    """Return the picture: accuracy above, below it each model's distance to the average."""
    figure = new_figure()
    above, below = figure.subplots(2, 1, sharex=True)
    _draw(history, above, "accuracy")
    fit_accuracy(above)
    above.set_ylabel("accuracy of the average")
    _draw(history, below, "delta")
    below.set_ylim(0, None if history.rounds else 1)
    below.set_ylabel("distance of own model to it")
    below.set_xlabel("round")
    figure.align_ylabels()
    add_names(above, history.peers, "peers", "peer {}")
    run = history.run
    title = run.name + (f" ({run.status})" if run.status != "finished" else "")
    return finish(figure, title, _subtitle(history), _caption(history))


def _draw(history: GossipHistory, ax: Axes, measure: str) -> None:
    from matplotlib.ticker import MaxNLocator

    last = 1
    crowded = len(history.peers) > MOST_NAMED
    for place, peer in enumerate(history.peers):
        rows = history.rounds.get(peer, ())
        numbers = [row.round for row in rows]
        values: list[float | None] = [getattr(row, measure) for row in rows]
        draw_line(ax, numbers, values, -1 if crowded else place, *look(history.peers, peer))
        last = max([last, *numbers])
    ax.set_xlim(0.5, last + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if not history.rounds:
        ax.text(0.5, 0.5, "no round has ended yet", transform=ax.transAxes, ha="center", color=FAINT)


def _subtitle(history: GossipHistory) -> str:
    said = [f"gossip, {len(history.peers)} peers", describe_gossip_data(history)]
    if history.accuracy is not None:
        said.append(f"accuracy of the average {number(history.accuracy)}")
    said.append("converged" if history.converged else "not converged")
    return ", ".join(said)


def _caption(history: GossipHistory) -> str:
    run = history.run
    settings = [
        f"{name.replace('_', ' ')} {in_words(value)}".replace(" ", "\N{NO-BREAK SPACE}")
        for name, value in run.settings.items()
        if name not in SAID_ELSEWHERE and value not in ("", None)
    ]
    said = ", ".join([describe_gossip_data(history), f"seed {run.seed}", *settings])
    sha = run.model_sha256 or history.common_sha256
    return "\n".join([*wrapped(said), *([f"model {sha}"] if sha else [])])
