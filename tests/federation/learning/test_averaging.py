from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from federation.learning import (
    Contribution,
    ParamsError,
    average_contributions,
    federated_averaging,
    model_sha256,
)

values = st.floats(-1e6, 1e6, width=32)
counts = st.integers(1, 10_000)


@st.composite
def contributions(draw: st.DrawFn) -> list[Contribution]:
    """Some workers with models of one shape."""
    shape = draw(st.sampled_from([(1,), (5,), (3, 4)]))
    names = draw(st.lists(st.text("abcxyz", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
    arrays = hnp.arrays(np.float32, shape, elements=values)
    return [Contribution(name, {"W": draw(arrays), "b": draw(arrays)}, draw(counts)) for name in names]


@given(contributions(), st.randoms(use_true_random=False))
def test_the_mean_has_the_same_bytes_whatever_the_order(given_: list[Contribution], chance: Any) -> None:
    shuffled = chance.sample(given_, len(given_))

    assert model_sha256(average_contributions(shuffled)) == model_sha256(average_contributions(given_))


@given(contributions())
def test_the_mean_lies_within_its_inputs(given_: list[Contribution]) -> None:
    mean = average_contributions(given_)

    for name in ("W", "b"):
        stack = np.stack([one.params[name] for one in given_])
        assert (mean[name] >= stack.min(axis=0)).all()
        assert (mean[name] <= stack.max(axis=0)).all()


@given(contributions(), st.sampled_from([2, 8, 1024]))
def test_only_the_proportions_of_the_samples_count(given_: list[Contribution], factor: int) -> None:
    """To the byte for powers of two, which multiply without rounding."""
    more = [Contribution(one.worker_id, one.params, one.samples * factor) for one in given_]

    assert model_sha256(average_contributions(more)) == model_sha256(average_contributions(given_))


@given(contributions())
def test_equal_models_average_to_themselves(given_: list[Contribution]) -> None:
    same = [Contribution(one.worker_id, given_[0].params, one.samples) for one in given_]

    assert model_sha256(average_contributions(same)) == model_sha256(given_[0].params)


def test_the_mean_is_that_of_exact_arithmetic() -> None:
    """Twenty-four bits cannot hold the sum; float64 can, and one rounding gives the right answer."""
    big, small = np.array([2.0**24], np.float32), np.array([1.0], np.float32)

    mean = federated_averaging([({"w": big}, 1), ({"w": small}, 1), ({"w": small}, 1), ({"w": small}, 1)])

    assert mean["w"].tolist() == [4_194_305.0], "(2**24 + 3) / 4, rounded once; float32 sums give ...304"
    assert mean["w"].dtype == np.float32


def test_a_model_counts_by_its_samples() -> None:
    mean = federated_averaging([({"w": array(0.0, 4.0)}, 1), ({"w": array(4.0, 0.0)}, 3)])

    assert mean["w"].tolist() == [3.0, 1.0]


def test_what_goes_in_is_not_changed() -> None:
    first = array(1.0)

    federated_averaging([({"w": first}, 1), ({"w": array(3.0)}, 1)])

    assert first.tolist() == [1.0]


def array(*numbers: float) -> NDArray[np.float32]:
    return np.array(numbers, np.float32)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "an average of no models; at least one is needed"),
        ([({}, 1)], "without a single array"),
        ([({"w": array(1)}, 0)], "num_samples=0; a model counts by a whole number of samples, at least 1"),
        ([({"w": array(1)}, -3)], "num_samples=-3"),
        ([({"w": array(1)}, 2.5)], r"num_samples=2\.5"),
        ([({"w": array(1)}, True)], "num_samples=True"),
        ([({"w": array(1)}, 1), ({"w": array(1, 2)}, 1)], r"'w' has shape \(2,\), the model's has \(1,\)"),
        ([({"w": array(1)}, 1), ({"v": array(1)}, 1)], "weights named v, the model's are w"),
        ([({"w": array(np.nan)}, 1)], "NaN or infinity in 1 of 1"),
        ([({"w": array(1)}, 1), ({"w": array(np.inf)}, 1)], "NaN or infinity"),
    ],
)
def test_what_cannot_be_averaged_is_refused(pairs: Sequence[Any], words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        federated_averaging(pairs)


def test_a_refusal_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no models"):
        average_contributions([])


def test_a_worker_cannot_count_twice() -> None:
    with pytest.raises(ParamsError, match="worker 'A' contributes twice"):
        average_contributions([Contribution("A", {"w": array(1)}, 1), Contribution("A", {"w": array(2)}, 1)])
