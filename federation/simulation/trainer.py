"""`Trainer`: trains workers by their places. What every engine runs, wherever it does. Blocking, no trio."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from federation.learning import (
    Params,
    TrainingStopped,
    generator_for,
    never,
    train_alone,
    worker_generator,
)
from federation.models import SIMPLE, model_factory
from federation.simulation.assignment import Alone, Answers, Assignment, Work, joined
from federation.simulation.batched import Trained, train_many
from federation.simulation.data import MIB, Kept, Samples, Shards, region_of
from federation.worker import failure_in_words

logger = logging.getLogger(__name__)

# Workers of a batch: enough to spread the cost of a call, few enough for their samples to stay in the cache.
BATCH_WORKERS = 32

TrainMany = Callable[
    [Sequence[Samples], Assignment, Sequence[np.random.Generator], Callable[[], bool]], Trained | None
]


class Trainer:
    """Trains workers, one after the other or many at once: the same bytes either way.

    Whether they are the same is not taken on trust: of each new shape the first worker is trained in both
    ways, and where a byte differs, on a machine whose BLAS we do not know, the loop is used.

    Args:
        shards: The workers' samples.
        model: What they train: "simple", or the place of a factory; see `federation.models`.
        vectorised: Whether many are trained at once, where they train a `SimpleClassifier`.
        device: Where PyTorch is to do that instead, equal to within rounding; None for NumPy.
        kept: The samples that were drawn, which trainers in several threads may share; None for 256 MiB of
            its own.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        model: str = SIMPLE,
        vectorised: bool = True,
        device: str | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._shards = shards
        self._kept = kept or Kept(shards, 256 * MIB)
        chance = generator_for(0, "model")  # its weights come with the assignment
        self._model = model_factory(model)(shards.feature_count, len(shards.class_names), chance)
        self._vectorised = vectorised and model == SIMPLE
        self._batch_workers = BATCH_WORKERS
        self._train_many: TrainMany = train_many
        self._checks = True
        if device is not None:
            from federation.simulation.torch_batched import TorchSteps

            steps = TorchSteps(device)
            self._train_many, self._batch_workers, self._checks = steps.train_many, steps.batch_workers, False
        self._equal: dict[tuple[int, ...], bool] = {}  # by shape, whether the bytes were the loop's

    def train(
        self, work: Work, places: Sequence[int], should_stop: Callable[[], bool] = never
    ) -> list[Answers]:
        """Train the workers at these places; return their answers, in parts, in any order.

        Raises:
            TrainingStopped: `should_stop` said so.
        """
        if isinstance(work, Alone):
            return [self._alone(work, place, should_stop) for place in places]
        return [part for batch in self._batches(places) for part in self._batch(work, batch, should_stop)]

    def _batches(self, places: Sequence[int]) -> Iterator[dict[int, Samples]]:
        """Yield workers that have equally many samples, with these.

        Samples are drawn as the batches go, so only those of the batches that are open are in memory.
        """
        most = self._batch_workers if self._vectorised else 1
        filling: dict[int, dict[int, Samples]] = {}
        for place in places:
            samples = self._kept.samples_of(place)
            size = len(samples.y)
            batch = filling.setdefault(size, {})
            batch[place] = samples
            if len(batch) == most:
                yield filling.pop(size)
        yield from filling.values()

    def _batch(
        self, assignment: Assignment, batch: dict[int, Samples], should_stop: Callable[[], bool]
    ) -> list[Answers]:
        places, parts = list(batch), list(batch.values())
        alone = not self._vectorised or (self._checks and len(batch) == 1)
        if alone or (self._checks and not self._has_equal_bytes(assignment, places, parts, should_stop)):
            return [self._one(assignment, *one, should_stop) for one in batch.items()]
        trained = self._train_many(parts, assignment, self._generators(assignment, places), should_stop)
        if trained is None:
            raise TrainingStopped(f"stopped while {len(places)} workers were trained")
        return [self._sound(assignment, places, parts, trained)]

    def _sound(
        self, assignment: Assignment, places: list[int], parts: list[Samples], trained: Trained
    ) -> Answers:
        """Return the answers of those whose model is finite; the others fail, in the loop's words."""
        finite = (
            np.isfinite(trained.losses)
            & np.isfinite(trained.W).all(axis=(1, 2))
            & np.isfinite(trained.b).all(axis=1)
        )
        reason = (
            "training left the finite numbers (loss {loss}) at learning_rate={rate}; use a smaller one, or "
            "scale the features to about -1 to 1"
        )
        failures = {
            places[place]: reason.format(loss=float(trained.losses[place]), rate=assignment.learning_rate)
            for place in np.flatnonzero(~finite)
        }
        good = slice(None) if finite.all() else finite
        return Answers(
            places=tuple(place for place, sound in zip(places, finite, strict=True) if sound),
            weights={"W": trained.W[good], "b": trained.b[good]},
            samples=np.array([len(part.y) for part in parts])[good],
            losses=trained.losses[good],
            accuracies=trained.accuracies[good],
            failures=failures,
        )

    def _has_equal_bytes(
        self,
        assignment: Assignment,
        places: list[int],
        parts: list[Samples],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Return whether, for this shape, training many at once gives the bytes of the loop."""
        shape = (len(parts[0].y), assignment.batch_size, assignment.epochs, int(assignment.mu > 0))
        if shape not in self._equal:
            pair = places[:2]  # NumPy may treat a batch of one as none
            trained = self._train_many(parts[:2], assignment, self._generators(assignment, pair), should_stop)
            if trained is None:
                raise TrainingStopped("stopped while two workers were trained")
            ours = self._sound(assignment, pair, parts[:2], trained)
            loop = joined(
                [self._one(assignment, *one, should_stop) for one in zip(pair, parts, strict=False)]
            )
            self._equal[shape] = _same_bytes(ours, loop)
            if not self._equal[shape]:
                logger.warning(
                    "on this machine training many workers at once rounds otherwise than one after the other "
                    "(%d samples, batches of %d); they are trained one after the other, which takes longer",
                    *shape[:2],
                )
        return self._equal[shape]

    def _one(
        self, assignment: Assignment, place: int, samples: Samples, should_stop: Callable[[], bool]
    ) -> Answers:
        """Train one worker as its role does."""

        def fit() -> float:
            return self._model.fit(
                samples.X,
                samples.y,
                epochs=assignment.epochs,
                batch_size=assignment.batch_size,
                learning_rate=assignment.learning_rate,
                mu=assignment.mu,
                generator=self._generators(assignment, [place])[0],
                should_stop=should_stop,
            )

        return self._answer(assignment, place, samples, fit)

    def _alone(self, work: Alone, place: int, should_stop: Callable[[], bool]) -> Answers:
        """Train one worker by itself, as its role does; its loss is that of its model in the end."""
        samples, name = self._kept.samples_of(place), self._shards.names[place]

        def fit() -> float:
            region = region_of(self._shards, place, samples)
            train_alone(region, name, work.budget, model=self._model, should_stop=should_stop)
            return self._model.evaluate(samples.X, samples.y).loss

        return self._answer(work, place, samples, fit)

    def _answer(self, work: Work, place: int, samples: Samples, fit: Callable[[], float]) -> Answers:
        try:
            self._model.set_weights(work.weights)
            loss = fit()
            accuracy = self._model.evaluate(samples.X, samples.y).accuracy
        except TrainingStopped:
            raise
        except Exception as error:  # a model of the user's may raise anything; it fails this worker alone
            return _answers([], [], failures={place: failure_in_words(error)})
        return _answers([place], [self._model.get_weights()], len(samples.y), loss, accuracy)

    def _generators(self, assignment: Assignment, places: Sequence[int]) -> list[np.random.Generator]:
        names = self._shards.names
        return [worker_generator(assignment.seed, names[place], assignment.round) for place in places]


def _answers(
    places: list[int],
    weights: list[Params],
    samples: int = 0,
    loss: float = 0.0,
    accuracy: float = 0.0,
    failures: dict[int, str] | None = None,
) -> Answers:
    """Return the answers of one worker, or of none."""
    return Answers(
        places=tuple(places),
        weights={name: array[None] for one in weights for name, array in one.items()},
        samples=np.full(len(places), samples, np.int64),
        losses=np.full(len(places), loss, np.float64),
        accuracies=np.full(len(places), accuracy, np.float64),
        failures=failures or {},
    )


def _same_bytes(ours: Answers, loop: Answers) -> bool:
    if ours.places != loop.places or ours.failures != loop.failures:
        return False
    equal = [ours.weights[name].tobytes() == loop.weights[name].tobytes() for name in loop.weights]
    equal.append(ours.losses.tobytes() == loop.losses.tobytes())
    equal.append(ours.accuracies.tobytes() == loop.accuracies.tobytes())
    return all(equal)
