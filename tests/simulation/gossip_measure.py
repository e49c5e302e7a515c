"""What is measured of gossip, spread over processors, and added up over several calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.simulation.gossip_bytes import WholeBytes, whole_bytes
from tests.simulation.gossip_cells import (
    Cell,
    Detected,
    Health,
    IdleTraffic,
    ModelTraffic,
    convergence,
    detection,
    health,
    idle_traffic,
    model_traffic,
)
from tests.simulation.slices import Kept, spread


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        peers: Sizes of the networks.
        losses: Shares of messages that are lost.
        seeds: For each cell.
        detection_peers: Sizes of the networks in which one peer crashes.
        health_hours: Virtual hours of each of the networks of 64 peers in which nobody crashes.
        health_runs: How many of those, for each loss.
        idle_rounds: Rounds in which nothing changes.
        versions: Of models, for each kind of traffic.
        whole: Whole peers that train and come to rest: how many, loss of segments, rounds, idle rounds.
        only: If any, only measurements whose names begin with one of these words are made.
    """

    peers: Sequence[int] = (16, 64, 256, 1024)
    losses: Sequence[float] = (0.0, 0.1, 0.3)
    seeds: int = 200
    detection_peers: Sequence[int] = (16, 64, 256)
    health_hours: float = 1.0
    health_runs: int = 16
    idle_rounds: int = 10_000
    versions: int = 40
    whole: Sequence[tuple[int, float, int, int]] = (
        (3, 0.0, 40, 10_000),
        (3, 0.1, 40, 100),
        (8, 0.1, 10, 100),
    )
    only: Sequence[str] = ()


QUICK = Plan(
    peers=(16, 64),
    seeds=20,
    detection_peers=(16,),
    health_hours=0.05,
    health_runs=1,
    idle_rounds=300,
    versions=6,
    whole=((3, 0.0, 5, 100),),
)
"""In some seconds, for the suite."""

MODEL_SIZES = (20_000, 1_000_000)  # bytes: the perceptron of the system, and one of many pieces
MODEL_PEERS = 16
HEALTH_PEERS = 64
MANY_IDLE_ROUNDS = 100  # of larger networks than the smallest
SEEDS_PER_TASK = 20  # they share one network: 1,024 peers take some seconds to set up


# --- tasks ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement, half a minute of work at most on most machines.

    Attributes:
        kind: A key of `MEASURES`.
        args: For the function there; numbers and texts, so that the task has a name on paper.
    """

    kind: str
    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Equal for equal measurements, in every call."""
        return " ".join(map(str, (self.kind, *self.args)))

    def is_called(self, words: str) -> bool:
        """Whether the name begins with these words, each of them whole."""
        wanted = words.split()
        return self.name.split()[: len(wanted)] == wanted

    def run(self) -> Any:
        """Measure, and return what came of it in the words of JSON."""
        found = MEASURES[self.kind](*self.args)
        if isinstance(found, list):
            return [asdict(one) if isinstance(one, Detected) else one for one in found]
        return asdict(found)


def _convergence(peers: int, loss: float, announcing: bool, first: int, count: int) -> list[float]:
    return convergence(Cell(peers, loss, announcing), range(first, first + count))


def _detection(peers: int, loss: float, first: int, count: int) -> list[Detected]:
    return detection(Cell(peers, loss), range(first, first + count))


def _health(loss: float, run: int, hours: float) -> Health:
    return health(Cell(HEALTH_PEERS, loss), run, hours)


def _models(loss: float, size: int, versions: int) -> ModelTraffic:
    return model_traffic(MODEL_PEERS, loss, size, versions)


MEASURES: Mapping[str, Callable[..., Any]] = {
    "convergence": _convergence,
    "detection": _detection,
    "health": _health,
    "idle": idle_traffic,
    "models": _models,
    "whole": whole_bytes,
}


def tasks_of(plan: Plan) -> list[Task]:
    """Return all measurements of a plan, those first that take longest."""
    tasks = [*_round_tasks(plan), *_health_tasks(plan), *_traffic_tasks(plan)]
    return [task for task in tasks if not plan.only or any(task.is_called(words) for words in plan.only)]


