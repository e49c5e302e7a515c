"""`RunView`: what is happening in a run, reduced from its events. Frozen, no I/O, no clock.

Every picture of a run, the live table, plain lines, the summary, is a rendering of a `RunView`, and
the same events always give the same view. All times are those of the events, in seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from federation.events import (
    AloneEvaluated,
    Event,
    RoleJoined,
    RoleLost,
    RoundCommitted,
    RoundEvaluated,
    RoundStarted,
    RunBegun,
    RunEnded,
    RunPlanned,
    TrainingAlone,
    UpdateAccepted,
    UpdateLeftOut,
    WorkerJoined,
    WorkerLost,
)

# Of these a run has one each; whoever else there is, is a worker.
SINGLE_ROLES = ("provider", "aggregator", "evaluator")

# Notices are rare and short. Whoever needs more of them reads the record.
MAX_NOTICES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessChanged:
    """A role's process has started or ended, as the launcher sees it. Not a message: it stays there.

    Attributes:
        at_seconds: When.
        role: "provider", "aggregator", "evaluator", or a worker's name.
        state: "starting", "restarting", "ended".
        reason: How it ended, in words; empty where there is nothing to tell.
    """

    at_seconds: float
    role: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleView:
    """Provider, Aggregator or Evaluator.

    Attributes:
        state: "starting", "ready", "scoring", "lost", "ended".
        since_seconds: Since when.
    """

    state: str
    since_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker.

    Attributes:
        state: "starting", "ready", "training", "answered", "alone", "lost", "restarting" (its process has
            crashed, and another is on its way), "ended", or what became of its last update when that was
            not accepted: "refused", "failed", "late".
        since_seconds: Since when.
        num_samples: How many samples it trains on, 0 before it has registered.
        loss: Its last accepted training loss.
        accuracy: Its last accepted training accuracy.
        bytes_received: Bytes of weights that it has sent in all.
    """

    state: str
    since_seconds: float
    num_samples: int = 0
    loss: float | None = None
    accuracy: float | None = None
    bytes_received: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundView:
    """One round.

    Attributes:
        number: Which, from 1.
        asked: Who was asked.
        answered: Whose update was accepted so far.
        started_seconds: When the workers were asked.
        seconds: From the question to the workers to the average; None until it is committed.
        train_loss: Mean training loss; None until it is committed.
        train_accuracy: The same for the training accuracy.
        loss: On the evaluation region; None until it is scored.
        accuracy: The same for the accuracy.
        bytes: Bytes of weights sent to and received from the workers.
        ended_seconds: When it was scored, and with that over; None until then.
    """

    number: int
    asked: tuple[str, ...]
    started_seconds: float
    answered: tuple[str, ...] = ()
    seconds: float | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    bytes: int = 0
    ended_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that a person wants to know at once: a worker that was lost, say."""

    at_seconds: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as it stands.

    Attributes:
        run: Its name, empty before the Provider has spoken.
        rounds_planned: How many rounds it will have.
        min_workers: How many workers it waits for.
        source: Where the data comes from; empty until the run has begun.
        synthetic: Whether the data was made by a program.
        roles: Provider, Aggregator and Evaluator by name.
        workers: By worker id.
        rounds: The rounds that have started, in order, without gaps.
        finished_count: How many of them are over: committed and scored.
        alone: What each worker reaches alone on the evaluation region: its accuracy.
        notices: What happened beside the rounds, in words, the last `MAX_NOTICES` of it.
        notice_count: How many notices there were in all.
        status: "waiting", "running", "alone" (for comparison), or as in `RunEnded`.
        reason: Why it ended so.
        model_sha256: Fingerprint of the last committed model.
        first_round: The round that it began with; above 1 when it goes on after a stop.
        started_seconds: When the run began.
        ended_seconds: When it ended.
    """

    run: str = ""
    rounds_planned: int = 0
    min_workers: int = 0
    source: str = ""
    synthetic: bool = False
    roles: Mapping[str, RoleView] = field(default_factory=dict)
    workers: Mapping[str, WorkerView] = field(default_factory=dict)
    rounds: tuple[RoundView, ...] = ()
    finished_count: int = 0
    alone: Mapping[str, float] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    notice_count: int = 0
    status: str = "waiting"
    reason: str = ""
    model_sha256: str = ""
    first_round: int = 1
    started_seconds: float | None = None
    ended_seconds: float | None = None

    @property
    def ended(self) -> bool:
        """Whether no event follows."""
        return self.ended_seconds is not None

    @property
    def accuracy(self) -> float | None:
        """The accuracy of the last scored global model on the evaluation region."""
        return self.rounds[self.finished_count - 1].accuracy if self.finished_count else None


