"""A whole federation in one system, for tests: real actors and a real record, no threads and no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import trio

from federation.aggregator import Aggregator
from federation.config import ProviderConfig
from federation.evaluator import Evaluator
from federation.events import Event, RunEnded
from federation.learning import Model, Region, RegionMeta
from federation.messages import Receipt, Register, TrainRequest, Welcome
from federation.models import ModelFactory, simple_model
from federation.observer import Observer
from federation.offload import Offload
from federation.provider import Provider
from federation.worker import Worker
from persistence import RoundPersistence, RunRow
from tests.federation.updates import update
from trioactor import Actor, ActorRef, ActorSystem

T = TypeVar("T")
CLASSES = ("field", "forest", "river")
FEATURES = 5
SETTINGS = ProviderConfig(
    rounds=3, epochs=2, batch_size=8, seed=7, min_workers=2, register_seconds=5, alone=False
)


async def inline(work: Callable[[Callable[[], bool]], T]) -> T:
    """Do the work at once: what a simulation puts in the place of threads."""
    await trio.lowlevel.checkpoint()
    return work(lambda: False)


def region(name: str, samples: int = 24, features: int = FEATURES, source: str = "test") -> Region:
    """Return a small region whose classes lie apart."""
    rng = np.random.default_rng(ord(name))
    y = rng.integers(0, len(CLASSES), samples)
    X = rng.normal(size=(samples, features)) + y[:, None]
    return Region(X.astype(np.float32), y, RegionMeta(class_names=CLASSES, source=source, region=name))


class Stage:
    """Provider, Aggregator and Evaluator in one system, and the events that an observer saw.

    Attributes:
        events: All of them so far.
        ended: Set when the run has.
    """

    def __init__(self, system: ActorSystem, store: RoundPersistence) -> None:
        self.system = system
        self.store = store
        self.events: list[Event] = []
        self.ended = trio.Event()
        self._changed = trio.Event()

    def see(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()
        self._changed = trio.Event()
        if isinstance(event, RunEnded):
            self.ended.set()

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[T], count: int = 1) -> T:
        """Return the last of so many events of a kind, when they are there."""
        while len(self.of(kind)) < count:
            await self._changed.wait()
        return self.of(kind)[count - 1]

    @property
    def end(self) -> RunEnded:
        (ended,) = self.of(RunEnded)
        return ended

    def run(self, name: str = "test") -> RunRow:
        found = self.store.find_run(name)
        assert found is not None
        return found

    async def begin(
        self,
        settings: ProviderConfig = SETTINGS,
        run: str = "test",
        services: Sequence[str] = ("aggregator", "evaluator"),
        make_model: ModelFactory = simple_model,
        model: Model | None = None,
    ) -> ActorRef:
        provider = await self.system.actor_of(lambda: Provider(settings, run, make_model), "provider")
        await self.system.actor_of(lambda: Observer(provider, self.see), "observer")
        if "aggregator" in services:
            await self.aggregate(provider)
        if "evaluator" in services:
            await self.evaluate(provider, model)
        return provider

    async def aggregate(self, provider: ActorRef) -> ActorRef:
        return await self.system.actor_of(
            lambda: Aggregator(self.store, provider, now_unix=lambda: 1e9, offload=inline), "aggregator"
        )

    async def evaluate(self, provider: ActorRef, model: Model | None = None) -> ActorRef:
        return await self.system.actor_of(
            lambda: Evaluator(region("D"), self.store, provider, model=model, offload=inline), "evaluator"
        )

    async def work(
        self, provider: ActorRef, name: str, offload: Offload = inline, model: Model | None = None
    ) -> ActorRef:
        return await self.system.actor_of(
            lambda: Worker(name, region(name), provider, model=model, offload=offload), f"worker-{name}"
        )

    async def puppet(self, provider: ActorRef, name: str, answer: Answer | None = None) -> Puppet:
        """Have a worker that says what the test wants."""
        puppet = Puppet(name, provider, answer)
        await self.system.actor_of(lambda: puppet, f"puppet-{name}")
        return puppet


Answer = Callable[[TrainRequest], Any]


class Puppet(Actor):
    """A worker without data: it registers, and answers with what it is told to answer.

    Attributes:
        asked: The requests that came, in order.
        others: Every other message.
        receipts: What the Provider said to its updates.
    """

    def __init__(self, name: str, provider: ActorRef, answer: Answer | None) -> None:
        self.name = name
        self.asked: list[TrainRequest] = []
        self.others: list[Any] = []
        self.receipts: list[Receipt] = []
        self.was_asked = trio.Event()
        self._provider = provider
        self._answer = answer

    async def pre_start(self) -> None:
        self.context.start_soon(self.register)

    async def register(self) -> Welcome:
        return await self._provider.ask(register(self.name, self.context.ref))

    async def receive(self, message: Any) -> None:
        if not isinstance(message, TrainRequest):
            self.others.append(message)
            return
        self.asked.append(message)
        self.was_asked.set()
        if self._answer is not None:
            self.context.start_soon(self.say, self._answer(message))

    async def say(self, message: Any) -> None:
        outcome = await self._provider.ask(message) if hasattr(message, "weights") else None
        if outcome is None:
            await self._provider.tell(message)
        else:
            self.receipts.append(outcome)


def register(name: str, actor: ActorRef, **changes: Any) -> Register:
    """Return what a worker registers with."""
    fields: dict[str, Any] = {
        "worker_id": name,
        "actor": actor,
        "num_samples": 10,
        "num_features": FEATURES,
        "num_classes": len(CLASSES),
        "source": "test",
        "synthetic": False,
    }
    return Register(**{**fields, **changes})


def sound(name: str) -> Answer:
    """Return the answer of a worker that has trained: the weights, moved by its name."""

    def answer(request: TrainRequest) -> Any:
        moved = {key: array + np.float32(ord(name[0])) for key, array in request.weights.items()}
        return update(name, number=request.round, params=moved)

    return answer
