from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from federation.learning import (
    Metrics,
    Model,
    ParamsError,
    RegionError,
    SimpleClassifier,
    TrainingDiverged,
    TrainingStopped,
    generator_for,
    model_sha256,
    worker_generator,
)


def samples(
    count: int = 60, features: int = 5, classes: int = 3, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Blobs, one per class, that a linear model can tell apart."""
    chance = generator_for(seed, "blobs")
    y = chance.integers(0, classes, count)
    X = chance.normal(size=(count, features)) + 3 * np.eye(classes, features)[y]
    return X.astype(np.float32), y.astype(np.int64)


def random_weights(features: int, classes: int, seed: int) -> dict[str, NDArray[np.float32]]:
    chance = generator_for(seed, "weights")
    return {
        "W": chance.normal(size=(features, classes)).astype(np.float32),
        "b": chance.normal(size=classes).astype(np.float32),
    }


def reference_loss(
    w: NDArray[np.float64],
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    mu: float,
    w_global: NDArray[np.float64],
) -> float:
    """The formula of the papers in float64: mean cross-entropy and FedProx's term."""
    features = X.shape[1]
    logits = X.astype(np.float64) @ w[:features] + w[features]
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(y)), y].mean() + mu / 2 * ((w - w_global) ** 2).sum())


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1, 2.0]), st.integers(1, 9), st.integers(2, 5))
@settings(max_examples=30)
def test_a_step_follows_the_gradient(seed: int, mu: float, count: int, classes: int) -> None:
    """What one step changes, over the learning rate, is the loss's slope by finite differences."""
    X, y = samples(count, 4, classes, seed)
    model = SimpleClassifier(4, classes)
    start, w_global = random_weights(4, classes, seed), random_weights(4, classes, seed + 1)
    model.set_weights(start)

    model.train_batch(X, y, learning_rate=1.0, mu=mu, w_global=w_global)

    end = model.get_weights()
    stepped = np.vstack([start["W"] - end["W"], start["b"] - end["b"]])
    w = np.vstack([start["W"], start["b"]]).astype(np.float64)
    anchor = np.vstack([w_global["W"], w_global["b"]]).astype(np.float64)
    slope = np.zeros_like(w)
    for index in np.ndindex(w.shape):
        nudge = np.zeros_like(w)
        nudge[index] = 1e-5
        slope[index] = (
            reference_loss(w + nudge, X, y, mu, anchor) - reference_loss(w - nudge, X, y, mu, anchor)
        ) / 2e-5
    np.testing.assert_allclose(stepped, slope, atol=2e-5)


def test_the_loss_of_a_batch_is_that_before_its_step() -> None:
    X, y = samples()
    model = SimpleClassifier(5, 3)

    assert model.train_batch(X, y, learning_rate=0.1) == pytest.approx(np.log(3), abs=1e-6)
    assert model.train_batch(X, y, learning_rate=0.1) < np.log(3)


def test_large_logits_have_a_finite_loss() -> None:
    """The true class at e^-2000 of the total: its loss is 2,000, not infinity."""
    model = SimpleClassifier(1, 2)
    model.set_weights({"W": np.array([[1000, -1000]], np.float32), "b": np.zeros(2, np.float32)})
    X, y = np.ones((1, 1), np.float32), np.array([1])

    assert model.evaluate(X, y).loss == 2000
    assert model.train_batch(X, y, learning_rate=0.1) == 2000


def test_training_learns() -> None:
    X, y = samples(300)
    model = SimpleClassifier(5, 3)

    loss = model.fit(X, y, epochs=20, batch_size=32, learning_rate=0.1, generator=generator_for(0))

    assert loss < 0.2
    assert model.evaluate(*samples(300, seed=1)).accuracy > 0.93


def test_the_same_seed_trains_the_same_bytes() -> None:
    X, y = samples()

    def trained(seed: int) -> str:
        model = SimpleClassifier(5, 3)
        chance = worker_generator(seed, "A", 1)
        model.fit(X, y, epochs=2, batch_size=7, learning_rate=0.1, mu=0.01, generator=chance)
        return model_sha256(model.get_weights())

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_an_epoch_is_its_batches_one_by_one() -> None:
    """Also with a last batch that is smaller."""
    X, y = samples(10)
    by_epoch, by_batch = SimpleClassifier(5, 3), SimpleClassifier(5, 3)

    by_epoch.train_epoch(X, y, batch_size=4, learning_rate=0.1, generator=generator_for(3))
    order = generator_for(3).permutation(10)
    for rows in (order[:4], order[4:8], order[8:]):
        by_batch.train_batch(X[rows], y[rows], learning_rate=0.1)

    assert model_sha256(by_epoch.get_weights()) == model_sha256(by_batch.get_weights())


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    X, y = samples(10)
    one, other = SimpleClassifier(5, 3), SimpleClassifier(5, 3)

    one.fit(X, y, epochs=1, batch_size=10, learning_rate=0.1, generator=generator_for(0))
    other.fit(X, y, epochs=1, batch_size=9999, learning_rate=0.1, generator=generator_for(0))

    assert model_sha256(one.get_weights()) == model_sha256(other.get_weights())


def test_a_large_mu_keeps_a_worker_near_the_global_model() -> None:
    X, y = samples()

    def distance(mu: float) -> float:
        model = SimpleClassifier(5, 3)
        model.fit(X, y, epochs=20, batch_size=8, learning_rate=0.1, mu=mu, generator=generator_for(0))
        return float(np.linalg.norm(model.get_weights()["W"]))

    assert distance(5.0) < distance(0.5) < distance(0.0)


