"""`Provider`: brings the roles together and runs the rounds.

What comes in, registrations, updates, failures, is handled as it comes and only changes what the Provider
knows (`state.py`); the run itself is a background task that waits for such changes (`course.py`). So
nothing in a round, however long, keeps the Provider from answering.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import trio

from federation.config import ProviderConfig
from federation.course import Course, alone_request
from federation.errors import FederationError, run_status_of
from federation.events import (
    Happened,
    RoleJoined,
    RoleLost,
    RunEnded,
    UpdateAccepted,
    UpdateLeftOut,
    WorkerJoined,
    WorkerLost,
)
from federation.messages import (
    ALONE_ROUND,
    CloseRun,
    FetchUpdate,
    Join,
    Leave,
    ModelAlone,
    ModelUpdate,
    Observe,
    Receipt,
    RegionScored,
    Register,
    RunOver,
    StopRun,
    TrainingFailed,
    Welcome,
)
from federation.models import ModelFactory, simple_model
from federation.roster import Misfit
from federation.round import Judgement, Verdict, bytes_of
from federation.state import RunState
from trioactor import Actor, ActorRef, HealthPing, Rejected, Reply
from trioactor.errors import DeliveryError, PeerDown

logger = logging.getLogger(__name__)

# Who holds a worker's name but does not answer within this has gone; the new one takes its place.
NAME_CHECK_SECONDS = 2.0

# How long the end of a run may take to be written down, and the last words to everyone, on links that may
# be dead. Together less than the 2 s that Ctrl-C may take.
CLOSE_SECONDS = 0.6
LAST_WORDS_SECONDS = 0.4


class Provider(Actor):
    """One coordinated run, from the first registration to the last word.

    It ends itself when the run has ended; observers are told how.

    Args:
        config: How much is learnt, and how long to wait.
        run: The name of the run. One that is in the record goes on after its last committed round.
        make_model: Makes the model that a new run begins with.
    """

    def __init__(self, config: ProviderConfig, run: str, make_model: ModelFactory = simple_model) -> None:
        self._state = RunState(config, run)
        self._make_model = make_model
        self._informing = 0  # how many observers are being told
        self._running = trio.CancelScope()
        self._stopped_by = StopRun("")

    async def pre_start(self) -> None:
        """Begin the run."""
        self.context.start_soon(self._conduct)

    async def receive(
        self,
        message: Register
        | Leave
        | Join
        | ModelUpdate
        | FetchUpdate
        | TrainingFailed
        | RegionScored
        | ModelAlone
        | Observe
        | StopRun,
    ) -> Welcome | Receipt | ModelUpdate | None:
        """Handle one message. None of it waits."""
        match message:
            case Register():
                return self._register(message)
            case Leave():
                self._let_go(message)
            case Join():
                return self._join(message)
            case ModelUpdate():
                return self._take(message)
            case FetchUpdate():
                return self._outgoing(message)
            case TrainingFailed():
                self._training_failed(message)
            case RegionScored():
                self._pass_on_score(message)
            case ModelAlone():
                if message.worker_id in self._state.alone:
                    self._state.alone[message.worker_id] = message.weights
            case Observe():
                self._informing += 1
                self.context.start_soon(self._keep_informed, message)
            case StopRun():
                self._stopped_by = message
                self._running.cancel()
        self._state.stir()
        return None

    # --- who is there -----------------------------------------------------------------------

    def _register(self, register: Register) -> Welcome | None:
        try:
            self._state.roster.check(register)
        except Misfit as misfit:
            raise Rejected(str(misfit)) from misfit
        holder = self._state.roster.workers.get(register.worker_id)
        if holder is None or holder.actor == register.actor:
            self._admit(register)
            return Welcome(self._state.run)
        self.context.start_soon(self._settle_name, holder, register, self.context.reply_later())
        return None

    async def _settle_name(self, holder: Register, register: Register, reply: Reply) -> None:
        """Two claim one name: the first keeps it if it still answers."""
        with trio.move_on_after(NAME_CHECK_SECONDS), suppress(DeliveryError):
            await holder.actor.ask(HealthPing())
            reply.fail(
                Rejected(
                    f"worker {register.worker_id} is here already{_from(holder.actor)}; end that one, or "
                    "give this one another region"
                )
            )
            return
        self._admit(register)
        reply.send(Welcome(self._state.run))

    def _admit(self, register: Register) -> None:
        self._state.roster.admit(register)
        self._state.note(WorkerJoined, register.worker_id, register.num_samples, _address(register.actor))
        self.context.start_soon(self._watch_worker, register)
        if self._state.round is not None and self._state.round.ask_again(
            register.worker_id, self._state.now()
        ):
            self.context.start_soon(register.actor.tell, self._state.round.request)
        elif register.worker_id in self._state.alone and self._state.alone[register.worker_id] is None:
            self.context.start_soon(register.actor.tell, alone_request(self._state.config, self._state.first))

    async def _watch_worker(self, register: Register) -> None:
        try:
            async with register.actor.watch():
                await trio.sleep_forever()
        except PeerDown as down:
            self._lose(register, down.reason)

    def _lose(self, register: Register, reason: str) -> None:
        """A worker is gone, by accident: it is expected back for a while."""
        state, now = self._state, self._state.now()
        if not state.roster.strike_worker(register, now + state.config.return_seconds):
            return
        state.note(WorkerLost, register.worker_id, reason, state.config.return_seconds)
        if state.round is not None:
            state.round.lose(register.worker_id, reason, now)
        state.stir()

    def _let_go(self, leave: Leave) -> None:
        """A worker ends, and says so. That it is gone may have been noticed before."""
        state, now = self._state, self._state.now()
        register = state.roster.workers.get(leave.worker_id)
        if register is not None:
            state.roster.strike_worker(register, now)
        elif state.roster.away.pop(leave.worker_id, now) <= now:
            return
        state.note(WorkerLost, leave.worker_id, leave.reason, 0.0)
        if state.round is not None:
            state.round.lose(leave.worker_id, leave.reason, now, for_good=True)

    def _join(self, join: Join) -> Welcome:
        self._state.roster.services[join.role] = join.actor
        self._state.note(RoleJoined, join.role, _address(join.actor))
        self.context.start_soon(self._watch_service, join.role, join.actor)
        return Welcome(self._state.run)

    async def _watch_service(self, role: str, actor: ActorRef) -> None:
        try:
            async with actor.watch():
                await trio.sleep_forever()
        except PeerDown as down:
            if self._state.roster.strike_service(role, actor):
                self._state.note(RoleLost, role, down.reason)

    # --- what workers say -------------------------------------------------------------------

    def _take(self, update: ModelUpdate) -> Receipt:
        if self._state.round is None:
            judgement = Judgement(Verdict.STALE, f"for round {update.round}, while no round is open")
        else:
            judgement = self._state.round.take(update, self._state.now())
        if judgement.verdict is Verdict.ACCEPTED:
            self._state.note(
                UpdateAccepted,
                update.round,
                update.worker_id,
                update.metrics["loss"],
                update.metrics["accuracy"],
                bytes_of(update.weights),
            )
        else:
            self._state.note(
                UpdateLeftOut, update.round, update.worker_id, str(judgement.verdict), judgement.reason
            )
        return Receipt(judgement.verdict, judgement.reason)

    def _outgoing(self, wanted: FetchUpdate) -> ModelUpdate:
        """Hand an accepted update to the Aggregator, which commits the round just now."""
        for update in self._state.outgoing:
            if (update.round, update.worker_id) == (wanted.round, wanted.worker_id):
                return update
        raise Rejected(
            f"no update of worker {wanted.worker_id} for round {wanted.round} is being committed; ask for "
            "those that the last AggregateRequest names"
        )

    def _training_failed(self, failed: TrainingFailed) -> None:
        if failed.round == ALONE_ROUND:
            self._state.alone.pop(failed.worker_id, None)
        elif self._state.round is not None and self._state.round.number == failed.round:
            self._state.round.fail(failed.worker_id, failed.reason, self._state.now())
        self._state.note(UpdateLeftOut, failed.round, failed.worker_id, "failed", failed.reason)

    def _pass_on_score(self, scored: RegionScored) -> None:
        """Have a worker's score of a committed model written down.

        Each once: nothing here waits for the Aggregator, so more of them would pile up while it commits.
        """
        aggregator = self._state.roster.services.get("aggregator")
        if aggregator is None or scored.worker_id not in self._state.roster.workers:
            return
        if self._state.region_scores.get(scored.worker_id, 0) < scored.round <= self._state.committed:
            self._state.region_scores[scored.worker_id] = scored.round
            self.context.start_soon(aggregator.tell, scored)

    # --- the run ----------------------------------------------------------------------------

    async def _conduct(self) -> None:
        status, reason = "finished", ""
        with self._running:
            try:
                await Course(self._state, self.context, self._make_model).run()
            except FederationError as error:
                status, reason = run_status_of(error.exit_status), str(error)
        if self._running.cancelled_caught:
            status, reason = self._stopped_by.status, self._stopped_by.reason
        await self._say_farewell(status, reason)
        self.context.stop()

    async def _say_farewell(self, status: str, reason: str) -> None:
        """Have the end written down, and tell everyone; each within its own time, so none is left out."""
        aggregator = self._state.roster.services.get("aggregator")
        if status != "finished" and aggregator is not None:
            # It may be the very one that failed, or know no run yet.
            with trio.move_on_after(CLOSE_SECONDS), suppress(DeliveryError):
                await aggregator.ask(CloseRun(self._state.run, status, reason))
        self._state.note(RunEnded, status, reason, self._state.model_sha256)
        with trio.move_on_after(LAST_WORDS_SECONDS):
            await self._state.until(lambda: self._informing == 0)
        with trio.move_on_after(LAST_WORDS_SECONDS):
            for actor in list(self._state.roster.everyone()):
                await actor.tell(RunOver(status, reason))

    # --- events and waiting -----------------------------------------------------------------

    async def _keep_informed(self, wish: Observe) -> None:
        """Tell an observer what it wants to know, at its own pace, until the run or it has ended."""
        place, ended = 0, False
        try:
            async with wish.observer.watch():
                while not ended:
                    place, events = self._state.journal.after(place)
                    ended = bool(events) and isinstance(events[-1], RunEnded)
                    wanted = [one for one in events if not wish.only or type(one).__name__ in wish.only]
                    if wanted:
                        await wish.observer.tell(Happened(tuple(wanted)))
                    while not ended and self._state.journal.count == place:
                        await self._state.changed.wait()
        except PeerDown as down:
            logger.info("an observer%s is gone: %s", _from(wish.observer), down.reason)
        finally:
            self._informing -= 1
            self._state.stir()


def _address(actor: ActorRef) -> str:
    return f"{actor.address[0]}:{actor.address[1]}" if actor.address else ""


def _from(actor: ActorRef) -> str:
    return f" from {_address(actor)}" if actor.address else ""
