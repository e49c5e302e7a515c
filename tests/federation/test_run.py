"""A whole run in one system: real actors, real training, a real database; only threads and time are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import trio
from trio.testing import MockClock

from federation.aggregator import Aggregator
from federation.config import ProviderConfig
from federation.evaluator import Evaluator
from federation.events import Event, RunEnded
from federation.learning import Budget, Region, RegionMeta, model_sha256, train_together
from federation.observer import Observer
from federation.offload import Offload
from federation.provider import Provider
from federation.worker import Worker
from persistence import RoundPersistence
from trioactor import ActorRef, ActorSystem

T = TypeVar("T")
CLASSES = ("field", "forest", "river")
SETTINGS = ProviderConfig(rounds=3, epochs=2, batch_size=8, seed=7, min_workers=2, register_seconds=5)


async def inline(work: Callable[[Callable[[], bool]], T]) -> T:
    """Do the work at once: what a simulation puts in the place of threads."""
    await trio.lowlevel.checkpoint()
    return work(lambda: False)


def region(name: str, samples: int = 24, features: int = 5) -> Region:
    rng = np.random.default_rng(ord(name))
    y = rng.integers(0, len(CLASSES), samples)
    X = rng.normal(size=(samples, features)) + y[:, None]
    return Region(X.astype(np.float32), y, RegionMeta(class_names=CLASSES, source="test", region=name))


class Stage:
    """One system with every role but the workers, and the events that an observer saw."""

    def __init__(self, system: ActorSystem, store: RoundPersistence) -> None:
        self.system = system
        self.store = store
        self.events: list[Event] = []
        self.ended = trio.Event()

    def see(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, RunEnded):
            self.ended.set()

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def begin(self, settings: ProviderConfig = SETTINGS, run: str = "test") -> ActorRef:
        provider = await self.system.actor_of(lambda: Provider(settings, run), "provider")
        await self.system.actor_of(lambda: Observer(provider, self.see), "observer")
        await self.system.actor_of(
            lambda: Aggregator(self.store, provider, now_unix=lambda: 1e9, offload=inline), "aggregator"
        )
        await self.system.actor_of(
            lambda: Evaluator(region("D"), self.store, provider, offload=inline), "evaluator"
        )
        return provider

    async def work(self, provider: ActorRef, name: str, offload: Offload = inline) -> ActorRef:
        return await self.system.actor_of(
            lambda: Worker(name, region(name), provider, offload=offload), f"worker-{name}"
        )


async def test_a_run_commits_every_round_and_ends(tmp_path: Path, autojump_clock: MockClock) -> None:
    with RoundPersistence(tmp_path / "training.db") as store:
        async with ActorSystem("test") as system:
            stage = Stage(system, store)
            provider = await stage.begin()
            for name in "AB":
                await stage.work(provider, name)
            await stage.ended.wait()

        assert stage.of(RunEnded)[0].status == "finished"
        run = store.find_run("test")
        assert run is not None
        assert [row.number for row in store.rounds(run.id)] == [1, 2, 3]
        budget = Budget(rounds=3, epochs=2, batch_size=8, seed=7)
        together = train_together({name: region(name) for name in "AB"}, budget)
        assert run.model_sha256 == model_sha256(together.get_weights())
