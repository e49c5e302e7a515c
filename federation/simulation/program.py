"""`bin/simulate-federation`, from its settings to its exit status."""

from __future__ import annotations

import logging
import os
import sys

import trio

from federation.config import InWorkspace
from federation.errors import ExitStatus
from federation.exports import card_of, save_model_for_others
from federation.learning import save_params
from federation.preflight import say
from federation.programs import log_to_stderr, run_program
from federation.results import write_settings
from federation.simulation.config import SimulationConfig
from federation.simulation.record import RoundReport
from federation.simulation.simulation import SimulationResult, simulate
from federation.simulation.sources import Data
from federation.simulation.terminal import LiveScreen, PlainScreen, Progress, summary
from federation.stopping import Stop
from federation.terminal import REFRESH_SECONDS, Screen
from federation.workspace import RunFolder
from persistence.history import load_run


def simulation_program(config: SimulationConfig) -> ExitStatus:
    """Run a simulation; tell on stderr how it goes, and on stdout what it has brought."""
    log_to_stderr(logging.WARNING)
    progress = Progress(config)
    asked: Stop | None = None

    async def work(stop: Stop) -> ExitStatus:
        nonlocal asked
        asked = stop
        began, result = await _shown(config, progress)
        folder = _leave_results(config, result)
        sys.stdout.write(summary(progress, trio.current_time() - began, _places(config, folder)) + "\n")
        return ExitStatus.FINISHED

    status = run_program("simulation", config.workspace, work)
    if status in (ExitStatus.INTERRUPTED, ExitStatus.TERMINATED):
        say(f"Stopped by {asked.reason if asked is not None else 'force'}.")
    if status is not ExitStatus.FINISHED and progress.finished:
        rounds = f"{progress.finished:,} of {config.rounds:,} rounds"
        say(f"Kept: {rounds} of run {progress.run}, in {config.database}.")
    return status


async def _shown(config: SimulationConfig, progress: Progress) -> tuple[float, SimulationResult]:
    """Run the simulation on a screen; return when its first round began, and what it has brought."""
    with _screen_for(config, progress) as screen:

        def begin(run: str, data: Data) -> None:
            progress.begin(run, data.shards, trio.current_time())
            screen.show(progress)

        def see(report: RoundReport) -> None:
            progress.take(report)
            screen.show(progress)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tick, screen)
            result = await simulate(config, on_begin=begin, on_round=see)
            nursery.cancel_scope.cancel()
        screen.tick(trio.current_time())
    return progress.began_seconds, result


async def _tick(screen: Screen[Progress]) -> None:
    while True:
        screen.tick(trio.current_time())
        await trio.sleep(REFRESH_SECONDS)


def _screen_for(config: SimulationConfig, progress: Progress) -> Screen[Progress]:
    """Return a live table where somebody looks at a terminal, plain lines elsewhere."""
    if config.plain or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return PlainScreen(sys.stderr)
    from rich.console import Console

    return LiveScreen(Console(stderr=True, highlight=False), progress)


def _leave_results(config: SimulationConfig, result: SimulationResult) -> RunFolder:
    """Write the settings and the model, for us and for others, into a folder of the run."""
    folder = RunFolder(config.workspace / "runs" / result.run)
    write_settings(folder, config.as_table())
    save_params(folder.model, result.weights)
    card = card_of(load_run(config.database, result.run), result.last.number)
    save_model_for_others(folder.model_for_others, result.weights, card)
    return folder


def _places(config: SimulationConfig, folder: RunFolder) -> dict[str, str]:
    elsewhere = "" if config.workspace == InWorkspace().workspace else f" --workspace {config.workspace}"
    return {
        "record": str(config.database),
        "run folder": f"{folder.path}/",
        "look again": f"bin/report{elsewhere} {folder.run}",
    }