def _round_tasks(plan: Plan) -> Iterator[Task]:
    for peers in sorted(plan.peers, reverse=True):
        for loss in plan.losses:
            for announcing in (False, True):
                for first, count in _parts(plan.seeds):
                    yield Task("convergence", (peers, loss, announcing, first, count))


def _health_tasks(plan: Plan) -> Iterator[Task]:
    for peers in sorted(plan.detection_peers, reverse=True):
        for loss in plan.losses[:2]:
            for first, count in _parts(plan.seeds):
                yield Task("detection", (peers, loss, first, count))
    for loss in plan.losses[:2]:
        for run in range(plan.health_runs):
            yield Task("health", (loss, run, plan.health_hours))


def _traffic_tasks(plan: Plan) -> Iterator[Task]:
    for peers in plan.peers:
        rounds = plan.idle_rounds if peers == min(plan.peers) else min(plan.idle_rounds, MANY_IDLE_ROUNDS)
        yield Task("idle", (peers, rounds))
    for loss in plan.losses:
        for size in MODEL_SIZES:
            yield Task("models", (loss, size, plan.versions))
    for args in plan.whole:
        yield Task("whole", args)


def _parts(seeds: int) -> Iterator[tuple[int, int]]:
    for first in range(0, seeds, SEEDS_PER_TASK):
        yield first, min(SEEDS_PER_TASK, seeds - first)


# --- findings -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Findings:
    """What was measured.

    Attributes:
        rounds: Rounds to convergence, by cell.
        detected: How crashes were noticed, by cell.
        healthy: What was said of peers that were alive, by loss.
        idle: Traffic of networks in which nothing changes, by size.
        models: Traffic of new versions, by loss and size of the model.
        whole: Traffic of whole peers, by their number and the loss of segments.
    """

    rounds: dict[Cell, list[float]] = field(default_factory=dict)
    detected: dict[Cell, list[Detected]] = field(default_factory=dict)
    healthy: dict[float, list[Health]] = field(default_factory=dict)
    idle: dict[int, IdleTraffic] = field(default_factory=dict)
    models: dict[tuple[float, int], ModelTraffic] = field(default_factory=dict)
    whole: dict[tuple[int, float], WholeBytes] = field(default_factory=dict)

    def add(self, task: Task, found: Any) -> None:
        """Take in what came of a task, in the words of JSON."""
        args = task.args
        match task.kind:
            case "convergence":
                self.rounds.setdefault(Cell(*args[:3]), []).extend(found)
            case "detection":
                self.detected.setdefault(Cell(*args[:2]), []).extend(Detected(**one) for one in found)
            case "health":
                self.healthy.setdefault(args[0], []).append(Health(**found))
            case "idle":
                self.idle[args[0]] = IdleTraffic(**found)
            case "models":
                self.models[args[0], args[1]] = ModelTraffic(**found)
            case "whole":
                self.whole[args[0], args[1]] = WholeBytes(**found)


def measure(
    plan: Plan,
    jobs: int,
    told: Callable[[int, int], None] = lambda done, all_: None,
    *,
    kept: Kept | None = None,
    slice_seconds: float = float("inf"),
) -> tuple[Findings, int]:
    """Measure what is planned and not kept yet, on some processors.

    Args:
        plan: What.
        jobs: Processes to use.
        told: Is told how many tasks of how many are done.
        kept: What earlier calls have measured; new findings are added to it.
        slice_seconds: Begin nothing more after so long.

    Returns:
        What is measured by now, and how many measurements are left.
    """
    found = Findings()
    planned = tasks_of(plan)
    before = {} if kept is None else kept.results
    for task in planned:
        if task.name in before:
            found.add(task, before[task.name])
    left = [task for task in planned if task.name not in before]
    ends_at = time.monotonic() + slice_seconds
    begun = (task for task in left if time.monotonic() < ends_at)
    done = len(planned) - len(left)
    for task, result in spread(begun, Task.run, jobs):
        found.add(task, result)
        if kept is not None:
            kept.add(task.name, result)
        done += 1
        told(done, len(planned))
    return found, len(planned) - done
