"""Simulations on Ray: a cluster is started, loses processes, is cancelled, and the bytes are the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from federation.errors import SettingsError
from federation.learning import Region, RegionMeta, one_blas_thread, save_features
from federation.simulation import EngineFailed, SimulationConfig, simulate
from federation.simulation.engine import bench_of, trainer_for
from federation.simulation.engines import open_engine
from federation.simulation.sources import read, source_of
from tests.extras import need
from tests.federation.broken_model import DEATHS
from tests.federation.test_simulation_training import assignment, by_place

need("ray")


def config_with(folder: Path, **changes: object) -> SimulationConfig:
    """Return settings of a simulation whose samples come from a file, which only this process reads."""
    file = folder / "features.npz"
    if not file.exists():
        chance = np.random.default_rng(1)
        X = chance.normal(size=(400, 6)).astype(np.float32)
        meta = RegionMeta(class_names=("field", "forest", "river"), source="test")
        save_features(file, Region(X, chance.integers(0, 3, 400), meta))
    fields: dict[str, object] = {
        "workspace": folder,
        "features": file,
        "workers": 30,
        "rounds": 3,
        "epochs": 1,
    }
    return SimulationConfig(**{**fields, **changes})  # type: ignore[arg-type]


# Ray leaves sockets and threads to the collector when it goes; none of them is ours to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_cluster_gives_the_bytes_of_this_process_whatever_is_lost_or_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cluster for all of it: it takes ten seconds to start."""
    deaths = tmp_path / "deaths"
    deaths.write_bytes(b"x")  # one process dies in the middle of its first piece of work
    monkeypatch.setenv(DEATHS, str(deaths))
    config = config_with(
        tmp_path, engine="ray", processes=2, model="tests.federation.broken_model:mortal_model"
    )
    data = read(source_of(config, config.seed))
    wish, endless = assignment(6, 3, epochs=2), assignment(6, 3, epochs=10**9)
    with one_blas_thread():
        expected = by_place(trainer_for(bench_of(config_with(tmp_path)), data.shards).train(wish, range(30)))
    pauses: list[float] = []
    environment, home = dict(os.environ), Path.home() / ".ray"
    left_at_home = home.exists()

    async with open_engine(config, data.shards) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(measure_pauses, pauses)
        answers = await engine.train(wish, range(30))
        with trio.move_on_after(1.0) as scope:
            await engine.train(endless, range(30))
        again = await engine.train(wish, range(30))  # by processes that are free again
        nursery.cancel_scope.cancel()

    assert by_place(answers) == by_place(again) == expected
    assert deaths.read_bytes() == b""
    assert scope.cancelled_caught
    assert max(pauses) < 1.0  # trio's own thread never waits for Ray, whose answers took longer than that
    assert dict(os.environ) == environment
    assert home.exists() == left_at_home
    assert not (tmp_path / "ray").exists()


async def measure_pauses(pauses: list[float]) -> None:
    while True:
        before = trio.current_time()
        await trio.sleep(0.01)
        pauses.append(trio.current_time() - before)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("address", ["127.0.0.1:9", "a..b:9", "127.0.0.1:99999"])
async def test_a_cluster_that_is_not_there_is_said(tmp_path: Path, address: str) -> None:
    config = config_with(tmp_path, engine="ray", ray_address=address)

    with pytest.raises(EngineFailed, match=f"--ray-address {address}: the cluster cannot be used"):
        await simulate(config)


async def test_without_the_package_the_way_to_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)

    with pytest.raises(SettingsError, match=r"pip install 'trioactor\[ray\]'"):
        await simulate(config_with(tmp_path, engine="ray"))
