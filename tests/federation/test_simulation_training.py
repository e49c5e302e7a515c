"""Training many small linear workers at once: the bytes are those that each has by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.learning import TrainingStopped, one_blas_thread
from federation.simulation import trainer as trainer_module
from federation.simulation.assignment import Answers, Assignment, joined
from federation.simulation.batched import Trained, train_many
from federation.simulation.config import SimulationConfig
from federation.simulation.data import DrawnShards, Kept, PooledShards, Samples
from federation.simulation.engine import InlineEngine, InTurns, bench_of, trainers_for
from federation.simulation.trainer import Trainer


def assignment(features: int, classes: int, **changes: object) -> Assignment:
    chance = np.random.default_rng(features + classes)
    fields = {
        "round": 1,
        "weights": {
            "W": chance.normal(size=(features, classes)).astype(np.float32) / 10,
            "b": chance.normal(size=classes).astype(np.float32) / 10,
        },
        "epochs": 1,
        "batch_size": 10,
        "learning_rate": 0.1,
        "mu": 0.0,
        "seed": 7,
    }
    return Assignment(**{**fields, **changes})  # type: ignore[arg-type]


def by_place(answers: list[Answers]) -> dict[int, tuple[bytes, ...]]:
    """Return all that each worker has answered, as bytes."""
    found: dict[int, tuple[bytes, ...]] = {}
    for part in answers:
        for row, place in enumerate(part.places):
            arrays = [part.weights["W"][row], part.weights["b"][row], part.samples[row : row + 1]]
            arrays += [part.losses[row : row + 1], part.accuracies[row : row + 1]]
            found[place] = tuple(np.ascontiguousarray(one).tobytes() for one in arrays)
    return found


@settings(deadline=None, max_examples=60)
@given(
    workers=st.integers(2, 9),
    samples=st.integers(1, 40),
    features=st.sampled_from([1, 2, 5, 17, 64, 130]),
    classes=st.integers(2, 11),
    batch_size=st.integers(1, 45),
    epochs=st.integers(1, 3),
    mu=st.sampled_from([0.0, 0.5]),
)
def test_many_at_once_have_the_bytes_that_each_has_alone(
    workers: int, samples: int, features: int, classes: int, batch_size: int, epochs: int, mu: float
) -> None:
    """Weights, losses and accuracies: `train_many` itself, without the trainer's look at the first ones."""
    shards = DrawnShards(workers=workers, samples=samples, feature_count=features, class_count=classes)
    wish = assignment(features, classes, batch_size=batch_size, epochs=epochs, mu=mu)
    many = Trainer(shards)
    many._checks = False

    with one_blas_thread():
        at_once = many.train(wish, range(workers))
        alone = Trainer(shards, vectorised=False).train(wish, range(workers))

    assert by_place(at_once) == by_place(alone)
    assert not any(part.failures for part in (*at_once, *alone))


def test_workers_of_any_sizes_have_the_bytes_that_each_has_alone() -> None:
    shards = DrawnShards(
        workers=90, samples=8, feature_count=6, class_count=3, partition="by-size", alpha=2.0
    )
    wish = assignment(6, 3, batch_size=4)

    with one_blas_thread():
        at_once = Trainer(shards, kept=Kept(shards, 0)).train(wish, range(90))
        alone = Trainer(shards, vectorised=False).train(wish, range(90))

    assert len(at_once) < 90
    assert by_place(at_once) == by_place(alone)


async def test_threads_that_train_side_by_side_have_the_bytes_of_one() -> None:
    """And share what was drawn: no worker's samples are in memory twice."""
    config = SimulationConfig(workers=150)
    shards = DrawnShards(workers=150, samples=10, feature_count=5, class_count=3)
    wish = assignment(5, 3)
    trainers = trainers_for(bench_of(config), shards, threads=2)

    with one_blas_thread():
        side_by_side = await InlineEngine(trainers, InTurns()).train(wish, range(150))
        one = Trainer(shards).train(wish, range(150))

    assert len(trainers) == 2
    assert by_place(side_by_side) == by_place(one)
    assert trainers[0]._kept is trainers[1]._kept
    assert trainers[0]._kept.samples_of(7) is trainers[1]._kept.samples_of(7)


def test_a_model_of_the_users_is_trained_in_one_thread() -> None:
    config = SimulationConfig(workers=150, model="tests.federation.broken_model:broken_model")
    shards = DrawnShards(workers=150, samples=10, feature_count=5, class_count=3)

    assert len(trainers_for(bench_of(config), shards, threads=2)) == 1


def test_a_machine_on_which_the_bytes_differ_trains_one_after_the_other(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A BLAS that adds in another order when it is asked for many products; here, by one bit."""

    def rounding_otherwise(
        parts: Sequence[Samples],
        wish: Assignment,
        generators: Sequence[np.random.Generator],
        should_stop: Callable[[], bool],
    ) -> Trained | None:
        trained = train_many(parts, wish, generators, should_stop)
        assert trained is not None
        return trained._replace(W=np.nextafter(trained.W, np.float32(np.inf)))

    monkeypatch.setattr(trainer_module, "train_many", rounding_otherwise)
    shards = DrawnShards(workers=10, samples=12, feature_count=6, class_count=3)
    wish = assignment(6, 3)

    with caplog.at_level(logging.WARNING):
        answers = Trainer(shards).train(wish, range(10))

    assert by_place(answers) == by_place(Trainer(shards, vectorised=False).train(wish, range(10)))
    assert len(caplog.records) == 1
    assert "one after the other" in caplog.text


def test_training_that_leaves_the_finite_numbers_fails_that_worker_and_no_other() -> None:
    good = DrawnShards(workers=6, samples=12, feature_count=4, class_count=3)
    parts = [good.samples_of(place) for place in range(6)]
    parts[2] = Samples(parts[2].X * np.float32(1e30), parts[2].y)
    shards = PooledShards(
        names=good.names,
        class_names=good.class_names,
        source="test",
        synthetic=True,
        X=np.concatenate([part.X for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        starts=np.arange(7) * 12,
    )
    wish = assignment(4, 3, learning_rate=1e10)

    at_once = joined(Trainer(shards).train(wish, range(6)))
    alone = joined(Trainer(shards, vectorised=False).train(wish, range(6)))

    assert sorted(at_once.places) == [0, 1, 3, 4, 5]
    assert at_once.failures.keys() == {2}
    assert at_once.failures == alone.failures
    assert "left the finite numbers" in at_once.failures[2]


def test_training_is_stopped_between_two_batches() -> None:
    shards = DrawnShards(workers=4, samples=12, feature_count=4, class_count=3)

    for vectorised in (True, False):
        with pytest.raises(TrainingStopped):
            Trainer(shards, vectorised=vectorised).train(assignment(4, 3), range(4), lambda: True)


def test_a_model_of_the_users_that_raises_fails_its_worker_with_the_place_in_its_code() -> None:
    shards = DrawnShards(workers=2, samples=12, feature_count=4, class_count=3)
    broken = Trainer(shards, model="tests.federation.broken_model:broken_model")

    answers = joined(broken.train(assignment(4, 3), [0, 1]))

    assert answers.places == ()
    assert answers.failures[1].startswith("ZeroDivisionError: ")
    assert "broken_model.py, line" in answers.failures[1]
