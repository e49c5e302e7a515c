"""Models of a user's that cannot train: for what becomes of such a worker, and of whoever trains it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from federation.learning import SimpleClassifier

# Names a file with a byte for each death that is still to be died.
DEATHS = "TEST_DEATHS"


class BrokenModel(SimpleClassifier):
    """Raises what nobody foresaw."""

    def fit(self, *data: Any, **how: Any) -> float:
        return 1 / 0


class MortalModel(SimpleClassifier):
    """Takes its process with it, as a model does that needs more memory than there is."""

    def fit(self, *data: Any, **how: Any) -> float:
        deaths = Path(os.environ[DEATHS])
        left = deaths.read_bytes()
        if left:
            deaths.write_bytes(left[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(*data, **how)


class TiredModel(SimpleClassifier):
    """Can be trained nine times, as three workers do in three rounds, and not once more."""

    trainings = 0

    def fit(self, *data: Any, **how: Any) -> float:
        self.trainings += 1
        if self.trainings > 9:
            raise RuntimeError("tired")
        return super().fit(*data, **how)


def tired_model(feature_count: int, class_count: int, _chance: np.random.Generator) -> TiredModel:
    return TiredModel(feature_count, class_count)


def broken_model(feature_count: int, class_count: int, _chance: np.random.Generator) -> BrokenModel:
    return BrokenModel(feature_count, class_count)


def mortal_model(feature_count: int, class_count: int, _chance: np.random.Generator) -> MortalModel:
    return MortalModel(feature_count, class_count)
