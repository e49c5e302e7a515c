"""The classifier as scikit-learn's users know classifiers."""

from __future__ import annotations

import numpy as np
import pytest

from federation.learning import Budget, ParamsError, SimpleClassifier, train_together
from tests.extras import need
from tests.federation.stage import CLASSES, FEATURES, region

need("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from federation.learning.estimator import FederatedClassifier


def test_it_is_what_scikit_learn_calls_a_classifier() -> None:
    results = check_estimator(FederatedClassifier(), on_skip=None)

    assert {one["status"] for one in results} <= {"passed", "skipped"}
    assert sum(one["status"] == "passed" for one in results) > 40


def test_the_model_of_a_federation_predicts_with_the_names_of_its_classes() -> None:
    regions, judge = {name: region(name) for name in "AB"}, region("D", 60)
    model = train_together(regions, Budget(rounds=3, batch_size=8))
    estimator = FederatedClassifier.from_params(model.get_weights(), CLASSES)

    names = np.array(CLASSES)[judge.y]
    assert estimator.score(judge.X, names) == model.evaluate(judge.X, judge.y).accuracy
    assert estimator.classes_.tolist() == list(CLASSES)
    probabilities = estimator.predict_proba(judge.X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    own = probabilities[np.arange(len(judge.y)), judge.y]
    assert -np.log(own).mean() == pytest.approx(model.evaluate(judge.X, judge.y).loss, rel=1e-5)


def test_an_estimator_comes_back_from_its_own_weights_and_classes() -> None:
    data = region("A")
    trained = FederatedClassifier(random_state=3, epochs=2).fit(data.X, np.array(CLASSES)[data.y])

    again = FederatedClassifier.from_params(trained.to_params(), trained.classes_)

    assert again.predict(data.X).tolist() == trained.predict(data.X).tolist()


def test_it_trains_as_the_classifier_of_the_house_and_gives_its_weights_back() -> None:
    data = region("A")
    estimator = FederatedClassifier(random_state=3, epochs=2).fit(data.X, data.y)
    again = FederatedClassifier(random_state=3, epochs=2).fit(data.X, data.y)

    model = SimpleClassifier(FEATURES, len(CLASSES))
    model.set_weights(estimator.to_params())
    assert model.evaluate(data.X, data.y).accuracy == estimator.score(data.X, data.y) > 0.5
    np.testing.assert_array_equal(estimator.coef_, again.coef_)


def test_a_federations_model_is_trained_on_at_home() -> None:
    data = region("A", 60)
    begun = FederatedClassifier.from_params(SimpleClassifier(FEATURES, 3).get_weights(), random_state=1)
    before = begun.score(data.X, data.y)

    for _ in range(5):
        begun.partial_fit(data.X, data.y)

    assert begun.score(data.X, data.y) > before


def test_the_first_part_needs_to_know_all_classes() -> None:
    data = region("A")
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        FederatedClassifier().partial_fit(data.X, data.y)

    learner = FederatedClassifier().partial_fit(data.X, data.y, classes=[0, 1, 2, 3])
    assert learner.predict_proba(data.X).shape == (24, 4)
    with pytest.raises(ValueError, match=r"labels that are not in classes: \[7\]"):
        learner.partial_fit(data.X, np.full(24, 7))


def test_it_goes_into_pipelines_and_grids() -> None:
    data = region("A", 60)
    pipeline = make_pipeline(StandardScaler(), FederatedClassifier(random_state=0))
    grid = GridSearchCV(pipeline, {"federatedclassifier__learning_rate": [1e-6, 0.1]}, cv=3)

    grid.fit(data.X, data.y)

    assert grid.best_params_ == {"federatedclassifier__learning_rate": 0.1}
    assert clone(FederatedClassifier(epochs=7)).get_params()["epochs"] == 7


def test_what_is_not_fitted_says_so() -> None:
    with pytest.raises(NotFittedError):
        FederatedClassifier().predict(np.zeros((1, 2)))


@pytest.mark.parametrize(
    ("params", "names", "words"),
    [
        ({"W": np.zeros((2, 3), np.float32)}, (), "W .features, classes. and b"),
        ({"W": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}, ("a", "b"), "2 class names"),
        ({"W": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}, ("a", "b", "b"), "2 class names"),
        ({"W": np.full((2, 3), np.nan, np.float32), "b": np.zeros(3, np.float32)}, (), "NaN"),
    ],
)
def test_other_weights_make_no_estimator(
    params: dict[str, np.ndarray], names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ParamsError, match=words):
        FederatedClassifier.from_params(params, names)
