"""`bin/simulate-federation`, from its settings to its exit status."""

from __future__ import annotations

import logging
import sys

import trio

from federation.errors import ExitStatus, was_stopped
from federation.exports import card_of, save_model_for_others
from federation.learning import save_params
from federation.programs import explain, log_to_stderr, run_program, say, say_error
from federation.results import settings_to_resume, was_simulated, why_unsaved, write_settings
from federation.simulation.config import (
    FREE_WHEN_RESUMED,
    FRESH_WHEN_RESUMED,
    OF_ONE_ENGINE,
    SimulationConfig,
)
from federation.simulation.record import RoundReport
from federation.simulation.simulation import Beginning, SimulationResult, simulate
from federation.simulation.terminal import LiveScreen, PlainScreen, Progress, summary
from federation.stopping import Stop
from federation.terminal import REFRESH_SECONDS, Screen, is_watched
from federation.workspace import RunFolder, open_record
from persistence import DatabaseError
from persistence.history import load_run

LAUNCHER = "bin/simulate-federation"


def simulation_program(config: SimulationConfig, chosen: frozenset[str] = frozenset()) -> ExitStatus:
    """Run a simulation; tell on stderr how it goes, and on stdout what it has brought.

    Args:
        config: The settings.
        chosen: Which of them the user has given; the others are defaults.
    """
    log_to_stderr(logging.WARNING)
    try:
        config = _resumed(config, chosen) if config.resume else config
    except Exception as error:  # nothing was started
        return explain(error)
    progress = Progress(config)
    asked: Stop | None = None

    async def work(stop: Stop) -> ExitStatus:
        nonlocal asked
        asked = stop
        result = await _shown(config, progress)
        folder = RunFolder(config.workspace / "runs" / result.run)
        unsaved = _leave_results(config, folder, result)
        seconds = max(progress.last_seconds - progress.began_seconds, 1e-9)
        sys.stdout.write(summary(progress, seconds, result.alone, _places(config, folder)) + "\n")
        if unsaved:
            say_error(unsaved)
        return ExitStatus.FAILED if unsaved else ExitStatus.FINISHED

    status = run_program("simulation", config.workspace, work)
    if was_stopped(status):
        say(f"Stopped by {asked.reason if asked is not None else 'force'}.")
    if status is not ExitStatus.FINISHED and progress.finished:
        rounds = f"{progress.finished:,} of {config.rounds:,} rounds"
        say(f"Kept: {rounds} of run {progress.run}, in {config.database}.")
        say(f"Go on with: {LAUNCHER}{config.elsewhere} --resume {progress.run}")
    return status


def _resumed(config: SimulationConfig, chosen: frozenset[str]) -> SimulationConfig:
    """Return the settings of a run that goes on."""
    with open_record(config.database) as record:
        runs = [run for run in record.runs() if was_simulated(run)]
    began_with, folder = settings_to_resume(
        config, config.resume, runs, chosen, free=FREE_WHEN_RESUMED, fresh=FRESH_WHEN_RESUMED
    )
    if "engine" in chosen:  # what the other one was told is of no use to it
        began_with = {name: value for name, value in began_with.items() if name not in OF_ONE_ENGINE - chosen}
    return SimulationConfig.from_table({**began_with, "run": folder.run, "resume": folder.run})


async def _shown(config: SimulationConfig, progress: Progress) -> SimulationResult:
    """Run the simulation on a screen; return what it has brought."""
    with _screen_for(config, progress) as screen:

        def begin(beginning: Beginning) -> None:
            if not beginning.committed:
                write_settings(RunFolder(config.workspace / "runs" / beginning.run), config.as_table())
            progress.begin(beginning, trio.current_time())
            screen.show(progress)

        def see(report: RoundReport) -> None:
            progress.take(report, trio.current_time())
            screen.show(progress)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tick, screen)
            result = await simulate(config, on_begin=begin, on_round=see)
            nursery.cancel_scope.cancel()
        screen.tick(trio.current_time())
    return result


async def _tick(screen: Screen[Progress]) -> None:
    while True:
        screen.tick(trio.current_time())
        await trio.sleep(REFRESH_SECONDS)


def _screen_for(config: SimulationConfig, progress: Progress) -> Screen[Progress]:
    """Return a live table where somebody looks at a terminal, plain lines elsewhere."""
    if not is_watched(plain=config.plain):
        return PlainScreen(sys.stderr)
    from rich.console import Console

    return LiveScreen(Console(stderr=True, highlight=False), progress)


def _leave_results(config: SimulationConfig, folder: RunFolder, result: SimulationResult) -> str:
    """Write the model, for us and for others, into the folder of the run; return why that could not be."""
    try:
        save_params(folder.model, result.weights)
        card = card_of(load_run(config.database, result.run), result.last.number)
        save_model_for_others(folder.model_for_others, result.weights, card)
    except (DatabaseError, OSError) as error:
        return why_unsaved(folder, error)
    return ""


def _places(config: SimulationConfig, folder: RunFolder) -> dict[str, str]:
    return {
        "record": str(config.database),
        "run folder": f"{folder.path}/",
        "look again": f"bin/report{config.elsewhere} {folder.run}",
    }
