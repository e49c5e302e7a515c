"""The rules of one round: who counts, and when it is over. No trio, no clock, no network.

A round is over as soon as one of these holds:

- everyone who was asked has answered, or can no longer be expected to: a worker whose connection broke is
  expected back for a while, since a supervisor starts it again and its answer will be the same bytes;
- a quorum of sound answers is there, and the time of grace for the others has passed;
- the deadline has come.

It has *succeeded* when enough sound answers are there: the quorum, or one.

Everyone who is asked is in one of these states, and leaves "asked" only once, except that a worker that
was lost and comes back while the round is open is asked again:

    asked -> accepted | refused | failed | lost (-> asked) | late

| what comes | what becomes of it |
| --- | --- |
| the first sound update of an asked worker | accepted: part of the average |
| one of a wrong shape, with NaN or infinity | refused, and with it the worker's part in this round |
| a second answer | duplicate: the first one counts |
| one after the round closed | late: never averaged |
| one of another round | stale: never averaged; the worker is still asked |
| one of somebody who was not asked | stranger: never averaged |
| "I could not train" | failed |
| the connection is gone | lost, and expected back for `return_seconds` |
| the worker says that it leaves | lost, and not expected |

What was not asked for (duplicates, strangers, updates of another round, late ones) is noted beside the
parts, so that the record tells of it.

Every method takes the time, in seconds of any clock that only moves on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from federation.learning import Params, ParamsError, check_params
from federation.messages import Attendance, ModelUpdate, TrainRequest
from federation.rules import WAIT_FOR_EVERYONE, Rules

# A peer that floods us with updates nobody asked for shall not fill the memory: the first ones tell enough.
MAX_NOTES = 200


class Verdict(StrEnum):
    """What became of an update, or of a worker's part in the round."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"
    LOST = "lost"
    LATE = "late"
    DUPLICATE = "duplicate"
    STALE = "stale"
    STRANGER = "stranger"
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and its reason in words, empty when there is nothing to explain."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One worker's part in the round so far.

    Attributes:
        update: The accepted one.
        num_samples: Of its update, accepted or refused: the refused one itself is let go.
        bytes_received: Of the weights in it.
    """

    asked_at: float
    verdict: Verdict = Verdict.ASKED
    reason: str = ""
    update: ModelUpdate | None = None
    num_samples: int | None = None
    bytes_received: int = 0
    ended_at: float | None = None
    expected_until: float = -math.inf
    times_asked: int = 1


class Round:
    """One round, from the question to the last answer.

    It does not average, does not wait and does not send: it is told what comes, and says what counts.

    Args:
        request: What the workers are asked. Updates must have the names and shapes of its weights.
        workers: Who is asked, at least one.
        now: When.
        rules: When it is over.
        away: Until when those of the workers are expected back who cannot be reached now.
    """

    def __init__(
        self,
        request: TrainRequest,
        workers: Iterable[str],
        now: float,
        rules: Rules = WAIT_FOR_EVERYONE,
        away: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._request = request
        self._parts = {worker_id: _Part(now) for worker_id in sorted(workers)}
        if not self._parts:
            raise ValueError("a round without workers; ask at least one")
        for worker_id, expected_until in away.items():
            self._parts[worker_id] = replace(
                self._parts[worker_id],
                verdict=Verdict.LOST,
                reason="it was away when the round began",
                expected_until=expected_until,
                times_asked=0,
            )
        self._rules = rules
        # Counted as they change: a simulated round has thousands of parts, and asks after each answer.
        self._waiting_count = sum(part.verdict is Verdict.ASKED for part in self._parts.values())
        self._accepted_count = 0
        self._started_at = now
        self._quorum_at: float | None = None
        self._closed_at: float | None = None
        self._notes: list[Attendance] = []

    @property
    def request(self) -> TrainRequest:
        """What the workers are asked."""
        return self._request

    @property
    def number(self) -> int:
        """Which round this is, from 1."""
        return self._request.round

    @property
    def asked(self) -> tuple[str, ...]:
        """Everyone who takes part, in the order of their ids."""
        return tuple(self._parts)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Who has been asked and neither answered nor been lost."""
        return tuple(name for name, part in self._parts.items() if part.verdict is Verdict.ASKED)

    @property
    def updates(self) -> tuple[ModelUpdate, ...]:
        """The accepted updates in the order of their workers' ids, whatever order they came in."""
        return tuple(part.update for part in self._parts.values() if part.update is not None)

    @property
    def succeeded(self) -> bool:
        """Whether enough sound answers are there."""
        return self._accepted_count >= self._rules.needed

    @property
    def over_at(self) -> float:
        """The time at which the round is over when nothing more comes: infinity when it waits for ever."""
        ends = [self._everyone_done_at()]
        if self._quorum_at is not None:
            ends.append(self._quorum_at + self._rules.grace(self._quorum_at - self._started_at))
        if self._rules.deadline_seconds is not None:
            ends.append(self._started_at + self._rules.deadline_seconds)
        return min(ends)

    def over(self, now: float) -> bool:
        """Return whether nothing more is to be waited for."""
        return self._closed_at is not None or self.over_at <= now

    def _everyone_done_at(self) -> float:
        if self._waiting_count:
            return math.inf
        return max(
            (part.expected_until for part in self._parts.values() if part.verdict is Verdict.LOST),
            default=-math.inf,
        )

    def take(self, update: ModelUpdate, now: float) -> Judgement:
        """Judge an update. Only the verdict `ACCEPTED` makes it part of the average."""
        unasked = self._why_unasked(update, now)
        if unasked is not None:
            self._note(update, unasked)
            return unasked
        part = replace(
            self._parts[update.worker_id],
            num_samples=update.num_samples,
            bytes_received=bytes_of(update.weights),
        )
        self._parts[update.worker_id] = part
        try:
            check_update(update, self._request)
        except ParamsError as error:
            return self._end(update.worker_id, Judgement(Verdict.REFUSED, str(error)), now)
        self._parts[update.worker_id] = replace(part, update=update)
        judgement = self._end(update.worker_id, Judgement(Verdict.ACCEPTED), now)
        self._accepted_count += 1
        if self._quorum_at is None and self._accepted_count == self._rules.quorum:
            self._quorum_at = now
        return judgement

    def fail(self, worker_id: str, reason: str, now: float) -> None:
        """A worker said that it could not train. Without effect unless it is waited for."""
        self._end_if_waiting(worker_id, Judgement(Verdict.FAILED, reason), now)

    def lose(self, worker_id: str, reason: str, now: float, *, for_good: bool = False) -> None:
        """A worker can no longer be reached. Without effect when it has answered or was not asked.

        Args:
            worker_id: Which.
            reason: Why, in words.
            now: When.
            for_good: Whether it has said that it leaves, and so is not expected back.
        """
        part = self._parts.get(worker_id)
        if part is None or part.verdict not in (Verdict.ASKED, Verdict.LOST):
            return
        expected_until = -math.inf if for_good else now + self._rules.return_seconds
        self._end(worker_id, Judgement(Verdict.LOST, reason), now)
        self._parts[worker_id] = replace(self._parts[worker_id], expected_until=expected_until)

    def ask_again(self, worker_id: str, now: float) -> bool:
        """A worker has come back: return whether it is to be asked once more.

        It is when its answer is still missing and the round is open, whether or not its loss has been
        noticed.
        """
        part = self._parts.get(worker_id)
        if self._closed_at is not None or part is None or part.verdict not in (Verdict.LOST, Verdict.ASKED):
            return False
        self._parts[worker_id] = _Part(now, times_asked=part.times_asked + 1)
        self._waiting_count += part.verdict is not Verdict.ASKED
        return True

    def close(self, now: float) -> None:
        """End the round. Whoever has not answered is late from now on."""
        for worker_id in self.waiting:
            self._end(worker_id, Judgement(Verdict.LATE, "no answer when the round was closed"), now)
        self._closed_at = now

    def seconds(self, now: float) -> float:
        """Return how long the round has been open, or was."""
        return (now if self._closed_at is None else self._closed_at) - self._started_at

    def attendance(self, now: float) -> tuple[Attendance, ...]:
        """Return what became of everyone who was asked, by their ids, then of what nobody had asked for."""
        return tuple(self._attendance_of(name, part, now) for name, part in self._parts.items()) + tuple(
            self._notes
        )

    def _attendance_of(self, worker_id: str, part: _Part, now: float) -> Attendance:
        update = part.update
        return Attendance(
            worker_id=worker_id,
            outcome=part.verdict,
            reason=part.reason,
            num_samples=part.num_samples,
            loss=update.metrics["loss"] if update else None,
            accuracy=update.metrics["accuracy"] if update else None,
            seconds=(now if part.ended_at is None else part.ended_at) - part.asked_at,
            bytes_sent=part.times_asked * bytes_of(self._request.weights),
            bytes_received=part.bytes_received,
            train_seconds=train_seconds_of(update) if update else None,
            staleness=0 if update else None,
        )

    def _why_unasked(self, update: ModelUpdate, now: float) -> Judgement | None:
        if update.round != self.number:
            return Judgement(Verdict.STALE, f"for round {update.round}, while round {self.number} is open")
        part = self._parts.get(update.worker_id)
        if part is None:
            return Judgement(Verdict.STRANGER, f"worker {update.worker_id!r} was not asked in this round")
        if part.verdict in (Verdict.ACCEPTED, Verdict.REFUSED, Verdict.FAILED):
            return Judgement(Verdict.DUPLICATE, "the first answer of this worker in this round counts")
        if self._closed_at is not None:
            return Judgement(Verdict.LATE, f"{now - self._closed_at:.1f} s after the round was closed")
        return None

    def _note(self, update: ModelUpdate, judgement: Judgement) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes.append(note_of(update, judgement))

    def _end_if_waiting(self, worker_id: str, judgement: Judgement, now: float) -> None:
        part = self._parts.get(worker_id)
        if part is not None and part.verdict is Verdict.ASKED:
            self._end(worker_id, judgement, now)

    def _end(self, worker_id: str, judgement: Judgement, now: float) -> Judgement:
        self._waiting_count -= self._parts[worker_id].verdict is Verdict.ASKED
        self._parts[worker_id] = replace(
            self._parts[worker_id], verdict=judgement.verdict, reason=judgement.reason, ended_at=now
        )
        return judgement


