"""The rules of buffered mode (FedBuff; Nguyen et al., 2022, algorithm 1). No trio, no clock, no network.

Nobody waits for the slowest: every worker trains from the newest version of the model that was there when
it was asked, and as soon as `size` sound updates are in the buffer they become the next version, however
old the versions are that they were trained from. How much an old one counts is the aggregation's business
(`federation.learning.buffered`).

One rule is ours: a worker trains from each version once. The paper has far more workers than the buffer
has places, and draws one anew for each that has answered. With few workers a quick one would be drawn
again at once, and send the same samples' gradient from the same weights a second time.

What becomes of an update is the same as in a round (`federation.round`), save that there is no "late".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from federation.learning import ParamsError
from federation.messages import Attendance, ModelUpdate, TrainRequest
from federation.round import (
    MAX_NOTES,
    Judgement,
    Verdict,
    bytes_of,
    check_update,
    note_of,
    train_seconds_of,
)
from federation.rules import Rules


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What a worker has in hand.

    Attributes:
        request: What it was asked.
        asked_at: When.
        lost: Why it can no longer be reached; empty while it can.
        expected_until: Until when one that is lost may come back.
    """

    request: TrainRequest
    asked_at: float
    lost: str = ""
    expected_until: float = math.inf


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What goes into one aggregation.

    Attributes:
        number: Of the version that comes out of it, from 1.
        updates: In the order of their workers' ids, then of the versions they were trained from.
        attendance: What became of these and of what else came meanwhile.
        seconds: How long the buffer took to fill.
    """

    number: int
    updates: tuple[ModelUpdate, ...]
    attendance: tuple[Attendance, ...]
    seconds: float


class Buffer:
    """Who trains what, and what is ready to be aggregated.

    Args:
        size: How many updates make a version, at least 1.
        request: What workers are asked from the version that is there.
        now: When.
        rules: Of these, `deadline_seconds` and `return_seconds` count.
    """

    def __init__(self, size: int, request: TrainRequest, now: float, rules: Rules) -> None:
        if size < 1:
            raise ValueError(f"size={size}; a buffer holds at least 1 update")
        self._size = size
        self._request = request
        self._rules = rules
        self._opened_at = now
        self._tasks: dict[str, _Task] = {}
        self._trained: dict[str, int] = {}  # the round that each worker has answered for last
        self._accepted: list[tuple[ModelUpdate, float]] = []  # with the seconds that it took
        self._notes: list[Attendance] = []

    @property
    def number(self) -> int:
        """The number of the version that the buffer is filled for, from 1."""
        return self._request.round

    @property
    def request(self) -> TrainRequest:
        """What workers are asked now."""
        return self._request

    @property
    def asked(self) -> tuple[str, ...]:
        """Who has something in hand, in the order of their ids."""
        return tuple(sorted(self._tasks))

    @property
    def accepted(self) -> int:
        """How many sound updates are in the buffer."""
        return len(self._accepted)

    @property
    def over_at(self) -> float:
        """When the buffer is to be emptied if nothing more comes: infinity when it waits for ever."""
        if self.accepted >= self._size:
            return -math.inf
        open_until = [task.expected_until if task.lost else math.inf for task in self._tasks.values()]
        ends = [max(open_until, default=-math.inf)]
        if self._rules.deadline_seconds is not None:
            ends.append(self._opened_at + self._rules.deadline_seconds)
        return min(ends)

    def over(self, now: float) -> bool:
        """Return whether nothing more is to be waited for."""
        return self.over_at <= now

    def idle(self, present: Iterable[str]) -> tuple[str, ...]:
        """Return those of the workers that are to be asked now."""
        return tuple(
            name
            for name in sorted(present)
            if name not in self._tasks and self._trained.get(name, 0) < self.number
        )

    def ask(self, worker_id: str, now: float) -> TrainRequest:
        """Note that a worker is asked, and return what."""
        self._tasks[worker_id] = _Task(self._request, now)
        return self._request

    def take(self, update: ModelUpdate, now: float) -> Judgement:
        """Judge an update. Only the verdict `ACCEPTED` puts it into the buffer."""
        unasked = self._why_unasked(update)
        if unasked is not None:
            self._note(note_of(update, unasked))
            return unasked
        task = self._done(update.worker_id)
        try:
            check_update(update, task.request)
        except ParamsError as error:
            judgement = Judgement(Verdict.REFUSED, str(error))
            self._note(self._attendance(update, judgement, now - task.asked_at))
            return judgement
        self._accepted.append((update, now - task.asked_at))
        return Judgement(Verdict.ACCEPTED)

    def fail(self, worker_id: str, reason: str, now: float) -> None:
        """A worker said that it could not train. It is asked again from the next version."""
        if worker_id in self._tasks:
            task = self._done(worker_id)
            self._note(_without_update(worker_id, task, Judgement(Verdict.FAILED, reason), now))

    def lose(self, worker_id: str, reason: str, now: float, *, for_good: bool = False) -> None:
        """A worker can no longer be reached; what it has in hand is not yet given up. See `Round.lose`."""
        task = self._tasks.get(worker_id)
        if task is not None:
            until = -math.inf if for_good else now + self._rules.return_seconds
            self._tasks[worker_id] = replace(task, lost=reason, expected_until=until)

    def ask_again(self, worker_id: str, now: float) -> bool:
        """A worker has come back and has nothing in hand any more. Return False: it is `idle` now."""
        task = self._tasks.pop(worker_id, None)
        if task is not None:
            lost = Judgement(Verdict.LOST, task.lost or "it came back with nothing in hand")
            self._note(_without_update(worker_id, task, lost, now))
        return False

    def empty(self, now: float) -> Batch:
        """Take out what makes the next version, the first `size` of what came."""
        for name, task in list(self._tasks.items()):
            if task.lost and task.expected_until <= now:
                del self._tasks[name]
                self._note(_without_update(name, task, Judgement(Verdict.LOST, task.lost), now))
        taken, self._accepted = self._accepted[: self._size], self._accepted[self._size :]
        taken.sort(key=lambda one: (one[0].worker_id, one[0].round))
        notes, self._notes = self._notes, []
        sound = Judgement(Verdict.ACCEPTED)
        return Batch(
            number=self.number,
            updates=tuple(update for update, _ in taken),
            attendance=(*(self._attendance(one, sound, seconds) for one, seconds in taken), *notes),
            seconds=now - self._opened_at,
        )

    def publish(self, request: TrainRequest, now: float) -> None:
        """A new version is there: from now on workers are asked to train from it."""
        self._request = request
        self._opened_at = now

    def _why_unasked(self, update: ModelUpdate) -> Judgement | None:
        task = self._tasks.get(update.worker_id)
        if task is not None and task.request.round == update.round:
            return None
        trained = self._trained.get(update.worker_id)
        if trained is None and task is None:
            return Judgement(Verdict.STRANGER, f"worker {update.worker_id!r} was not asked")
        if trained == update.round:
            return Judgement(Verdict.DUPLICATE, "the first answer of this worker from this version counts")
        return Judgement(Verdict.STALE, f"from version {update.round - 1}, which it was not asked for")

    def _done(self, worker_id: str) -> _Task:
        task = self._tasks.pop(worker_id)
        self._trained[worker_id] = task.request.round
        return task

    def _note(self, note: Attendance) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes.append(note)

    def _attendance(self, update: ModelUpdate, judgement: Judgement, seconds: float) -> Attendance:
        sound = judgement.verdict is Verdict.ACCEPTED
        return Attendance(
            worker_id=update.worker_id,
            outcome=judgement.verdict,
            reason=judgement.reason,
            num_samples=update.num_samples,
            loss=update.metrics["loss"] if sound else None,
            accuracy=update.metrics["accuracy"] if sound else None,
            seconds=seconds,
            bytes_sent=bytes_of(self._request.weights),
            bytes_received=bytes_of(update.weights),
            train_seconds=train_seconds_of(update) if sound else None,
            staleness=self.number - update.round if sound else None,
        )


def _without_update(worker_id: str, task: _Task, judgement: Judgement, now: float) -> Attendance:
    return Attendance(
        worker_id=worker_id,
        outcome=judgement.verdict,
        reason=judgement.reason,
        num_samples=None,
        loss=None,
        accuracy=None,
        seconds=now - task.asked_at,
        bytes_sent=bytes_of(task.request.weights),
        bytes_received=0,
        train_seconds=None,
        staleness=None,
    )
