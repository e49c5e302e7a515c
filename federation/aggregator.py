"""`Aggregator`: averages what the Provider accepted, and keeps the record.

A round is answered for only when it is on disk with `synchronous=FULL`. Asked the same again, after a
crash on either side, it finds that it is there and gives the same answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from federation.events import Event, Happened, RunEnded, UpdateLeftOut, WorkerJoined, WorkerLost
from federation.joining import stay_joined
from federation.learning import Contribution, Params, average_contributions, check_params, model_sha256
from federation.messages import (
    Aggregated,
    AggregateRequest,
    Attendance,
    CloseRun,
    Join,
    ModelUpdate,
    Observe,
    OpenRun,
    Recorded,
    RecordFailedRound,
    RunOpened,
    RunOver,
)
from federation.offload import Offload, in_thread
from persistence import Damaged, EventRow, NewRun, RoundPersistence, RoundRow, UpdateRow
from trioactor import Actor, ActorRef, Rejected

logger = logging.getLogger(__name__)

# What the record keeps as events. Accepted updates stand in its tables.
KEPT_EVENTS = ("WorkerJoined", "WorkerLost", "UpdateLeftOut", "RunEnded")


class Aggregator(Actor):
    """The average of each round, and the one who writes rounds into training.db.

    Args:
        store: The record. Its owner closes it after the actor has ended.
        provider: Whom it works for.
        now_unix: Returns the time in seconds since 1970.
        connect_seconds: How long to look for a Provider that is gone, before giving up.
        on_over: Told how the run ended.
        offload: Where averaging and writing run.
    """

    def __init__(
        self,
        store: RoundPersistence,
        provider: ActorRef,
        *,
        now_unix: Callable[[], float],
        connect_seconds: float = 60.0,
        on_over: Callable[[RunOver], None] = lambda _over: None,
        offload: Offload = in_thread,
    ) -> None:
        self._store = store
        self._provider = provider
        self._now_unix = now_unix
        self._connect_seconds = connect_seconds
        self._on_over = on_over
        self._offload = offload
        self._run_id: int | None = None
        self._run = ""

    async def pre_start(self) -> None:
        """Begin to offer the service."""
        join = Join("aggregator", self.context.ref)
        self.context.start_soon(stay_joined, self._provider, join, self._connect_seconds)

    async def receive(
        self, message: OpenRun | AggregateRequest | RecordFailedRound | CloseRun | RunOver | Happened
    ) -> RunOpened | Aggregated | Recorded | None:
        """Handle one message. What the disk refuses is a failure of the actor, and of the run."""
        match message:
            case OpenRun():
                return await self._open(message)
            case AggregateRequest():
                return await self._aggregate(message)
            case RecordFailedRound():
                run_id, row = self._id_of(message.run), self._failed_row(message)
                updates = [_update_row(one) for one in message.attendance]
                await self._offload(lambda _: self._store.record_failed_round(run_id, row, updates=updates))
                return Recorded()
            case CloseRun():
                await self._close(message)
                return Recorded()
            case RunOver():
                self._on_over(message)
                self.context.stop()
            case Happened():
                await self._keep_events(message)
        return None

    # --- runs -------------------------------------------------------------------------------

    async def _open(self, request: OpenRun) -> RunOpened:
        now_unix = self._now_unix()

        def find_or_create(_should_stop: Callable[[], bool]) -> tuple[int, RunOpened]:
            found = self._store.find_run(request.run)
            if found is None:
                new = NewRun(
                    name=request.run,
                    created_unix=now_unix,
                    settings=json.loads(request.settings),
                    seed=request.seed,
                    source=request.source,
                    synthetic=request.synthetic,
                )
                return self._store.create_run(new).id, RunOpened(0, None, True)
            return found.id, self._reopen(found.id)

        self._run_id, opened = await self._offload(find_or_create)
        self._run = request.run
        # From now on notable events have a run to be kept with; those that were before come first.
        self.context.start_soon(self._provider.tell, Observe(self.context.ref, KEPT_EVENTS))
        return opened

    def _reopen(self, run_id: int) -> RunOpened:
        """Go on with a run that is in the record. Blocking."""
        self._store.reopen_run(run_id)
        last = self._store.last_committed_round(run_id)
        if last == 0:
            return RunOpened(0, None, True)
        weights = self._store.load_weights(run_id, last)
        row = self._store.rounds(run_id)[last - 1]
        check_params(weights)
        if model_sha256(weights) != row.model_sha256:
            raise Damaged(
                self._store.database.path,
                f"the weights of round {last} are not those that were written; restore a copy of the file",
            )
        scored = any(one.round == last and one.model == "global" for one in self._store.evaluations(run_id))
        return RunOpened(last, weights, scored)

    async def _close(self, request: CloseRun) -> None:
        run_id, now_unix = self._id_of(request.run), self._now_unix()
        await self._offload(
            lambda _: self._store.end_run(
                run_id, status=request.status, reason=request.reason, ended_unix=now_unix
            )
        )
        logger.info("run %s: %s %s", request.run, request.status, request.reason)

    def _id_of(self, run: str) -> int:
        if self._run_id is None or run != self._run:
            raise Rejected(f"run {run!r} is not open here; ask OpenRun first")
        return self._run_id

    # --- rounds -----------------------------------------------------------------------------

    async def _aggregate(self, request: AggregateRequest) -> Aggregated:
        run_id, started = self._id_of(request.run), trio.current_time()
        mean = await self._offload(lambda _: average(request.updates))
        now_unix, seconds = self._now_unix(), request.seconds + trio.current_time() - started
        row = RoundRow(
            number=request.round,
            started_unix=now_unix - seconds,
            ended_unix=now_unix,
            seconds=seconds,
            train_loss=mean.loss,
            train_accuracy=mean.accuracy,
            model_sha256=mean.model_sha256,
        )
        updates = [_update_row(one) for one in request.attendance]
        await self._offload(
            lambda _: self._store.commit_round(run_id, row, weights=mean.weights, updates=updates)
        )
        logger.info(
            "round %d: averaged %d updates and committed in %.3f s, model %s",
            request.round,
            len(request.updates),
            trio.current_time() - started,
            mean.model_sha256[:12],
        )
        return Aggregated(request.round, mean.weights, mean.model_sha256, mean.loss, mean.accuracy, seconds)

    def _failed_row(self, request: RecordFailedRound) -> RoundRow:
        now_unix = self._now_unix()
        return RoundRow(
            number=request.round,
            started_unix=now_unix - request.seconds,
            ended_unix=now_unix,
            seconds=request.seconds,
            reason=request.reason,
        )

    async def _keep_events(self, happened: Happened) -> None:
        run_id, now_unix = self._run_id, self._now_unix()
        assert run_id is not None  # it observes only a run that it has opened
        rows = [row for event in happened.events if (row := _event_row(event, now_unix)) is not None]
        await self._offload(lambda _: self._store.add_events(run_id, rows))


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """The average of some updates, and of what they say of themselves, weighted by samples."""

    weights: Params
    model_sha256: str
    loss: float
    accuracy: float


def average(updates: Sequence[ModelUpdate]) -> Average:
    """Return the average of updates: the same bytes in whatever order they stand.

    Raises:
        ParamsError: They do not fit together. The rules of a round never let such updates through.
    """
    ordered = sorted(updates, key=lambda one: one.worker_id)
    weights = average_contributions(
        Contribution(one.worker_id, one.weights, one.num_samples) for one in ordered
    )
    return Average(
        weights=weights,
        model_sha256=model_sha256(weights),
        loss=_mean_metric(ordered, "loss"),
        accuracy=_mean_metric(ordered, "accuracy"),
    )


def _mean_metric(updates: Sequence[ModelUpdate], name: str) -> float:
    samples = sum(one.num_samples for one in updates)
    return sum(one.num_samples * one.metrics[name] for one in updates) / samples


def _update_row(one: Attendance) -> UpdateRow:
    return UpdateRow(
        worker=one.worker_id,
        outcome=one.outcome,
        reason=one.reason,
        samples=one.num_samples,
        loss=one.loss,
        accuracy=one.accuracy,
        seconds=one.seconds,
        bytes_in=one.bytes_received,
        bytes_out=one.bytes_sent,
    )


def _event_row(event: Event, now_unix: float) -> EventRow | None:
    """Return an event as the record keeps it; None for one that its tables tell of."""
    match event:
        case WorkerJoined():
            where = f" from {event.address}" if event.address else ""
            source, kind = f"worker-{event.worker_id}", "joined"
            text, number = f"registered{where} with {event.num_samples:,} samples", None
        case WorkerLost():
            source, kind = f"worker-{event.worker_id}", "lost"
            text, number = event.reason, None
        case UpdateLeftOut():
            source, kind = f"worker-{event.worker_id}", event.verdict
            text, number = event.reason, event.round
        case RunEnded():
            source, kind = "provider", event.status.replace(" ", "-")
            text, number = event.reason, None
        case _:
            return None
    return EventRow(at_unix=now_unix, source=source, kind=kind, text=text, round=number)
