"""What workers are to train, and what they have trained: frozen values that travel to other processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.learning import Budget, Params


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """Train from these weights; what a request to train says, without being a message.

    Attributes:
        round: Which round, from 1.
        weights: The global model.
        epochs: Passes over the samples, at least 1.
        batch_size: Samples in a step of SGD, at least 1.
        learning_rate: Length of a step, above 0.
        mu: Pull of FedProx, at least 0.
        seed: Of the run; a worker's generator comes from it, its name and the round.
    """

    round: int
    weights: Params
    epochs: int
    batch_size: int
    learning_rate: float
    mu: float
    seed: int

    @property
    def words(self) -> str:
        """What is trained, for an error text."""
        return f"round {self.round}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alone:
    """Train from these weights with the budget of a whole run, and hear of nobody.

    Attributes:
        weights: The model before the first round.
        budget: How much.
    """

    weights: Params
    budget: Budget

    @property
    def words(self) -> str:
        """What is trained, for an error text."""
        return "a run of their own"


Work = Assignment | Alone


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What some workers have trained. Arrays of all of them, so that sending them is a few copies.

    Attributes:
        places: Of the workers that could train.
        weights: Their models, by name: float32 (workers, *shape).
        samples: int64 (workers,): how many samples each has.
        losses: float64 (workers,): mean loss of the last epoch, in nats.
        accuracies: float64 (workers,): of the trained model on the worker's own samples.
        failures: Why others could not, by place, in words.
    """

    places: tuple[int, ...]
    weights: Mapping[str, NDArray[np.float32]]
    samples: NDArray[np.int64]
    losses: NDArray[np.float64]
    accuracies: NDArray[np.float64]
    failures: Mapping[int, str]


def joined(parts: list[Answers]) -> Answers:
    """Return the answers of all parts as one."""
    trained = [part for part in parts if part.places]
    failures = {place: reason for part in parts for place, reason in part.failures.items()}

    def all_of(name: str, dtype: type[Any]) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in trained] or [np.empty(0, dtype)])

    return Answers(
        places=tuple(place for part in trained for place in part.places),
        weights={
            name: np.concatenate([part.weights[name] for part in trained])
            for name in (trained[0].weights if trained else ())
        },
        samples=all_of("samples", np.int64),
        losses=all_of("losses", np.float64),
        accuracies=all_of("accuracies", np.float64),
        failures=failures,
    )