@dataclass
class StopAfter:
    """Says stop once it was asked `batches` times."""

    batches: int
    asked: int = field(default=0)

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.batches


def test_training_stops_between_two_batches() -> None:
    X, y = samples(60)
    stopped, whole = SimpleClassifier(5, 3), SimpleClassifier(5, 3)
    should_stop = StopAfter(batches=8)

    with pytest.raises(TrainingStopped, match="stopped after 20 of 60 samples"):
        stopped.fit(
            X,
            y,
            epochs=5,
            batch_size=10,
            learning_rate=0.1,
            generator=generator_for(0),
            should_stop=should_stop,
        )

    assert should_stop.asked == 9, "asked before every batch, and never after it said yes"
    chance = generator_for(0)
    whole.train_epoch(X, y, batch_size=10, learning_rate=0.1, generator=chance)
    for rows in chance.permutation(60)[:20].reshape(2, 10):
        whole.train_batch(X[rows], y[rows], learning_rate=0.1)
    assert model_sha256(stopped.get_weights()) == model_sha256(whole.get_weights())


def test_training_that_leaves_the_numbers_says_so() -> None:
    X, y = samples()

    with pytest.raises(TrainingDiverged, match=r"learning_rate=1e\+38; use a smaller one"):
        SimpleClassifier(5, 3).fit(
            X * 100, y, epochs=3, batch_size=8, learning_rate=1e38, generator=generator_for(0)
        )


def test_metrics_count_every_sample_once() -> None:
    model = SimpleClassifier(2, 3)
    model.set_weights({"W": np.array([[9, 0, 0], [0, 9, 0]], np.float32), "b": np.zeros(3, np.float32)})
    X = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)

    metrics = model.evaluate(X, np.array([0, 1, 1, 1]))

    assert metrics.samples == 4
    assert metrics.accuracy == 0.75
    assert metrics.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert metrics.per_class_accuracy == (1.0, 2 / 3, None)


def test_a_notebook_shows_what_was_taken_for_what() -> None:
    page = Metrics(loss=0.5, confusion=np.array([[3, 1], [0, 4]]))._repr_html_()

    assert "accuracy 0.875, loss 0.5 on 8 samples" in page
    assert "<th>class 0</th><td>3</td><td>1</td>" in page


def test_guessing_costs_the_log_of_the_classes() -> None:
    X, y = samples()

    assert SimpleClassifier(5, 3).evaluate(X, y).loss == pytest.approx(np.log(3))


def test_weights_out_and_in_are_copies() -> None:
    model = SimpleClassifier(1, 2)
    weights = model.get_weights()
    model.set_weights(weights)
    weights["W"][:] = 7
    weights["b"][:] = 7
    model.get_weights()["W"][:] = 7

    assert model.get_weights()["W"].tolist() == [[0, 0]]
    assert model.get_weights()["b"].tolist() == [0, 0]


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"'W' has shape \(4, 3\), the model's has \(5, 3\)"):
        SimpleClassifier(5, 3).set_weights(SimpleClassifier(4, 3).get_weights())


X, Y = samples(6)
TRAIN: dict[str, Callable[[SimpleClassifier], object]] = {
    "epochs=0; training takes at least 1": lambda m: m.fit(
        X, Y, epochs=0, batch_size=2, learning_rate=0.1, generator=generator_for(0)
    ),
    "batch_size=0; a step takes at least 1 sample": lambda m: m.fit(
        X, Y, epochs=1, batch_size=0, learning_rate=0.1, generator=generator_for(0)
    ),
    "learning_rate=0, mu=0.0; above 0": lambda m: m.train_batch(X, Y, learning_rate=0),
    "learning_rate=0.1, mu=-1; above 0 and at least 0": lambda m: m.train_batch(
        X, Y, learning_rate=0.1, mu=-1
    ),
    "mu above 0 without w_global": lambda m: m.train_batch(X, Y, learning_rate=0.1, mu=1),
    r"X of shape \(6, 4\) and y of shape \(6,\)": lambda m: m.train_batch(X[:, :4], Y, learning_rate=0.1),
    r"X of shape \(5, 5\) and y of shape \(6,\)": lambda m: m.train_batch(X[:5], Y, learning_rate=0.1),
    r"X of shape \(0, 5\)": lambda m: m.evaluate(X[:0], Y[:0]),
    "X is float64 and y is int64": lambda m: m.evaluate(X.astype(np.float64), Y),
    "labels from 3 to 3; this model knows classes 0 to 2": lambda m: m.evaluate(X[:1], np.array([3])),
    "labels from -1 to -1": lambda m: m.train_batch(X[:1], np.array([-1]), learning_rate=0.1),
}


@pytest.mark.parametrize("words", TRAIN)
def test_wrong_use_is_named(words: str) -> None:
    with pytest.raises((ValueError, RegionError), match=words):
        TRAIN[words](SimpleClassifier(5, 3))


@pytest.mark.parametrize(("features", "classes"), [(0, 3), (5, 1)])
def test_a_model_without_features_or_choice_is_refused(features: int, classes: int) -> None:
    with pytest.raises(ValueError, match="at least 1 feature and 2 classes"):
        SimpleClassifier(features, classes)


def test_the_classifier_is_a_model() -> None:
    """The type checker compares it with the protocol; at run time any object will do."""
    model: Model = SimpleClassifier(5, 3)

    assert isinstance(model.evaluate(X, Y), Metrics)
