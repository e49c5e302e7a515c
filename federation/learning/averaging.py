"""Averaging models: exact enough to be the same bytes whatever order they came in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .errors import ParamsError
from .params import Params, check_params


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """What one worker brings to an average.

    Attributes:
        worker_id: Who; it decides the place in the sum, never the weight in it.
        params: Its model after local training.
        samples: How many samples it trained on, at least 1: its weight in the mean.
    """

    worker_id: str
    params: Params
    samples: int


def exact_mean(pairs: Iterable[tuple[Params, float]]) -> dict[str, NDArray[np.float64]]:
    """Return the weighted mean of models in float64, summed in the order given.

    One running sum: memory does not grow with the number of models.

    Args:
        pairs: Models of equal names and shapes, each with a positive, finite weight. Weights need not
            add up to 1.

    Raises:
        ParamsError: Nothing to average, a weight that is not positive and finite, models that differ in
            names or shapes, or values that are not finite.
    """
    first: Params | None = None
    sums: dict[str, NDArray[np.float64]] = {}
    total = 0.0
    for params, weight in pairs:
        if not (math.isfinite(weight) and weight > 0):
            raise ParamsError(f"a weight of {weight} in an average; it must be a positive, finite number")
        check_params(params, first)
        for name, array in params.items():
            part = np.multiply(array, weight, dtype=np.float64)
            if first is None:
                sums[name] = part  # not 0 + part: -0.0 stays itself, and a mean of one is that one
            else:
                sums[name] += part
        first = params if first is None else first
        total += weight
    if first is None:
        raise ParamsError("an average of no models; at least one is needed")
    return {name: sums[name] / total for name in sorted(sums)}


def weighted_mean(pairs: Iterable[tuple[Params, float]]) -> dict[str, NDArray[np.float32]]:
    """Return `exact_mean`, rounded once to float32. No element leaves the range of its inputs."""
    return {name: mean.astype(np.float32) for name, mean in exact_mean(pairs).items()}


def federated_averaging(
    weighted_models: Sequence[tuple[Params, int]],
) -> dict[str, NDArray[np.float32]]:
    """Return the mean of models weighted by their sample counts (FedAvg; McMahan et al., 2017).

    Args:
        weighted_models: Pairs of (weights, num_samples), summed in the order given. Where that order is
            an accident, as when they arrive over a network, use `average_contributions`.

    Raises:
        ParamsError: It is empty, a count is not a positive whole number, or the models do not fit
            together or are not finite.
    """
    for _, num_samples in weighted_models:
        check_samples(num_samples)
    return weighted_mean(weighted_models)


def average_contributions(contributions: Iterable[Contribution]) -> dict[str, NDArray[np.float32]]:
    """Return the mean weighted by samples: the same bytes for the same contributions in any order.

    They are summed in the order of their worker ids.

    Raises:
        ParamsError: As `federated_averaging`; or a worker is there twice.
    """
    ordered = in_worker_order(contributions)
    return federated_averaging([(one.params, one.samples) for one in ordered])


def in_worker_order(contributions: Iterable[Contribution]) -> list[Contribution]:
    """Return contributions sorted by worker id.

    Raises:
        ParamsError: A worker is there twice; its samples would count double.
    """
    ordered = sorted(contributions, key=lambda one: one.worker_id)
    for one, following in pairwise(ordered):
        if one.worker_id == following.worker_id:
            raise ParamsError(f"worker {one.worker_id!r} contributes twice to one average; once is allowed")
    return ordered


def check_samples(samples: int) -> None:
    """Check that a model counts by a whole number of samples, at least 1.

    Raises:
        ParamsError: It does not.
    """
    if isinstance(samples, bool) or not isinstance(samples, int | np.integer) or samples < 1:
        raise ParamsError(f"num_samples={samples!r}; a model counts by a whole number of samples, at least 1")
