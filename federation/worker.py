"""`Worker`: trains on one region for the Provider, and never shows its samples to anyone.

It registers, and registers again whenever the Provider was gone. Training runs in a thread, from a
background task, so the worker answers while it trains and can be stopped between two batches.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import trio

from federation.joining import Member, Ties
from federation.learning import (
    Budget,
    LearningError,
    Model,
    Params,
    Region,
    SimpleClassifier,
    make_schedule,
    train_alone,
    worker_generator,
)
from federation.messages import (
    ALONE_ROUND,
    GlobalModelBroadcast,
    Leave,
    ModelAlone,
    ModelUpdate,
    RegionScored,
    Register,
    RunOver,
    TrainAlone,
    TrainingFailed,
    TrainRequest,
    Withdraw,
)
from federation.offload import Offload, in_thread
from trioactor import ActorRef
from trioactor.errors import DeliveryError

logger = logging.getLogger(__name__)

# A worker that ends tells it, but does not wait for a Provider that cannot be reached.
LEAVE_SECONDS = 0.3

# A request to train follows a global model at once, but for the last one.
SCORE_AFTER_SECONDS = 0.2


class Worker(Member):
    """One region's part in a run.

    Training that fails is reported and fails nothing else: the worker takes part in the next round.

    Args:
        worker_id: Its name in the run, like "A".
        region: What it trains on.
        provider: Whom it works for.
        model: What it trains; by default a `SimpleClassifier` of the region's features and classes.
        offload: Where training runs.
        ties: See `Ties`.

    Attributes:
        global_model: The last committed global model that the Provider has told of.
    """

    def __init__(
        self,
        worker_id: str,
        region: Region,
        provider: ActorRef,
        *,
        model: Model | None = None,
        offload: Offload = in_thread,
        **ties: Unpack[Ties],
    ) -> None:
        super().__init__(provider, **ties)
        self.global_model: Params | None = None
        self._worker_id = worker_id
        self._region = region
        self._model = model or SimpleClassifier(region.feature_count, region.class_count)
        self._offload = offload
        self._training = trio.CancelScope()
        self._idle = trio.Lock()  # one training at a time: the model is one
        self._to_score: GlobalModelBroadcast | None = None

    def offer(self) -> Register:
        """Return that it offers to train, and on what."""
        return Register(
            worker_id=self._worker_id,
            actor=self.context.ref,
            num_samples=self._region.sample_count,
            num_features=self._region.feature_count,
            num_classes=self._region.class_count,
            source=self._region.meta.source,
            synthetic=self._region.meta.synthetic,
        )

    async def receive(
        self, message: TrainRequest | TrainAlone | GlobalModelBroadcast | Withdraw | RunOver
    ) -> None:
        """Handle one message; a request to train replaces the training in hand."""
        match message:
            case TrainRequest():
                self._train_in_background(self._train, message)
            case TrainAlone():
                self._train_in_background(self._train_alone, message)
            case GlobalModelBroadcast():
                self.global_model = message.weights
                logger.info("round %d: global model %s", message.round, message.model_sha256[:12])
                self._to_score = message
                self.context.start_soon(self._score_when_idle)
            case Withdraw():
                self._training.cancel()
                with trio.move_on_after(LEAVE_SECONDS), suppress(DeliveryError):
                    await self._provider.tell(Leave(self._worker_id, message.reason))
                self.context.stop()
            case RunOver():
                self._training.cancel()
                await super().receive(message)

    def _train_in_background(
        self, train: Callable[..., Awaitable[None]], message: TrainRequest | TrainAlone
    ) -> None:
        self._training.cancel()
        self._training = trio.CancelScope()
        self.context.start_soon(self._train_within, self._training, train, message)

    async def _train_within(
        self,
        scope: trio.CancelScope,
        train: Callable[..., Awaitable[None]],
        message: TrainRequest | TrainAlone,
    ) -> None:
        with scope:
            async with self._idle:
                await train(message)
        self.context.start_soon(self._score)

    async def _train(self, request: TrainRequest) -> None:
        started = trio.current_time()
        try:
            update = await self._offload(lambda should_stop: self._fit(request, should_stop))
        except Exception as error:
            await self._report_failure(request.round, error)
            return
        seconds = trio.current_time() - started
        update = replace(update, metrics={**update.metrics, "seconds": seconds})
        logger.info(
            "round %d: trained %d samples in %.3f s, loss %.4f",
            request.round,
            update.num_samples,
            seconds,
            update.metrics["loss"],
        )
        try:
            receipt = await self._provider.ask(update)
        except DeliveryError as error:  # the Provider was gone: it asks again when this worker is back
            logger.warning("round %d: the update may not have arrived: %s", request.round, error)
            return
        if receipt.verdict != "accepted":
            logger.warning("round %d: update %s: %s", request.round, receipt.verdict, receipt.reason)

    def _fit(self, request: TrainRequest, should_stop: Callable[[], bool]) -> ModelUpdate:
        """Train one round. Blocking."""
        self._model.set_weights(request.weights)
        loss = self._model.fit(
            self._region.X,
            self._region.y,
            epochs=request.epochs,
            batch_size=request.batch_size,
            learning_rate=request.learning_rate,
            mu=request.mu,
            generator=worker_generator(request.seed, self._worker_id, request.round),
            should_stop=should_stop,
        )
        accuracy = self._model.evaluate(self._region.X, self._region.y).accuracy
        return ModelUpdate(
            round=request.round,
            worker_id=self._worker_id,
            weights=self._model.get_weights(),
            num_samples=self._region.sample_count,
            metrics={"loss": loss, "accuracy": accuracy},
        )

    async def _score_when_idle(self) -> None:
        """Score the global model if no request to train follows it; training comes first."""
        await trio.sleep(SCORE_AFTER_SECONDS)
        await self._score()

    async def _score(self) -> None:
        """Say what the global model is worth on the region. Nothing waits for it, and nothing fails of it."""
        model, self._to_score = self._to_score, None
        if model is None:
            return

        def score(_should_stop: Callable[[], bool]) -> RegionScored:
            self._model.set_weights(model.weights)
            return region_scored(model.round, self._worker_id, self._region, self._model)

        try:
            async with self._idle:
                scored = await self._offload(score)
        except Exception as error:
            logger.warning("round %d: the global model is not scored on the region: %s", model.round, error)
            return
        await self._provider.tell(scored)

    async def _train_alone(self, request: TrainAlone) -> None:
        def train(should_stop: Callable[[], bool]) -> Params:
            self._model.set_weights(request.weights)
            return train_alone(
                self._region, self._worker_id, budget_of(request), model=self._model, should_stop=should_stop
            ).get_weights()

        try:
            weights = await self._offload(train)
        except Exception as error:
            await self._report_failure(ALONE_ROUND, error)
            return
        await self._provider.tell(ModelAlone(self._worker_id, weights))

    async def _report_failure(self, number: int, error: Exception) -> None:
        """Report what went wrong in training: a model of the user's may raise anything."""
        reason = failure_in_words(error)
        logger.error("round %d: %s", number, reason, exc_info=error)
        await self._provider.tell(TrainingFailed(number, self._worker_id, reason))


def failure_in_words(error: Exception) -> str:
    """Return why a model could not be trained; of what a model of the user's has raised, also where."""
    if isinstance(error, LearningError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"


def region_scored(number: int, worker_id: str, region: Region, model: Model) -> RegionScored:
    """Return what a worker says of a global model, which this one has the weights of. Blocking.

    Raises:
        ValueError: The model gives no finite loss there.
    """
    metrics = model.evaluate(region.X, region.y)
    return RegionScored(
        round=number,
        worker_id=worker_id,
        samples=metrics.samples,
        loss=metrics.loss,
        accuracy=metrics.accuracy,
        per_class=dict(zip(region.meta.class_names, metrics.per_class_accuracy, strict=True)),
    )


def budget_of(request: TrainAlone) -> Budget:
    """Return how much a worker trains that trains alone."""
    schedule: dict[str, Any] = {**request.schedule, "rounds": request.rounds}
    return Budget(
        rounds=request.rounds,
        epochs=request.epochs,
        batch_size=request.batch_size,
        learning_rate=request.learning_rate,
        mu=request.mu,
        seed=request.seed,
        schedule=make_schedule(**schedule),
    )
