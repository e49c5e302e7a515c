"""Simulated workers trained by PyTorch: equal to the loop's to within rounding."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import SettingsError
from federation.learning import one_blas_thread
from federation.simulation.assignment import joined
from federation.simulation.data import DrawnShards
from federation.simulation.trainer import Trainer
from tests.extras import need
from tests.federation.test_simulation_training import assignment

need("torch")


@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_what_a_device_trains_is_equal_to_within_rounding(mu: float) -> None:
    """Three epochs of six steps: a few times the distance of two float32 numbers near 1, 1.2e-7."""
    shards = DrawnShards(workers=40, samples=60, feature_count=512, class_count=10, partition="dirichlet")
    wish = assignment(512, 10, epochs=3, mu=mu)

    with one_blas_thread():
        device = joined(Trainer(shards, device="cpu").train(wish, range(40)))
        loop = joined(Trainer(shards, vectorised=False).train(wish, range(40)))

    order = np.argsort(device.places)
    for name, array in loop.weights.items():
        assert np.abs(device.weights[name][order] - array).max() < 2e-6
    assert np.abs(device.losses[order] - loop.losses).max() < 2e-6
    assert np.abs(device.accuracies[order] - loop.accuracies).max() <= 1 / 60  # a tie may fall otherwise


def test_a_device_that_is_not_there_is_said() -> None:
    shards = DrawnShards(workers=2, samples=6, feature_count=4, class_count=3)

    with pytest.raises(SettingsError, match=r"--device cuda:77: PyTorch has no such device here \(.*use cpu"):
        Trainer(shards, device="cuda:77")
