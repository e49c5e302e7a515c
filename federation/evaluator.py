"""`Evaluator`: scores models on a region that nobody trains on, and keeps the scores in the record."""

from __future__ import annotations

import logging
from typing import Unpack

import trio

from federation.joining import Member, Ties
from federation.learning import Metrics, Model, Params, ParamsError, Region, SimpleClassifier
from federation.messages import Evaluated, EvaluateRequest, Join, RunOver
from federation.offload import Offload, in_thread
from federation.rows import baseline_row, evaluation_row
from persistence import RoundPersistence
from trioactor import ActorRef, Rejected

logger = logging.getLogger(__name__)


class Evaluator(Member):
    """The judge of every global model, and of what each worker reaches alone.

    Args:
        region: What it scores on.
        store: The record. Its owner closes it after the actor has ended.
        provider: Whom it works for.
        model: What takes the weights to be scored; by default a `SimpleClassifier`.
        offload: Where scoring and writing run.
        ties: See `Ties`.
    """

    def __init__(
        self,
        region: Region,
        store: RoundPersistence,
        provider: ActorRef,
        *,
        model: Model | None = None,
        offload: Offload = in_thread,
        **ties: Unpack[Ties],
    ) -> None:
        super().__init__(provider, **ties)
        self._region = region
        self._store = store
        self._model = model or SimpleClassifier(region.feature_count, region.class_count)
        self._offload = offload

    def offer(self) -> Join:
        """Return that it offers to score."""
        return Join("evaluator", self.context.ref)

    async def receive(self, message: EvaluateRequest | RunOver) -> Evaluated | None:
        """Handle one message. What the disk refuses is a failure of the actor, and of the run."""
        match message:
            case EvaluateRequest():
                return await self._evaluate(message)
            case RunOver():
                await super().receive(message)
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
        if request.alone:
            self._store.save_baseline(run.id, baseline_row(request.alone, self._region, metrics))
            return
        self._store.save_evaluation(run.id, evaluation_row(request.round, self._region, metrics, seconds))
