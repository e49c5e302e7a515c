import numpy as np
import pytest

from federation.learning import generator_for
from prep import SHIFTS, PrepError, Shift

X = generator_for(0, "features").normal(2, 3, (50, 20)).astype(np.float32)


@pytest.mark.parametrize("name", SHIFTS)
def test_strength_zero_changes_nothing(name: str) -> None:
    shifted = Shift(name, 0).apply(X, generator_for(0))

    assert shifted.tobytes() == X.tobytes()
    assert shifted is not X


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_is_that_of_its_seed_and_leaves_its_input_alone(name: str) -> None:
    before = X.copy()

    shifted = Shift(name, 0.5).apply(X, generator_for(1))

    assert shifted.tobytes() == Shift(name, 0.5).apply(X, generator_for(1)).tobytes()
    assert (before == X).all()
    assert shifted.shape == X.shape
    assert shifted.dtype == np.float32


@pytest.mark.parametrize("name", SHIFTS)
def test_more_strength_shifts_farther(name: str) -> None:
    def distance(strength: float) -> float:
        return float(np.abs(Shift(name, strength).apply(X, generator_for(1)) - X).mean())

    assert 0 < distance(0.2) < distance(0.5) < distance(1)


@pytest.mark.parametrize("name", SHIFTS)
def test_a_shift_has_the_scale_of_the_features(name: str) -> None:
    """Features a thousand times larger are shifted a thousand times farther."""
    small = Shift(name, 0.5).apply(X, generator_for(1))
    large = Shift(name, 0.5).apply(X * 1000, generator_for(1))

    np.testing.assert_allclose(large, small * 1000, rtol=1e-4, atol=1e-2)


def test_haze_takes_contrast_and_adds_noise() -> None:
    flat = np.full((40, 5), 3, np.float32)
    flat[0] = 9  # so that there is a deviation

    shifted = Shift("haze", 1).apply(flat, generator_for(0))

    assert shifted[1:].std(axis=0).min() > 0, "rows that were equal are no longer"


def test_colour_is_one_and_the_same_for_every_sample() -> None:
    same = np.repeat(X[:1], 10, axis=0)

    shifted = Shift("colour", 1).apply(same, generator_for(0))

    assert (shifted == shifted[0]).all()
    assert np.abs(shifted - same).max() > 1


def test_contrast_keeps_the_mean_and_halves_the_deviation() -> None:
    shifted = Shift("contrast", 1).apply(X, generator_for(0))

    np.testing.assert_allclose(shifted.mean(axis=0), X.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(shifted.std(axis=0), X.std(axis=0) / 2, rtol=1e-4)


def test_a_shift_says_what_it_is() -> None:
    assert str(Shift("haze", 0.5)) == "haze 0.5"


@pytest.mark.parametrize(
    ("name", "strength", "words"),
    [
        ("fog", 0.5, "no shift is named 'fog'; there are haze, colour, contrast, noise"),
        ("haze", 1.5, r"haze of strength 1\.5; 0 to 1 are allowed"),
        ("haze", -0.1, "0 to 1 are allowed"),
        ("haze", float("nan"), "0 to 1 are allowed"),
    ],
)
def test_a_shift_that_does_not_exist_is_refused(name: str, strength: float, words: str) -> None:
    with pytest.raises(PrepError, match=words):
        Shift(name, strength)
