"""Small models and what workers say of them."""

from __future__ import annotations

import numpy as np

from federation.learning import Params
from federation.messages import ModelUpdate, TrainRequest


def weights(value: float = 0.0) -> Params:
    return {"W": np.full((3, 2), value, np.float32), "b": np.full(2, value, np.float32)}


def request(number: int = 1) -> TrainRequest:
    return TrainRequest(
        round=number, weights=weights(), epochs=1, batch_size=8, learning_rate=0.1, mu=0.0, seed=0
    )


def update(
    worker_id: str,
    *,
    number: int = 1,
    params: Params | None = None,
    samples: int = 10,
    loss: float = 1.0,
    accuracy: float = 0.5,
) -> ModelUpdate:
    return ModelUpdate(
        round=number,
        worker_id=worker_id,
        weights=weights(1.0) if params is None else params,
        num_samples=samples,
        metrics={"loss": loss, "accuracy": accuracy},
    )
