"""Steps of SGD for many small linear workers at once, in NumPy: the bytes that `SimpleClassifier` gives each.

For a worker of 60 samples most of a step is Python's and NumPy's part of each call. Here one call serves all
workers of a batch; the matrix products stay as small as they are, one for each worker, so that BLAS is asked
for the very products that the loop asks for, and all else goes element by element in the same order. That the
bytes are equal is looked at for every new shape before it is relied on: see `federation.simulation.trainer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federation.simulation.assignment import Assignment
from federation.simulation.data import Samples

Floats = NDArray[np.float32]


class Trained(NamedTuple):
    """What many workers have trained.

    Attributes:
        W: float32 (workers, features, classes).
        b: float32 (workers, classes).
        losses: float64 (workers,): mean over the last epoch, each batch scored before its own step.
        accuracies: float64 (workers,): of the trained model on the worker's samples.
    """

    W: Floats
    b: Floats
    losses: NDArray[np.float64]
    accuracies: NDArray[np.float64]


def train_many(
    parts: Sequence[Samples],
    assignment: Assignment,
    generators: Sequence[np.random.Generator],
    should_stop: Callable[[], bool],
) -> Trained | None:
    """Train workers that have equally many samples, each from the same weights on its own.

    Args:
        parts: Their samples, at least one worker.
        assignment: What to train; its weights are the `W` and `b` of a `SimpleClassifier`.
        generators: One for each, as `worker_generator` makes it.
        should_stop: Asked before every batch.

    Returns:
        What they have trained, which may not be finite; None when `should_stop` said so.
    """
    steps = _Steps(len(parts), len(parts[0].y), assignment)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the caller looks at each worker
        for _ in range(assignment.epochs):
            steps.shuffle(parts, generators)
            for start in range(0, len(parts[0].y), assignment.batch_size):
                if should_stop():
                    return None
                steps.take(start)
        return steps.result(parts)


class _Steps:
    """All buffers of a batch. Arrays lie as in `SimpleClassifier`: (workers, classes, features)."""

    def __init__(self, workers: int, samples: int, assignment: Assignment) -> None:
        W, b = assignment.weights["W"].T, assignment.weights["b"]
        self._batch_size = assignment.batch_size
        self._learning_rate = assignment.learning_rate
        self._pull: tuple[np.float32, Floats, Floats] | None = None
        if assignment.mu > 0:
            strength = assignment.learning_rate * assignment.mu
            part = np.float32(strength)
            self._pull = np.float32(1 - strength), np.ascontiguousarray(part * W), part * b
        self._W = np.repeat(np.ascontiguousarray(W)[None], workers, axis=0)
        self._b = np.repeat(b[None], workers, axis=0)
        self._gradient = np.empty_like(self._W)
        self._X = np.empty((workers, samples, W.shape[1]), np.float32)
        self._y = np.empty((workers, samples), np.int64)
        self._log_of = np.empty((workers, samples), np.float32)
        self._true_logit = np.empty((workers, samples), np.float32)
        self._class_ones = np.ones(len(b), np.float32)
        self._rows = np.arange(workers)[:, None]

    def shuffle(self, parts: Sequence[Samples], generators: Sequence[np.random.Generator]) -> None:
        """Put each worker's samples into the order of its next epoch."""
        for place, (part, generator) in enumerate(zip(parts, generators, strict=True)):
            order = generator.permutation(len(part.y))
            part.X.take(order, axis=0, out=self._X[place], mode="clip")
            part.y.take(order, out=self._y[place], mode="clip")

    def take(self, start: int) -> None:
        """Take the step of the batch that begins with this sample, in place."""
        batch = slice(start, start + self._batch_size)
        X, y = self._X[:, batch], self._y[:, batch]  # (workers, batch, features), (workers, batch)
        count = y.shape[1]
        columns = np.arange(count)[None]
        logits = np.matmul(self._W, X.transpose(0, 2, 1))  # (workers, classes, batch)
        logits += self._b[:, :, None]
        logits -= logits.max(axis=1, keepdims=True)  # so that exp cannot overflow
        self._true_logit[:, batch] = logits[self._rows, y, columns]
        np.exp(logits, logits)
        total = np.matmul(self._class_ones, logits)  # (workers, batch)
        self._log_of[:, batch] = total
        # The gradient of the loss by the logits, times the step: (softmax - one-hot) * rate / count.
        rate = np.float32(self._learning_rate / count)
        logits *= (rate / total)[:, None, :]
        logits[self._rows, y, columns] -= rate
        np.matmul(logits, X, out=self._gradient)
        if self._pull is not None:
            keep, weight_part, bias_part = self._pull
            self._W *= keep
            self._W += weight_part
            self._b *= keep
            self._b += bias_part
        self._W -= self._gradient
        self._b -= np.matmul(logits, np.ones(count, np.float32))

    def result(self, parts: Sequence[Samples]) -> Trained:
        """Return what was trained, scored on each worker's own samples."""
        losses = (np.log(self._log_of) - self._true_logit).mean(axis=1, dtype=np.float64)
        right = np.empty(len(parts), np.float64)
        for place, part in enumerate(parts):
            logits = part.X @ self._W[place].T + self._b[place]
            right[place] = np.count_nonzero(logits.argmax(axis=1) == part.y) / len(part.y)
        return Trained(np.ascontiguousarray(self._W.transpose(0, 2, 1)), self._b, losses, right)
