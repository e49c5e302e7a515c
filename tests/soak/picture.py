"""A soak as a picture: a panel for each measure, a line for each mode."""

from __future__ import annotations

from pathlib import Path

from persistence.canvas import FAINT, WORKER_COLOURS, new_figure, save
from tests.soak.verdict import Soaked

PANELS = {
    "memory_mib": "memory, MiB (PSS)",
    "handles": "open handles",
    "tasks": "trio tasks",
    "threads": "threads",
    "database_mib": "database, MiB",
    "rounds": "rounds",
}


def draw(soaked: Soaked, path: Path) -> None:
    """Draw it; where killing ended there is a line from top to bottom."""
    figure = new_figure()
    figure.suptitle("Both modes, with kills (until the line), slow links and hostile peers", fontsize=11)
    for panel, (measure, title) in zip(figure.subplots(3, 2).flat, PANELS.items(), strict=True):
        for colour, mode in zip(WORKER_COLOURS, ("coordinated", "gossip"), strict=False):
            samples = soaked.of(mode)
            costs = [getattr(one, measure) for one in samples]
            panel.plot([one.seconds for one in samples], costs, color=colour, label=mode)
        panel.axvline(soaked.calm_from, color=FAINT, linestyle="--", linewidth=1)
        panel.set_title(title, loc="left", fontsize=9, color=FAINT)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    for panel in figure.axes[-2:]:
        panel.set_xlabel("seconds")
    save(figure, path)
