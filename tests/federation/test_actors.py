"""Worker, Aggregator and Evaluator, each by itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from federation.aggregator import average
from federation.errors import Unreachable
from federation.evaluator import Evaluator
from federation.joining import stay_joined
from federation.learning import Metrics, Params, SimpleClassifier, model_sha256, worker_generator
from federation.messages import (
    CloseRun,
    EvaluateRequest,
    Join,
    ModelUpdate,
    OpenRun,
    Receipt,
    Register,
    RunOver,
    TrainingFailed,
    TrainRequest,
    Welcome,
)
from federation.offload import in_thread
from federation.roles import wait_until_ended
from federation.worker import Worker
from persistence import RoundPersistence
from tests.federation.stage import CLASSES, FEATURES, Stage, inline, region
from tests.federation.updates import update
from trioactor import Actor, ActorRef, ActorSystem, HealthPing, Rejected


class Listener(Actor):
    """Stands in the Provider's place: welcomes everyone, and keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._changed = trio.Event()

    async def receive(self, message: Any) -> Any:
        self.seen.append(message)
        self._changed.set()
        self._changed = trio.Event()
        match message:
            case Register() | Join():
                return Welcome("test")
            case ModelUpdate():
                return Receipt("accepted", "")
        return None

    async def until(self, kind: type, count: int = 1) -> Any:
        while len(found := [one for one in self.seen if isinstance(one, kind)]) < count:
            await self._changed.wait()
        return found[count - 1]


def train_request(number: int = 1, **changes: Any) -> TrainRequest:
    fields: dict[str, Any] = {
        "round": number,
        "weights": SimpleClassifier(FEATURES, len(CLASSES)).get_weights(),
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 0.1,
        "mu": 0.0,
        "seed": 7,
    }
    return TrainRequest(**{**fields, **changes})


# --- Worker ---------------------------------------------------------------------------------


