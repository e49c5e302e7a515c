"""Worker, Aggregator and Evaluator, each by itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from federation.errors import Unreachable
from federation.evaluator import Evaluator
from federation.events import Happened, WorkerJoined
from federation.joining import stay_joined
from federation.learning import Metrics, Params, SimpleClassifier, model_sha256, worker_generator
from federation.messages import (
    AggregateRequest,
    CloseRun,
    EvaluateRequest,
    Join,
    Leave,
    ModelUpdate,
    OpenRun,
    Receipt,
    RegionScored,
    Register,
    RunOver,
    TrainingFailed,
    TrainRequest,
    Welcome,
    Withdraw,
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
    assert sent.metrics == {"loss": loss, "accuracy": model.evaluate(data.X, data.y).accuracy, "seconds": 0.0}


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


class Broken(SimpleClassifier):
    """A model of a user's, with a mistake in it."""

    def fit(self, *_: Any, **__: Any) -> float:
        return 1 / 0


async def test_whatever_a_users_model_raises_is_reported_and_the_worker_lives_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    async with ActorSystem("test") as system:
        provider = await system.actor_of(lambda: listener, "provider")
        worker = await system.actor_of(
            lambda: Worker("A", region("A"), provider, model=Broken(FEATURES, 3), offload=inline), "A"
        )
        await worker.tell(train_request())
        failed: TrainingFailed = await listener.until(TrainingFailed)
        assert await worker.ask(HealthPing())

    assert failed.reason.startswith("ZeroDivisionError: division by zero (test_actors.py, line ")
    assert "Traceback" in caplog.text


async def test_a_worker_that_is_told_to_withdraw_says_that_it_leaves(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with ActorSystem("test") as system:
        provider = await system.actor_of(lambda: listener, "provider")
        worker = await system.actor_of(lambda: Worker("A", region("A"), provider, offload=inline), "A")
        await worker.tell(Withdraw("it was stopped"))
        await wait_until_ended(worker)

    (leaving,) = (one for one in listener.seen if isinstance(one, Leave))
    assert (leaving.worker_id, leaving.reason) == ("A", "it was stopped")


async def test_a_worker_whose_provider_is_gone_tells_its_owner_and_ends(autojump_clock: MockClock) -> None:
    told: list[Unreachable] = []
    async with ActorSystem("test") as system:
        provider = await system.actor_of(Listener, "provider")
        await provider.stop()
        worker = await system.actor_of(
            lambda: Worker("A", region("A"), provider, connect_seconds=3, on_unreachable=told.append), "A"
        )
        await wait_until_ended(worker)

    assert "did not answer for 3 s" in str(told[0])


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
        nursery.start_soon(stay_joined, lambda: provider, Join("evaluator", provider), 60.0)
        await listener.until(Join)
        await provider.stop()
        await trio.sleep(5)
        with pytest.raises(Unreachable):
            await stay_joined(lambda: provider, Join("evaluator", provider), 3.0)
        nursery.cancel_scope.cancel()


async def test_who_is_declined_says_why(autojump_clock: MockClock) -> None:
    class Proud(Actor):
        async def receive(self, message: Any) -> None:
            raise Rejected("not you")

    async with ActorSystem("test") as system:
        provider = await system.actor_of(Proud, "provider")
        with pytest.raises(Unreachable, match="the Provider declined: not you"):
            await stay_joined(lambda: provider, Join("evaluator", provider), 60.0)


async def test_a_provider_that_is_not_there_is_tried_for_as_long_as_was_allowed(
    autojump_clock: MockClock,
) -> None:
    async with ActorSystem("test") as system:
        provider: ActorRef = await system.actor_of(Listener, "provider")
        await provider.stop()
        before = trio.current_time()
        with pytest.raises(Unreachable, match=r"did not answer for 30 s: .*start it"):
            await stay_joined(lambda: provider, Join("evaluator", provider), 30.0)

    assert trio.current_time() - before == pytest.approx(30)


# --- Aggregator -----------------------------------------------------------------------------


FIRST = {"W": np.zeros(3, np.float32)}


def opened(run: str = "one", **changes: Any) -> OpenRun:
    fields: dict[str, Any] = {"settings": "{}", "seed": 0, "source": "test", "synthetic": False}
    return OpenRun(run, **{**fields, "first": FIRST, **changes})


def moved(worker_id: str, value: float, number: int = 1, samples: int = 10) -> ModelUpdate:
    return update(worker_id, number=number, params={"W": np.full(3, value, np.float32)}, samples=samples)


@asynccontextmanager
async def aggregating(folder: Path, opening: OpenRun) -> AsyncIterator[tuple[ActorRef, RoundPersistence]]:
    with RoundPersistence(folder / "training.db") as store:
        async with ActorSystem("test") as system:
            listener = await system.actor_of(Listener, "provider")
            aggregator = await Stage(system, store).aggregate(listener)
            await aggregator.ask(opening)
            yield aggregator, store


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "median"])
async def test_a_model_does_not_depend_on_the_order_of_arrival(
    tmp_path: Path, autojump_clock: MockClock, strategy: str
) -> None:
    rng = np.random.default_rng(3)
    updates = [
        update(
            f"worker {n}",
            samples=int(rng.integers(1, 1000)),
            params={"W": rng.normal(size=3).astype(np.float32)},
            loss=float(rng.random()),
        )
        for n in range(4)
    ]
    seen = set()
    for place, order in enumerate(itertools.permutations(updates)):
        folder = tmp_path / str(place)
        folder.mkdir()
        async with aggregating(folder, opened(strategy=strategy)) as (aggregator, _):
            answer = await aggregator.ask(AggregateRequest("one", 1, order, (), (), 0.1))
            seen.add((answer.model_sha256, answer.loss, answer.accuracy))

    assert len(seen) == 1


