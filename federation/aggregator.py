"""`Aggregator`: makes the next model of what the Provider accepted, and keeps the record.

A round is answered for only when it is on disk with `synchronous=FULL`. Asked the same again, after a
crash on either side, it finds that it is there and gives the same answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Unpack

import trio

from federation.events import Happened
from federation.joining import Member, Ties
from federation.learning import (
    Contribution,
    Gathering,
    GatheringStale,
    ParamsError,
    StaleUpdate,
    State,
    Strategy,
    StrategyError,
    check_params,
    make_strategy,
    model_sha256,
)
from federation.messages import (
    Aggregated,
    AggregateRequest,
    CloseRun,
    FetchUpdate,
    Join,
    ModelUpdate,
    Observe,
    OpenRun,
    Recorded,
    RecordFailedRound,
    RegionScored,
    RunOpened,
    RunOver,
)
from federation.offload import Offload, in_thread
from federation.rows import event_row, mean_metric, memory_arrays, region_score_row, state_after, update_row
from persistence import (
    Damaged,
    EventRow,
    NewRun,
    RoundPersistence,
    RoundRow,
)
from persistence.arrays import Array
from trioactor import ActorRef, Rejected
from trioactor.errors import DeliveryError

logger = logging.getLogger(__name__)

# What the record keeps as events. Accepted updates stand in its tables.
KEPT_EVENTS = ("WorkerJoined", "WorkerLost", "UpdateLeftOut", "RunEnded")


class Aggregator(Member):
    """The strategy at work, and the one who writes rounds into training.db.

    Args:
        store: The record. Its owner closes it after the actor has ended.
        provider: Whom it works for.
        now_unix: Returns the time in seconds since 1970.
        offload: Where combining and writing run.
        ties: See `Ties`.
    """

    def __init__(
        self,
        store: RoundPersistence,
        provider: ActorRef,
        *,
        now_unix: Callable[[], float],
        offload: Offload = in_thread,
        **ties: Unpack[Ties],
    ) -> None:
        super().__init__(provider, **ties)
        self._store = store
        self._now_unix = now_unix
        self._offload = offload
        self._open_run: _OpenRun | None = None

    def offer(self) -> Join:
        """Return that it offers to aggregate."""
        return Join("aggregator", self.context.ref)

    async def receive(
        self,
        message: OpenRun
        | AggregateRequest
        | RecordFailedRound
        | CloseRun
        | RunOver
        | Happened
        | RegionScored,
    ) -> RunOpened | Aggregated | Recorded | None:
        """Handle one message. What the disk refuses is a failure of the actor, and of the run."""
        match message:
            case OpenRun():
                return await self._open(message)
            case AggregateRequest():
                return await self._aggregate(message)
            case RecordFailedRound():
                run_id, row = self._opened(message.run).id, self._failed_row(message)
                updates = [update_row(one) for one in message.attendance]
                await self._offload(lambda _: self._store.record_failed_round(run_id, row, updates=updates))
                return Recorded()
            case CloseRun():
                await self._close(message)
                return Recorded()
            case Happened():
                await self._keep_events(message)
            case RegionScored():
                await self._keep_score(message)
            case RunOver():
                await super().receive(message)
        return None

    # --- runs -------------------------------------------------------------------------------

    async def _open(self, request: OpenRun) -> RunOpened:
        try:
            strategy = make_strategy(request.strategy, **request.parameters)
        except StrategyError as error:
            raise Rejected(str(error)) from error
        now_unix = self._now_unix()

        def find_or_create(_should_stop: Callable[[], bool]) -> tuple[_OpenRun, RunOpened]:
            found = self._store.find_run(request.run)
            if found is not None:
                opened = self._reopen(found.id)
                return _OpenRun(found.id, request, strategy), opened
            new = NewRun(
                name=request.run,
                created_unix=now_unix,
                settings=json.loads(request.settings),
                seed=request.seed,
                source=request.source,
                synthetic=request.synthetic,
                mode="rounds" if request.staleness_exponent is None else "buffered",
                strategy=request.strategy,
                strategy_parameters=request.parameters,
            )
            return _OpenRun(self._store.create_run(new).id, request, strategy), RunOpened(0, None, True)

        self._open_run, opened = await self._offload(find_or_create)
        # From now on notable events have a run to be kept with; those that were before come first.
        self.context.start_soon(self._provider.tell, Observe(self.context.ref, KEPT_EVENTS))
        return opened

    def _reopen(self, run_id: int) -> RunOpened:
        """Go on with a run that is in the record. Blocking."""
        self._store.reopen_run(run_id)
        members = members_of(self._store.events(run_id))
        last = self._store.last_committed_round(run_id)
        if last == 0:
            return RunOpened(0, None, True, members)
        weights = committed_weights(self._store, run_id, last)
        scored = any(one.round == last and one.model == "global" for one in self._store.evaluations(run_id))
        return RunOpened(last, weights, scored, members)

    async def _close(self, request: CloseRun) -> None:
        run_id, now_unix = self._opened(request.run).id, self._now_unix()
        await self._offload(
            lambda _: self._store.end_run(
                run_id, status=request.status, reason=request.reason, ended_unix=now_unix
            )
        )
        logger.info("run %s: %s %s", request.run, request.status, request.reason)

    def _opened(self, run: str) -> _OpenRun:
        if self._open_run is None or run != self._open_run.asked.run:
            raise Rejected(f"run {run!r} is not open here; ask OpenRun first")
        return self._open_run

    # --- rounds -----------------------------------------------------------------------------

    async def _aggregate(self, request: AggregateRequest) -> Aggregated:
        run, started = self._opened(request.run), trio.current_time()
        try:
            gathered = await self._gather(run, request)
            state = await self._offload(lambda _: gathered.finish())
        except (StrategyError, ParamsError) as error:
            raise Rejected(str(error)) from error
        fingerprint = model_sha256(state.params)
        loss, accuracy = mean_metric(gathered.measured, "loss"), mean_metric(gathered.measured, "accuracy")
        now_unix, seconds = self._now_unix(), request.seconds + trio.current_time() - started
        row = RoundRow(
            number=request.round,
            started_unix=now_unix - seconds,
            ended_unix=now_unix,
            seconds=seconds,
            train_loss=loss,
            train_accuracy=accuracy,
            model_sha256=fingerprint,
        )
        updates = [update_row(one) for one in request.attendance]
        await self._offload(
            lambda _: self._store.commit_round(
                run.id, row, weights=state.params, updates=updates, strategy_state=memory_arrays(state)
            )
        )
        run.state, run.round = state, request.round
        logger.info(
            "round %d: combined %d updates and committed in %.3f s, model %s",
            request.round,
            len(request.updates) + len(request.more),
            trio.current_time() - started,
            fingerprint[:12],
        )
        return Aggregated(request.round, state.params, fingerprint, loss, accuracy, seconds)

    async def _gather(self, run: _OpenRun, request: AggregateRequest) -> _Gathered:
        """Return what has taken all updates of a round. Of those that are fetched no two are here at once."""
        gathered = await self._offload(lambda _: self._begin_to_gather(run, request))
        for wanted in request.more:
            await self._fetch(wanted, gathered)
        return gathered

    def _begin_to_gather(self, run: _OpenRun, request: AggregateRequest) -> _Gathered:
        """Return what has taken the updates that came with the request. Blocking."""
        before = request.round - 1
        state = run.state if run.round == before else self._load_state(run, before)
        gathered = _Gathered(
            run.strategy.gather(state)
            if run.asked.staleness_exponent is None
            else GatheringStale(
                run.strategy,
                state,
                version=before,
                params_of=lambda version: self._load_state(run, version).params,
                exponent=run.asked.staleness_exponent,
            )
        )
        for update in request.updates:
            gathered.add(update)
        return gathered

    async def _fetch(self, wanted: FetchUpdate, gathered: _Gathered) -> None:
        try:
            update = await self._provider.ask(wanted)
        except DeliveryError as error:  # who comes back as the Provider asks for all of it again
            raise Rejected(f"the Provider is gone: {error}") from error
        await self._offload(lambda _: gathered.add(update))

    def _load_state(self, run: _OpenRun, number: int) -> State:
        """Return the state after a committed round; before the first that of a run that begins. Blocking."""
        return (
            run.strategy.start(run.asked.first) if number == 0 else state_after(self._store, run.id, number)
        )

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
        if self._open_run is None:  # meant for the one before it, which crashed; it is told again
            return
        run_id, now_unix = self._open_run.id, self._now_unix()
        rows = [row for event in happened.events if (row := event_row(event, now_unix)) is not None]
        await self._offload(lambda _: self._store.add_events(run_id, rows))

    async def _keep_score(self, scored: RegionScored) -> None:
        if self._open_run is None:  # it came back in the middle of a run, and has not been asked yet
            return
        run_id, row = self._open_run.id, region_score_row(scored)
        await self._offload(lambda _: self._store.save_region_scores(run_id, [row]))


@dataclass(slots=True, eq=False)
class _OpenRun:
    """The run that is being recorded.

    Attributes:
        id: Its key in the record.
        asked: What it was opened with.
        strategy: How its updates become the next model.
        round: After which round `state` is the state; -1 when it is to be read from the record first.
        state: What the strategy goes on from; without meaning while `round` is -1.
    """

    id: int
    asked: OpenRun
    strategy: Strategy
    round: int = -1
    state: State = field(default_factory=lambda: State({}))


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is left of an update that was taken."""

    num_samples: int
    metrics: Mapping[str, float]


