"""What the record has of a simulation that goes on, so that nothing is trained a second time.

The world of a simulation is drawn from its seed, so the rounds that are in the record are simply played
again: in the same order the same workers are asked, are slow, lost, late or back, and virtual time comes to
where it was, whatever is under way then. Only two things are not made anew, since they take the time:
training, where the record says that the answer was accepted, and the models, which it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from federation.errors import SettingsError
from federation.learning import State
from federation.messages import Attendance
from federation.offload import Offload
from federation.round import Verdict
from federation.rows import state_after
from federation.simulation.assignment import Alone, Answers, Assignment, Work
from federation.simulation.engine import Engine
from persistence import RoundPersistence, RunRow, UpdateRow


class Past:
    """The committed rounds of a run. All its methods block.

    Args:
        store: The record.
        run: Which run of it; one that begins has no past.

    Attributes:
        committed: The number of the last committed round, 0 when there is none.
    """

    def __init__(self, store: RoundPersistence, run: RunRow) -> None:
        self._store = store
        self._run = run
        self.committed = store.last_committed_round(run.id)
        self._round: tuple[int, tuple[UpdateRow, ...]] = 0, ()  # the one that was read last
        self._by_version: dict[int, dict[str, UpdateRow]] = {}
        if run.mode == "buffered":  # an update may be of an older version than that of its round
            for number in range(1, self.committed + 1):
                for one in self._updates(number):
                    if one.outcome == Verdict.ACCEPTED:
                        self._by_version.setdefault(number - (one.staleness or 0), {})[one.worker] = one

    def seconds(self) -> float:
        """Return how long the rounds before the last one took, in virtual time."""
        return sum(row.seconds for row in self._store.rounds(self._run.id) if row.number < self.committed)

    def trained(self, number: int) -> Mapping[str, UpdateRow]:
        """Return the accepted updates of workers that were asked for this round or version, by worker."""
        if number > self.committed:
            return {}
        if self._run.mode == "buffered":
            return self._by_version.get(number, {})
        return {one.worker: one for one in self._updates(number) if one.outcome == Verdict.ACCEPTED}

    def state_after(self, number: int) -> State:
        """Return what the strategy went on from after a committed round."""
        return state_after(self._store, self._run.id, number)

    def check(self, number: int, attendance: Sequence[Attendance]) -> None:
        """See that a round that was played again has gone as the record has it.

        Raises:
            SettingsError: It has not.
        """
        kept = [(one.worker, one.outcome) for one in self._updates(number)]
        again = [(one.worker_id, str(one.outcome)) for one in attendance]
        if kept != again:
            pairs = zip(kept, again, strict=False)
            (was, found) = next((pair for pair in pairs if pair[0] != pair[1]), (len(kept), len(again)))
            raise SettingsError(
                f"--resume {self._run.name}: round {number} was kept with {was}, and with this data and "
                f"this version it comes out with {found}; give back what the run began with, or start anew"
            )

    def _updates(self, number: int) -> tuple[UpdateRow, ...]:
        if self._round[0] != number:
            self._round = number, self._store.updates_of_round(self._run.id, number)
        return self._round[1]


class RememberingEngine:
    """Has the record answer where it can, and another engine train where not; see `Engine`.

    What it recalls has the figures that the worker gave, and the weights that it was given: its own are in
    the model after the round, which is in the record.

    Args:
        engine: What trains.
        past: What was trained before.
        names: Of the workers, by place.
        offload: Where the record is read.
    """

    def __init__(self, engine: Engine, past: Past, names: Sequence[str], offload: Offload) -> None:
        self._engine = engine
        self._past = past
        self._names = names
        self._offload = offload

    async def train(self, work: Work, places: Sequence[int]) -> list[Answers]:
        """See `Engine`."""
        if isinstance(work, Alone) or work.round > self._past.committed:
            return await self._engine.train(work, places)
        trained = await self._offload(lambda _: self._past.trained(work.round))
        known = [place for place in places if self._names[place] in trained]
        new = [place for place in places if self._names[place] not in trained]
        answers = await self._engine.train(work, new) if new else []
        return [*answers, _recalled(work, known, [trained[self._names[place]] for place in known])]


def _recalled(work: Assignment, places: Sequence[int], rows: Sequence[UpdateRow]) -> Answers:
    count = len(places)
    return Answers(
        places=tuple(places),
        weights={name: np.broadcast_to(array, (count, *array.shape)) for name, array in work.weights.items()},
        samples=np.array([one.samples for one in rows], np.int64),
        losses=np.array([one.loss for one in rows], np.float64),
        accuracies=np.array([one.accuracy for one in rows], np.float64),
        failures={},
    )
