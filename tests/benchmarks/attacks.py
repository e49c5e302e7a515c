"""What two hostile workers of ten cost, by strategy: accuracy on region D after every round.

The samples of the regions A, B and C are dealt out to ten workers at random, so that honest workers agree
but for chance. Two of them send their update turned around (sign-flipped), or a hundred times as long
(hundredfold), in every round. Beside each strategy stands plain FedAvg without an attack.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from federation.learning import (
    Contribution,
    Params,
    Region,
    SimpleClassifier,
    Strategy,
    generator_for,
    load_region,
    make_strategy,
    one_blas_thread,
    worker_generator,
)
from tests.benchmarks.processes import run

WORKERS, HOSTILE = 10, 2
ROUNDS = 20
ATTACKS = {"sign-flipped": -1.0, "hundredfold": 100.0}

# What is promised of those that are made for it: so much of the accuracy without an attack is lost at most.
MOST_LOST = 0.02
STRATEGIES = {
    "trimmed-mean": make_strategy("trimmed-mean", trimmed_share=0.2),
    "median": make_strategy("median"),
    "multi-krum": make_strategy("multi-krum", byzantine=HOSTILE),
    "fedavg": make_strategy("fedavg"),
}


@dataclass(frozen=True, slots=True)
class Attacked:
    """How one federation went.

    Attributes:
        attack: Of `ATTACKS`; empty for none.
        strategy: Of `STRATEGIES`.
        accuracies: On region D after each round, 0 to 1.
    """

    attack: str
    strategy: str
    accuracies: tuple[float, ...]


def figures(*, rounds: int = ROUNDS, seed: int = 0, samples: int = 2_000) -> Iterator[Attacked]:
    """Yield the federation without an attack first, then every strategy under every attack."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        run("prep", "prepare", "--samples", str(samples), "--workspace", str(workspace))
        regions = [load_region(workspace / "dataset" / f"region_{name}.npz") for name in "ABC"]
        judge = load_region(workspace / "dataset" / "region_D.npz")
    workers = dealt(regions, seed)
    with one_blas_thread():
        yield Attacked(
            "", "fedavg", tuple(_federated(workers, judge, STRATEGIES["fedavg"], 1.0, rounds, seed))
        )
        for attack, factor in ATTACKS.items():
            for name, strategy in STRATEGIES.items():
                scores = _federated(workers, judge, strategy, factor, rounds, seed)
                yield Attacked(attack, name, tuple(scores))


def dealt(regions: Sequence[Region], seed: int) -> dict[str, Region]:
    """Return the samples of all regions, dealt out to the workers at random."""
    X, y = (np.concatenate([getattr(one, name) for one in regions]) for name in ("X", "y"))
    order = generator_for(seed, "dealt").permutation(len(y))
    hands = np.array_split(order, WORKERS)
    return {
        f"worker-{number}": Region(X[hand], y[hand], regions[0].meta) for number, hand in enumerate(hands)
    }


def _federated(
    workers: dict[str, Region], judge: Region, strategy: Strategy, factor: float, rounds: int, seed: int
) -> Iterator[float]:
    model = SimpleClassifier(judge.feature_count, judge.class_count)
    state = strategy.start(model.get_weights())
    for number in range(1, rounds + 1):
        updates = []
        for place, (name, region) in enumerate(workers.items()):
            model.set_weights(state.params)
            chance = worker_generator(seed, name, number)
            model.fit(region.X, region.y, epochs=5, batch_size=32, learning_rate=0.1, generator=chance)
            trained = turned(state.params, model.get_weights(), factor if place < HOSTILE else 1.0)
            updates.append(Contribution(name, trained, region.sample_count))
        state = strategy.combine(state, updates)
        model.set_weights(state.params)
        yield model.evaluate(judge.X, judge.y).accuracy


def turned(before: Params, trained: Params, factor: float) -> Params:
    """Return what a worker sends: its update times a factor, which is 1 for an honest one."""
    if factor == 1.0:
        return trained
    return {name: before[name] + np.float32(factor) * (trained[name] - before[name]) for name in before}


def lost(one: Attacked, honest: Attacked) -> float:
    """Return how much of the accuracy an attack has cost at the end, 0 to 1; below 0 it has cost nothing."""
    return honest.accuracies[-1] - one.accuracies[-1]


def draw(all_of_them: Sequence[Attacked], path: Path) -> None:
    """Draw accuracy by round, a panel for each attack."""
    from persistence.canvas import FAINT, GLOBAL_COLOUR, WORKER_COLOURS, new_figure, save

    honest, *attacked = all_of_them
    figure = new_figure()
    figure.suptitle(f"{HOSTILE} hostile workers of {WORKERS}: what it costs, by strategy")
    panels = figure.subplots(1, len(ATTACKS), sharey=True)
    for panel, attack in zip(panels, ATTACKS, strict=True):
        numbers = range(1, len(honest.accuracies) + 1)
        panel.plot(numbers, honest.accuracies, color=FAINT, linestyle="--", label="fedavg, no attack")
        for one in attacked:
            if one.attack == attack:
                place = list(STRATEGIES).index(one.strategy)
                plain = one.strategy == "fedavg"
                colour = GLOBAL_COLOUR if plain else WORKER_COLOURS[place]
                panel.plot(
                    numbers, one.accuracies, color=colour, marker="os^D"[place], ms=4, label=one.strategy
                )
        panel.set(title=f"{attack} updates", xlabel="round", ylim=(0, 1))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy on region D")
    panels[-1].legend(loc="lower right")
    save(figure, path)
