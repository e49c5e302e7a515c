import numpy as np
import pytest

from federation.learning import SimpleClassifier, generator_for, one_blas_thread
from prep import CLASS_NAMES, PatchBank, draw_tile


@pytest.fixture(scope="module")
def bank() -> PatchBank:
    return PatchBank.make()


def test_the_bank_of_a_seed_is_always_the_same(bank: PatchBank) -> None:
    again, other = PatchBank.make(0), PatchBank.make(1)

    assert bank.filters.tobytes() == again.filters.tobytes()
    assert bank.scale.tobytes() == again.scale.tobytes()
    assert bank.filters.tobytes() != other.filters.tobytes()


def test_a_tile_has_512_features_of_one_size(bank: PatchBank) -> None:
    """Mean near 0 and one deviation for all, so that one learning rate suits them."""
    features = np.stack([bank.features(draw_tile(name, n)) for name in CLASS_NAMES for n in range(20)])

    assert features.shape == (200, 512)
    assert features.dtype == np.float32
    assert np.abs(features.mean(axis=0)).max() < 0.1
    assert 0.15 < features.std() < 0.2
    assert 12 < (features.astype(np.float64) ** 2).sum(axis=1).mean() < 18


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_tile_of_one_colour_has_finite_features(bank: PatchBank, level: int) -> None:
    """No filter sees any texture: deviations are 0, and the logarithm must bear it."""
    features = bank.features(np.full((64, 64, 3), level, np.uint8))

    assert np.isfinite(features).all()


def test_a_linear_probe_finds_the_classes(bank: PatchBank) -> None:
    """Neither trivial nor noise, and much better than colours alone."""

    def probe(
        train: np.ndarray[tuple[int, int], np.dtype[np.float32]],
        test: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    ) -> float:
        model = SimpleClassifier(train.shape[1], 10)
        model.fit(train, labels, epochs=60, batch_size=20, learning_rate=0.1, generator=generator_for(0))
        return model.evaluate(test, labels).accuracy

    labels = np.repeat(np.arange(10), 30)
    sets = [[draw_tile(name, n, seed) for name in CLASS_NAMES for n in range(30)] for seed in (1, 2)]
    colours = [
        np.stack([np.hstack([t.mean(axis=(0, 1)), t.std(axis=(0, 1))]) / 64 for t in tiles]).astype(
            np.float32
        )
        for tiles in sets
    ]
    with one_blas_thread():
        by_patches = probe(*[np.stack([bank.features(tile) for tile in tiles]) for tiles in sets])
        by_colour = probe(*colours)

    assert 0.6 < by_patches < 0.95
    assert by_patches > by_colour + 0.1
