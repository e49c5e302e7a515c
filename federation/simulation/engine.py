"""The seam between a simulation and where its workers are trained, and the engine that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from federation.errors import FederationError
from federation.offload import Offload, in_thread
from federation.simulation.assignment import Answers, Assignment
from federation.simulation.config import SimulationConfig
from federation.simulation.data import Shards
from federation.simulation.sources import Source, source_of
from federation.simulation.trainer import Trainer

# Workers in one piece of work: their models are sent back together (20 kB each for 512 features and 10
# classes), and a piece that is lost is trained again.
PIECE_WORKERS = 256


class EngineFailed(FederationError):
    """An engine cannot train: its processes or its cluster do not start, or are lost again and again."""


class Engine(Protocol):
    """Trains workers, somewhere. The same bytes wherever it is."""

    async def train(self, assignment: Assignment, places: Sequence[int]) -> list[Answers]:
        """Train the workers at these places from these weights; return their answers in any order.

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
    """

    source: Source
    model: str
    vectorised: bool
    device: str | None
    memory_mib: int


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
    """Return a trainer of these workers."""
    return Trainer(
        shards,
        model=bench.model,
        vectorised=bench.vectorised,
        device=bench.device,
        memory_mib=bench.memory_mib,
    )


def in_pieces(places: Sequence[int], processes: int) -> Iterator[Sequence[int]]:
    """Yield the places in pieces: at least one for each process, none too large."""
    size = max(1, min(PIECE_WORKERS, -(-len(places) // processes)))
    yield from (places[start : start + size] for start in range(0, len(places), size))


class InlineEngine:
    """Trains in this process, in a thread, so that whoever waits can be cancelled between two batches.

    Args:
        trainer: What trains.
        offload: Where.
    """

    def __init__(self, trainer: Trainer, offload: Offload = in_thread) -> None:
        self._trainer = trainer
        self._offload = offload

    async def train(self, assignment: Assignment, places: Sequence[int]) -> list[Answers]:
        """See `Engine`."""
        return await self._offload(lambda should_stop: self._trainer.train(assignment, places, should_stop))
