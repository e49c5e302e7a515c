"""The same learning without any machinery: what a region reaches alone, and a federation in one loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .averaging import Contribution
from .chance import worker_generator
from .model import Model, SimpleClassifier, never
from .params import Params
from .regions import Region
from .schedules import Constant, Schedule
from .server_steps import FedAvg
from .strategy import Strategy

_ALWAYS_THE_SAME = Constant()
_FEDAVG = FedAvg()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is trained. The defaults suit both built-in sources of data.

    Attributes:
        rounds: Rounds of the federation, at least 1.
        epochs: Passes of a worker over its samples in each round, at least 1.
        batch_size: Samples per step of SGD, at least 1.
        learning_rate: Step size of SGD, above 0.
        mu: Weight of FedProx's term, at least 0.
        seed: Of everything drawn in training.
        schedule: How the learning rate changes from round to round.
    """

    rounds: int = 20
    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 0.1
    mu: float = 0.0
    seed: int = 0
    schedule: Schedule = _ALWAYS_THE_SAME


def train_alone(
    region: Region,
    worker_id: str,
    budget: Budget,
    *,
    model: Model | None = None,
    should_stop: Callable[[], bool] = never,
) -> Model:
    """Train on one region only, with the budget and the chance it has in a federation.

    It is what a worker would have if it never heard of the others: as many rounds of as many epochs, in
    the same order of samples. Score it on the evaluation region with `evaluate`.

    Args:
        region: What it trains on.
        worker_id: Whose chance it takes.
        budget: How much.
        model: What is trained, from the weights that it has; by default a new `SimpleClassifier`.
        should_stop: Asked between two batches.

    Raises:
        TrainingStopped: `should_stop` became true between two batches.
        TrainingDiverged: The learning rate is too large for the features.
    """
    if model is None:
        model = SimpleClassifier(region.feature_count, region.class_count)
    for round_number in range(1, budget.rounds + 1):
        _fit_one_round(model, region, worker_id, round_number, budget, should_stop)
    return model


def train_together(
    regions: Mapping[str, Region],
    budget: Budget,
    *,
    strategy: Strategy = _FEDAVG,
    model: Model | None = None,
    on_round: Callable[[int, Params], None] = lambda _number, _params: None,
) -> Model:
    """Run a federation of everyone in one loop: no messages, no processes, no disk.

    Its model has the bytes that the roles of a federation must arrive at when nobody is late.

    Args:
        regions: By worker id.
        budget: What each worker trains in each round.
        strategy: How their models become the next global one.
        model: What is trained, from the weights that it has; by default a new `SimpleClassifier`.
        on_round: Told the number, from 1, and the global weights after every round.
    """
    if model is None:
        some = next(iter(regions.values()))
        model = SimpleClassifier(some.feature_count, some.class_count)
    state = strategy.start(model.get_weights())
    for round_number in range(1, budget.rounds + 1):
        contributions = []
        for worker_id, region in regions.items():
            model.set_weights(state.params)
            _fit_one_round(model, region, worker_id, round_number, budget, never)
            contributions.append(Contribution(worker_id, model.get_weights(), region.sample_count))
        state = strategy.combine(state, contributions)
        on_round(round_number, state.params)
    model.set_weights(state.params)
    return model


def _fit_one_round(
    model: Model,
    region: Region,
    worker_id: str,
    round_number: int,
    budget: Budget,
    should_stop: Callable[[], bool],
) -> None:
    model.fit(
        region.X,
        region.y,
        epochs=budget.epochs,
        batch_size=budget.batch_size,
        learning_rate=budget.learning_rate * budget.schedule.factor(round_number),
        mu=budget.mu,
        generator=worker_generator(budget.seed, worker_id, round_number),
        should_stop=should_stop,
    )
