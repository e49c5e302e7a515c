"""Strategies that hold when some workers send nonsense, by mistake or on purpose.

None of them weights by samples: a faulty worker could claim any number of them. All need the models of a
round at once, in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .averaging import Contribution, weighted_mean
from .errors import StrategyError
from .params import Params
from .strategy import Collected, Combining, State

# Models of this many bytes in float64 are sorted at a time; more would leave the processor's cache.
_CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CoordinateMedian(Combining):
    """Every weight is the median of the workers' (Yin et al., 2018, definition 1).

    Of an even number of workers it is the mean of the two in the middle. It holds while less than half of
    the workers are faulty. Where workers have different data it also drops what only a few have learnt.
    """

    fewest: ClassVar[int] = 1  # though it takes three to outvote one

    def start(self, params: Params) -> State:
        """Return a state without memory."""
        return State(params)

    def gather(self, state: State) -> Collected:
        """See `Strategy.gather`."""
        return Collected(state, self.fewest, self._step)

    def _step(self, state: State, ordered: list[Contribution]) -> State:
        return State(_middle_mean(state, ordered, (len(ordered) - 1) // 2))


@dataclass(frozen=True, slots=True)
class TrimmedMean(Combining):
    """Every weight is the mean of the workers' without the extremes (Yin et al., 2018, definition 2).

    Attributes:
        trimmed_share: Share of the workers that is left out at the top, and as many at the bottom: 0 to
            below 0.5. It is the share that may be faulty. Where it is no whole number of workers it is
            rounded up, so that the promise holds for any number of them; SciPy and Flower round down.
    """

    fewest: ClassVar[int] = 1  # though it takes three to trim one
    trimmed_share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.trimmed_share < 0.5:
            raise StrategyError(f"trimmed_share={self.trimmed_share}; 0 to below 0.5 is allowed")

    def start(self, params: Params) -> State:
        """Return a state without memory."""
        return State(params)

    def gather(self, state: State) -> Collected:
        """See `Strategy.gather`."""
        return Collected(state, self.fewest, self._step)

    def _step(self, state: State, ordered: list[Contribution]) -> State:
        # Rounded first: 0.3 * 10 is a little above 3 in binary, and means 3. At most to the median.
        trimmed = math.ceil(round(self.trimmed_share * len(ordered), 9))
        return State(_middle_mean(state, ordered, min(trimmed, (len(ordered) - 1) // 2)))


@dataclass(frozen=True, slots=True)
class Krum(Combining):
    """The model of the one worker that lies closest to its neighbours (Blanchard et al., 2017).

    A worker's score is the sum of the squared distances to its n - byzantine - 2 nearest. The lowest score
    wins; of equal ones the first worker id.

    Attributes:
        byzantine: How many workers may be faulty, at least 0. A round needs 2 * byzantine + 3 of them.
    """

    byzantine: int = 1

    def __post_init__(self) -> None:
        _check_byzantine(self.byzantine)

    @property
    def fewest(self) -> int:
        """As many as the proof asks for: n > 2 * byzantine + 2."""
        return 2 * self.byzantine + 3

    def start(self, params: Params) -> State:
        """Return a state without memory."""
        return State(params)

    def gather(self, state: State) -> Collected:
        """See `Strategy.gather`."""
        return Collected(state, self.fewest, self._step)

    def _step(self, state: State, ordered: list[Contribution]) -> State:
        return State(ordered[_by_score(state, ordered, self.byzantine)[0]].params)


@dataclass(frozen=True, slots=True)
class MultiKrum(Combining):
    """The plain mean of the workers with the best scores of Krum (Blanchard et al., 2017, section 4).

    Flower weights that mean by samples; the paper does not.

    Attributes:
        byzantine: How many workers may be faulty, at least 0. A round needs 2 * byzantine + 3 of them.
        selected: How many to average, at least 1; None for n - byzantine. At most n - byzantine are taken.
    """

    byzantine: int = 1
    selected: int | None = None

    def __post_init__(self) -> None:
        _check_byzantine(self.byzantine)
        if self.selected is not None and self.selected < 1:
            raise StrategyError(f"selected={self.selected}; at least 1 is needed to average")

    @property
    def fewest(self) -> int:
        """As many as the proof asks for: n > 2 * byzantine + 2."""
        return 2 * self.byzantine + 3

    def start(self, params: Params) -> State:
        """Return a state without memory."""
        return State(params)

    def gather(self, state: State) -> Collected:
        """See `Strategy.gather`."""
        return Collected(state, self.fewest, self._step)

    def _step(self, state: State, ordered: list[Contribution]) -> State:
        most = len(ordered) - self.byzantine
        count = most if self.selected is None else min(self.selected, most)
        chosen = sorted(_by_score(state, ordered, self.byzantine)[:count])
        return State(weighted_mean((ordered[index].params, 1) for index in chosen))


def _check_byzantine(byzantine: int) -> None:
    if byzantine < 0:
        raise StrategyError(f"byzantine={byzantine}; a number of workers, at least 0, is allowed")


def _middle_mean(state: State, ordered: list[Contribution], trimmed: int) -> dict[str, NDArray[np.float32]]:
    """Return the mean of each weight over the workers, without the `trimmed` lowest and highest."""
    kept = slice(trimmed, len(ordered) - trimmed)
    columns = max(1, _CHUNK_BYTES // (8 * len(ordered)))
    result = {}
    for name in sorted(state.params):
        flat = [one.params[name].reshape(-1) for one in ordered]
        means = np.empty(flat[0].size, np.float32)
        for start in range(0, means.size, columns):
            part = slice(start, start + columns)
            # (weights, workers): each weight's values side by side, sorted along memory.
            values = np.stack([array[part] for array in flat], axis=1)
            values.sort(axis=1)
            means[part] = values[:, kept].mean(axis=1, dtype=np.float64)
        result[name] = means.reshape(state.params[name].shape)
    return result


def _by_score(state: State, ordered: list[Contribution], byzantine: int) -> list[int]:
    """Return the workers' places from the lowest score of Krum to the highest, equal ones in order."""
    # Seen from the global model the vectors are short, and little is lost when their products cancel.
    vectors = np.stack([_difference(one.params, state.params) for one in ordered])  # (workers, weights)
    products = vectors @ vectors.T
    norms = np.diagonal(products)
    squares = np.maximum(norms[:, None] + norms[None, :] - 2 * products, 0)  # (workers, workers)
    np.fill_diagonal(squares, np.inf)  # nobody is its own neighbour
    nearest = np.sort(squares, axis=1)[:, : len(ordered) - byzantine - 2]
    order: list[int] = np.argsort(nearest.sum(axis=1), kind="stable").tolist()
    return order


def _difference(params: Params, origin: Params) -> NDArray[np.float64]:
    return np.concatenate(
        [np.subtract(params[name], origin[name], dtype=np.float64).reshape(-1) for name in sorted(origin)]
    )