async def test_a_strategy_goes_on_from_the_record_as_from_its_memory(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rounds = [
        AggregateRequest("one", number, (moved("A", number, number), moved("B", -2.0, number)), (), (), 0.1)
        for number in (1, 2, 3)
    ]
    (tmp_path / "one").mkdir()
    async with aggregating(tmp_path / "one", opened(strategy="fedadam")) as (aggregator, _):
        whole = [await aggregator.ask(one) for one in rounds]

    for one, before in zip(rounds, whole, strict=True):  # a new Aggregator for each round
        (tmp_path / "each").mkdir(exist_ok=True)
        async with aggregating(tmp_path / "each", opened(strategy="fedadam")) as (aggregator, _):
            after = await aggregator.ask(one)
        assert after.model_sha256 == before.model_sha256


async def test_a_round_that_is_asked_for_again_has_the_same_answer_and_is_written_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    first = AggregateRequest("one", 1, (moved("A", 1.0),), (), (), 0.1)
    second = AggregateRequest("one", 2, (moved("A", 2.0, 2),), (), (), 0.1)
    async with aggregating(tmp_path, opened(strategy="fedavgm")) as (aggregator, store):
        answers = [await aggregator.ask(one) for one in (first, first, second, first, second)]
        shas = [one.model_sha256 for one in answers]
        assert shas == [shas[0], shas[0], shas[2], shas[0], shas[2]]
        assert [row.number for row in store.rounds(1)] == [1, 2]


async def test_updates_from_older_models_count_for_less(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with aggregating(tmp_path, opened(staleness_exponent=0.5)) as (aggregator, _):
        await aggregator.ask(AggregateRequest("one", 1, (moved("A", 1.0),), (), (), 0.1))
        # A from the model of now, 1.0; B from the first one, 0.0, one version ago.
        updates = (moved("A", 2.0, number=2), moved("B", 1.0, number=1))
        answer = await aggregator.ask(AggregateRequest("one", 2, updates, (), (), 0.1))

    expected = 1.0 + (1.0 + 2**-0.5) / 2
    np.testing.assert_allclose(answer.weights["W"], np.full(3, expected), rtol=1e-6)


async def test_too_few_updates_for_a_strategy_are_declined_with_the_number(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with aggregating(tmp_path, opened(strategy="krum")) as (aggregator, _):
        with pytest.raises(Rejected, match="1 contributions, the strategy needs at least 5"):
            await aggregator.ask(AggregateRequest("one", 1, (moved("A", 1.0),), (), (), 0.1))


async def test_a_strategy_that_there_is_not_is_declined(tmp_path: Path, autojump_clock: MockClock) -> None:
    with pytest.raises(Rejected, match=r"no strategy is named 'fedagv'.*did you mean fedavg"):
        async with aggregating(tmp_path, opened(strategy="fedagv")):
            pass


async def test_an_aggregator_that_is_asked_about_another_run_declines(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    with RoundPersistence(tmp_path / "training.db") as store:
        async with ActorSystem("test") as system:
            listener = await system.actor_of(Listener, "provider")
            aggregator = await Stage(system, store).aggregate(listener)
            await aggregator.ask(opened())
            with pytest.raises(Rejected, match="run 'other' is not open here"):
                await aggregator.ask(CloseRun("other", "finished", ""))


async def test_an_aggregator_that_came_back_lets_go_of_what_was_meant_for_the_one_before_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    with RoundPersistence(tmp_path / "training.db") as store:
        async with ActorSystem("test") as system:
            listener = await system.actor_of(Listener, "provider")
            aggregator = await Stage(system, store).aggregate(listener)
            await aggregator.tell(Happened((WorkerJoined(1.0, "A", 10, ""),)))
            await aggregator.tell(RegionScored(1, "A", samples=4, loss=1.0, accuracy=0.5, per_class={}))

            assert (await aggregator.ask(opened())).round == 0


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
