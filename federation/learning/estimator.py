"""The house's classifier as an estimator of scikit-learn: in pipelines, grids and reports of that library.

```python
from federation.learning import load_params
from federation.learning.estimator import FederatedClassifier

model = FederatedClassifier.from_params(load_params("workspace/runs/.../model.npz"))
model.predict_proba(X)
```

Nothing else of the house imports this module, so scikit-learn is needed by those who use it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .chance import generator_for
from .errors import MissingExtra, ParamsError
from .model import SimpleClassifier
from .params import Params, check_params, copy_params

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingExtra("scikit-learn", extra="sklearn") from error


class FederatedClassifier(ClassifierMixin, BaseEstimator):
    """softmax(X @ coef_.T + intercept_), trained here by SGD, or elsewhere by a federation.

    Args:
        epochs: Passes over all samples, at least 1.
        batch_size: Samples per step, at least 1.
        learning_rate: Step size, above 0. Features are best scaled to about -1 to 1.
        random_state: An int, a `RandomState` or None, as everywhere in scikit-learn; draws the order of the
            samples.

    Attributes:
        classes_: The labels, (classes,).
        coef_: float32 (classes, features).
        intercept_: float32 (classes,).
        n_features_in_: Features.
    """

    def __init__(
        self,
        *,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    # --- a federation's model ---------------------------------------------------------------

    @classmethod
    def from_params(
        cls, params: Params, class_names: Sequence[Any] | NDArray[Any] = (), **settings: Any
    ) -> Self:
        """Return an estimator that is fitted already, with the weights of a federation.

        Args:
            params: The `W` and `b` of a `SimpleClassifier`.
            class_names: The labels of its classes in order; by default 0, 1, ...
            settings: For further training.

        Raises:
            ParamsError: These are the weights of another model, or there is another number of names.
        """
        check_params(params)
        if params.keys() != {"W", "b"} or params["W"].ndim != 2 or params["b"].shape != params["W"].shape[1:]:
            raise ParamsError("an estimator is made of W (features, classes) and b (classes,) alone")
        estimator = cls(**settings)
        features, classes = params["W"].shape
        names = np.asarray(class_names if len(class_names) else range(classes))
        if len(names) != classes or len(set(names.tolist())) != classes:
            raise ParamsError(f"{len(set(names.tolist()))} class names for a model of {classes} classes")
        estimator.classes_ = names
        estimator.n_features_in_ = features
        return estimator._take(params)

    def to_params(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights as a `SimpleClassifier` takes them."""
        check_is_fitted(self)
        return copy_params({"W": self.coef_.T, "b": self.intercept_})

    # --- scikit-learn's ---------------------------------------------------------------------

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train from zero."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_ = unique_labels(y)
        return self._train(X, y, self.epochs)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Pass once over the samples, from the weights as they are.

        Args:
            X: Samples.
            y: Their labels.
            classes: All labels there will be; needed the first time.
        """
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit")
        X, y = validate_data(self, X, y, dtype=np.float32, reset=first)
        check_classification_targets(y)
        if first:
            self.classes_ = unique_labels(classes)
        return self._train(X, y, 1, None if first else self.to_params())

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class: float64 (samples, classes)."""
        check_is_fitted(self)
        rows: NDArray[np.float32] = validate_data(self, X, dtype=np.float32, reset=False)
        logits = rows.astype(np.float64) @ self.coef_.T + self.intercept_
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the likeliest label of each sample."""
        found = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[found]
        return labels

    def _train(self, X: Any, y: Any, epochs: int, begin: Params | None = None) -> Self:
        if len(self.classes_) < 2:
            raise ValueError(f"all samples are of one class, {self.classes_[0]!r}; at least 2 are needed")
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"labels that are not in classes: {unknown.tolist()}")
        model = SimpleClassifier(X.shape[1], len(self.classes_))
        if begin is not None:
            model.set_weights(begin)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        model.fit(
            X,
            np.searchsorted(self.classes_, y).astype(np.int64),
            epochs=epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            generator=generator_for(seed, "estimator"),
        )
        return self._take(model.get_weights())

    def _take(self, params: Params) -> Self:
        self.coef_ = np.ascontiguousarray(params["W"].T)
        self.intercept_ = np.array(params["b"])
        return self
