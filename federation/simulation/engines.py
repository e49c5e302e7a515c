"""Every engine by the name that it has on the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from federation.simulation.config import SimulationConfig
from federation.simulation.data import Shards
from federation.simulation.engine import Bench, Engine, InlineEngine, InTurns, bench_of, trainers_for
from federation.simulation.on_ray import open_ray
from federation.simulation.pool import cores, open_pool


def open_engine(
    config: SimulationConfig, shards: Shards, in_turns: InTurns | None = None
) -> AbstractAsyncContextManager[Engine]:
    """Return the engine of the settings, to be entered. What it needs is imported when it is entered.

    Args:
        config: The settings.
        shards: The samples of all workers, which the settings name, as this process has read them.
        in_turns: Where the inline engine trains; None for threads of its own.

    Raises:
        SettingsError: A package is missing; the text says how to get it.
    """
    match config.engine:
        case "processes":
            return open_pool(bench_of(config), config.processes)
        case "ray":
            return open_ray(bench_of(config), shards, config)
    return _inline(bench_of(config), config.processes or cores(), shards, in_turns or InTurns())


@asynccontextmanager
async def _inline(bench: Bench, threads: int, shards: Shards, in_turns: InTurns) -> AsyncIterator[Engine]:
    yield InlineEngine(await in_turns(lambda _: trainers_for(bench, shards, threads)), in_turns)
