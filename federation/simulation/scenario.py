"""What becomes of workers: who is slow, who is lost and comes back, who joins late. Plain rules, no trio.

All of it is drawn from the seed of the run, and none of it depends on what is learnt: two strategies under
the same seed meet the same stragglers and the same losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from federation.learning import generator_for


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a worker that is asked.

    Attributes:
        seconds: After how long it answers, or is lost.
        away_seconds: How long it is away then; None for one that answers.
    """

    seconds: float
    away_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How the workers of a simulation behave, in seconds of virtual time.

    Attributes:
        workers: How many there are.
        seed: What all of it is drawn from.
        worker_seconds: How long a worker usually takes over a round.
        jitter: The deviation of the logarithm of that, from one time to the next.
        stragglers: The part of the workers that is slow, in every round.
        slowdown: How many times as long those take.
        dropouts: The chance that a worker that is asked is lost before it answers.
        away_seconds: How long it is away then, on average; the time is drawn exponentially.
        late_joins: How many workers are not there at the beginning.
        join_seconds: Within which time those join, at even chances.
    """

    workers: int
    seed: int = 0
    worker_seconds: float = 1.0
    jitter: float = 0.0
    stragglers: float = 0.0
    slowdown: float = 10.0
    dropouts: float = 0.0
    away_seconds: float = 30.0
    late_joins: int = 0
    join_seconds: float = 60.0

    def fates(self, number: int, times_asked: int, places: Sequence[int]) -> list[Fate]:
        """Return what becomes of workers that are asked together.

        Args:
            number: The round, or the version, that they are asked for.
            times_asked: How many times somebody has been asked for it before; each time is drawn anew.
            places: Who.
        """
        count = len(places)
        seconds = np.full(count, self.worker_seconds)
        if self.stragglers:
            seconds[self._is_slow[np.asarray(places, np.int64)]] *= self.slowdown
        chance = generator_for(self.seed, "fates", number, times_asked)
        if self.jitter:
            seconds *= np.exp(self.jitter * chance.standard_normal(count))
        if not self.dropouts:
            return [Fate(one) for one in seconds.tolist()]
        lost = chance.random(count) < self.dropouts
        seconds[lost] *= chance.random(count)[lost]  # at any time of its work
        away = chance.exponential(self.away_seconds, count)
        fates = zip(seconds.tolist(), away.tolist(), lost.tolist(), strict=True)
        return [Fate(one, gone if is_lost else None) for one, gone, is_lost in fates]

    def absent(self, now: float) -> NDArray[np.int64]:
        """Return the places, ascending, of those that have not joined yet."""
        if not self.late_joins:
            return np.empty(0, np.int64)
        return np.sort(self._late_places[self._join_seconds > now])

    def next_join(self, now: float) -> float | None:
        """Return when the next of them joins; None when all are there."""
        later = self._join_seconds[self._join_seconds > now] if self.late_joins else ()
        return float(min(later)) if len(later) else None

    @cached_property
    def _is_slow(self) -> NDArray[np.bool_]:
        """(workers,): a byte each."""
        slow: NDArray[np.bool_] = (
            generator_for(self.seed, "stragglers").random(self.workers) < self.stragglers
        )
        return slow

    @cached_property
    def _late_places(self) -> NDArray[np.int64]:
        return generator_for(self.seed, "late").choice(self.workers, self.late_joins, replace=False)

    @cached_property
    def _join_seconds(self) -> NDArray[np.float64]:
        return generator_for(self.seed, "joining").uniform(0.0, self.join_seconds, self.late_joins)
