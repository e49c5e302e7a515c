"""Simulations in a pool of processes: the same bytes, whatever dies or is cancelled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from federation.learning import one_blas_thread
from federation.simulation import EngineFailed, SimulationConfig
from federation.simulation.assignment import Assignment
from federation.simulation.engine import bench_of, trainer_for
from federation.simulation.pool import open_pool
from federation.simulation.sources import shards_of
from tests.extras import need
from tests.federation.broken_model import DEATHS
from tests.federation.test_simulation_training import assignment, by_place

need("trio_parallel")

BENCH = bench_of(SimulationConfig(workers=30, samples=12, feature_count=6, class_count=3, seed=9))
MORTAL = replace(BENCH, model="tests.federation.broken_model:mortal_model")


def here(wish: Assignment) -> dict[int, tuple[bytes, ...]]:
    """Return the bytes that training in this process gives."""
    with one_blas_thread():
        return by_place(trainer_for(BENCH, shards_of(BENCH.source)).train(wish, range(30)))


async def test_processes_give_the_bytes_of_this_one_and_a_cancelled_one_ends_at_once() -> None:
    wish, endless = assignment(6, 3, epochs=2), assignment(6, 3, epochs=10**9)

    async with open_pool(BENCH, processes=2) as pool:
        answers = await pool.train(wish, range(30))
        some = await pool.train(wish, [7, 3])
        with trio.move_on_after(0.1) as scope:
            await pool.train(endless, range(30))

    assert by_place(answers) == here(wish)
    assert by_place(some) == {place: here(wish)[place] for place in (3, 7)}
    assert scope.cancelled_caught


async def test_a_process_that_dies_costs_a_retry_and_one_that_always_dies_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths, wish = tmp_path / "deaths", assignment(6, 3)
    monkeypatch.setenv(DEATHS, str(deaths))

    async with open_pool(MORTAL, processes=1) as pool:
        deaths.write_bytes(b"x")
        answers = await pool.train(wish, range(30))
        deaths.write_bytes(b"x" * 99)
        with pytest.raises(EngineFailed, match="died 3 times"):
            await pool.train(wish, range(30))

    assert by_place(answers) == here(wish)
    assert len(deaths.read_bytes()) == 96
