"""How a peer stands: what its reporter and its disk are told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from federation.learning import Params
from gossip import Average
from gossip import standing as standing_module
from gossip.learner import distance
from gossip.standing import Standing


def params(*weights: float) -> Params:
    return {"W": np.array(weights, np.float32)}


def average(*weights: float) -> Average:
    return Average(params(*weights), "a" * 64, ("a",), {})


def test_the_distance_is_0_as_long_as_there_is_only_one_model() -> None:
    standing = Standing("a", 10)
    assert standing.delta == 0

    standing.own = params(3, 4)

    assert standing.delta == 0


def test_the_distance_follows_both_models_and_is_measured_once_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told every second, and to all who ask."""
    measured: list[Params] = []

    def counted(measure: Callable[[Params, Params], float]) -> Callable[[Params, Params], float]:
        def count(one: Params, other: Params) -> float:
            measured.append(one)
            return measure(one, other)

        return count

    monkeypatch.setattr(standing_module, "distance", counted(distance))
    standing = Standing("a", 10, own=params(3, 4), average=average(0, 0))

    assert [standing.delta, standing.delta] == [5, 5]
    standing.average = average(3, 0)
    assert [standing.delta, standing.delta] == [4, 4]
    standing.own = params(3, 1)
    assert [standing.delta, standing.delta] == [1, 1]
    assert len(measured) == 3
