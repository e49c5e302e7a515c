"""Training in a pool of processes, by trio-parallel.

Why it, and not `concurrent.futures`: it is made for trio. A call is cancelled by ending its process, at once
and by public means, where an executor can only be asked to forget what it has not begun. It takes no thread
for each call, and goes on when a process has died. It is small, and nothing of it has to be compiled.

Samples are not sent: each process reads or draws its own, once, and a worker is always trained by the same
process, which keeps its samples. What travels is the global model and the places there, and the trained
models back.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

import trio
from threadpoolctl import threadpool_limits

from federation.errors import SettingsError
from federation.simulation.assignment import Answers, Work
from federation.simulation.engine import (
    Bench,
    Engine,
    EngineFailed,
    dealt_out,
    in_pieces,
    one_failure,
    trainer_for,
)
from federation.simulation.sources import shards_of
from federation.simulation.trainer import Trainer

# How often a piece of work is tried whose process dies. A process that the system kills for want of memory
# takes its piece with it; one that dies of the piece itself would do so for ever.
TRIES = 3

# How long processes may take to end by themselves when the run is over; they have nothing in hand then.
GRACE_SECONDS = 1.0


class RunSync(Protocol):
    """Runs a function in a process, as trio-parallel does."""

    async def __call__(
        self, sync_fn: Any, *args: Any, kill_on_cancel: bool, limiter: trio.CapacityLimiter
    ) -> Any:
        """Return what the function returns there."""


@asynccontextmanager
async def open_pool(bench: Bench, processes: int | None = None) -> AsyncIterator[Engine]:
    """Open a pool of processes that train, and end them behind the block.

    Args:
        bench: What each of them trains with.
        processes: How many; None for one a core.

    Raises:
        SettingsError: trio-parallel is not installed; the text says how to get it.
    """
    try:
        from trio_parallel import open_worker_context
    except ImportError as error:
        raise SettingsError(
            "--engine processes: it needs the package trio-parallel, which is not installed here; get it "
            "with pip install 'trioactor[processes]'"
        ) from error
    count = processes or cores()
    async with AsyncExitStack() as stack:
        # A context keeps as many processes as it is asked for at a time: here each has one.
        contexts = [open_worker_context(grace_period=GRACE_SECONDS) for _ in range(count)]
        hands = [await stack.enter_async_context(context) for context in contexts]
        yield PoolEngine([hand.run_sync for hand in hands], replace(bench, hands=count))


class PoolEngine:
    """Trains in processes; see `Engine`.

    Args:
        hands: Each runs a function in a process of its own, as trio-parallel does.
        bench: What each of them trains with.
    """

    def __init__(self, hands: Sequence[RunSync], bench: Bench) -> None:
        self._hands = hands
        self._bench = bench
        self._limits = [trio.CapacityLimiter(1) for _ in hands]

    async def train(self, work: Work, places: Sequence[int]) -> list[Answers]:
        """See `Engine`."""
        parts: list[Answers] = []
        with one_failure():
            async with trio.open_nursery() as nursery:
                for number, share in enumerate(dealt_out(places, len(self._hands))):
                    for piece in in_pieces(share, 1):
                        nursery.start_soon(self._train_piece, number, work, piece, parts)
        return parts

    async def _train_piece(self, number: int, work: Work, piece: Sequence[int], parts: list[Answers]) -> None:
        from trio_parallel import BrokenWorkerError

        for attempt in range(1, TRIES + 1):
            try:
                parts.extend(
                    await self._hands[number](
                        train_in_process,
                        self._bench,
                        work,
                        piece,
                        kill_on_cancel=True,
                        limiter=self._limits[number],
                    )
                )
                return
            except BrokenWorkerError as error:
                if attempt == TRIES:
                    raise EngineFailed(
                        f"--engine processes: the process that trained {len(piece)} workers of "
                        f"{work.words} died {TRIES} times ({error.args[0]}); the memory may be too "
                        "small: give fewer --processes, or less --memory-mib"
                    ) from error


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def train_in_process(bench: Bench, work: Work, piece: Sequence[int]) -> list[Answers]:
    """Train a piece of work. Runs in a process of the pool, which makes its trainer once."""
    return _trainer_here(bench).train(work, piece)


@lru_cache(maxsize=1)
def _trainer_here(bench: Bench) -> Trainer:
    threadpool_limits(limits=1, user_api="blas")  # for good: see `federation.learning.one_blas_thread`
    return trainer_for(bench, shards_of(bench.source))
