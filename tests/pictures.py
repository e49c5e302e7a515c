"""`python -m tests.pictures` draws the live tables of the README anew: docs/live-*.svg.

Each is of a real run in processes of its own, in a folder that goes again, at a moment in the middle of it,
as rich draws it on a terminal. In the coordinated run a worker is killed on the way, so one sees what is said
of that.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

import federation.launch
import federation.terminal
import gossip.launch
import gossip.terminal
from federation.config import StartConfig
from federation.preflight import ready_regions
from federation.processes import environment_of_children
from federation.programs import log_to_file
from federation.results import write_settings
from federation.stopping import Stop
from federation.terminal import Screen
from federation.view import RunView
from federation.workspace import new_run_folder
from gossip.config import StartGossipConfig
from gossip.network import NetworkView
from gossip.start import enter_run

DOCS = Path(__file__).resolve().parents[1] / "docs"
COLUMNS, ROWS = 100, 24

# Fonts of the reader's, and none that a picture would fetch from somewhere.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)

V = TypeVar("V")


class Camera(Screen[V]):
    """A screen that nobody looks at. It keeps what would be on it, until a moment has come.

    Args:
        draw: What the live table draws of a view at a time.
        first: What it shows before anything has happened.
        on_tick: Told each view that is drawn; returns whether it is the one to keep.
    """

    def __init__(
        self, draw: Callable[[V, float], RenderableType], first: V, on_tick: Callable[[V], bool]
    ) -> None:
        self._draw = draw
        self._view = first
        self._on_tick = on_tick
        self.kept: RenderableType | None = None

    def show(self, view: V) -> None:
        """Keep the view for the next tick, as the live table does."""
        self._view = view

    def tick(self, now_seconds: float) -> None:
        """Draw it, should this be the moment."""
        if self.kept is None and self._on_tick(self._view):
            self.kept = self._draw(self._view, now_seconds)


def save(picture: RenderableType | None, title: str, name: str) -> None:
    """Write what a terminal would show as an SVG.

    Raises:
        RuntimeError: The moment has not come: the run was over before.
    """
    if picture is None:
        raise RuntimeError(f"{name}: the run was over before there was anything to be drawn; run it again")
    with open(os.devnull, "w") as nowhere:
        console = Console(
            record=True, file=nowhere, width=COLUMNS, height=ROWS, force_terminal=True, highlight=False
        )
        console.print(picture)
        console.save_svg(
            str(DOCS / f"{name}.svg"), title=title, code_format=FORMAT, unique_id=name, clear=False
        )
    print(f"docs/{name}.svg")


def process_of(workspace: Path, words: str) -> int | None:
    """Return the process of a run whose command has these words; None where there is none."""
    for entry in (workspace / "processes").glob("*.json"):
        command = Path(f"/proc/{entry.stem}/cmdline")
        if command.exists() and words in command.read_bytes().replace(b"\0", b" ").decode():
            return int(entry.stem)
    return None


def rounds(workspace: Path) -> None:
    """Draw a run of the coordinated mode with more than half its rounds, whose worker B was killed before."""
    config = StartConfig(workspace=workspace, epochs=150)
    ready_regions(config)
    folder = new_run_folder(workspace, "synthetic", datetime.now())
    write_settings(folder, config.as_table())
    log_to_file(folder.log("launcher"))
    killed = False

    def look(view: RunView) -> bool:
        nonlocal killed
        if view.finished_count >= 5 and not killed:
            killed = True
            worker = process_of(workspace, "region_B")
            assert worker is not None, "worker B is not there"
            os.kill(worker, signal.SIGKILL)
        return view.finished_count >= 12 and view.rounds[-1].answered != ()

    camera = Camera(federation.terminal.Picture, RunView(), look)
    trio.run(federation.launch.run_in_processes, config, folder, camera, Stop())
    save(camera.kept, "bin/start-provider-mode --epochs 150", "live-rounds")


def network(workspace: Path) -> None:
    """Draw a run of the gossip mode in the middle of it."""
    config = StartGossipConfig(workspace=workspace, rounds=20)
    regions = ready_regions(StartConfig(workspace=workspace))
    folder = new_run_folder(workspace, "gossip", datetime.now())
    write_settings(folder, config.as_table())
    enter_run(config, folder, regions)
    camera = Camera(gossip.terminal.Picture, NetworkView(), lambda view: view.least_round >= 12)
    run = partial(gossip.launch.run_in_processes, config, folder, regions, camera, Stop())
    trio.run(run, environment_of_children())
    save(camera.kept, "bin/start-gossip-mode", "live-gossip")


def main() -> None:
    """Draw both."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        workspace = Path(name) / "workspace"
        rounds(workspace)
        network(workspace)


if __name__ == "__main__":
    main()
