"""What is to be measured of gossip, and how it is spread over processors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeAlias

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
    """

    peers: Sequence[int] = (16, 64, 256, 1024)
    losses: Sequence[float] = (0.0, 0.1, 0.3)
    seeds: int = 200
    detection_peers: Sequence[int] = (16, 64, 256)
    health_hours: float = 4.0
    health_runs: int = 4
    idle_rounds: int = 10_000
    versions: int = 40


QUICK = Plan(
    peers=(16, 64),
    seeds=20,
    detection_peers=(16,),
    health_hours=0.05,
    health_runs=1,
    idle_rounds=300,
    versions=6,
)
"""In some seconds, for the suite."""

MODEL_SIZES = (20_000, 1_000_000)  # bytes: the perceptron of the system, and one of many pieces
MODEL_PEERS = 16
HEALTH_PEERS = 64
MANY_IDLE_ROUNDS = 100  # of larger networks than the smallest
TASKS_PER_CELL = 4


@dataclass(slots=True)
class Findings:
    """What was measured.

    Attributes:
        rounds: Rounds to convergence, by cell.
        detected: How crashes were noticed, by cell.
        healthy: What was said of peers that were alive, by loss.
        idle: Traffic of networks in which nothing changes, by size.
        models: Traffic of new versions, by loss and size of the model.
    """

    rounds: dict[Cell, list[float]] = field(default_factory=dict)
    detected: dict[Cell, list[Detected]] = field(default_factory=dict)
    healthy: dict[float, list[Health]] = field(default_factory=dict)
    idle: dict[int, IdleTraffic] = field(default_factory=dict)
    models: dict[tuple[float, int], ModelTraffic] = field(default_factory=dict)


Store: TypeAlias = "Callable[[Any], object]"
Task: TypeAlias = "tuple[Store, Callable[..., Any], tuple[Any, ...]]"


def measure(plan: Plan, jobs: int, told: Callable[[int, int], None] = lambda done, all_: None) -> Findings:
    """Measure all that is planned, on some processors.

    Args:
        plan: What.
        jobs: Processes to use.
        told: Is told how many tasks of how many are done.
    """
    found = Findings()
    tasks = [*_round_tasks(plan, found), *_health_tasks(plan, found), *_traffic_tasks(plan, found)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [(store, pool.submit(function, *args)) for store, function, args in tasks]
        for number, (store, future) in enumerate(running):
            store(future.result())
            told(number + 1, len(tasks))
    return found


def _round_tasks(plan: Plan, found: Findings) -> Iterator[Task]:
    for peers in sorted(plan.peers, reverse=True):  # what takes longest comes first
        for loss in plan.losses:
            for announcing in (False, True):
                cell = Cell(peers, loss, announcing)
                for seeds in _parts(plan.seeds):
                    yield found.rounds.setdefault(cell, []).extend, convergence, (cell, seeds)


def _health_tasks(plan: Plan, found: Findings) -> Iterator[Task]:
    for peers in sorted(plan.detection_peers, reverse=True):
        for loss in plan.losses[:2]:
            cell = Cell(peers, loss)
            for seeds in _parts(plan.seeds):
                yield found.detected.setdefault(cell, []).extend, detection, (cell, seeds)
    for loss in plan.losses[:2]:
        for run in range(plan.health_runs):
            store = found.healthy.setdefault(loss, []).append
            yield store, health, (Cell(HEALTH_PEERS, loss), run, plan.health_hours)


def _traffic_tasks(plan: Plan, found: Findings) -> Iterator[Task]:
    for peers in plan.peers:
        rounds = plan.idle_rounds if peers == min(plan.peers) else min(plan.idle_rounds, MANY_IDLE_ROUNDS)
        yield partial(found.idle.__setitem__, peers), idle_traffic, (peers, rounds)
    for loss in plan.losses:
        for size in MODEL_SIZES:
            args = (MODEL_PEERS, loss, size, plan.versions)
            yield partial(found.models.__setitem__, (loss, size)), model_traffic, args


def _parts(seeds: int) -> Iterator[range]:
    size = -(-seeds // TASKS_PER_CELL)
    for start in range(0, seeds, size):
        yield range(start, min(start + size, seeds))