# A worker in one of these states takes no part at present.
GONE = ("lost", "restarting", "ended")


def reduce(view: RunView, event: Event | ProcessChanged) -> RunView:
    """Return the view after one more event."""
    match event:
        case ProcessChanged():
            return _process_changed(view, event)
        case RunPlanned():
            # Also the first word of a Provider that has come back: it waits for everyone anew.
            view = replace(view, run=event.run, rounds_planned=event.rounds, min_workers=event.min_workers)
            view = replace(view, status="waiting")
            return _with_role(view, "provider", "ready", event.at_seconds)
        case RoleJoined():
            return _with_role(view, event.role, "ready", event.at_seconds)
        case RoleLost():
            view = _with_role(view, event.role, "lost", event.at_seconds)
            return _with_notice(view, event.at_seconds, f"{event.role} lost: {event.reason}")
        case WorkerJoined():
            return _worker_joined(view, event)
        case WorkerLost():
            return _worker_lost(view, event)
        case RunBegun():
            return _run_begun(view, event)
        case RoundStarted():
            return _round_started(view, event)
        case UpdateAccepted():
            return _update_accepted(view, event)
        case UpdateLeftOut():
            return _update_left_out(view, event)
        case RoundCommitted():
            return _round_committed(view, event)
        case RoundEvaluated():
            return _round_evaluated(view, event)
        case TrainingAlone():
            for worker_id in event.asked:
                view = _with_worker(view, worker_id, event.at_seconds, "alone")
            return replace(view, status="alone")
        case AloneEvaluated():
            view = _with_worker(view, event.worker_id, event.at_seconds, "ready")
            return replace(view, alone={**view.alone, event.worker_id: event.accuracy})
        case RunEnded():
            return replace(
                view,
                status=event.status,
                reason=event.reason,
                model_sha256=event.model_sha256 or view.model_sha256,
                ended_seconds=event.at_seconds,
            )


# --- who is there ---------------------------------------------------------------------------


def _process_changed(view: RunView, event: ProcessChanged) -> RunView:
    single = event.role in SINGLE_ROLES
    if single:
        view = _with_role(view, event.role, event.state, event.at_seconds)
    else:
        view = _with_worker(view, event.role, event.at_seconds, event.state)
    if not event.reason:
        return view
    who = f"the {event.role}" if single else f"worker {event.role}"
    again = "; it is started again" if event.state == "restarting" else ""
    return _with_notice(view, event.at_seconds, f"the process of {who} has ended: {event.reason}{again}")


def _worker_joined(view: RunView, event: WorkerJoined) -> RunView:
    before = view.workers.get(event.worker_id)
    view = _with_worker(view, event.worker_id, event.at_seconds, "ready", num_samples=event.num_samples)
    if view.status == "waiting" or before is None:
        return view
    return _with_notice(view, event.at_seconds, f"worker {event.worker_id} is back")


def _worker_lost(view: RunView, event: WorkerLost) -> RunView:
    before = view.workers.get(event.worker_id)
    ended = before is not None and before.state in ("restarting", "ended")
    if not ended:  # that its process has ended says more
        view = _with_worker(view, event.worker_id, event.at_seconds, "lost")
    if view.status != "running":
        return view
    reason = "" if ended else f" ({event.reason})"
    text = f"worker {event.worker_id} is lost{reason}; it is expected back for {event.expected_seconds:g} s"
    if not event.expected_seconds:
        others = [name for name, worker in view.workers.items() if worker.state not in GONE]
        goes_on = f"the run goes on with {', '.join(sorted(others))}" if others else "no worker is left"
        text = f"worker {event.worker_id} has left{reason}; {goes_on}"
    return _with_notice(view, event.at_seconds, text)


# --- the rounds -----------------------------------------------------------------------------


