"""`Services`: how the course of a run asks the Aggregator and the Evaluator, and outlives their crashes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from federation.errors import FederationError, RunFailed, Unreachable
from federation.events import RoleLost, RoundCommitted, RoundEvaluated
from federation.learning import Params
from federation.messages import (
    AggregateRequest,
    Attendance,
    EvaluateRequest,
    FetchUpdate,
    GlobalModelBroadcast,
    ModelUpdate,
    OpenRun,
    Register,
)
from federation.round import bytes_of
from federation.state import RunState
from trioactor import ActorRef, Rejected, Request
from trioactor.actor import Context
from trioactor.errors import DeliveryError, HandlerFailed

R = TypeVar("R")

# Accepted updates go to the Aggregator in one message up to here; of larger ones it fetches one by one.
INLINE_BYTES = 8 * 1024 * 1024


class Services:
    """The Aggregator and the Evaluator, as the course of a run sees them.

    Args:
        state: What is known of the run.
        context: The Provider's, for tasks that send what may have to wait.
        first: The model before the first round.
    """

    def __init__(self, state: RunState, context: Context, first: Params) -> None:
        self._state = state
        self._context = context
        self._first = first
        self._opened_by: ActorRef | None = None  # the Aggregator that has the run open

    def open_request(self, pattern: Register) -> OpenRun:
        """Return what an Aggregator has to know of the run."""
        config = self._state.config
        return OpenRun(
            run=self._state.run,
            settings=json.dumps(config.for_record()),
            seed=config.seed,
            source=pattern.source,
            synthetic=pattern.synthetic,
            first=self._first,
            strategy=config.strategy,
            parameters=config.strategy_parameters,
            staleness_exponent=config.staleness_exponent if config.mode == "buffered" else None,
        )

    async def ask(self, role: str, question: Request[R]) -> R:
        """Ask a service; when it is gone, wait for it to come back and ask again.

        Asking twice is safe: what is on disk already is not written again.

        Raises:
            RunFailed: The service failed, or declined.
            Unreachable: It did not come back in time.
        """
        while True:
            actor = await self._service(role)
            try:
                if role == "aggregator" and actor != self._opened_by and not isinstance(question, OpenRun):
                    # Another one, after a crash.
                    await actor.ask(self.open_request(self._state.roster.pattern))
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

    async def commit(
        self,
        number: int,
        updates: tuple[ModelUpdate, ...],
        attendance: tuple[Attendance, ...],
        asked: int,
        seconds: float,
    ) -> Params:
        """Have updates made the next model and put on disk; tell everyone, and return it.

        At most one model is committed and not scored, so the record never lags by more.

        Args:
            number: Of the round or version, from 1.
            updates: What it is made of, at least one, in the order of their workers' ids.
            attendance: What became of everyone who was asked.
            asked: How many those were.
            seconds: From the question to the last answer.

        Raises:
            FederationError: A model could not be scored, or the Aggregator failed or is gone; see `ask`.
        """
        await self.until(lambda: self._state.scored >= number - 1)
        inline = count_inline(updates)
        request = AggregateRequest(
            run=self._state.run,
            round=number,
            updates=updates[:inline],
            more=tuple(FetchUpdate(self._state.run, one.round, one.worker_id) for one in updates[inline:]),
            attendance=attendance,
            seconds=seconds,
        )
        self._state.outgoing = updates
        aggregated = await self.ask("aggregator", request)
        self._state.outgoing = ()
        self._state.committed, self._state.model_sha256 = number, aggregated.model_sha256
        self._state.note(
            RoundCommitted,
            number,
            tuple(update.worker_id for update in updates),
            asked,
            aggregated.loss,
            aggregated.accuracy,
            aggregated.seconds,
            sum(one.bytes_sent + one.bytes_received for one in attendance),
            aggregated.model_sha256,
        )
        model = GlobalModelBroadcast(number, aggregated.weights, aggregated.model_sha256)
        for register in self._state.roster.workers.values():
            self._context.start_soon(register.actor.tell, model)
        self._context.start_soon(self._evaluate_beside, number, aggregated.weights)
        return aggregated.weights

    async def evaluate(self, number: int, weights: Params) -> None:
        """Have a model scored, and the score put on disk. Raises as `ask` does."""
        score = await self.ask("evaluator", EvaluateRequest(self._state.run, number, weights))
        self._state.note(RoundEvaluated, number, score.loss, score.accuracy)

    async def _evaluate_beside(self, number: int, weights: Params) -> None:
        try:
            await self.evaluate(number, weights)
        except FederationError as error:
            self._state.scoring_failure = error
        else:
            self._state.scored = number
        self._state.stir()

    async def until(self, ready: Callable[[], bool], at: Callable[[], float] | None = None) -> None:
        """Wait for something of a round, but no longer than models can be scored.

        Args:
            ready: Whether it is there; asked now, after every change, and at the time `at()`.
            at: When time alone may make it so; None for never.

        Raises:
            FederationError: A model could not be scored.
        """
        state = self._state
        await state.until(lambda: ready() or state.scoring_failure is not None, at)
        if state.scoring_failure is not None:
            raise state.scoring_failure

    async def _service(self, role: str) -> ActorRef:
        seconds = self._state.config.register_seconds
        with trio.move_on_after(seconds):
            await self._state.until(lambda: role in self._state.roster.services)
            return self._state.roster.services[role]
        raise Unreachable(
            f"the {role} is gone, and did not come back within {seconds:g} s; {self._state.kept}; start it "
            "again"
        )


def count_inline(updates: Sequence[ModelUpdate]) -> int:
    """Return how many of the first updates go together into one message."""
    bytes_so_far = itertools.accumulate(bytes_of(one.weights) for one in updates)
    return sum(1 for _ in itertools.takewhile(lambda total: total <= INLINE_BYTES, bytes_so_far))
