"""What a strategy is: how the models of a round become the next global model.

A strategy is a frozen object with two pure functions. The same object serves the Aggregator, the peers of
a gossip network and a loop in a notebook, and gives the same bytes in each, whatever order the models
arrive in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .averaging import Contribution, RunningMean, check_samples
from .errors import ParamsError, StrategyError
from .exact import Doubles
from .params import Params, check_params


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where a strategy stands between two rounds: all of it, so a run can go on from a file.

    Attributes:
        params: The global model.
        memory: What else the strategy carries on, like a momentum, by name; each of the model's names and
            shapes, float32. Empty for a strategy without memory.
    """

    params: Params
    memory: Mapping[str, Params] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return all of it as named arrays, "model/W", "v/W" and so on, for a file or a database."""
        parts = {"model": self.params, **self.memory}
        return {f"{part}/{name}": array for part, of in parts.items() for name, array in of.items()}

    @classmethod
    def from_arrays(cls, arrays: Params) -> State:
        """Return the state that `to_arrays` took apart.

        Raises:
            StrategyError: There is no model among the arrays.
        """
        parts: dict[str, dict[str, NDArray[np.float32]]] = {}
        for key, array in arrays.items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = array
        if "model" not in parts:
            raise StrategyError(f"a state of {', '.join(arrays) or 'nothing'}; it must hold model/... arrays")
        return cls(parts.pop("model"), parts)

    def recall(self, name: str) -> Params:
        """Return one part of the memory.

        Raises:
            StrategyError: It is not there: the state was begun by another strategy.
        """
        if name not in self.memory:
            kept = ", ".join(self.memory) or "nothing"
            raise StrategyError(
                f"the state remembers {kept}, not {name}; it was begun by another strategy: start a new run"
            )
        return self.memory[name]


class Strategy(Protocol):
    """How contributions become the next global model."""

    @property
    def fewest(self) -> int:
        """How many contributions a round needs at least for the strategy's promise to hold."""
        ...

    def start(self, params: Params) -> State:
        """Return the state before the first round."""
        ...

    def gather(self, state: State) -> Gathering:
        """Return what takes the contributions to a round one by one.

        Strategies of the mean keep none of them: their memory does not grow with the number of workers.
        """
        ...

    def combine(self, state: State, contributions: Iterable[Contribution]) -> State:
        """Return the state after a round; the same one when nobody contributed.

        Neither the state nor a contribution is changed. The order of the contributions does not matter,
        and they may come from a generator.

        Raises:
            ParamsError: A contribution is not of the model's names and shapes, is not finite, comes from
                a worker that has contributed already, or counts by no samples.
            StrategyError: There are fewer than `fewest`, or the state is another strategy's.
        """
        ...


class Gathering(ABC):
    """What a strategy makes of the contributions to one round, as they come.

    Args:
        state: The state before the round.
        fewest: How many contributions the strategy needs.
    """

    def __init__(self, state: State, fewest: int) -> None:
        self._state = state
        self._fewest = fewest
        self._workers: set[str] = set()

    def add(self, one: Contribution) -> None:
        """Take a contribution, in any order.

        Raises:
            ParamsError: It is not of the model's names and shapes, is not finite, comes from a worker that
                has contributed already, or counts by no samples. It is then left out.
        """
        if one.worker_id in self._workers:
            raise ParamsError(f"worker {one.worker_id!r} contributes twice to one average; once is allowed")
        check_samples(one.samples)
        check_params(one.params, self._state.params)
        self._take(one)
        self._workers.add(one.worker_id)

    def finish(self) -> State:
        """Return the state after the round; the one before it when nobody contributed.

        Raises:
            StrategyError: There are fewer than the strategy needs, or the state is another strategy's.
        """
        count = len(self._workers)
        if not count:
            return self._state
        if count < self._fewest:
            raise StrategyError(
                f"{count} contributions, the strategy needs at least {self._fewest}; "
                f"raise the number of workers a round waits for, or expect fewer of them to be faulty"
            )
        return self._made()

    @abstractmethod
    def _take(self, one: Contribution) -> None:
        """Take a contribution that is sound."""

    @abstractmethod
    def _made(self) -> State:
        """Return the state that enough contributions make."""


class Averaged(Gathering):
    """Needs the mean by samples only, so no contribution is kept.

    Args:
        state: The state before the round.
        fewest: How many contributions the strategy needs.
        step: Returns the state after the round, of the state before it and the mean.
    """

    def __init__(
        self, state: State, fewest: int, step: Callable[[State, Mapping[str, Doubles]], State]
    ) -> None:
        super().__init__(state, fewest)
        self._step = step
        self._running = RunningMean()

    def _take(self, one: Contribution) -> None:
        self._running.add_checked(one.params, one.samples)

    def _made(self) -> State:
        return self._step(self._state, self._running.mean())


class Collected(Gathering):
    """Needs all contributions at once.

    Args:
        state: The state before the round.
        fewest: How many contributions the strategy needs.
        step: Returns the state after the round, of the state before it and the contributions in the order
            of their worker ids.
    """

    def __init__(self, state: State, fewest: int, step: Callable[[State, list[Contribution]], State]) -> None:
        super().__init__(state, fewest)
        self._step = step
        self._contributions: list[Contribution] = []

    def _take(self, one: Contribution) -> None:
        self._contributions.append(one)

    def _made(self) -> State:
        return self._step(self._state, sorted(self._contributions, key=lambda one: one.worker_id))


class Combining(ABC):
    """What all strategies share: to combine contributions is to gather them and finish."""

    __slots__ = ()

    @abstractmethod
    def gather(self, state: State) -> Gathering:
        """See `Strategy.gather`."""

    def combine(self, state: State, contributions: Iterable[Contribution]) -> State:
        """See `Strategy.combine`."""
        gathering = self.gather(state)
        for one in contributions:
            gathering.add(one)
        return gathering.finish()
