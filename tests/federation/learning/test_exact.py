"""Sums without error: whatever the order, rounded once."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from federation.learning import Contribution, FedAdam, FedAvg, RunningMean, model_sha256
from federation.learning.exact import ExactSum

# Of every size, so that what is added cancels and leaves what is far below.
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
terms = st.lists(st.tuples(numbers, st.integers(1, 2**63)), min_size=1, max_size=30)


def summed(pairs: list[tuple[float, int]]) -> float:
    total = ExactSum()
    for value, times in pairs:
        total.add(np.array([value], np.float32), times)
    return float(total.rounded()[0])


@given(terms)
def test_a_sum_is_rounded_once(pairs: list[tuple[float, int]]) -> None:
    assert summed(pairs) == float(sum(Fraction(value) * times for value, times in pairs))


@given(terms, st.randoms(use_true_random=False))
def test_a_sum_does_not_depend_on_the_order(pairs: list[tuple[float, int]], chance: Any) -> None:
    assert summed(chance.sample(pairs, len(pairs))) == summed(pairs)


@pytest.mark.parametrize("least", [2.0**-120, -(2.0**-120)])
def test_a_tie_goes_where_the_least_bit_says(least: float) -> None:
    """1 and half a unit in the last place: to the even 1, unless something below pulls upwards."""
    pairs = [(1.0, 1), (2.0**-53, 1), (least, 1)]

    assert summed(pairs) == (1.0 if least < 0 else 1.0 + 2.0**-52)


def test_arrays_longer_than_what_is_worked_on_at_a_time_are_summed_alike() -> None:
    chance = np.random.default_rng(0)
    arrays = [(chance.normal(size=(3, 7_001)) * 10.0 ** chance.integers(-30, 30)) for _ in range(5)]
    total = ExactSum()
    for array in arrays:
        total.add(array.astype(np.float32), 3)

    rounded = total.rounded()

    assert rounded.shape == (3, 7_001)
    for place in np.ndindex(3, 7_001):
        if place[1] % 1_000 < 3:
            exact = sum(3 * Fraction(float(np.float32(array[place]))) for array in arrays)
            assert rounded[place] == float(exact)


def test_minus_zero_alone_stays_itself() -> None:
    assert np.signbit(summed([(-0.0, 5)]))


@pytest.mark.parametrize("times", [0, -1])
def test_what_is_to_be_added_not_even_once_is_refused(times: int) -> None:
    with pytest.raises(ValueError, match=f"added {times} times; at least 1 is needed"):
        ExactSum().add(np.ones(1, np.float32), times)


def test_a_sum_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="a sum of nothing"):
        ExactSum().rounded()


def models(count: int) -> Any:
    for number in range(count):
        params: dict[str, NDArray[np.float32]] = {"W": np.full(100_000, 0.1 * number, np.float32)}
        yield Contribution(f"worker-{number}", params, number + 1)


@pytest.mark.parametrize("strategy", [FedAvg(), FedAdam()], ids=repr)
def test_memory_does_not_grow_with_the_number_of_workers(strategy: FedAvg | FedAdam) -> None:
    def peak_bytes(count: int) -> int:
        state = strategy.start({"W": np.zeros(100_000, np.float32)})
        tracemalloc.start()
        strategy.combine(state, models(count))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(100) < peak_bytes(10) + 1_000_000, "one model more is 400,000 bytes"


def test_what_was_refused_leaves_a_mean_as_it_was() -> None:
    running = RunningMean()
    running.add({"w": np.ones(2, np.float32)}, 3)
    with pytest.raises(ValueError, match="NaN"):
        running.add({"w": np.array([1, np.nan], np.float32)}, 1)

    rounded = {name: array.astype(np.float32) for name, array in running.mean().items()}
    assert model_sha256(rounded) == model_sha256({"w": np.ones(2, np.float32)})
