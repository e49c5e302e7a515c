"""`Crowd`: which of very many workers are there at a time, without a list of those that are. No trio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federation.sampling import draw_places
from federation.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Away:
    """A worker that was lost.

    Attributes:
        back_at: When it comes back.
        expected_until: Until when it still counts as one that takes part.
    """

    back_at: float
    expected_until: float


class Crowd:
    """Who takes part: who is there, or was lost and is expected back; as the Provider's roster has it.

    It keeps who is not there, so its memory does not grow with those who are.

    Args:
        scenario: Who joins when.
        return_seconds: How long a lost worker is expected back.
    """

    def __init__(self, scenario: Scenario, return_seconds: float) -> None:
        self._scenario = scenario
        self._return_seconds = return_seconds
        self._away: dict[int, Away] = {}

    def lose(self, place: int, now: float, away_seconds: float) -> Away:
        """Note that a worker is lost for a while; return until when."""
        away = Away(now + away_seconds, now + self._return_seconds)
        self._away[place] = away
        return away

    def away(self, place: int, now: float) -> Away | None:
        """Return until when a worker is away; None for one that is there."""
        away = self._away.get(place)
        return away if away is not None and away.back_at > now else None

    def count(self, now: float) -> int:
        """Return how many take part."""
        return self._scenario.workers - len(self._absent(now))

    def draw(self, now: float, *, fraction: float, least: int, seed: int, number: int) -> list[int]:
        """Return the places of those that are asked in a round, ascending: as `draw_workers` draws."""
        absent = self._absent(now)
        count = self._scenario.workers - len(absent)
        drawn = draw_places(count, fraction=fraction, least=least, seed=seed, round_number=number)
        return _present(absent, drawn)

    def present(self, now: float) -> list[int]:
        """Return the places of all that are there now, ascending."""
        gone = [place for place, away in self._away.items() if away.back_at > now]
        absent = self._with_late(gone, now)
        return _present(absent, range(self._scenario.workers - len(absent)))

    def next_change(self, now: float) -> float | None:
        """Return when the next worker joins or comes back; None when nobody will."""
        later = [away.back_at for away in self._away.values() if away.back_at > now]
        join = self._scenario.next_join(now)
        return min([*later, *([] if join is None else [join])], default=None)

    def _absent(self, now: float) -> NDArray[np.int64]:
        """Return the places, ascending, of those that take no part."""
        self._away = {place: away for place, away in self._away.items() if away.back_at > now}
        gone = [place for place, away in self._away.items() if away.expected_until <= now]
        return self._with_late(gone, now)

    def _with_late(self, gone: list[int], now: float) -> NDArray[np.int64]:
        """Return these places, ascending, with those that have not joined yet: whom nobody could lose."""
        return np.sort(np.concatenate([self._scenario.absent(now), np.array(gone, np.int64)]))


def _present(absent: NDArray[np.int64], ranks: Sequence[int]) -> list[int]:
    """Return the places of the workers that are the first, second, ... (by rank, from 0) of those present."""
    if not len(absent):
        return list(ranks)
    present_before = absent - np.arange(len(absent))  # how many are present before each that is not
    chosen = np.asarray(ranks, np.int64)
    places: list[int] = (chosen + np.searchsorted(present_before, chosen, side="right")).tolist()
    return places
