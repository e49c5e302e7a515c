"""`Course`: the course of a run, from the first registration to the comparison at its end.

It averages nothing and writes nothing. It never goes on before the Aggregator has said that a round is on
disk, and so it can be started again at any time: the record says how far the run came.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NoReturn

import trio

from federation.buffer import Buffer
from federation.config import Learning
from federation.errors import QuorumLost, RunFailed, Unreachable
from federation.events import AloneEvaluated, RoundStarted, RunBegun, RunPlanned, TrainingAlone
from federation.learning import Params, ParamsError, check_params, generator_for
from federation.messages import (
    ALONE_ROUND,
    Attendance,
    CloseRun,
    EvaluateRequest,
    RecordFailedRound,
    Register,
    RunOpened,
    TrainAlone,
    TrainRequest,
)
from federation.models import ModelFactory
from federation.round import Round, Verdict
from federation.sampling import draw_workers
from federation.services import Services
from federation.state import RunState
from trioactor.actor import Context

# What workers say of the last model is worth a moment, and no more: they may be of a kind that says nothing.
LAST_SCORES_SECONDS = 1.0


class Course:
    """What the Provider does, step by step. What happens meanwhile, it reads from the state.

    Args:
        state: What is known of the run; the Provider's handlers keep it up to date.
        context: The Provider's, for tasks that send what may have to wait.
        make_model: Makes the model that the run begins with.
    """

    def __init__(self, state: RunState, context: Context, make_model: ModelFactory) -> None:
        self._state = state
        self._context = context
        self._make_model = make_model

    async def run(self) -> None:
        """Run all of it.

        Raises:
            FederationError: It cannot go on; the text says why, and what is kept.
        """
        state, config = self._state, self._state.config
        state.note(RunPlanned, state.run, config.rounds, config.min_workers)
        await self._wait_for_everyone()
        pattern = state.roster.pattern
        state.first = self._first_weights(pattern)
        self._services = Services(state, self._context, state.first)
        opened = await self._services.ask("aggregator", self._services.open_request(pattern))
        state.roster.expect(opened.members, state.now() + config.return_seconds)
        state.committed = opened.round
        weights = self._weights_to_go_on_from(opened)
        state.note(RunBegun, opened.round + 1, pattern.source, pattern.synthetic)
        if not opened.evaluated:
            await self._services.evaluate(opened.round, weights)
        state.scored = opened.round
        if config.mode == "buffered":
            await self._fill_buffers(opened.round + 1, weights)
        else:
            for number in range(opened.round + 1, config.rounds + 1):
                weights = await self._one_round(number, weights)
        await self._services.until(lambda: state.scored >= config.rounds)
        await self._wait_for_region_scores()
        if config.alone:
            await self._compare_with_alone()
        await self._services.ask("aggregator", CloseRun(state.run, "finished", ""))

    # --- before the rounds ------------------------------------------------------------------

    async def _wait_for_everyone(self) -> None:
        config = self._state.config
        with trio.move_on_after(config.register_seconds):
            await self._state.until(lambda: not self._state.roster.missing(config.min_workers))
            return
        missing = "; ".join(self._state.roster.missing(config.min_workers))
        raise Unreachable(
            f"{missing}, {config.register_seconds:g} s after the Provider was ready; start what is missing, "
            "look into its log, or give --register-seconds more"
        )

    def _first_weights(self, pattern: Register) -> Params:
        chance = generator_for(self._state.config.seed, "model")
        return self._make_model(pattern.num_features, pattern.num_classes, chance).get_weights()

    def _weights_to_go_on_from(self, opened: RunOpened) -> Params:
        if opened.weights is None:
            return self._state.first
        check_same_model(self._state.run, opened.weights, self._state.first)
        return opened.weights

    # --- rounds -----------------------------------------------------------------------------

    async def _one_round(self, number: int, weights: Params) -> Params:
        """Run one round; return the new global model, committed.

        It is scored while the next round is trained.
        """
        state, config = self._state, self._state.config
        await self._wait_for_workers()
        now = state.now()
        asked = draw_workers(
            state.roster.members(now),
            fraction=config.fraction,
            least=config.rules.needed,
            seed=config.seed,
            round_number=number,
        )
        away = {name: state.roster.away[name] for name in asked if name not in state.roster.workers}
        open_round = Round(train_request(config, number, weights), asked, now, config.rules, away)
        state.round = open_round
        state.note(RoundStarted, number, open_round.asked)
        for name in open_round.waiting:
            self._context.start_soon(state.roster.workers[name].actor.tell, open_round.request)
        await self._services.until(lambda: open_round.over(state.now()), lambda: open_round.over_at)
        open_round.close(state.now())
        attendance, seconds = open_round.attendance(state.now()), open_round.seconds(state.now())
        if not open_round.succeeded:
            await self._give_up(number, attendance, len(open_round.updates), seconds)
        return await self._services.commit(
            number, open_round.updates, attendance, len(open_round.asked), seconds
        )

    async def _give_up(
        self, number: int, attendance: tuple[Attendance, ...], accepted: int, seconds: float
    ) -> NoReturn:
        reason = why_given_up(number, attendance, accepted, self._state.config.rules.needed)
        failed = RecordFailedRound(self._state.run, number, reason, attendance, seconds)
        await self._services.ask("aggregator", failed)
        if self._state.committed and only_missing(attendance):
            raise QuorumLost(f"{reason}; {self._state.kept}")
        raise RunFailed(reason)

    async def _wait_for_workers(self) -> None:
        """Wait until there are enough for a round: there, or expected back."""
        state, needed = self._state, self._state.config.rules.needed
        seconds = state.config.register_seconds
        with trio.move_on_after(seconds):
            await state.until(lambda: len(state.roster.members(state.now())) >= needed)
            return
        left = len(state.roster.members(state.now()))
        what = f"{left} of the {needed} needed workers are left" if left else "no worker is left"
        reason = f"{what}, and none came back within {seconds:g} s"
        if state.committed:
            raise QuorumLost(f"{reason}; {state.kept}")
        raise RunFailed(reason)

    # --- buffered mode ----------------------------------------------------------------------

    async def _fill_buffers(self, number: int, weights: Params) -> None:
        """Aggregate a buffer full of updates again and again, while the workers go on training."""
        state, config = self._state, self._state.config
        if number > config.rounds:
            return
        await self._wait_for_workers()
        buffer = Buffer(config.buffer_size, train_request(config, number, weights), state.now(), config.rules)
        state.round = buffer
        while True:
            self._ask_the_idle(buffer)
            state.note(RoundStarted, buffer.number, buffer.asked)
            await self._services.until(lambda: self._filled(buffer), lambda: buffer.over_at)
            batch = buffer.empty(state.now())
            number = batch.number
            if len(batch.updates) < config.rules.needed:
                await self._give_up(number, batch.attendance, len(batch.updates), batch.seconds)
            asked = len({one.worker_id for one in batch.attendance})
            weights = await self._services.commit(
                number, batch.updates, batch.attendance, asked, batch.seconds
            )
            if number == config.rounds:
                return
            await self._wait_for_workers()
            buffer.publish(train_request(config, number + 1, weights), state.now())

    def _filled(self, buffer: Buffer) -> bool:
        """Return whether a buffer is to be emptied. Whoever has nothing to do is asked first."""
        self._ask_the_idle(buffer)
        return buffer.over(self._state.now())

    def _ask_the_idle(self, buffer: Buffer) -> None:
        workers = self._state.roster.workers
        for name in buffer.idle(workers):
            self._context.start_soon(workers[name].actor.tell, buffer.ask(name, self._state.now()))

    # --- after the rounds -------------------------------------------------------------------

    async def _compare_with_alone(self) -> None:
        """Have each worker train by itself and score what it reaches: what federating is worth."""
        state = self._state
        state.round = None
        state.alone = dict.fromkeys(state.roster.members(state.now()))
        state.note(TrainingAlone, tuple(state.alone))
        for name in state.alone:
            if name in state.roster.workers:
                request = alone_request(state.config, state.first)
                self._context.start_soon(state.roster.workers[name].actor.tell, request)
        await state.until(lambda: self._alone_until() <= state.now(), self._alone_until)
        for worker_id, weights in sorted(state.alone.items()):
            if weights is not None:
                question = EvaluateRequest(state.run, ALONE_ROUND, weights, alone=worker_id)
                score = await self._services.ask("evaluator", question)
                state.note(AloneEvaluated, worker_id, score.loss, score.accuracy)

    async def _wait_for_region_scores(self) -> None:
        """Have what the workers say of the last model written down, unless it takes them too long."""
        state = self._state

        def said() -> bool:
            return all(state.region_scores.get(name) == state.committed for name in state.roster.workers)

        with trio.move_on_after(LAST_SCORES_SECONDS):
            await state.until(said)

    def _alone_until(self) -> float:
        """Return until when models that workers train alone are waited for, as it looks now."""
        roster = self._state.roster
        training = [name for name, weights in self._state.alone.items() if weights is None]
        return max(
            (math.inf if name in roster.workers else roster.away.get(name, -math.inf) for name in training),
            default=-math.inf,
        )


def check_same_model(run: str, weights: Params, first: Params) -> None:
    """See that a run that goes on has a model that the data is for.

    Args:
        run: Its name.
        weights: Of the last committed round.
        first: What the run would begin with on this data.

    Raises:
        RunFailed: It has another.
    """
    try:
        check_params(weights, first)
    except ParamsError as error:
        raise RunFailed(
            f"run {run} cannot go on with these regions: {error}; prepare the data that it began with"
        ) from error


def why_given_up(number: int, attendance: Iterable[Attendance], accepted: int, needed: int) -> str:
    """Say why a round brought no model: how many updates there were, and what became of the others."""
    left_out = {one.worker_id: one for one in attendance if one.outcome != Verdict.ACCEPTED}
    why = _grouped({name: f"{one.outcome}: {one.reason}" for name, one in left_out.items()})
    few = f"only {accepted} of the {needed} needed updates were accepted" if accepted else ""
    return f"round {number}: {few or 'no update was accepted'} ({why})"


def only_missing(attendance: Iterable[Attendance]) -> bool:
    """Return whether all that was not accepted is missing: lost or late, and nobody's fault."""
    return all(one.outcome in (Verdict.ACCEPTED, Verdict.LOST, Verdict.LATE) for one in attendance)


def train_request(config: Learning, number: int, weights: Params) -> TrainRequest:
    """Return what workers are asked in a round."""
    return TrainRequest(
        round=number,
        weights=weights,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate * config.rate_schedule.factor(number),
        mu=config.mu,
        seed=config.seed,
    )


def alone_request(config: Learning, first: Params) -> TrainAlone:
    """Return what workers are asked when the rounds are over."""
    return TrainAlone(
        weights=first,
        rounds=config.rounds,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        mu=config.mu,
        seed=config.seed,
        schedule=config.schedule_parameters,
    )


def _grouped(reasons: dict[str, str]) -> str:
    """Say each reason once: "A, B failed: loss is NaN; C lost: link down"."""
    names: dict[str, list[str]] = {}
    for worker_id, reason in reasons.items():
        names.setdefault(reason, []).append(worker_id)
    return "; ".join(f"{', '.join(who)} {reason}" for reason, who in names.items())
