"""`simulate`: a whole federation in one program, with the rounds, strategies and record of a deployed one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NoReturn

import trio

from federation.buffer import Buffer
from federation.course import alone_request, check_same_model, only_missing, train_request, why_given_up
from federation.errors import FederationError, QuorumLost, RunFailed, SettingsError, run_status_of
from federation.learning import (
    Contribution,
    Params,
    ParamsError,
    StaleUpdate,
    State,
    StrategyError,
    combine_buffered,
    generator_for,
    make_strategy,
    one_blas_thread,
)
from federation.messages import Attendance, ModelUpdate
from federation.models import model_factory
from federation.offload import Offload, in_thread
from federation.programs import leaves_of
from federation.results import was_simulated
from federation.round import Round
from federation.simulation.assignment import Alone
from federation.simulation.config import RESUMED_WITH_ANY, SimulationConfig
from federation.simulation.crowd import Crowd
from federation.simulation.engine import Engine, InTurns
from federation.simulation.engines import open_engine
from federation.simulation.ground import Ground
from federation.simulation.past import Past, RememberingEngine
from federation.simulation.record import PlayedRound, Record, RoundReport
from federation.simulation.scenario import Scenario
from federation.simulation.sources import Data, read, source_of
from federation.worker import budget_of
from federation.workspace import open_record
from persistence import EventRow, NewRun, RoundPersistence, RunRow


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beginning:
    """What is known of a simulation when its first round begins, or it goes on.

    Attributes:
        run: Its name in the record.
        data: What it learns from.
        committed: The last round that the record has; 0 for a run that begins. A run that goes on tells of
            that round once more.
        seconds: How long the rounds before that one took, in virtual time.
    """

    run: str
    data: Data
    committed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulationResult:
    """What a finished simulation has brought. All of it, round by round, is in the record.

    Attributes:
        run: Its name in the record.
        last: The last round.
        weights: The last global model.
        seconds: How long the run took, in virtual time.
        alone: The accuracy that each worker reaches alone, by its name; empty where none was asked to.
    """

    run: str
    last: RoundReport
    weights: Params
    seconds: float
    alone: Mapping[str, float]

    @property
    def accuracy(self) -> float:
        """The accuracy of the last model on samples that nobody trained on."""
        return self.last.accuracy

    @property
    def loss(self) -> float:
        """Its mean cross-entropy on them."""
        return self.last.loss

    @property
    def model_sha256(self) -> str:
        """Its fingerprint."""
        return self.last.model_sha256

    def _repr_html_(self) -> str:
        figures = f"accuracy {self.accuracy:.4g}, loss {self.loss:.4g} after round {self.last.number}"
        return f"<p>{self.run}: {figures}, in {self.seconds:,.0f} virtual seconds</p>"


async def simulate(
    config: SimulationConfig,
    *,
    on_begin: Callable[[Beginning], None] = lambda _beginning: None,
    on_round: Callable[[RoundReport], None] = lambda _round: None,
    now_unix: Callable[[], float] = time.time,
    offload: Offload = in_thread,
) -> SimulationResult:
    """Run a simulation to its end, and write it into the record of its workspace.

    Cancelled, it is entered as stopped. While it runs, NumPy has one BLAS thread in this process, as in each
    role that is deployed: equal bytes need that.

    Args:
        config: What is simulated. With `resume`, the run of that name goes on after its last committed round,
            and ends with the bytes of one that was never stopped.
        on_begin: Told how it begins, before the first round.
        on_round: Told of every round when it is in the record.
        now_unix: Returns the time in seconds since 1970, for the record.
        offload: Where reading, averaging and writing run, and training that is not another process's.

    Raises:
        SettingsError: The data, the record or a package cannot be used; nothing was trained.
        RunFailed: A round brought no model.
        EngineFailed: Its processes or its cluster cannot be used.
        QuorumLost: Too few workers are left, and none will come; the rounds before are in the record.
    """
    in_turns = InTurns(offload)
    if config.engine == "inline":
        offload = in_turns
    data = await offload(lambda _: read(source_of(config, config.seed)))
    with one_blas_thread(), open_record(config.database) as store:
        before = _run_to_resume(store, config) if config.resume else None
        if before is None:
            check_name(store, config.run)
        async with open_engine(config, data.shards, in_turns) as engine:
            run = store.reopen_run(before.id) if before else _entered(store, config, data, now_unix())
            past = await offload(lambda _: Past(store, run))
            play = _Play(config, data, engine, store, run, past, offload, now_unix, on_round)
            on_begin(Beginning(run=run.name, data=data, committed=past.committed, seconds=past.seconds()))
            try:
                await play.run()
            except BaseException as error:
                status, reason = _how_it_ended(error)
                store.end_run(run.id, status=status, reason=reason, ended_unix=now_unix())
                raise
            store.end_run(run.id, status="finished", ended_unix=now_unix())
    return play.result(run.name)


def check_name(store: RoundPersistence, name: str) -> None:
    """See that no run has this name.

    Raises:
        SettingsError: One has.
    """
    if name and store.find_run(name) is not None:
        raise SettingsError(
            f"--run {name}: the record has a run of that name, and a simulation begins anew; give another"
        )


def _run_to_resume(store: RoundPersistence, config: SimulationConfig) -> RunRow:
    """Return the run that is to go on.

    Raises:
        SettingsError: There is none of that name, or it has other settings.
    """
    run = store.find_run(config.resume)
    if run is None or not was_simulated(run):
        what = "no run of that name" if run is None else "that run was not simulated"
        raise SettingsError(f"--resume {config.resume}: {what}, in {config.database}; give a simulated run")
    ours = json.loads(json.dumps(config.for_record()))
    for name in sorted((ours.keys() | run.settings.keys()) - RESUMED_WITH_ANY - {"simulated"}):
        if ours.get(name) != run.settings.get(name):
            raise SettingsError(
                f"--resume {config.resume}: it began with {name} {run.settings.get(name)}, not "
                f"{ours.get(name)}; give what it began with, or start a new run"
            )
    return run


def _how_it_ended(error: BaseException) -> tuple[str, str]:
    """Return what the record says of a run that an error has ended: its status, and why."""
    first = next(leaves_of(error))
    if isinstance(first, trio.Cancelled):
        return "stopped", ""
    return run_status_of(first.exit_status) if isinstance(first, FederationError) else "failed", str(first)


def _entered(store: RoundPersistence, config: SimulationConfig, data: Data, now_unix: float) -> RunRow:
    """Enter a new run; without a name it has that of its time."""
    stem = f"{datetime.fromtimestamp(now_unix):%Y%m%d-%H%M%S}-simulated"
    names = [config.run] if config.run else [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    name = next(one for one in names if store.find_run(one) is None)
    run = store.create_run(
        NewRun(
            name=name,
            created_unix=now_unix,
            settings={**config.for_record(), "simulated": True},
            seed=config.seed,
            source=data.shards.source,
            synthetic=data.shards.synthetic,
            mode=config.mode,
            strategy=config.strategy,
            strategy_parameters=config.strategy_parameters,
        )
    )
    workers = f"{len(data.shards.names):,} workers are simulated in one program"
    text = f"{workers} (engine {config.engine}); seconds are virtual"
    store.add_events(run.id, [EventRow(at_unix=now_unix, source="simulation", kind="simulated", text=text)])
    return run


class _Play:
    """One run, from its first round to its last.

    Attributes:
        ground: Where it is played.
    """

    def __init__(
        self,
        config: SimulationConfig,
        data: Data,
        engine: Engine,
        store: RoundPersistence,
        run: RunRow,
        past: Past,
        offload: Offload,
        now_unix: Callable[[], float],
        on_round: Callable[[RoundReport], None],
    ) -> None:
        shards = data.shards
        scenario = scenario_of(config)
        model = model_factory(config.model)(
            shards.feature_count, len(shards.class_names), generator_for(config.seed, "model")
        )
        self._config = config
        self._names = shards.names
        self._engine = engine
        self._past = past
        self._strategy = make_strategy(config.strategy, **config.strategy_parameters)
        self._crowd = Crowd(scenario, config.return_seconds)
        trained_by = RememberingEngine(engine, past, shards.names, offload) if past.committed else engine
        self.ground = Ground(shards.names, scenario, self._crowd, trained_by)
        self._first = model.get_weights()
        if past.committed:
            check_same_model(run.name, past.state_after(past.committed).params, self._first)
        self._state = self._strategy.start(self._first)
        self._offload = offload
        self._now_unix = now_unix
        self._on_round = on_round
        self._last: RoundReport | None = None
        self._alone: dict[str, float] = {}
        self._note_failed_round: Callable[[], None] = lambda: None
        self._record = Record(
            store,
            run.id,
            data.evaluation,
            shards,
            model,
            memory_mib=config.memory_mib,
            offload=offload,
            now_unix=now_unix,
            on_round=self._see,
        )

    def result(self, run: str) -> SimulationResult:
        """Return what the run has brought, when it has finished."""
        assert self._last is not None  # there is one round at least
        return SimulationResult(
            run=run,
            last=self._last,
            weights=self._state.params,
            seconds=self.ground.now,
            alone=self._alone,
        )

    async def run(self) -> None:
        """Play all rounds; return when they are in the record."""
        played, to_keep = trio.open_memory_channel[PlayedRound](1)  # the record is two rounds behind at most
        failure: FederationError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._record.keep, to_keep)
            async with played:
                try:
                    await (self._buffers(played) if self._config.mode == "buffered" else self._rounds(played))
                except FederationError as error:
                    failure = error  # the rounds before it are written down first
        if failure is not None:
            await self._offload(lambda _: self._note_failed_round())
            raise failure
        if self._config.compares:
            await self._compare_with_alone()

    def _see(self, report: RoundReport) -> None:
        self._last = report
        self._on_round(report)

    # --- rounds -----------------------------------------------------------------------------

    async def _rounds(self, played: trio.MemorySendChannel[PlayedRound]) -> None:
        config, rules, ground = self._config, self._config.rules, self.ground
        for number in range(1, config.rounds + 1):
            self._wait_for_workers(config.min_workers if number == 1 else rules.needed)
            began, started_unix = ground.now, self._now_unix()
            places = self._crowd.draw(
                began, fraction=config.fraction, least=rules.needed, seed=config.seed, number=number
            )
            away = {place: away for place in places if (away := self._crowd.away(place, began)) is not None}
            open_round = Round(
                train_request(config, number, self._state.params),
                [self._names[place] for place in places],
                began,
                rules,
                {self._names[place]: one.expected_until for place, one in away.items()},
            )
            await ground.play_round(open_round, places, rules.quorum)
            attendance, updates = open_round.attendance(ground.now), open_round.updates
            seconds = open_round.seconds(ground.now)
            if not open_round.succeeded:
                self._give_up(number, attendance, len(updates), seconds)
            combine = partial(
                self._strategy.combine,
                self._state,
                [Contribution(one.worker_id, one.weights, one.num_samples) for one in updates],
            )
            self._state = await self._next_state(number, attendance, combine)
            await self._keep(
                played, number, updates, attendance, asked=len(places), seconds=seconds, started=started_unix
            )

    async def _next_state(
        self, number: int, attendance: tuple[Attendance, ...], combine: Callable[[], State]
    ) -> State:
        """Return what the strategy goes on from: of a round that is in the record, as it has it."""

        def recall() -> State:
            self._past.check(number, attendance)
            return self._past.state_after(number)

        make = recall if number <= self._past.committed else combine
        try:
            return await self._offload(lambda _: make())
        except (StrategyError, ParamsError) as error:
            raise RunFailed(f"round {number}: {error}") from error

    async def _keep(
        self,
        played: trio.MemorySendChannel[PlayedRound],
        number: int,
        updates: tuple[ModelUpdate, ...],
        attendance: tuple[Attendance, ...],
        *,
        asked: int,
        seconds: float,
        started: float,
    ) -> None:
        """Have a round written down, if the record has it not.

        The last one that it has comes again: whoever was killed behind it may not have scored its model.
        """
        if number < self._past.committed:
            return
        await played.send(
            PlayedRound(
                number=number,
                state=self._state,
                updates=updates,
                attendance=attendance,
                asked=asked,
                seconds=seconds,
                started_unix=started,
                present=tuple(self._crowd.present(self.ground.now)) if self._config.compares else (),
            )
        )

    def _give_up(
        self, number: int, attendance: tuple[Attendance, ...], accepted: int, seconds: float
    ) -> NoReturn:
        reason = why_given_up(number, attendance, accepted, self._config.rules.needed)
        self._note_failed_round = partial(self._record.fail, number, reason, attendance, seconds)
        if number > 1 and only_missing(attendance):
            raise QuorumLost(f"{reason}; committed up to round {number - 1} of {self._config.rounds}")
        raise RunFailed(reason)

    def _wait_for_workers(self, least: int) -> None:
        if not self.ground.wait(least):
            left = self._crowd.count(self.ground.now)
            raise QuorumLost(f"{left:,} of the {least:,} needed workers are left, and none will come")

    # --- buffered mode ----------------------------------------------------------------------

    async def _buffers(self, played: trio.MemorySendChannel[PlayedRound]) -> None:
        config, ground = self._config, self.ground
        places_of = {name: place for place, name in enumerate(self._names)}
        versions = {0: self._state.params}
        self._wait_for_workers(config.min_workers)
        request = train_request(config, 1, self._state.params)
        buffer = Buffer(config.buffer_size, request, ground.now, config.rules)
        for number in range(1, config.rounds + 1):
            started_unix = self._now_unix()
            await ground.fill(buffer, places_of, config.buffer_size)
            batch = buffer.empty(ground.now)
            if len(batch.updates) < config.rules.needed:
                self._give_up(number, batch.attendance, len(batch.updates), batch.seconds)
            combine = partial(
                combine_buffered,
                self._strategy,
                self._state,
                [StaleUpdate(one.worker_id, one.weights, one.round - 1) for one in batch.updates],
                version=number - 1,
                params_of=versions.__getitem__,
                exponent=config.staleness_exponent,
            )
            self._state = await self._next_state(number, batch.attendance, combine)
            versions[number] = self._state.params
            oldest = min(ground.in_hand, default=number + 1) - 1  # whoever is asked for 5 trains from 4
            versions = {one: params for one, params in versions.items() if one >= oldest}
            asked = len({one.worker_id for one in batch.attendance})
            await self._keep(
                played,
                number,
                batch.updates,
                batch.attendance,
                asked=asked,
                seconds=batch.seconds,
                started=started_unix,
            )
            if number < config.rounds:
                self._wait_for_workers(config.rules.needed)
                buffer.publish(train_request(config, number + 1, self._state.params), ground.now)

    # --- after the rounds -------------------------------------------------------------------

    async def _compare_with_alone(self) -> None:
        """Have each worker train by itself and score what it reaches: what federating is worth."""
        work = Alone(weights=self._first, budget=budget_of(alone_request(self._config, self._first)))
        for answers in await self._engine.train(work, self._crowd.present(self.ground.now)):
            self._alone |= await self._offload(partial(self._record.keep_alone, answers))


def scenario_of(config: SimulationConfig) -> Scenario:
    """Return what becomes of workers, as the settings have it."""
    return Scenario(
        workers=config.worker_count,
        seed=config.seed,
        worker_seconds=config.worker_seconds,
        jitter=config.jitter,
        stragglers=config.stragglers,
        slowdown=config.slowdown,
        dropouts=config.dropouts,
        away_seconds=config.away_seconds,
        late_joins=config.worker_count - config.workers_at_start,
        join_seconds=config.join_seconds,
    )
