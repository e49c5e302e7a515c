"""What a peer learns: the same as a worker of a coordinated run, and the same average at every peer."""

from __future__ import annotations

import numpy as np
import pytest

from federation.learning import (
    Budget,
    Contribution,
    StrategyError,
    average_contributions,
    model_sha256,
    train_alone,
)
from federation.learning.model import never
from gossip.learner import STRATEGIES, Learner, distance, gossip_strategy
from gossip.models import Model
from gossip.weights import from_bytes, to_bytes
from tests.gossip.site import toy_region

BUDGET = Budget(rounds=2, epochs=2, batch_size=8, seed=3)


def learner(peer: str = "a", strategy: str = "fedavg") -> Learner:
    return Learner(
        peer,
        toy_region(peer),
        BUDGET,
        evaluation=toy_region("evaluation", 60),
        strategy=gossip_strategy(strategy),
    )


def models(count: int = 5) -> list[Model]:
    made = []
    for number in range(count):
        name = "abcdefgh"[number]
        trained = learner(name).train(learner(name).initial, 1, never)
        made.append(Model(name, 10 + number, to_bytes(trained.params)))
    return made


def test_a_peer_alone_learns_what_a_worker_alone_does() -> None:
    one = learner()
    params = one.initial
    for number in (1, 2):
        params = one.train(params, number, never).params

    assert model_sha256(params) == model_sha256(train_alone(toy_region("a"), "a", BUDGET).get_weights())


def test_the_average_is_that_of_the_coordinated_mode() -> None:
    given = models()
    average = learner().average(given)
    expected = average_contributions(
        Contribution(one.owner, from_bytes(one.data, learner().initial), one.samples) for one in given
    )

    assert average is not None
    assert average.sha256 == model_sha256(expected)
    assert average.owners == ("a", "b", "c", "d", "e")
    assert average.accuracy is not None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_peer_makes_the_same_of_the_same_models(strategy: str) -> None:
    """In whatever order they came, and whatever it averaged before."""
    given = models()
    one, other = learner("a", strategy), learner("b", strategy)
    one.average(given[:2])

    first, second = one.average(given), other.average(given[::-1])

    assert first is not None
    assert second is not None
    assert first.sha256 == second.sha256


def test_a_model_that_cannot_be_used_is_left_out_by_all_alike() -> None:
    given = models(3)
    bad = Model(
        "z", 1_000_000, to_bytes({"W": np.full((3, 3), np.inf, np.float32), "b": np.ones(3, np.float32)})
    )

    with_it, without = learner("a").average([*given, bad]), learner("b").average(given)

    assert with_it is not None
    assert without is not None
    assert with_it.sha256 == without.sha256
    assert "NaN or infinity" in with_it.refused["z"]


def test_of_nothing_there_is_no_average() -> None:
    assert learner().average([]) is None


def test_averaging_does_not_disturb_training() -> None:
    """Both may be under way at once, each with a model of its own."""
    one, other = learner(), learner()
    one.average(models())

    assert model_sha256(one.train(one.initial, 1, never).params) == model_sha256(
        other.train(other.initial, 1, never).params
    )


def test_a_strategy_with_a_memory_is_refused() -> None:
    with pytest.raises(StrategyError, match="without a memory"):
        gossip_strategy("fedadam")


def test_the_distance_is_that_of_all_weights_together() -> None:
    one = {"W": np.zeros((1, 2), np.float32), "b": np.zeros(1, np.float32)}
    other = {"W": np.array([[3, 0]], np.float32), "b": np.array([4], np.float32)}

    assert distance(one, other) == 5.0
    assert distance(one, one) == 0.0
