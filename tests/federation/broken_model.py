"""A model of a user's that cannot train: for what becomes of such a worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from federation.learning import SimpleClassifier


class BrokenModel(SimpleClassifier):
    """Raises what nobody foresaw."""

    def fit(self, *data: Any, **how: Any) -> float:
        return 1 / 0


def broken_model(feature_count: int, class_count: int, _chance: np.random.Generator) -> BrokenModel:
    return BrokenModel(feature_count, class_count)
