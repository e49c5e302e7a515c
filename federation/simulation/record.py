"""`Record`: a simulation in training.db, as the Aggregator and the Evaluator would have written it.

Rounds are scored and written one behind the training: where other processes train, the next one meanwhile.

A power cut may cost the last rounds, which a deployed run would not lose: a simulation that is resumed plays
them again, and a disk that is waited for in every round would cost more than the training.

In the record of a simulation, `seconds` are virtual. How long it took in truth is between `started_unix` and
`ended_unix`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from federation.events import UpdateLeftOut
from federation.learning import Model, Region, State, model_sha256, never
from federation.messages import ALONE_ROUND, Attendance, ModelUpdate
from federation.offload import Offload
from federation.rows import (
    baseline_row,
    evaluation_row,
    event_row,
    mean_metric,
    memory_arrays,
    region_score_row,
    update_row,
)
from federation.simulation.assignment import Answers
from federation.simulation.data import MIB, Kept, Shards, region_of
from federation.worker import region_scored
from persistence import RegionScoreRow, RoundPersistence, RoundRow

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlayedRound:
    """A round that is to be written down.

    Attributes:
        number: Which, from 1.
        state: The model after it, and what the strategy remembers.
        updates: What it was made of.
        attendance: What became of everyone who was asked.
        asked: How many those were.
        seconds: How long it took, in virtual time.
        started_unix: When it began in truth.
        present: Who was there when it was over, and says what the model is worth on its region; nobody where
            workers are not compared.
    """

    number: int
    state: State
    updates: tuple[ModelUpdate, ...]
    attendance: tuple[Attendance, ...]
    asked: int
    seconds: float
    started_unix: float
    present: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """A round that is in the record.

    Attributes:
        number: Which, from 1.
        asked: How many workers were asked.
        accepted: How many updates became part of the model.
        train_loss: Mean training loss, by samples.
        train_accuracy: The same for the training accuracy, 0 to 1.
        loss: Of the new model, on samples that nobody trains on.
        accuracy: The same for the accuracy, 0 to 1.
        seconds: How long the round took, in virtual time.
        bytes: Bytes of weights that would have been sent to and received from the workers.
        model_sha256: Fingerprint of the new model.
    """

    number: int
    asked: int
    accepted: int
    train_loss: float
    train_accuracy: float
    loss: float
    accuracy: float
    seconds: float
    bytes: int
    model_sha256: str


class Record:
    """Scores models and writes rounds.

    Args:
        store: Where they are written. Its owner closes it.
        run_id: Of which run.
        evaluation: What models are scored on.
        shards: The samples of the workers, for what they say themselves.
        memory_mib: How much of those, where they are drawn, is kept from round to round.
        model: What takes their weights.
        offload: Where all that runs.
        now_unix: Returns the time in seconds since 1970.
        on_round: Told of every round that is on disk.
    """

    def __init__(
        self,
        store: RoundPersistence,
        run_id: int,
        evaluation: Region,
        shards: Shards,
        model: Model,
        *,
        memory_mib: int,
        offload: Offload,
        now_unix: Callable[[], float],
        on_round: Callable[[RoundReport], None],
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._evaluation = evaluation
        self._shards = shards
        self._kept = Kept(shards, memory_mib * MIB)
        self._model = model
        self._offload = offload
        self._now_unix = now_unix
        self._on_round = on_round

    async def keep(self, played: trio.MemoryReceiveChannel[PlayedRound]) -> None:
        """Write down all rounds that come, until no more will."""
        async for one in played:
            self._on_round(await self._offload(partial(self._commit, one)))

    def fail(self, number: int, reason: str, attendance: tuple[Attendance, ...], seconds: float) -> None:
        """Write down a round that brought no model. Blocking."""
        now_unix = self._now_unix()
        row = RoundRow(
            number=number, started_unix=now_unix, ended_unix=now_unix, seconds=seconds, reason=reason
        )
        self._store.record_failed_round(self._run_id, row, updates=map(update_row, attendance))

    def _commit(self, one: PlayedRound, _should_stop: Callable[[], bool]) -> RoundReport:
        """Blocking."""
        fingerprint = model_sha256(one.state.params)
        loss, accuracy = mean_metric(one.updates, "loss"), mean_metric(one.updates, "accuracy")
        row = RoundRow(
            number=one.number,
            started_unix=one.started_unix,
            ended_unix=self._now_unix(),
            seconds=one.seconds,
            train_loss=loss,
            train_accuracy=accuracy,
            model_sha256=fingerprint,
        )
        self._store.commit_round(
            self._run_id,
            row,
            weights=one.state.params,
            updates=map(update_row, one.attendance),
            strategy_state=memory_arrays(one.state),
            durable=False,
        )
        self._model.set_weights(one.state.params)
        if one.present:
            self._store.save_region_scores(self._run_id, self._scores_of(one.number, one.present))
        metrics = self._model.evaluate(self._evaluation.X, self._evaluation.y)
        scored = evaluation_row(one.number, self._evaluation, metrics, self._now_unix() - row.ended_unix)
        self._store.save_evaluation(self._run_id, scored, durable=False)
        return RoundReport(
            number=one.number,
            asked=one.asked,
            accepted=len(one.updates),
            train_loss=loss,
            train_accuracy=accuracy,
            loss=metrics.loss,
            accuracy=metrics.accuracy,
            seconds=one.seconds,
            bytes=sum(part.bytes_sent + part.bytes_received for part in one.attendance),
            model_sha256=fingerprint,
        )

    def _scores_of(self, number: int, places: Sequence[int]) -> Iterator[RegionScoreRow]:
        """Yield what workers say of the model in hand, each of its own region."""
        for place in places:
            region = region_of(self._shards, place, self._kept.samples_of(place))
            try:
                scored = region_scored(number, region.meta.region, region, self._model)
            except Exception as error:  # a model of the user's may raise anything; nothing fails of a score
                logger.warning("round %d: worker %s has no score: %s", number, region.meta.region, error)
            else:
                yield region_score_row(scored)

    def keep_alone(self, answers: Answers, _should_stop: Callable[[], bool] = never) -> dict[str, float]:
        """Score what workers have trained alone, and write it down. Blocking.

        Returns:
            The accuracy of each.
        """
        names, accuracies = self._shards.names, {}
        for row, place in enumerate(answers.places):
            self._model.set_weights({name: array[row] for name, array in answers.weights.items()})
            metrics = self._model.evaluate(self._evaluation.X, self._evaluation.y)
            self._store.save_baseline(self._run_id, baseline_row(names[place], self._evaluation, metrics))
            accuracies[names[place]] = metrics.accuracy
        failed = (
            UpdateLeftOut(0.0, ALONE_ROUND, names[place], "failed", reason)
            for place, reason in answers.failures.items()
        )
        events = (event_row(one, self._now_unix()) for one in failed)
        self._store.add_events(self._run_id, [one for one in events if one is not None])
        return accuracies
