"""`Model`, what a learner must be able to do; and `SimpleClassifier`, the one that comes with the house."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import RegionError, TrainingDiverged, TrainingStopped
from .params import Params, check_params

Features = NDArray[np.float32]  # (samples, features)
Labels = NDArray[np.int64]  # (samples,)


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """How good a model is on some samples.

    Attributes:
        loss: Mean cross-entropy in nats; log(classes) is what guessing gives.
        confusion: int64 (classes, classes): how many samples of the row's class were taken for the
            column's.
    """

    loss: float
    confusion: NDArray[np.int64]

    @property
    def samples(self) -> int:
        """How many samples were scored."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of samples whose class was found, 0 to 1."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def per_class_accuracy(self) -> tuple[float | None, ...]:
        """The same for the samples of each class; None for a class without samples."""
        found, there = np.diagonal(self.confusion), self.confusion.sum(axis=1)
        return tuple(float(f / n) if n else None for f, n in zip(found, there, strict=True))

    def _repr_html_(self) -> str:
        head = "".join(f"<th>taken for {number}</th>" for number in range(len(self.confusion)))
        rows = "".join(
            f"<tr><th>class {number}</th>{''.join(f'<td>{count}</td>' for count in row)}</tr>"
            for number, row in enumerate(self.confusion)
        )
        words = f"accuracy {self.accuracy:.4g}, loss {self.loss:.4g} on {self.samples:,} samples"
        return f'<p>{words}</p><table class="dataframe"><tr><th></th>{head}</tr>{rows}</table>'


