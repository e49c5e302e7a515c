import doctest

import numpy as np
import pytest

import federation.learning
from federation.learning import (
    Budget,
    Contribution,
    Region,
    RegionMeta,
    SimpleClassifier,
    TrainingStopped,
    average_contributions,
    generator_for,
    model_sha256,
    train_alone,
    train_together,
    worker_generator,
)

BUDGET = Budget(rounds=3, epochs=2, batch_size=8, learning_rate=0.1, seed=4)


def region(classes: tuple[int, ...], seed: int = 0) -> Region:
    """Blobs of some of four classes."""
    chance = generator_for(seed, *classes)
    y = chance.choice(np.array(classes, np.int64), 40)
    X = (chance.normal(size=(40, 6)) + 4 * np.eye(4, 6)[y]).astype(np.float32)
    return Region(X, y, RegionMeta(class_names=("a", "b", "c", "d")))


def test_alone_a_region_knows_only_its_classes_and_together_all() -> None:
    regions = {"A": region((0, 1)), "B": region((2, 3))}
    everything = region((0, 1, 2, 3), seed=1)

    alone = [train_alone(regions[name], name, BUDGET).evaluate(everything.X, everything.y) for name in "AB"]
    together = train_together(regions, BUDGET).evaluate(everything.X, everything.y)

    assert max(metrics.accuracy for metrics in alone) <= 0.75
    assert together.accuracy > 0.9


def test_alone_is_trained_as_in_a_federation_of_one() -> None:
    """The comparison is fair: same rounds, same epochs, same order of samples."""
    one = region((0, 1, 2))

    alone, together = train_alone(one, "A", BUDGET), train_together({"A": one}, BUDGET)

    assert model_sha256(alone.get_weights()) == model_sha256(together.get_weights())


def test_the_loop_is_fedavg_round_by_round() -> None:
    regions = {"B": region((2, 3)), "A": region((0, 1))}
    seen: list[tuple[int, str]] = []

    train_together(
        regions, BUDGET, on_round=lambda number, params: seen.append((number, model_sha256(params)))
    )

    expected = []
    weights = SimpleClassifier(6, 4).get_weights()
    for number in (1, 2, 3):
        updates = []
        for name in ("A", "B"):
            model = SimpleClassifier(6, 4)
            model.set_weights(weights)
            model.fit(
                regions[name].X,
                regions[name].y,
                epochs=2,
                batch_size=8,
                learning_rate=0.1,
                generator=worker_generator(4, name, number),
            )
            updates.append(Contribution(name, model.get_weights(), 40))
        weights = average_contributions(updates)
        expected.append((number, model_sha256(weights)))
    assert seen == expected


def test_training_alone_can_be_stopped() -> None:
    with pytest.raises(TrainingStopped):
        train_alone(region((0, 1)), "A", BUDGET, should_stop=lambda: True)


def test_the_example_in_the_docs_runs() -> None:
    outcome = doctest.testmod(federation.learning)

    assert outcome.attempted > 0
    assert outcome.failed == 0
