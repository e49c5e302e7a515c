"""Each role as a program: its actor in a system of its own that listens, until the run is over.

These are what `python -m federation ROLE` runs, and what a program that embeds one role calls.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import trio

from federation.aggregator import Aggregator
from federation.config import (
    Address,
    AggregatorConfig,
    EvaluatorConfig,
    Joining,
    Listening,
    ProviderConfig,
    WorkersConfig,
    worker_name,
)
from federation.errors import SettingsError
from federation.evaluator import Evaluator
from federation.events import EVENTS, Event, RunEnded
from federation.learning import LearningError, Region, load_region
from federation.messages import MESSAGES, RunOver, StopRun
from federation.observer import Observer
from federation.provider import Provider
from federation.stopping import Stop
from federation.worker import Worker
from federation.workspace import address_file, make_writable, wait_for_address
from persistence import DatabaseError, RoundPersistence
from trioactor import ActorRef, ActorSystem, PeerDown

logger = logging.getLogger(__name__)

VOCABULARY = (*MESSAGES, *EVENTS)


def now_unix() -> float:
    """Return the time in seconds since 1970: for the record, which people read. Nothing waits by it."""
    return time.time()


def default_run_name() -> str:
    """Return the name of a run that was not given one: when it began."""
    return f"{datetime.now():%Y%m%d-%H%M%S}"


@asynccontextmanager
async def listening_system(name: str, config: Listening) -> AsyncIterator[tuple[ActorSystem, Address]]:
    """Open a system that can be reached, and say where.

    Raises:
        CannotListen: The address is taken; the text says by whom.
    """
    async with ActorSystem(name, vocabulary=VOCABULARY) as system:
        yield system, Address(*await system.listen(*config.listen_address))


async def find_provider(system: ActorSystem, config: Joining) -> ActorRef:
    """Return the Provider's ref: where the flag says, or where its file says as soon as it is there.

    Raises:
        Unreachable: The file is not there in time.
    """
    if config.provider is not None:
        address = Address.parse(config.provider, "--provider")
    else:
        address = await wait_for_address(config.address_file, config.connect_seconds)
    return system.ref(*address, "provider")


def open_record(path: Path) -> RoundPersistence:
    """Open training.db to write.

    Raises:
        SettingsError: It cannot be used; the text says why.
    """
    make_writable(path.parent)
    try:
        return RoundPersistence(path)
    except DatabaseError as error:
        raise SettingsError(str(error)) from error


def read_region(path: Path) -> Region:
    """Read a region file.

    Raises:
        SettingsError: It cannot be learnt from; the text says why, and the fix.
    """
    try:
        return load_region(path)
    except LearningError as error:
        raise SettingsError(str(error)) from error


async def run_provider(
    config: ProviderConfig, *, stop: Stop, on_event: Callable[[Event], None] = lambda _event: None
) -> RunEnded:
    """Run the Provider until its run has ended, and return how.

    Args:
        config: Its settings.
        stop: Ends the run in good order.
        on_event: Told everything that happens.
    """
    run = config.run or default_run_name()
    make_writable(config.workspace)
    ended, end = trio.open_memory_channel[RunEnded](1)

    def see(event: Event) -> None:
        on_event(event)
        if isinstance(event, RunEnded):
            ended.send_nowait(event)

    async with listening_system("provider", config) as (system, address):
        provider = await system.actor_of(partial(Provider, config, run), "provider")
        await system.actor_of(partial(Observer, provider, see), "observer")
        with address_file(config.address_file, address, run):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pass_on, stop, provider)
                how = await end.receive()
                await wait_until_ended(provider)
                nursery.cancel_scope.cancel()
    return how


async def _pass_on(stop: Stop, provider: ActorRef) -> None:
    await stop.wanted.wait()
    await provider.tell(StopRun(stop.reason))


async def wait_until_ended(actor: ActorRef) -> None:
    """Return when an actor has ended."""
    with suppress(PeerDown):
        async with actor.watch():
            await trio.sleep_forever()


async def run_aggregator(config: AggregatorConfig) -> RunOver:
    """Run the Aggregator until the run is over, and return how it ended."""
    over, end = trio.open_memory_channel[RunOver](1)
    with closing(open_record(config.database)) as store:
        async with listening_system("aggregator", config) as (system, _):
            aggregator = partial(
                Aggregator,
                store,
                await find_provider(system, config),
                now_unix=now_unix,
                connect_seconds=config.connect_seconds,
                on_over=over.send_nowait,
            )
            await system.actor_of(aggregator, "aggregator")
            return await end.receive()


async def run_evaluator(config: EvaluatorConfig) -> RunOver:
    """Run the Evaluator until the run is over, and return how it ended."""
    region = read_region(config.region_file(config.region))
    over, end = trio.open_memory_channel[RunOver](1)
    with closing(open_record(config.database)) as store:
        async with listening_system("evaluator", config) as (system, _):
            evaluator = partial(
                Evaluator,
                region,
                store,
                await find_provider(system, config),
                connect_seconds=config.connect_seconds,
                on_over=over.send_nowait,
            )
            await system.actor_of(evaluator, "evaluator")
            return await end.receive()


async def run_workers(config: WorkersConfig) -> RunOver:
    """Run one worker for each region until the run is over, and return how it ended."""
    regions = {worker_name(one): read_region(config.region_file(one)) for one in config.region}
    over, end = trio.open_memory_channel[RunOver](len(regions))
    async with listening_system("workers", config) as (system, _):
        provider = await find_provider(system, config)
        for name, region in regions.items():
            worker = partial(
                Worker,
                name,
                region,
                provider,
                connect_seconds=config.connect_seconds,
                on_over=over.send_nowait,
            )
            await system.actor_of(worker, f"worker-{name}")
        return [await end.receive() for _ in regions][-1]
