from collections.abc import Callable

import pytest

from federation.learning import (
    Budget,
    Constant,
    Cosine,
    Region,
    RegionMeta,
    Schedule,
    SimpleClassifier,
    Steps,
    StrategyError,
    WarmUp,
    generator_for,
    model_sha256,
    train_alone,
    worker_generator,
)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), [1, 1, 1, 1, 1]),
        (Steps(every_rounds=2, decay=0.5), [1, 1, 0.5, 0.5, 0.25]),
        (Steps(every_rounds=1, decay=0.9), [1, 0.9, 0.81, 0.729, 0.6561]),
        (Cosine(rounds=3, least=0.1), [1, 0.55, 0.1, 0.1, 0.1]),
        (WarmUp(2, Steps(every_rounds=1, decay=0.5)), [1 / 3, 2 / 3, 1, 0.5, 0.25]),
        (WarmUp(1, Cosine(rounds=2, least=0.5)), [0.5, 1, 0.5, 0.5, 0.5]),
    ],
    ids=repr,
)
def test_the_rate_follows_its_schedule(schedule: Schedule, expected: list[float]) -> None:
    assert [schedule.factor(number) for number in range(1, 6)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Steps(every_rounds=0), "every_rounds=0; at least 1"),
        (lambda: Steps(decay=0), "decay=0; above 0 and at most 1"),
        (lambda: Steps(decay=1.5), r"decay=1\.5"),
        (lambda: Cosine(rounds=1), "rounds=1; at least 2"),
        (lambda: Cosine(rounds=5, least=0), "least=0; above 0 and at most 1"),
        (lambda: WarmUp(0, Constant()), "rounds=0; at least 1"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(make: Callable[[], Schedule], words: str) -> None:
    with pytest.raises(StrategyError, match=words):
        make()


def test_training_obeys_the_schedule() -> None:
    chance = generator_for(0, "samples")
    region = Region(
        chance.normal(size=(20, 3)).astype("float32"),
        chance.integers(0, 2, 20),
        RegionMeta(class_names=("a", "b")),
    )
    budget = Budget(
        rounds=2, epochs=1, batch_size=4, learning_rate=0.4, schedule=Steps(every_rounds=1, decay=0.5)
    )

    by_schedule = train_alone(region, "A", budget)

    by_hand = SimpleClassifier(3, 2)
    for number, rate in ((1, 0.4), (2, 0.2)):
        by_hand.train_epoch(
            region.X, region.y, batch_size=4, learning_rate=rate, generator=worker_generator(0, "A", number)
        )
    assert model_sha256(by_schedule.get_weights()) == model_sha256(by_hand.get_weights())
