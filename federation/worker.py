"""`Worker`: trains on one region for the Provider, and never shows its samples to anyone.

It registers, and registers again whenever the Provider was gone. Training runs in a thread, from a
background task, so the worker answers while it trains and can be stopped between two batches.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from federation.joining import stay_joined
from federation.learning import (
    Budget,
    LearningError,
    Model,
    Params,
    Region,
    SimpleClassifier,
    train_alone,
    worker_generator,
)
from federation.messages import (
    ALONE_ROUND,
    GlobalModelBroadcast,
    ModelAlone,
    ModelUpdate,
    Register,
    RunOver,
    TrainAlone,
    TrainingFailed,
    TrainRequest,
)
from federation.offload import Offload, in_thread
from trioactor import Actor, ActorRef
from trioactor.errors import DeliveryError

logger = logging.getLogger(__name__)


class Worker(Actor):
    """One region's part in a run.

    Training that fails is reported and fails nothing else: the worker takes part in the next round.

    Args:
        worker_id: Its name in the run, like "A".
        region: What it trains on.
        provider: Whom it works for.
        model: What it trains; by default a `SimpleClassifier` of the region's features and classes.
        connect_seconds: How long to look for a Provider that is gone, before giving up.
        on_over: Told how the run ended.
        offload: Where training runs.

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
        connect_seconds: float = 60.0,
        on_over: Callable[[RunOver], None] = lambda _over: None,
        offload: Offload = in_thread,
    ) -> None:
        self.global_model: Params | None = None
        self._worker_id = worker_id
        self._region = region
        self._provider = provider
        self._model = model or SimpleClassifier(region.feature_count, region.class_count)
        self._connect_seconds = connect_seconds
        self._on_over = on_over
        self._offload = offload
        self._training = trio.CancelScope()
        self._idle = trio.Lock()  # one training at a time: the model is one

    async def pre_start(self) -> None:
        """Begin to register."""
        register = Register(
            worker_id=self._worker_id,
            actor=self.context.ref,
            num_samples=self._region.sample_count,
            num_features=self._region.feature_count,
            num_classes=self._region.class_count,
            source=self._region.meta.source,
            synthetic=self._region.meta.synthetic,
        )
        self.context.start_soon(stay_joined, self._provider, register, self._connect_seconds)

    async def receive(self, message: TrainRequest | TrainAlone | GlobalModelBroadcast | RunOver) -> None:
        """Handle one message; a request to train replaces the training in hand."""
        match message:
            case TrainRequest():
                self._train_in_background(self._train, message)
            case TrainAlone():
                self._train_in_background(self._train_alone, message)
            case GlobalModelBroadcast():
                self.global_model = message.weights
                logger.info("round %d: global model %s", message.round, message.model_sha256[:12])
            case RunOver():
                self._training.cancel()
                self._on_over(message)
                self.context.stop()

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

    async def _train(self, request: TrainRequest) -> None:
        started = trio.current_time()
        try:
            update = await self._offload(lambda should_stop: self._fit(request, should_stop))
        except LearningError as error:
            await self._report_failure(request.round, error)
            return
        logger.info(
            "round %d: trained %d samples in %.3f s, loss %.4f",
            request.round,
            update.num_samples,
            trio.current_time() - started,
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

    async def _train_alone(self, request: TrainAlone) -> None:
        budget = Budget(
            rounds=request.rounds,
            epochs=request.epochs,
            batch_size=request.batch_size,
            learning_rate=request.learning_rate,
            mu=request.mu,
            seed=request.seed,
        )
        try:
            model = await self._offload(
                lambda should_stop: train_alone(
                    self._region, self._worker_id, budget, should_stop=should_stop
                )
            )
        except LearningError as error:
            await self._report_failure(ALONE_ROUND, error)
            return
        await self._provider.tell(ModelAlone(self._worker_id, model.get_weights()))

    async def _report_failure(self, number: int, error: LearningError) -> None:
        logger.error("round %d: %s", number, error)
        await self._provider.tell(TrainingFailed(number, self._worker_id, str(error)))
