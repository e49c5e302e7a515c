"""`Evaluator`: scores models on a region that nobody trains on, and keeps the scores in the record."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from federation.config import EVALUATION_REGION
from federation.joining import stay_joined
from federation.learning import Metrics, Model, Params, ParamsError, Region, SimpleClassifier
from federation.messages import Evaluated, EvaluateRequest, Join, RunOver
from federation.offload import Offload, in_thread
from persistence import BaselineRow, EvaluationRow, RoundPersistence
from trioactor import Actor, ActorRef, Rejected

logger = logging.getLogger(__name__)


class Evaluator(Actor):
    """The judge of every global model, and of what each worker reaches alone.

    Args:
        region: What it scores on.
        store: The record. Its owner closes it after the actor has ended.
        provider: Whom it works for.
        model: What takes the weights to be scored; by default a `SimpleClassifier`.
        connect_seconds: How long to look for a Provider that is gone, before giving up.
        on_over: Told how the run ended.
        offload: Where scoring and writing run.
    """

    def __init__(
        self,
        region: Region,
        store: RoundPersistence,
        provider: ActorRef,
        *,
        model: Model | None = None,
        connect_seconds: float = 60.0,
        on_over: Callable[[RunOver], None] = lambda _over: None,
        offload: Offload = in_thread,
    ) -> None:
        self._region = region
        self._store = store
        self._provider = provider
        self._model = model or SimpleClassifier(region.feature_count, region.class_count)
        self._connect_seconds = connect_seconds
        self._on_over = on_over
        self._offload = offload

    async def pre_start(self) -> None:
        """Begin to offer the service."""
        join = Join("evaluator", self.context.ref)
        self.context.start_soon(stay_joined, self._provider, join, self._connect_seconds)

    async def receive(self, message: EvaluateRequest | RunOver) -> Evaluated | None:
        """Handle one message. What the disk refuses is a failure of the actor, and of the run."""
        match message:
            case EvaluateRequest():
                return await self._evaluate(message)
            case RunOver():
                self._on_over(message)
                self.context.stop()
        return None

    async def _evaluate(self, request: EvaluateRequest) -> Evaluated:
        started = trio.current_time()
        try:
            metrics = await self._offload(lambda _: self._score(request.weights))
        except ParamsError as error:
            raise Rejected(f"the model does not fit the evaluation region: {error}") from error
        seconds = trio.current_time() - started
        await self._offload(lambda _: self._commit(request, metrics, seconds))
        logger.info(
            "%s: accuracy %.4f, loss %.4f, scored and committed in %.3f s",
            f"worker {request.alone} alone" if request.alone else f"round {request.round}",
            metrics.accuracy,
            metrics.loss,
            trio.current_time() - started,
        )
        return Evaluated(metrics.samples, metrics.loss, metrics.accuracy)

    def _score(self, weights: Params) -> Metrics:
        """Blocking."""
        self._model.set_weights(weights)
        return self._model.evaluate(self._region.X, self._region.y)

    def _commit(self, request: EvaluateRequest, metrics: Metrics, seconds: float) -> None:
        """Blocking."""
        run = self._store.find_run(request.run)
        if run is None:
            raise Rejected(
                f"run {request.run!r} is not in {self._store.database.path}; give the Evaluator the "
                "database that the Aggregator writes"
            )
        region = self._region.meta.region or EVALUATION_REGION
        if request.alone:
            baseline = BaselineRow(
                worker=request.alone,
                region=region,
                samples=metrics.samples,
                loss=metrics.loss,
                accuracy=metrics.accuracy,
            )
            self._store.save_baseline(run.id, baseline)
            return
        evaluation = EvaluationRow(
            round=request.round,
            region=region,
            samples=metrics.samples,
            loss=metrics.loss,
            accuracy=metrics.accuracy,
            per_class=dict(zip(self._region.meta.class_names, metrics.per_class_accuracy, strict=True)),
            confusion=tuple(tuple(row) for row in metrics.confusion.tolist()),
            seconds=seconds,
        )
        self._store.save_evaluation(run.id, evaluation)