class Model(Protocol):
    """What every role asks of a learner. Bring your own: it needs no base class.

    A model is deterministic: the same weights, data, settings and generator give the same bytes.
    """

    def get_weights(self) -> Params:
        """Return a copy of the weights."""
        ...

    def set_weights(self, params: Params) -> None:
        """Take on a copy of these weights.

        Raises:
            ParamsError: They do not fit this model, or are not finite.
        """
        ...

    def fit(
        self,
        X: Features,
        y: Labels,
        *,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        mu: float,
        generator: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> float:
        """Train from the weights as they are, and return the mean loss of the last epoch.

        Called in a thread. `should_stop` is asked between batches, and no more often than that.

        Raises:
            TrainingStopped: `should_stop` said so. The weights are those of the last whole batch.
            TrainingDiverged: The loss or the weights left the finite numbers.
        """
        ...

    def evaluate(self, X: Features, y: Labels) -> Metrics:
        """Score the model on samples, at least one."""
        ...


def never() -> bool:
    """Return False: the `should_stop` of whoever waits for the end."""
    return False


class SimpleClassifier:
    """A linear classifier: softmax(X @ W + b), trained by stochastic gradient descent on cross-entropy.

    With `mu > 0` every gradient gains `mu * (w - w_global)`, which keeps a worker near the weights it was
    given (FedProx; Li et al., 2020, equation 2). All arithmetic is float32. It starts at zero, which for
    a convex loss is as good a start as any and needs no chance.

    Args:
        feature_count: Columns of X, at least 1.
        class_count: Classes, at least 2; labels are 0 to class_count - 1.
    """

    def __init__(self, feature_count: int, class_count: int) -> None:
        if feature_count < 1 or class_count < 2:
            raise ValueError(
                f"a classifier of {feature_count} features and {class_count} classes; "
                f"it needs at least 1 feature and 2 classes"
            )
        self._W = np.zeros((class_count, feature_count), np.float32)  # transposed: see _Step
        self._b = np.zeros(class_count, np.float32)

    @property
    def feature_count(self) -> int:
        """How many columns X must have."""
        return int(self._W.shape[1])

    @property
    def class_count(self) -> int:
        """How many classes it tells apart."""
        return len(self._b)

    def get_weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy: `W` float32 (features, classes) and `b` float32 (classes,)."""
        return {"W": np.array(self._W.T, order="C"), "b": self._b.copy()}

    def set_weights(self, params: Params) -> None:
        """Take on a copy of `W` and `b`.

        Raises:
            ParamsError: Other names, other shapes, or values that are not finite.
        """
        check_params(params, {"W": self._W.T, "b": self._b})
        self._W = np.array(params["W"].T, order="C")
        self._b = params["b"].copy()

    def fit(
        self,
        X: Features,
        y: Labels,
        *,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        generator: np.random.Generator,
        mu: float = 0.0,
        should_stop: Callable[[], bool] = never,
    ) -> float:
        """Train from the weights as they are, which are also FedProx's `w_global`.

        Args:
            X: float32 (samples, features), at least one sample.
            y: int64 (samples,).
            epochs: Passes over all samples, at least 1.
            batch_size: Samples per step, at least 1; the last batch of an epoch may be smaller.
            learning_rate: Step size, above 0.
            generator: Draws the order of the samples, anew in every epoch.
            mu: Weight of the proximal term, at least 0; 0 is plain SGD.
            should_stop: Asked before every batch.

        Returns:
            The mean loss over the last epoch, in nats, each batch scored before its own step.

        Raises:
            RegionError: X and y do not fit this model.
            TrainingStopped: `should_stop` said so. The weights are those of the last whole batch.
            TrainingDiverged: The loss or the weights left the finite numbers.
        """
        if epochs < 1:
            raise ValueError(f"epochs={epochs}; training takes at least 1")
        w_global = self.get_weights()
        loss = 0.0
        for _ in range(epochs):
            loss = self.train_epoch(
                X,
                y,
                batch_size=batch_size,
                learning_rate=learning_rate,
                generator=generator,
                mu=mu,
                w_global=w_global,
                should_stop=should_stop,
            )
        return loss

    def train_epoch(
        self,
        X: Features,
        y: Labels,
        *,
        batch_size: int,
        learning_rate: float,
        generator: np.random.Generator,
        mu: float = 0.0,
        w_global: Params | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> float:
        """Pass once over all samples in an order drawn from `generator`; everything else as in `fit`.

        `w_global` are the weights that FedProx's term pulls to; they are needed when `mu > 0`.
        """
        self._check_data(X, y)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}; a step takes at least 1 sample")
        samples = len(y)
        step = _Step(self._W, self._b, samples, learning_rate, mu, w_global)
        order = generator.permutation(samples)
        batch = np.empty((min(batch_size, samples), self.feature_count), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below, where it can be named
            for start in range(0, samples, batch_size):
                if should_stop():
                    raise TrainingStopped(f"stopped after {start:,} of {samples:,} samples of an epoch")
                rows = order[start : start + batch_size]
                # mode="clip" gathers straight into the buffer; a permutation has nothing to clip.
                X_batch = X.take(rows, axis=0, out=batch[: len(rows)], mode="clip")
                step.take(X_batch, y[rows])
            return self._finite(step.mean_loss(), learning_rate)

    def train_batch(
        self,
        X: Features,
        y: Labels,
        *,
        learning_rate: float,
        mu: float = 0.0,
        w_global: Params | None = None,
    ) -> float:
        """Take one step on all the samples given, and return their mean loss before it; see `fit`."""
        self._check_data(X, y)
        step = _Step(self._W, self._b, len(y), learning_rate, mu, w_global)
        with np.errstate(over="ignore", invalid="ignore"):
            step.take(X, y)
            return self._finite(step.mean_loss(), learning_rate)

    def evaluate(self, X: Features, y: Labels) -> Metrics:
        """Score the model on samples.

        Raises:
            RegionError: X and y do not fit this model, or there are none.
        """
        self._check_data(X, y)
        logits = (X @ self._W.T + self._b).astype(np.float64)  # (samples, classes)
        highest = logits.max(axis=1)
        log_total = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
        loss = float((log_total - logits[np.arange(len(y)), y]).mean())
        cells = y * self.class_count + logits.argmax(axis=1)
        confusion = np.bincount(cells, minlength=self.class_count**2).astype(np.int64)
        return Metrics(loss, confusion.reshape(self.class_count, self.class_count))

    def _check_data(self, X: Features, y: Labels) -> None:
        if X.ndim != 2 or X.shape[1] != self.feature_count or y.shape != X.shape[:1] or not len(y):
            raise RegionError(
                f"X of shape {X.shape} and y of shape {y.shape}; this model takes (samples, "
                f"{self.feature_count}) and (samples,), at least one sample"
            )
        if X.dtype != np.float32 or y.dtype != np.int64:
            raise RegionError(f"X is {X.dtype} and y is {y.dtype}; float32 and int64 are needed")
        if y.min() < 0 or y.max() >= self.class_count:
            raise RegionError(
                f"labels from {y.min()} to {y.max()}; this model knows classes 0 to {self.class_count - 1}"
            )

    def _finite(self, loss: float, learning_rate: float) -> float:
        if not (np.isfinite(loss) and np.isfinite(self._W).all() and np.isfinite(self._b).all()):
            raise TrainingDiverged(
                f"training left the finite numbers (loss {loss}) at learning_rate={learning_rate}; "
                f"use a smaller one, or scale the features to about -1 to 1"
            )
        return loss


class _Step:
    """Steps of SGD on `W` and `b` in place, with every buffer made beforehand.

    On a batch of 32 a call of NumPy costs about as much as its arithmetic. So calls are few, nothing is
    allocated, and all arrays lie by class: (classes, batch) and (classes, features) make both products
    and every reduction run along memory.

    Args:
        W: float32 (classes, features), changed in place.
        b: float32 (classes,), changed in place.
        samples: How many samples the steps will take in all.
    """

    def __init__(
        self,
        W: NDArray[np.float32],
        b: NDArray[np.float32],
        samples: int,
        learning_rate: float,
        mu: float,
        w_global: Params | None,
    ) -> None:
        if not learning_rate > 0 or not mu >= 0:
            raise ValueError(f"learning_rate={learning_rate}, mu={mu}; above 0 and at least 0 are allowed")
        self._W, self._b = W, b
        self._learning_rate = learning_rate
        self._pull = _pull(W, b, learning_rate * mu, w_global) if mu > 0 else None
        self._gradient = np.empty_like(W)
        self._class_ones = np.ones(len(b), np.float32)
        self._log_of = np.empty(samples, np.float32)  # sum of exp(logit) over classes, by sample
        self._true_logit = np.empty(samples, np.float32)
        self._taken = 0
        self._make_room(0)

    def _make_room(self, count: int) -> None:
        """Make the buffers of a batch; done twice in an epoch, since only the last batch is smaller."""
        self._count = count
        self._logits = np.empty((len(self._b), count), np.float32)
        self._batch_ones = np.ones(count, np.float32)
        self._columns = np.arange(count)

    def take(self, X: Features, y: Labels) -> None:
        """Move W and b against the gradient of the mean loss of a batch."""
        count = len(y)
        if count != self._count:
            self._make_room(count)
        done, self._taken = self._taken, self._taken + count
        logits, of_batch = self._logits, slice(done, self._taken)
        np.dot(self._W, X.T, logits)  # (classes, batch)
        logits += self._b[:, None]
        logits -= logits.max(axis=0)  # so that exp cannot overflow
        flat = logits.reshape(-1)  # a view
        true_class = y * count
        true_class += self._columns
        flat.take(true_class, out=self._true_logit[of_batch], mode="clip")
        np.exp(logits, logits)
        total = np.dot(self._class_ones, logits, self._log_of[of_batch])
        # The gradient of the loss by the logits, times the step: (softmax - one-hot) * rate / count.
        rate = np.float32(self._learning_rate / count)
        logits *= rate / total
        flat[true_class] -= rate
        np.dot(logits, X, self._gradient)  # (classes, features)
        if self._pull is not None:
            keep, weight_part, bias_part = self._pull
            self._W *= keep
            self._W += weight_part
            self._b *= keep
            self._b += bias_part
        self._W -= self._gradient
        self._b -= np.dot(logits, self._batch_ones)

    def mean_loss(self) -> float:
        """Return the mean loss of all samples taken, each before the step it took part in.

        It is log(sum(exp(logits))) - logit of the true class, which is finite for all finite logits.
        """
        of_taken = slice(self._taken)
        losses = np.log(self._log_of[of_taken]) - self._true_logit[of_taken]
        return float(losses.mean(dtype=np.float64))


def _pull(
    W: NDArray[np.float32], b: NDArray[np.float32], strength: float, w_global: Params | None
) -> tuple[np.float32, NDArray[np.float32], NDArray[np.float32]]:
    """Split FedProx's step, rate * mu * (w - w_global), into a factor on w and a constant."""
    if w_global is None:
        raise ValueError("mu above 0 without w_global, the weights that the proximal term pulls to")
    check_params(w_global, {"W": W.T, "b": b})
    part = np.float32(strength)
    return np.float32(1 - strength), np.ascontiguousarray(part * w_global["W"].T), part * w_global["b"]
