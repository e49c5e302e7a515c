"""What updates from older versions of the model count for (FedBuff; Nguyen et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .averaging import Contribution
from .errors import StrategyError
from .params import Params, check_params
from .strategy import State, Strategy


@dataclass(frozen=True, slots=True, eq=False)
class StaleUpdate:
    """A model that a worker has trained from some version of the global one.

    Attributes:
        worker_id: Who trained.
        params: Its model.
        base: The number of the version that it was trained from.
    """

    worker_id: str
    params: Params
    base: int


def staleness_factor(staleness: int, exponent: float) -> float:
    """Return what an update counts for: 1 / (1 + staleness) ** exponent, as in section 5 of the paper.

    Args:
        staleness: How many versions came out since the one it was trained from, at least 0.
        exponent: How fast it falls, at least 0; the paper uses 0.5, and 0 counts all alike.
    """
    return float((1 + staleness) ** -exponent)


class GatheringStale:
    """What a strategy makes of one buffer full of updates, as they come.

    What a worker has changed, delta = its model - the version it began with, is scaled by
    `staleness_factor` and added to the model of now; the strategy combines the results as it would the
    models of a round. With `FedAvg` that is the paper's algorithm 1: w <- w + rate * mean(s * delta), each
    update counting alike.

    Args:
        strategy: How models become the next one.
        state: Whose model is version `version`.
        version: The number of the version that is there.
        params_of: Returns the model of an older version.
        exponent: See `staleness_factor`.
    """

    def __init__(
        self,
        strategy: Strategy,
        state: State,
        *,
        version: int,
        params_of: Callable[[int], Params],
        exponent: float,
    ) -> None:
        self._state = state
        self._version = version
        self._params_of = params_of
        self._exponent = exponent
        self._gathering = strategy.gather(state)

    def add(self, one: StaleUpdate) -> None:
        """Take an update, in any order; a worker may have several, each from another version.

        Raises:
            ParamsError: It does not fit the model, or is not finite.
            StrategyError: It is from a version that is yet to come.
        """
        staleness = self._version - one.base
        if staleness < 0:
            raise StrategyError(
                f"an update from version {one.base}, while version {self._version} is the newest"
            )
        check_params(one.params, self._state.params)
        name = f"{one.worker_id}\n{one.base}"  # sorts like the ids, and no id has such a line in it
        moved = one.params
        if staleness:
            factor = staleness_factor(staleness, self._exponent)
            moved = _moved(self._state.params, self._params_of(one.base), one.params, factor)
        self._gathering.add(Contribution(name, moved, 1))

    def finish(self) -> State:
        """Return the state after the buffer.

        Raises:
            StrategyError: There are too few updates for the strategy.
        """
        return self._gathering.finish()


def combine_buffered(
    strategy: Strategy,
    state: State,
    updates: Iterable[StaleUpdate],
    *,
    version: int,
    params_of: Callable[[int], Params],
    exponent: float,
) -> State:
    """Return the state after one buffer full of updates; see `GatheringStale`.

    Raises:
        ParamsError: An update does not fit the model, or is not finite.
        StrategyError: There are too few for the strategy, or one is from a version that is yet to come.
    """
    gathering = GatheringStale(strategy, state, version=version, params_of=params_of, exponent=exponent)
    for one in updates:
        gathering.add(one)
    return gathering.finish()


def _moved(now: Params, base: Params, trained: Params, factor: float) -> dict[str, NDArray[np.float32]]:
    return {
        name: (
            array.astype(np.float64)
            + factor * (trained[name].astype(np.float64) - base[name].astype(np.float64))
        ).astype(np.float32)
        for name, array in now.items()
    }