class _Gathered:
    """Takes updates, of rounds or of a buffer, in any order; the strategy makes a state of them.

    Attributes:
        measured: How the training of each of them went.
    """

    def __init__(self, gathering: Gathering | GatheringStale) -> None:
        self.measured: list[_Measured] = []
        self._gathering = gathering

    def add(self, one: ModelUpdate) -> None:
        match self._gathering:
            case Gathering() as of_round:
                of_round.add(Contribution(one.worker_id, one.weights, one.num_samples))
            case GatheringStale() as of_buffer:
                of_buffer.add(StaleUpdate(one.worker_id, one.weights, one.round - 1))
        self.measured.append(_Measured(one.num_samples, one.metrics))

    def finish(self) -> State:
        return self._gathering.finish()


def committed_weights(store: RoundPersistence, run_id: int, number: int) -> dict[str, Array]:
    """Return the model after a committed round, and see that it is the one that was written. Blocking.

    Raises:
        Damaged: It is not.
    """
    weights = store.load_weights(run_id, number)
    check_params(weights)
    if model_sha256(weights) != store.rounds(run_id)[number - 1].model_sha256:
        raise Damaged(
            store.database.path,
            f"the weights of round {number} are not those that were written; restore a copy of the file",
        )
    return weights


def members_of(events: Iterable[EventRow]) -> tuple[str, ...]:
    """Return the workers that had joined and not been lost when the last of the events was kept."""
    members: set[str] = set()
    for event in events:
        worker_id = event.source.removeprefix("worker-")
        if event.kind == "joined":
            members.add(worker_id)
        elif event.kind == "lost":
            members.discard(worker_id)
    return tuple(sorted(members))
