"""What one peer learns: it trains on its region, averages what all have trained, and scores the average.

The same model, averaging and strategies as in the coordinated mode. Blocking, no trio: the peer calls it in
threads. It may average while it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from federation.learning import (
    Budget,
    Contribution,
    Params,
    ParamsError,
    Region,
    SimpleClassifier,
    Strategy,
    StrategyError,
    make_strategy,
    model_sha256,
    worker_generator,
)
from federation.learning.model import Model as Trainable
from gossip.models import Model
from gossip.weights import from_bytes

# Peers agree because what they average depends on the models alone. A strategy with a memory depends on
# the order in which they came as well, and that is another one at each peer.
STRATEGIES = ("fedavg", "median", "trimmed-mean", "krum", "multi-krum")


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model after a round of training.

    Attributes:
        params: The model.
        loss: Mean of the last epoch, on its own region.
        accuracy: On its own region, 0 to 1.
    """

    params: Params
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """What all known models are together.

    Attributes:
        params: The average.
        sha256: Of it, 64 hexadecimal digits.
        owners: Whose models are in it.
        refused: Whose models are not, and why.
        accuracy: On the evaluation region, 0 to 1; None without one.
        loss: The same, mean cross-entropy.
    """

    params: Params
    sha256: str
    owners: tuple[str, ...]
    refused: dict[str, str]
    accuracy: float | None = None
    loss: float | None = None


class Learner:
    """The learning of one peer.

    Args:
        peer: Its name.
        region: What it trains on.
        budget: How it trains; its rounds are counted elsewhere.
        evaluation: What averages are scored on; None to score nothing.
        make_model: Makes what it trains; by default a `SimpleClassifier` of the region's features and
            classes.
        strategy: How models become one: one of `STRATEGIES`, the same at all peers.

    Attributes:
        initial: The model before anything was learnt, the same at all peers.
        samples: How many samples it trains on: the weight of its model.
    """

    def __init__(
        self,
        peer: str,
        region: Region,
        budget: Budget,
        *,
        evaluation: Region | None = None,
        make_model: Callable[[], Trainable] | None = None,
        strategy: Strategy | None = None,
    ) -> None:
        self._peer = peer
        self._region = region
        self._budget = budget
        self._evaluation = evaluation
        make = make_model or (lambda: SimpleClassifier(region.feature_count, region.class_count))
        self._model = make()
        self._scored_model = make()  # one of its own: the other may be in training
        self._strategy = strategy or make_strategy("fedavg")
        self.initial: Params = self._model.get_weights()
        self.samples = region.sample_count

    @property
    def region(self) -> Region:
        """What it trains on."""
        return self._region

    def train(self, start: Params, round_number: int, should_stop: Callable[[], bool]) -> Trained:
        """Train one round from there.

        Raises:
            TrainingStopped: `should_stop` became true.
            TrainingDiverged: The learning rate is too large for the features.
        """
        budget = self._budget
        self._model.set_weights(start)
        loss = self._model.fit(
            self._region.X,
            self._region.y,
            epochs=budget.epochs,
            batch_size=budget.batch_size,
            learning_rate=budget.learning_rate * budget.schedule.factor(round_number),
            mu=budget.mu,
            generator=worker_generator(budget.seed, self._peer, round_number),
            should_stop=should_stop,
        )
        accuracy = self._model.evaluate(self._region.X, self._region.y).accuracy
        return Trained(self._model.get_weights(), loss, accuracy)

    def average(self, models: Iterable[Model]) -> Average | None:
        """Return what models are together; None when there is none to be used.

        Whatever peer computes it, the same models give the same bytes. A model that cannot be used (of
        another shape, not finite) is left out, here and at every other peer alike.
        """
        contributions: list[Contribution] = []
        refused: dict[str, str] = {}
        for model in models:
            try:
                one = from_bytes(model.data, self.initial)
            except ParamsError as error:
                refused[model.owner] = str(error)
            else:
                contributions.append(Contribution(model.owner, one, model.samples))
        if not contributions:
            return None
        params = self._combine(contributions)
        owners = tuple(one.worker_id for one in contributions)
        average = Average(params, model_sha256(params), owners, refused)
        return average if self._evaluation is None else self._scored(average, self._evaluation)

    def _combine(self, contributions: list[Contribution]) -> Params:
        """Combine them as the strategy does; as FedAvg, as long as there are too few for it."""
        start = self._strategy.start(self.initial)
        if len(contributions) < self._strategy.fewest:
            return make_strategy("fedavg").combine(start, contributions).params
        return self._strategy.combine(start, contributions).params

    def _scored(self, average: Average, on: Region) -> Average:
        self._scored_model.set_weights(average.params)
        metrics = self._scored_model.evaluate(on.X, on.y)
        return Average(
            average.params,
            average.sha256,
            average.owners,
            average.refused,
            metrics.accuracy,
            metrics.loss,
        )


def distance(one: Params, other: Params) -> float:
    """Return the Euclidean distance of two models over all their weights."""
    squares = (np.square(np.subtract(one[name], other[name], dtype=np.float64)).sum() for name in sorted(one))
    return float(np.sqrt(sum(squares)))


def gossip_strategy(name: str) -> Strategy:
    """Return a strategy that gives the same at all peers.

    Raises:
        StrategyError: It has a memory, or there is none of that name.
    """
    if name not in STRATEGIES:
        raise StrategyError(
            f"no strategy for gossip is named {name!r}; there are {', '.join(STRATEGIES)}: those without a "
            "memory, since each peer hears of models in another order"
        )
    return make_strategy(name)