def _run_begun(view: RunView, event: RunBegun) -> RunView:
    seen = event.from_round - view.first_round  # rounds of this run that a Provider before this one led
    if not view.rounds or seen < 0:
        view = replace(
            view, first_round=event.from_round, rounds=(), finished_count=0, started_seconds=event.at_seconds
        )
    else:  # a round that had begun, and was not committed, begins again
        view = replace(view, rounds=view.rounds[:seen], finished_count=min(view.finished_count, seen))
    view = replace(view, status="running", source=event.source, synthetic=event.synthetic)
    if event.from_round == 1:
        return view
    return _with_notice(view, event.at_seconds, f"the run goes on with round {event.from_round}")


def _round_started(view: RunView, event: RoundStarted) -> RunView:
    started = RoundView(number=event.round, asked=event.asked, started_seconds=event.at_seconds)
    for worker_id in event.asked:
        view = _with_worker(view, worker_id, event.at_seconds, "training")
    return replace(view, rounds=(*view.rounds, started))


def _update_accepted(view: RunView, event: UpdateAccepted) -> RunView:
    before = view.workers.get(event.worker_id)
    view = _with_worker(
        view,
        event.worker_id,
        event.at_seconds,
        "answered",
        loss=event.loss,
        accuracy=event.accuracy,
        bytes_received=(before.bytes_received if before else 0) + event.bytes_received,
    )
    return _with_round(view, event.round, lambda one: replace(one, answered=(*one.answered, event.worker_id)))


def _update_left_out(view: RunView, event: UpdateLeftOut) -> RunView:
    if event.verdict in ("refused", "failed", "late"):
        view = _with_worker(view, event.worker_id, event.at_seconds, event.verdict)
    when = f"round {event.round}" if event.round else "alone"
    text = f"{when}: the update of worker {event.worker_id} is {event.verdict}: {event.reason}"
    if event.verdict == "failed":
        text = f"{when}: worker {event.worker_id} could not train: {event.reason}"
    return _with_notice(view, event.at_seconds, text)


def _round_committed(view: RunView, event: RoundCommitted) -> RunView:
    view = _with_role(view, "aggregator", "ready", event.at_seconds)
    view = _with_role(view, "evaluator", "scoring", event.at_seconds)
    view = replace(view, model_sha256=event.model_sha256)
    return _with_round(
        view,
        event.round,
        lambda one: replace(
            one,
            answered=event.accepted,
            train_loss=event.loss,
            train_accuracy=event.accuracy,
            seconds=event.seconds,
            bytes=event.bytes,
        ),
    )


def _round_evaluated(view: RunView, event: RoundEvaluated) -> RunView:
    view = _with_role(view, "evaluator", "ready", event.at_seconds)
    view = _with_round(
        view,
        event.round,
        lambda one: replace(one, loss=event.loss, accuracy=event.accuracy, ended_seconds=event.at_seconds),
    )
    finished = min(max(0, event.round - view.first_round + 1), len(view.rounds))
    return replace(view, finished_count=finished)


# --- small changes --------------------------------------------------------------------------


def _with_role(view: RunView, role: str, state: str, at_seconds: float) -> RunView:
    return replace(view, roles={**view.roles, role: RoleView(state=state, since_seconds=at_seconds)})


def _with_worker(view: RunView, worker_id: str, at_seconds: float, state: str, **changes: Any) -> RunView:
    before = view.workers.get(worker_id, WorkerView(state=state, since_seconds=at_seconds))
    after = replace(before, state=state, since_seconds=at_seconds, **changes)
    return replace(view, workers=dict(sorted({**view.workers, worker_id: after}.items())))


def _with_round(view: RunView, number: int, change: Callable[[RoundView], RoundView]) -> RunView:
    place = number - view.first_round
    if not 0 <= place < len(view.rounds):  # scored when a run goes on, committed before it was stopped
        return view
    return replace(view, rounds=(*view.rounds[:place], change(view.rounds[place]), *view.rounds[place + 1 :]))


def _with_notice(view: RunView, at_seconds: float, text: str) -> RunView:
    notices = (*view.notices, Notice(at_seconds=at_seconds, text=text))[-MAX_NOTICES:]
    return replace(view, notices=notices, notice_count=view.notice_count + 1)
