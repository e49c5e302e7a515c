"""Whole simulations: the bytes of a deployed federation, its rules in virtual time, and its record."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing
from click.testing import CliRunner

from federation.config import ProviderConfig
from federation.errors import QuorumLost, RunFailed, SettingsError
from federation.evaluator import Evaluator
from federation.learning import Region, RegionMeta, load_params, model_sha256, save_region
from federation.simulation import RoundReport, SimulationConfig, SimulationResult, simulate
from federation.simulation.__main__ import main
from federation.simulation.sources import Data, read, source_of
from federation.worker import Worker
from persistence import RoundPersistence, UpdateRow
from persistence.history import load_run
from tests.federation.stage import Stage, inline
from trioactor import ActorRef, ActorSystem

ROOT = Path(__file__).resolve().parent.parent.parent
CLASSES = ("field", "forest", "river")


def settings(folder: Path, **changes: Any) -> SimulationConfig:
    fields: dict[str, Any] = {
        "workspace": folder,
        "run": "test",
        "workers": 20,
        "samples": 12,
        "feature_count": 6,
        "class_count": 3,
        "rounds": 3,
        "epochs": 1,
        "batch_size": 4,
    }
    return SimulationConfig(**{**fields, **changes})


async def play(config: SimulationConfig, **how: Any) -> tuple[SimulationResult, list[RoundReport]]:
    """Run a simulation without threads; return what it has brought, and its rounds."""
    reports: list[RoundReport] = []
    result = await simulate(config, on_round=reports.append, now_unix=lambda: 1e9, offload=inline, **how)
    return result, reports


def updates_of(config: SimulationConfig) -> dict[int, tuple[UpdateRow, ...]]:
    with RoundPersistence(config.database, read_only=True) as record:
        run = record.find_run("test")
        assert run is not None
        return record.updates(run.id)


def outcomes_of(config: SimulationConfig, number: int) -> list[str]:
    return sorted(one.outcome for one in updates_of(config)[number])


def write_regions(folder: Path) -> None:
    """Write small regions A to D, of different sizes."""
    for place, name in enumerate("ABCD"):
        chance = np.random.default_rng(place)
        y = chance.integers(0, 3, 30 + 10 * place)
        X = chance.normal(size=(len(y), 6)) + y[:, None]
        meta = RegionMeta(class_names=CLASSES, source="synthetic", region=name, synthetic=True)
        save_region(folder / "dataset" / f"region_{name}.npz", Region(X.astype(np.float32), y, meta))


# --- the same bytes as deployed roles -----------------------------------------------------------


@pytest.mark.parametrize("how", [["--in-process"], []], ids=["in one process", "a process for each role"])
async def test_the_final_bytes_are_those_of_the_deployed_roles(tmp_path: Path, how: list[str]) -> None:
    """On the same region files, with the same settings and the same seed, whatever FedProx and epochs are.

    And so is the record: what became of the updates, all scores, and what each worker reaches alone.
    """
    write_regions(tmp_path)
    learning = {"rounds": 3, "epochs": 2, "batch_size": 7, "mu": 0.1, "seed": 11, "strategy": "fedadam"}
    flags = [part for key, value in learning.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "federation", "start", "--workspace", str(tmp_path), "--plain"]
    await trio.run_process(
        [*command, "--no-picture", *flags, *how],
        cwd=ROOT,
        capture_stdout=True,
        capture_stderr=True,
    )

    result, _ = await play(settings(tmp_path, partition="regions", **learning))

    with RoundPersistence(tmp_path / "training.db", read_only=True) as record:
        deployed, simulated = record.runs()
        assert deployed.status == simulated.status == "finished"
        assert deployed.model_sha256 == simulated.model_sha256 == result.model_sha256
        scores = [[one.accuracy for one in record.evaluations(run.id)] for run in (deployed, simulated)]
        assert scores[0] == scores[1]
        samples = [
            [
                {(one.worker, one.samples, one.loss, one.accuracy) for one in updates}
                for updates in by.values()
            ]
            for by in (record.updates(deployed.id), record.updates(simulated.id))
        ]
        assert samples[0] == samples[1]
        judged = [[replace(one, seconds=0.0) for one in record.evaluations(run.id)] for run in record.runs()]
        assert judged[0] == judged[1]
        assert record.baselines(deployed.id) == record.baselines(simulated.id)
        said, all_said = record.region_scores(deployed.id), record.region_scores(simulated.id)
        assert {(one.round, one.worker) for one in all_said} == set(product((1, 2, 3), "ABC"))
        assert all(one in all_said for one in said)  # roles may leave one out that comes as they train
    history = load_run(tmp_path / "training.db", simulated.name)
    assert (
        history.regions == load_run(tmp_path / "training.db", deployed.name).regions == ("D", "A", "B", "C")
    )
    assert result.alone == {worker: one.accuracy for worker, one in history.alone.items()}
    assert sorted(result.alone) == ["A", "B", "C"]


def workers_of(data: Data, provider: ActorRef) -> dict[str, Callable[[], Worker]]:
    """Return what makes a real Worker of each simulated one."""
    makers: dict[str, Callable[[], Worker]] = {}
    for place, name in enumerate(data.shards.names):
        meta = RegionMeta(class_names=data.shards.class_names, source="drawn", region=name)
        region = Region(*data.shards.samples_of(place), meta)
        makers[name] = partial(Worker, name, region, provider, offload=inline)
    return makers


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "by-size"])
async def test_drawn_workers_reach_the_bytes_that_actors_reach_with_their_samples(
    tmp_path: Path, partition: str
) -> None:
    """The same samples, handed to real Workers under a real Provider that asks a fraction of them."""
    config = settings(tmp_path, workers=8, partition=partition, fraction=0.5, seed=4)
    data = read(source_of(config, config.seed))
    provider_config = ProviderConfig(
        rounds=3, epochs=1, batch_size=4, fraction=0.5, seed=4, min_workers=8, alone=False, register_seconds=5
    )
    with RoundPersistence(tmp_path / "deployed.db") as store:
        async with ActorSystem("deployed") as system:
            stage = Stage(system, store)
            provider = await stage.begin(provider_config, services=("aggregator",))
            await system.actor_of(
                lambda: Evaluator(data.evaluation, store, provider, offload=inline), "evaluator"
            )
            for name, worker in workers_of(data, provider).items():
                await system.actor_of(worker, f"worker-{name}")
            with trio.fail_after(20):
                await stage.ended.wait()
        deployed = stage.end.model_sha256

    result, _ = await play(config)

    assert deployed == result.model_sha256
    assert deployed != ""


async def test_the_same_seed_has_the_same_bytes_and_another_seed_has_others(tmp_path: Path) -> None:
    stormy = {"jitter": 0.5, "dropouts": 0.2, "stragglers": 0.2, "quorum": 8, "late_joins": 0.2}
    results = [
        (await play(settings(tmp_path, run=f"run-{number}", seed=seed, **stormy)))[0]
        for number, seed in enumerate((1, 1, 2))
    ]

    assert results[0].model_sha256 == results[1].model_sha256 != results[2].model_sha256
    assert results[0].seconds == results[1].seconds


async def test_all_at_once_or_one_after_the_other_is_the_same_run(tmp_path: Path) -> None:
    at_once, _ = await play(settings(tmp_path, run="at-once"))
    alone, _ = await play(settings(tmp_path, run="alone", vectorised=False))

    assert at_once.model_sha256 == alone.model_sha256 == model_sha256(alone.weights)


# --- virtual time -------------------------------------------------------------------------------


async def test_a_day_of_virtual_time_takes_none(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    before = trio.current_time()

    result, reports = await play(settings(tmp_path, worker_seconds=8 * 3600.0, round_deadline=86_400.0))

    assert [one.seconds for one in reports] == [8 * 3600.0] * 3
    assert result.seconds == 24 * 3600
    assert trio.current_time() == before


async def test_a_round_with_a_quorum_leaves_stragglers_behind(tmp_path: Path) -> None:
    """And does not train them either: what they would send comes too late."""
    config = settings(tmp_path, stragglers=0.3, slowdown=50.0, quorum=10, grace=0.5, seed=2)

    _, reports = await play(config)

    outcomes = outcomes_of(config, 1)
    assert set(outcomes) == {"accepted", "late"}
    assert reports[0].accepted == outcomes.count("accepted") >= 10
    assert reports[0].seconds == 1.5


async def test_a_deadline_ends_a_round(tmp_path: Path) -> None:
    config = settings(tmp_path, stragglers=0.3, slowdown=50.0, round_deadline=20.0, seed=2)

    _, reports = await play(config)

    assert {one.seconds for one in reports} == {20.0}
    assert set(outcomes_of(config, 1)) == {"accepted", "late"}


async def test_a_lost_worker_that_comes_back_in_time_is_asked_again(tmp_path: Path) -> None:
    """Its answer has the bytes that it would have had: the model is that of a run without losses."""
    calm, _ = await play(settings(tmp_path, run="calm"))
    config = settings(tmp_path, dropouts=0.4, away_seconds=2.0, return_seconds=600.0, seed=0)

    lossy, reports = await play(config)

    assert lossy.model_sha256 == calm.model_sha256
    assert lossy.seconds > calm.seconds
    assert max(one.bytes for one in reports) > 20 * 2 * (6 * 3 + 3) * 4  # somebody was sent the model twice


async def test_a_worker_that_stays_away_is_lost_and_asked_when_it_is_back(tmp_path: Path) -> None:
    config = settings(tmp_path, rounds=30, dropouts=0.2, away_seconds=5.0, return_seconds=0.0, seed=1)

    _, reports = await play(config)

    assert "lost" in outcomes_of(config, 1)
    assert min(one.asked for one in reports) < 20
    gone = {one.worker for one in updates_of(config)[1] if one.outcome == "lost"}
    later = {one.worker for number in range(2, 31) for one in updates_of(config)[number]}
    assert gone <= later


async def test_who_joins_late_is_asked_from_then_on(tmp_path: Path) -> None:
    config = settings(tmp_path, rounds=12, late_joins=0.5, join_seconds=10.0)

    _, reports = await play(config)

    asked = [one.asked for one in reports]
    assert asked[0] == 10
    assert asked == sorted(asked)
    assert asked[-1] == 20


async def test_the_first_round_waits_for_those_that_are_to_join(tmp_path: Path) -> None:
    result, reports = await play(settings(tmp_path, late_joins=0.5, join_seconds=10.0, min_workers=20))

    assert reports[0].asked == 20
    assert result.seconds > 3.0


async def test_buffered_mode_goes_on_without_the_slow(tmp_path: Path) -> None:
    config = settings(
        tmp_path, mode="buffered", buffer_size=5, rounds=40, stragglers=0.3, jitter=0.3, dropouts=0.1, seed=3
    )

    result, reports = await play(config)

    staleness = [one.staleness for rows in updates_of(config).values() for one in rows]
    assert [one.accepted for one in reports] == [5] * 40
    assert max(filter(None, staleness)) >= 2
    assert result.seconds < 40 * 10


# --- compared with what each reaches alone ------------------------------------------------------


async def test_few_workers_are_compared_and_many_only_where_that_is_wanted(tmp_path: Path) -> None:
    few, _ = await play(settings(tmp_path, run="few", workers=4))
    many, _ = await play(settings(tmp_path, run="many", workers=21))
    wanted, _ = await play(settings(tmp_path, run="wanted", workers=21, compare=True))
    unwanted, _ = await play(settings(tmp_path, run="unwanted", workers=4, compare=False))

    assert [len(one.alone) for one in (few, many, wanted, unwanted)] == [4, 0, 21, 0]
    histories = [load_run(tmp_path / "training.db", name) for name in ("few", "many", "wanted", "unwanted")]
    assert [len(one.committed[-1].by_region) for one in histories] == [5, 1, 22, 1]


async def test_who_is_not_there_says_nothing_of_a_model(tmp_path: Path) -> None:
    await play(settings(tmp_path, rounds=12, late_joins=0.5, join_seconds=10.0))

    history = load_run(tmp_path / "training.db", "test")
    said = [len(one.by_region) - 1 for one in history.rounds]
    assert said[0] == 10  # and the region that is judged by
    assert said == sorted(said)
    assert said[-1] == len(history.alone) == 20


async def test_training_alone_that_fails_stands_in_the_record(tmp_path: Path) -> None:
    config = settings(tmp_path, workers=3, rounds=3, model="tests.federation.broken_model:tired_model")

    result, _ = await play(config)

    history = load_run(config.database, "test")
    assert result.alone == {}
    assert [(one.source, one.kind, one.round) for one in history.events if one.kind == "failed"] == [
        (f"worker-w{place}", "failed", 0) for place in range(3)
    ]


# --- how runs end -------------------------------------------------------------------------------


async def test_a_run_is_in_the_record_as_a_deployed_one_is(tmp_path: Path) -> None:
    config = settings(tmp_path, strategy="fedavgm", partition="dirichlet", alpha=0.5)

    result, reports = await play(config)

    history = load_run(config.database, "test")
    assert history.run.status == "finished"
    assert history.run.strategy == "fedavgm"
    assert history.run.synthetic
    assert history.run.settings["simulated"] is True
    assert history.run.settings["alpha"] == 0.5
    assert [event.kind for event in history.events] == ["simulated"]
    assert history.run.model_sha256 == result.model_sha256 == reports[-1].model_sha256
    assert [one.number for one in history.committed] == [1, 2, 3]
    assert [one.accuracy for one in history.committed] == [one.accuracy for one in reports]
    with RoundPersistence(config.database, read_only=True) as record:
        weights = record.load_weights(history.run.id, 3)
        assert model_sha256(weights) == result.model_sha256
        assert record.load_strategy_state(history.run.id, 3)


async def test_a_run_without_an_update_fails(tmp_path: Path) -> None:
    """The steps are so long that every model leaves the finite numbers."""
    config = settings(tmp_path, learning_rate=1e39)

    with pytest.raises(RunFailed, match=r"round 1: no update was accepted \(w00.* failed: training left"):
        await play(config)

    history = load_run(config.database, "test")
    assert history.run.status == "failed"
    assert [one.row.status for one in history.rounds] == ["failed"]
    assert set(outcomes_of(config, 1)) == {"failed"}


async def test_a_lost_quorum_ends_the_run_and_keeps_the_rounds_before(tmp_path: Path) -> None:
    config = settings(tmp_path, rounds=200, dropouts=0.3, away_seconds=1.0, return_seconds=0.0, quorum=12)

    with pytest.raises(QuorumLost, match=r"round \d+: only \d+ of the 12 needed updates were accepted"):
        await play(config)

    history = load_run(config.database, "test")
    assert history.run.status == "quorum lost"
    assert 1 <= len(history.committed) == len(history.rounds) - 1
    assert history.rounds[-1].row.reason in history.run.reason


async def test_a_run_that_is_cancelled_is_entered_as_stopped(tmp_path: Path) -> None:
    config = settings(tmp_path, rounds=1000)

    with trio.CancelScope() as scope:

        def see(report: RoundReport) -> None:
            if report.number == 2:
                scope.cancel()

        await simulate(config, on_round=see, offload=inline)

    assert scope.cancelled_caught
    history = load_run(config.database, "test")
    assert history.run.status == "stopped"
    assert 2 <= len(history.committed) < 1000


async def test_a_name_that_is_taken_is_not_used_again(tmp_path: Path) -> None:
    await play(settings(tmp_path))

    with pytest.raises(SettingsError, match="--run test: the record has a run of that name"):
        await play(settings(tmp_path))

    names = [(await play(settings(tmp_path, run="")))[0].run for _ in range(2)]
    assert names[1] == f"{names[0]}-2"


async def test_a_model_of_the_users_is_simulated_as_it_is_deployed(tmp_path: Path) -> None:
    ours, _ = await play(settings(tmp_path, run="ours"))
    theirs, _ = await play(settings(tmp_path, run="theirs", model="federation.models:simple_model"))

    assert ours.model_sha256 == theirs.model_sha256


# --- the command --------------------------------------------------------------------------------


def command(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "federation.simulation", "run", "--workspace", str(folder), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_tells_how_it_goes_and_what_it_has_brought(tmp_path: Path) -> None:
    done = command(tmp_path, "--workers", "30", "--fraction", "0.2", "--rounds", "4", "--run", "test")

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == (
        "run test: 4 rounds of 30 simulated workers, fedavg, iid, drawn data (made by a program)"
    )
    assert [line.split("  ")[:2] for line in done.stderr.splitlines()[1:]] == [
        [f"round {number}/4", "6 of 6 workers"] for number in (1, 2, 3, 4)
    ]
    assert done.stdout.startswith("Finished: 4 rounds of 30 simulated workers in ")
    assert f"bin/report --workspace {tmp_path} test" in done.stdout
    model = load_params(tmp_path / "runs" / "test" / "model.npz")
    assert model_sha256(model) in done.stdout
    settings_file = str(tmp_path / "runs" / "test" / "settings.toml")
    again = CliRunner().invoke(main, ["run", "--config", settings_file, "--run", "again"])
    assert model_sha256(model) in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("flags", "status", "text"),
    [
        (["--workers", "0"], 2, "--workers 0: 1 or more"),
        (["--features", "none.npz"], 2, "error: --features: none.npz"),
        (["--model", "no.such:thing"], 2, "error: --model no.such:thing: it is not found"),
        (["--rounds", "3", "--workers", "5", "--learning-rate", "1e39"], 1, "error: round "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, flags: list[str], status: int, text: str) -> None:
    done = CliRunner().invoke(main, ["run", "--workspace", str(tmp_path), *flags])

    assert done.exit_code == status
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_results_that_cannot_be_written_are_told_in_a_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "runs" / "test" / "model.npz"
    in_the_way.mkdir(parents=True)

    flags = ["--workers", "3", "--rounds", "1", "--run", "test"]
    done = CliRunner().invoke(main, ["run", "--workspace", str(tmp_path), *flags])

    assert done.exit_code == 1
    assert (
        f"error: the results could not all be written to {in_the_way.parent} (Is a directory)" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert "Finished: 1 round" in done.stdout
