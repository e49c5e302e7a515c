"""The limit of a simulated round: its arithmetic in one plain NumPy loop, the samples in memory, on one core.

No record, no score, no check, and none of our code: what anyone would write first.
"""

from __future__ import annotations

import time

import numpy as np

from federation.learning import one_blas_thread


def updates_a_second(workers: int, samples: int, features: int, classes: int, *, rounds: int) -> float:
    """Return how many workers a second are trained, an epoch each in batches of ten, and averaged."""
    chance = np.random.default_rng(0)
    X = chance.standard_normal((workers, samples, features), dtype=np.float32)
    y = chance.integers(0, classes, (workers, samples))
    W, b = np.zeros((features, classes), np.float32), np.zeros(classes, np.float32)
    seconds = []
    with one_blas_thread():
        for _ in range(rounds):
            began = time.perf_counter()
            W, b = _round(X, y, W, b, chance)
            seconds.append(time.perf_counter() - began)
    return workers / float(np.median(seconds))


def _round(
    X: np.ndarray, y: np.ndarray, W: np.ndarray, b: np.ndarray, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    total, total_bias = np.zeros_like(W), np.zeros_like(b)
    for mine, labels in zip(X, y, strict=True):
        own, own_bias = W.copy(), b.copy()
        order = chance.permutation(len(labels))
        for start in range(0, len(labels), 10):
            batch = order[start : start + 10]
            X_batch = mine[batch]
            logits = X_batch @ own + own_bias
            logits -= logits.max(axis=1, keepdims=True)
            np.exp(logits, logits)
            logits /= logits.sum(axis=1, keepdims=True)
            logits[np.arange(len(batch)), labels[batch]] -= 1
            logits *= np.float32(0.1 / len(batch))
            own -= X_batch.T @ logits
            own_bias -= logits.sum(axis=0)
        total += own
        total_bias += own_bias
    return total / len(X), total_bias / len(X)
