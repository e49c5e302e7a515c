"""Every engine by the name that it has on the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from federation.offload import Offload, in_thread
from federation.simulation.config import SimulationConfig
from federation.simulation.data import Shards
from federation.simulation.engine import Bench, Engine, InlineEngine, bench_of, trainer_for
from federation.simulation.on_ray import open_ray
from federation.simulation.pool import open_pool


def open_engine(
    config: SimulationConfig, shards: Shards, offload: Offload = in_thread
) -> AbstractAsyncContextManager[Engine]:
    """Return the engine of the settings, to be entered. What it needs is imported when it is entered.

    Args:
        config: The settings.
        shards: The samples of all workers, which the settings name, as this process has read them.
        offload: Where the inline engine trains.

    Raises:
        SettingsError: A package is missing; the text says how to get it.
    """
    match config.engine:
        case "processes":
            return open_pool(bench_of(config), config.processes)
        case "ray":
            return open_ray(bench_of(config), shards, config)
    return _inline(bench_of(config), shards, offload)


@asynccontextmanager
async def _inline(bench: Bench, shards: Shards, offload: Offload) -> AsyncIterator[Engine]:
    yield InlineEngine(await offload(lambda _: trainer_for(bench, shards)), offload)