def bytes_of(weights: Params) -> int:
    """Return how many bytes the arrays take, on the wire as in memory."""
    return sum(array.nbytes for array in weights.values())


def train_seconds_of(update: ModelUpdate) -> float | None:
    """Return how long the worker says that it trained, when that can be meant."""
    seconds = update.metrics.get("seconds")
    return seconds if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None


def note_of(update: ModelUpdate, judgement: Judgement) -> Attendance:
    """Return what the record keeps of an update that nobody had asked for."""
    return Attendance(
        worker_id=update.worker_id,
        outcome=judgement.verdict,
        reason=judgement.reason,
        num_samples=update.num_samples,
        loss=None,
        accuracy=None,
        seconds=None,
        bytes_sent=0,
        bytes_received=bytes_of(update.weights),
        train_seconds=None,
        staleness=None,
    )


def check_update(update: ModelUpdate, request: TrainRequest) -> None:
    """Check that an update can be averaged.

    Raises:
        ParamsError: Its arrays are not those of the model, or not finite, or it does not say how well
            the training went.
    """
    check_params(update.weights, request.weights)
    missing = {"loss", "accuracy"} - update.metrics.keys()
    if missing:
        raise ParamsError(f"metrics without {' and '.join(sorted(missing))}; both are needed for the record")
    if not math.isfinite(update.metrics["loss"]):
        raise ParamsError(f"a loss of {update.metrics['loss']}; it must be a finite number")
    if not 0 <= update.metrics["accuracy"] <= 1:
        raise ParamsError(f"an accuracy of {update.metrics['accuracy']}; a share lies between 0 and 1")
