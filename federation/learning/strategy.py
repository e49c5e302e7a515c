"""What a strategy is: how the models of a round become the next global model.

A strategy is a frozen object with two pure functions. The same object serves the Aggregator, the peers of
a gossip network and a loop in a notebook, and gives the same bytes in each, whatever order the models
arrive in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .averaging import Contribution, check_samples, in_worker_order
from .errors import StrategyError
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

    def combine(self, state: State, contributions: Iterable[Contribution]) -> State:
        """Return the state after a round; the same one when nobody contributed.

        Neither the state nor a contribution is changed. The order of the contributions does not matter.

        Raises:
            ParamsError: A contribution is not of the model's names and shapes, is not finite, comes from
                a worker that has contributed already, or counts by no samples.
            StrategyError: There are fewer than `fewest`, or the state is another strategy's.
        """
        ...


def checked(state: State, contributions: Iterable[Contribution], fewest: int) -> list[Contribution]:
    """Return contributions in the order of their worker ids, each one checked against the model.

    Raises:
        ParamsError, StrategyError: As `Strategy.combine`.
    """
    ordered = in_worker_order(contributions)
    for one in ordered:
        check_samples(one.samples)
        check_params(one.params, state.params)
    if 0 < len(ordered) < fewest:
        raise StrategyError(
            f"{len(ordered)} contributions, the strategy needs at least {fewest}; "
            f"raise the number of workers a round waits for, or expect fewer of them to be faulty"
        )
    return ordered
