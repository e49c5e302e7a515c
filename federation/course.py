"""`Course`: the course of a run, from the first registration to the comparison at its end.

It averages nothing and writes nothing. It never goes on before the Aggregator has said that a round is on
disk, and so it can be started again at any time: the record says how far the run came.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

import trio

from federation.config import ProviderConfig
from federation.errors import FederationError, QuorumLost, RunFailed, Unreachable
from federation.events import (
    AloneEvaluated,
    RoleLost,
    RoundCommitted,
    RoundEvaluated,
    RoundStarted,
    RunBegun,
    RunPlanned,
    TrainingAlone,
)
from federation.learning import Params, ParamsError, SimpleClassifier, check_params
from federation.messages import (
    ALONE_ROUND,
    AggregateRequest,
    CloseRun,
    EvaluateRequest,
    GlobalModelBroadcast,
    OpenRun,
    RecordFailedRound,
    Register,
    RunOpened,
    TrainAlone,
    TrainRequest,
)
from federation.round import Round, Verdict
from federation.state import RunState
from trioactor import ActorRef, Rejected, Request
from trioactor.actor import Context
from trioactor.errors import DeliveryError, HandlerFailed

R = TypeVar("R")


class Course:
    """What the Provider does, step by step. What happens meanwhile, it reads from the state.

    Args:
        state: What is known of the run; the Provider's handlers keep it up to date.
        context: The Provider's, for tasks that send what may have to wait.
    """

    def __init__(self, state: RunState, context: Context) -> None:
        self._state = state
        self._context = context
        self._opened_by: ActorRef | None = None  # the Aggregator that has the run open

    async def run(self) -> None:
        """Run all of it.

        Raises:
            FederationError: It cannot go on; the text says why, and what is kept.
        """
        config = self._state.config
        self._state.note(RunPlanned, self._state.run, config.rounds, config.min_workers)
        await self._wait_for_everyone()
        pattern = self._state.roster.pattern
        opened = await self._ask("aggregator", self._open_request(pattern))
        self._state.committed = opened.round
        weights = self._first_weights(opened, pattern)
        self._state.note(RunBegun, opened.round + 1, pattern.source, pattern.synthetic)
        if not opened.evaluated:
            await self._evaluate(opened.round, weights)
        self._state.scored = opened.round
        for number in range(opened.round + 1, config.rounds + 1):
            weights = await self._one_round(number, weights)
        await self._until(lambda: self._state.scored >= config.rounds)
        if config.alone:
            await self._compare_with_alone()
        await self._ask("aggregator", CloseRun(self._state.run, "finished", ""))

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

    def _open_request(self, pattern: Register) -> OpenRun:
        return OpenRun(
            run=self._state.run,
            settings=json.dumps(self._state.config.for_record()),
            seed=self._state.config.seed,
            source=pattern.source,
            synthetic=pattern.synthetic,
        )

    def _first_weights(self, opened: RunOpened, pattern: Register) -> Params:
        fresh = SimpleClassifier(pattern.num_features, pattern.num_classes).get_weights()
        if opened.weights is None:
            return fresh
        try:
            check_params(opened.weights, fresh)
        except ParamsError as error:
            raise RunFailed(
                f"run {self._state.run} cannot go on with these regions: {error}; prepare the data that it "
                "began with"
            ) from error
        return opened.weights

    async def _one_round(self, number: int, weights: Params) -> Params:
        """Run one round; return the new global model, committed.

        It is scored while the next round is trained. At most one model is committed and not scored, so
        the record never lags by more.
        """
        await self._wait_for_a_worker()
        asked = dict(self._state.roster.workers)
        open_round = Round(train_request(self._state.config, number, weights), asked, self._state.now())
        self._state.round = open_round
        self._state.note(RoundStarted, number, open_round.asked)
        for register in asked.values():
            self._context.start_soon(register.actor.tell, open_round.request)
        await self._until(lambda: open_round.complete)
        open_round.close(self._state.now())
        if not open_round.updates:
            await self._give_up(open_round)
        await self._until(lambda: self._state.scored >= number - 1)
        committed = await self._commit(open_round)
        self._context.start_soon(self._evaluate_beside, number, committed)
        return committed

    async def _commit(self, closed: Round) -> Params:
        attendance = closed.attendance(self._state.now())
        aggregated = await self._ask(
            "aggregator",
            AggregateRequest(
                run=self._state.run,
                round=closed.number,
                updates=closed.updates,
                attendance=attendance,
                seconds=closed.seconds(self._state.now()),
            ),
        )
        self._state.committed, self._state.model_sha256 = closed.number, aggregated.model_sha256
        self._state.note(
            RoundCommitted,
            closed.number,
            tuple(update.worker_id for update in closed.updates),
            len(closed.asked),
            aggregated.loss,
            aggregated.accuracy,
            aggregated.seconds,
            sum(one.bytes_sent + one.bytes_received for one in attendance),
            aggregated.model_sha256,
        )
        model = GlobalModelBroadcast(closed.number, aggregated.weights, aggregated.model_sha256)
        for register in self._state.roster.workers.values():
            self._context.start_soon(register.actor.tell, model)
        return aggregated.weights

    async def _evaluate_beside(self, number: int, weights: Params) -> None:
        try:
            await self._evaluate(number, weights)
        except FederationError as error:
            self._state.scoring_failure = error
        else:
            self._state.scored = number
        self._state.stir()

    async def _until(self, ready: Callable[[], bool]) -> None:
        """Wait for something of a round, but no longer than models can be scored."""
        state = self._state
        await state.until(lambda: ready() or state.scoring_failure is not None)
        if state.scoring_failure is not None:
            raise state.scoring_failure

    async def _evaluate(self, number: int, weights: Params) -> None:
        score = await self._ask("evaluator", EvaluateRequest(self._state.run, number, weights))
        self._state.note(RoundEvaluated, number, score.loss, score.accuracy)

    async def _give_up(self, closed: Round) -> None:
        attendance = closed.attendance(self._state.now())
        why = _grouped({one.worker_id: f"{one.outcome}: {one.reason}" for one in attendance})
        reason = f"round {closed.number}: no update was accepted ({why})"
        failed = RecordFailedRound(
            self._state.run, closed.number, reason, attendance, closed.seconds(self._state.now())
        )
        await self._ask("aggregator", failed)
        if self._state.committed and all(one.outcome == Verdict.LOST for one in attendance):
            raise QuorumLost(f"{reason}; {self._kept()}")
        raise RunFailed(reason)

    async def _wait_for_a_worker(self) -> None:
        seconds = self._state.config.register_seconds
        with trio.move_on_after(seconds):
            await self._state.until(lambda: bool(self._state.roster.workers))
            return
        reason = f"no worker is left, and none came back within {seconds:g} s"
        if self._state.committed:
            raise QuorumLost(f"{reason}; {self._kept()}")
        raise RunFailed(reason)

    def _kept(self) -> str:
        return f"committed up to round {self._state.committed} of {self._state.config.rounds}"

    async def _compare_with_alone(self) -> None:
        """Have each worker train by itself and score what it reaches: what federating is worth."""
        self._state.round = None
        self._state.alone = dict.fromkeys(sorted(self._state.roster.workers))
        self._state.note(TrainingAlone, tuple(self._state.alone))
        for register in self._state.roster.workers.values():
            self._context.start_soon(register.actor.tell, alone_request(self._state.config))
        await self._state.until(lambda: None not in self._state.alone.values())
        for worker_id, weights in sorted(self._state.alone.items()):
            assert weights is not None
            question = EvaluateRequest(self._state.run, ALONE_ROUND, weights, alone=worker_id)
            score = await self._ask("evaluator", question)
            self._state.note(AloneEvaluated, worker_id, score.loss, score.accuracy)

    async def _ask(self, role: str, question: Request[R]) -> R:
        """Ask a service; when it is gone, wait for it to come back and ask again.

        Asking twice is safe: what is on disk already is not written again.
        """
        while True:
            actor = await self._service(role)
            try:
                if role == "aggregator" and actor != self._opened_by and not isinstance(question, OpenRun):
                    await actor.ask(
                        self._open_request(self._state.roster.pattern)
                    )  # another one, after a crash
                answer = await actor.ask(question)
                self._opened_by = actor if role == "aggregator" else self._opened_by
                return answer
            except HandlerFailed as failure:
                raise RunFailed(f"the {role} failed: {failure}") from failure
            except Rejected as declined:
                raise RunFailed(f"the {role} declined: {declined}") from declined
            except DeliveryError as error:
                if self._state.roster.strike_service(role, actor):
                    self._state.note(RoleLost, role, str(error))

    async def _service(self, role: str) -> ActorRef:
        seconds = self._state.config.register_seconds
        with trio.move_on_after(seconds):
            await self._state.until(lambda: role in self._state.roster.services)
            return self._state.roster.services[role]
        raise Unreachable(
            f"the {role} is gone, and did not come back within {seconds:g} s; {self._kept()}; start it again"
        )


def train_request(config: ProviderConfig, number: int, weights: Params) -> TrainRequest:
    """Return what workers are asked in a round."""
    return TrainRequest(
        round=number,
        weights=weights,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        mu=config.mu,
        seed=config.seed,
    )


def alone_request(config: ProviderConfig) -> TrainAlone:
    """Return what workers are asked when the rounds are over."""
    return TrainAlone(
        rounds=config.rounds,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        mu=config.mu,
        seed=config.seed,
    )


def _grouped(reasons: dict[str, str]) -> str:
    """Say each reason once: "A, B failed: loss is NaN; C lost: link down"."""
    names: dict[str, list[str]] = {}
    for worker_id, reason in reasons.items():
        names.setdefault(reason, []).append(worker_id)
    return "; ".join(f"{', '.join(who)} {reason}" for reason, who in names.items())