async def test_a_worker_trains_as_the_model_does_by_itself(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with ActorSystem("test") as system:
        provider = await system.actor_of(lambda: listener, "provider")
        worker = await system.actor_of(lambda: Worker("A", region("A"), provider, offload=inline), "A")
        await worker.tell(train_request(3))
        sent: ModelUpdate = await listener.until(ModelUpdate)

    model, data = SimpleClassifier(FEATURES, len(CLASSES)), region("A")
    loss = model.fit(
        data.X, data.y, epochs=2, batch_size=8, learning_rate=0.1, generator=worker_generator(7, "A", 3)
    )
    assert model_sha256(sent.weights) == model_sha256(model.get_weights())
    assert (sent.round, sent.worker_id, sent.num_samples) == (3, "A", 24)
    assert sent.metrics == {"loss": loss, "accuracy": model.evaluate(data.X, data.y).accuracy}


async def test_a_worker_registers_with_what_its_region_is(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with ActorSystem("test") as system:
        provider = await system.actor_of(lambda: listener, "provider")
        await system.actor_of(lambda: Worker("A", region("A"), provider), "A")
        sent: Register = await listener.until(Register)

    assert (sent.worker_id, sent.num_samples, sent.num_features, sent.num_classes) == ("A", 24, FEATURES, 3)
    assert sent.source == "test"


class Endless:
    """A model whose training ends only when it is stopped, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.stopped = threading.Event()
        self.trainings = 0

    def get_weights(self) -> Params:
        return {"W": np.zeros((FEATURES, 3), np.float32)}

    def set_weights(self, params: Params) -> None:
        pass

    def fit(self, X: Any, y: Any, *, should_stop: Callable[[], bool], **_how: Any) -> float:
        self.trainings += 1
        self.begun.set()
        try:
            while not should_stop():
                pass
        finally:
            self.stopped.set()
        return 0.0

    def evaluate(self, X: Any, y: Any) -> Metrics:
        return Metrics(0.0, np.eye(3, dtype=np.int64))


async def test_a_worker_answers_while_it_trains_and_its_training_ends_with_it() -> None:
    model = Endless()
    async with ActorSystem("test") as system:
        provider = await system.actor_of(Listener, "provider")
        worker = await system.actor_of(lambda: Worker("A", region("A"), provider, model=model), "A")
        await worker.tell(train_request())
        with trio.fail_after(5):
            await trio.to_thread.run_sync(model.begun.wait)
            ack = await worker.ask(HealthPing())
            await worker.stop()

    assert ack.actor_id == "A"
    assert model.stopped.is_set()


async def test_a_new_request_takes_the_place_of_the_training_in_hand() -> None:
    model = Endless()
    async with ActorSystem("test") as system:
        provider = await system.actor_of(Listener, "provider")
        worker = await system.actor_of(lambda: Worker("A", region("A"), provider, model=model), "A")
        await worker.tell(train_request(1))
        with trio.fail_after(5):
            await trio.to_thread.run_sync(model.begun.wait)
            model.begun.clear()
            await worker.tell(train_request(2))
            await trio.to_thread.run_sync(model.begun.wait)
            await worker.stop()

    assert model.trainings == 2


async def test_a_worker_reports_training_that_fails(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with ActorSystem("test") as system:
        provider = await system.actor_of(lambda: listener, "provider")
        worker = await system.actor_of(lambda: Worker("A", region("A"), provider, offload=inline), "A")
        other_shape = {"W": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)}
        await worker.tell(train_request(weights=other_shape))
        failed: TrainingFailed = await listener.until(TrainingFailed)

    assert (failed.round, failed.worker_id) == (1, "A")
    assert "has shape (2, 2), the model's has (5, 3)" in failed.reason


async def test_a_worker_that_hears_the_end_tells_its_owner_and_ends(autojump_clock: MockClock) -> None:
    told: list[RunOver] = []
    async with ActorSystem("test") as system:
        provider = await system.actor_of(Listener, "provider")
        worker = await system.actor_of(lambda: Worker("A", region("A"), provider, on_over=told.append), "A")
        await worker.tell(RunOver("finished", ""))
        await wait_until_ended(worker)

    assert told == [RunOver("finished", "")]


# --- joining --------------------------------------------------------------------------------


async def test_who_joined_joins_again_when_the_provider_is_back(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with ActorSystem("test") as system, trio.open_nursery() as nursery:
        provider = await system.actor_of(lambda: listener, "provider")
        nursery.start_soon(stay_joined, provider, Join("evaluator", provider), 60.0)
        await listener.until(Join)
        await provider.stop()
        await trio.sleep(5)
        with pytest.raises(Unreachable):
            await stay_joined(provider, Join("evaluator", provider), 3.0)
        nursery.cancel_scope.cancel()


async def test_who_is_declined_says_why(autojump_clock: MockClock) -> None:
    class Proud(Actor):
        async def receive(self, message: Any) -> None:
            raise Rejected("not you")

    async with ActorSystem("test") as system:
        provider = await system.actor_of(Proud, "provider")
        with pytest.raises(Unreachable, match="the Provider declined: not you"):
            await stay_joined(provider, Join("evaluator", provider), 60.0)


async def test_a_provider_that_is_not_there_is_tried_for_as_long_as_was_allowed(
    autojump_clock: MockClock,
) -> None:
    async with ActorSystem("test") as system:
        provider: ActorRef = await system.actor_of(Listener, "provider")
        await provider.stop()
        before = trio.current_time()
        with pytest.raises(Unreachable, match=r"did not answer for 30 s: .*start it"):
            await stay_joined(provider, Join("evaluator", provider), 30.0)

    assert trio.current_time() - before == pytest.approx(30)


# --- Aggregator -----------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(1, 1000), st.floats(-10, 10, width=32), st.floats(0, 5), st.floats(0, 1)),
        min_size=1,
        max_size=6,
    )
)
def test_an_average_does_not_depend_on_the_order_of_arrival(
    parts: list[tuple[int, float, float, float]],
) -> None:
    updates = [
        update(
            f"worker {index}",
            samples=samples,
            params={"W": np.full(3, value, np.float32)},
            loss=loss,
            accuracy=accuracy,
        )
        for index, (samples, value, loss, accuracy) in enumerate(parts)
    ]
    means = [average(order) for order in itertools.islice(itertools.permutations(updates), 24)]

    assert len({mean.model_sha256 for mean in means}) == 1
    assert len({(mean.loss, mean.accuracy) for mean in means}) == 1
    low, high = min(part[2] for part in parts), max(part[2] for part in parts)
    assert low - 1e-9 <= means[0].loss <= high + 1e-9


async def test_an_aggregator_that_is_asked_about_another_run_declines(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    with RoundPersistence(tmp_path / "training.db") as store:
        async with ActorSystem("test") as system:
            listener = await system.actor_of(Listener, "provider")
            aggregator = await Stage(system, store).aggregate(listener)
            await aggregator.ask(OpenRun("one", "{}", 0, "test", False))
            with pytest.raises(Rejected, match="run 'other' is not open here"):
                await aggregator.ask(CloseRun("other", "finished", ""))


# --- Evaluator ------------------------------------------------------------------------------


async def test_an_evaluator_declines_what_it_cannot_score(tmp_path: Path, autojump_clock: MockClock) -> None:
    with RoundPersistence(tmp_path / "training.db") as store:
        async with ActorSystem("test") as system:
            listener = await system.actor_of(Listener, "provider")
            evaluator = await system.actor_of(
                lambda: Evaluator(region("D"), store, listener, offload=inline), "evaluator"
            )
            fitting = SimpleClassifier(FEATURES, 3).get_weights()
            with pytest.raises(Rejected, match="does not fit the evaluation region"):
                await evaluator.ask(EvaluateRequest("run", 1, {"W": np.zeros(2, np.float32)}))
            with pytest.raises(Rejected, match="run 'run' is not in"):
                await evaluator.ask(EvaluateRequest("run", 1, fitting))


# --- offload --------------------------------------------------------------------------------


async def test_work_in_a_thread_ends_when_its_task_is_cancelled() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(should_stop: Callable[[], bool]) -> None:
        begun.set()
        try:
            while not should_stop():
                pass
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, work)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()

    assert ended.is_set()


async def test_work_in_a_thread_returns_and_raises_as_it_is() -> None:
    def fail(_should_stop: Callable[[], bool]) -> None:
        raise KeyError("why")

    assert await in_thread(lambda _: 42) == 42
    with pytest.raises(KeyError, match="why"):
        await in_thread(fail)
