"""Averaging models: exactly, so that the bytes are the same whatever order they came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ParamsError
from .exact import ExactSum
from .params import Params, check_params


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """What one worker brings to an average.

    Attributes:
        worker_id: Who; each counts once.
        params: Its model after local training.
        samples: How many samples it trained on, at least 1: its weight in the mean.
    """

    worker_id: str
    params: Params
    samples: int


class RunningMean:
    """The weighted mean of models that come one by one: the same bytes in any order, in memory for one.

    Their sum is exact and rounded once, so neither their order nor their number leaves a trace in it.
    """

    def __init__(self) -> None:
        self._first: Params = {}
        self._sums: dict[str, ExactSum] = {}
        self._total = 0

    def add(self, params: Params, samples: int) -> None:
        """Add a model.

        Args:
            params: Of the names and shapes of those before. It is not changed.
            samples: Its weight, at least 1.

        Raises:
            ParamsError: The model does not fit, is not finite, or its weight is none. Nothing has changed.
        """
        check_samples(samples)
        check_params(params, self._first or None)
        self._first = self._first or params
        self.add_checked(params, samples)

    def add_checked(self, params: Params, samples: int) -> None:
        """Add a model that the caller has checked already."""
        if not self._sums:
            self._sums = {name: ExactSum() for name in sorted(params)}
        for name, total in self._sums.items():
            total.add(params[name], int(samples))
        self._total += int(samples)

    def mean(self) -> dict[str, NDArray[np.float64]]:
        """Return the mean so far.

        Raises:
            ParamsError: No model was added.
        """
        if not self._total:
            raise ParamsError("an average of no models; at least one is needed")
        return {name: total.rounded() / float(self._total) for name, total in self._sums.items()}


def weighted_mean(pairs: Iterable[tuple[Params, int]]) -> dict[str, NDArray[np.float32]]:
    """Return the mean of models, each with its weight, rounded once more to float32.

    No element leaves the range of its inputs.

    Raises:
        ParamsError: As `RunningMean`.
    """
    running = RunningMean()
    for params, weight in pairs:
        running.add(params, weight)
    return {name: mean.astype(np.float32) for name, mean in running.mean().items()}


def federated_averaging(
    weighted_models: Iterable[tuple[Params, int]],
) -> dict[str, NDArray[np.float32]]:
    """Return the mean of models weighted by their sample counts (FedAvg; McMahan et al., 2017).

    Args:
        weighted_models: Pairs of (weights, num_samples), in any order. They may come from a generator:
            none is kept.

    Raises:
        ParamsError: It is empty, a count is not a positive whole number, or the models do not fit
            together or are not finite.
    """
    return weighted_mean(weighted_models)


def average_contributions(contributions: Iterable[Contribution]) -> dict[str, NDArray[np.float32]]:
    """Return the mean weighted by samples, of workers each of which is there once.

    Raises:
        ParamsError: As `federated_averaging`; or a worker is there twice.
    """
    return federated_averaging((one.params, one.samples) for one in each_once(contributions))


def each_once(contributions: Iterable[Contribution]) -> Iterator[Contribution]:
    """Yield contributions as they come, each of another worker.

    Raises:
        ParamsError: A worker is there twice; its samples would count double.
    """
    seen: set[str] = set()
    for one in contributions:
        if one.worker_id in seen:
            raise ParamsError(f"worker {one.worker_id!r} contributes twice to one average; once is allowed")
        seen.add(one.worker_id)
        yield one


def check_samples(samples: int) -> None:
    """Check that a model counts by a whole number of samples, at least 1.

    Raises:
        ParamsError: It does not.
    """
    whole = isinstance(samples, int | np.integer) and not isinstance(samples, bool)
    if not whole or samples < 1:
        raise ParamsError(f"num_samples={samples!r}; a model counts by a whole number of samples, at least 1")
