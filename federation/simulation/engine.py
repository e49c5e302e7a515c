"""The seam between a simulation and where its workers are trained, and the engine that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import trio

from federation.errors import FederationError
from federation.models import SIMPLE
from federation.offload import Offload, in_thread
from federation.simulation.assignment import Answers, Work
from federation.simulation.config import SimulationConfig
from federation.simulation.data import MIB, Kept, Shards
from federation.simulation.sources import Source, source_of
from federation.simulation.trainer import BATCH_WORKERS, Trainer

T = TypeVar("T")

# Workers in one piece of work: their models are sent back together (20 kB each for 512 features and 10
# classes), and a piece that is lost is trained again.
PIECE_WORKERS = 256


class EngineFailed(FederationError):
    """An engine cannot train: its processes or its cluster do not start, or are lost again and again."""


@contextmanager
def one_failure() -> Iterator[None]:
    """Raise one `EngineFailed`, not a group of them, where tasks of a nursery in the block have failed so.

    They fail of one cause, and who waits for the engine is told of that cause.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        failures, others = group.split(EngineFailed)
        if failures is None or others is not None:
            raise
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from first.__cause__


class Engine(Protocol):
    """Trains workers, somewhere. The same bytes wherever it is."""

    async def train(self, work: Work, places: Sequence[int]) -> list[Answers]:
        """Train the workers at these places from the weights of the work; return their answers in any order.

        Cancelled, it stops the training, wherever that is.

        Raises:
            EngineFailed: It cannot.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What it takes to make a `Trainer` in another process.

    Attributes:
        source: Where the samples come from.
        model: What is trained.
        vectorised: See `Trainer`.
        device: See `Trainer`.
        memory_mib: See `Trainer`.
        hands: How many processes share that memory.
    """

    source: Source
    model: str
    vectorised: bool
    device: str | None
    memory_mib: int
    hands: int = 1


def bench_of(config: SimulationConfig) -> Bench:
    """Return what the settings say of it."""
    return Bench(
        source=source_of(config, config.seed),
        model=config.model,
        vectorised=config.vectorised,
        device=config.device,
        memory_mib=config.memory_mib,
    )


def trainer_for(bench: Bench, shards: Shards) -> Trainer:
    """Return a trainer of these workers, for one thread."""
    return trainers_for(bench, shards, 1)[0]


def trainers_for(bench: Bench, shards: Shards, threads: int) -> list[Trainer]:
    """Return trainers of these workers for so many threads: one where more would gain nothing.

    What many workers are trained with at once leaves Python's lock; a model of the user's may not, nor need
    it bear two threads.
    """
    kept = Kept(shards, bench.memory_mib // bench.hands * MIB)
    alone = bench.model != SIMPLE or not bench.vectorised or bench.device is not None
    return [
        Trainer(shards, model=bench.model, vectorised=bench.vectorised, device=bench.device, kept=kept)
        for _ in range(1 if alone else threads)
    ]


def dealt_out(places: Sequence[int], hands: int) -> list[list[int]]:
    """Return the places of each of so many hands; a worker, whose samples it keeps, is always in the same."""
    shares: list[list[int]] = [[] for _ in range(hands)]
    for place in places:
        shares[place % hands].append(place)
    return shares


def in_pieces(places: Sequence[int], processes: int) -> Iterator[Sequence[int]]:
    """Yield the places in pieces: at least one for each process, none too large."""
    size = max(1, min(PIECE_WORKERS, -(-len(places) // processes)))
    yield from (places[start : start + size] for start in range(0, len(places), size))


class InTurns:
    """An `Offload` that does one thing at a time.

    Python runs one thread at a time. A second one that has much to do in Python makes the first wait for
    milliseconds after each call of NumPy.

    Args:
        offload: Where.
    """

    def __init__(self, offload: Offload = in_thread) -> None:
        self._offload = offload
        self._turn = trio.Lock()

    async def __call__(self, work: Callable[[Callable[[], bool]], T]) -> T:
        """See `Offload`."""
        async with self._turn:
            return await self._offload(work)

    async def all(self, works: Sequence[Callable[[Callable[[], bool]], list[T]]]) -> list[T]:
        """Run works that leave Python's lock to each other side by side; return what they return, in all."""
        results: list[T] = []

        async def one(work: Callable[[Callable[[], bool]], list[T]]) -> None:
            results.extend(await self._offload(work))

        async with self._turn, trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(one, work)
        return results


class InlineEngine:
    """Trains in this process, in threads, so that whoever waits can be cancelled between two batches.

    Args:
        trainers: What trains: one, or several that gain from a thread each.
        in_turns: Where.
    """

    def __init__(self, trainers: Sequence[Trainer], in_turns: InTurns) -> None:
        self._trainers = trainers
        self._in_turns = in_turns

    async def train(self, work: Work, places: Sequence[int]) -> list[Answers]:
        """See `Engine`."""
        threads = min(len(self._trainers), len(places) // BATCH_WORKERS)
        if threads < 2:
            trainer = self._trainers[0]
            return await self._in_turns(lambda should_stop: trainer.train(work, places, should_stop))
        shares = zip(self._trainers, dealt_out(places, threads), strict=False)
        return await self._in_turns.all([partial(trainer.train, work, share) for trainer, share in shares])
