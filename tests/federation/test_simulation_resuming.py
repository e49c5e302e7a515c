"""Simulations that are stopped, or killed, and go on: the bytes of one that nobody disturbed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from federation.errors import SettingsError
from federation.results import write_settings
from federation.simulation import Beginning, RoundReport, SimulationConfig, SimulationResult, simulate
from federation.simulation.__main__ import main
from federation.simulation.trainer import Trainer
from federation.workspace import RunFolder
from persistence import NewRun, RoundPersistence
from tests.federation.stage import inline
from tests.federation.test_simulation import play, settings, write_regions

ROOT = Path(__file__).resolve().parent.parent.parent

# Everything that can happen to workers, so that there is much to go on from.
STORMY: dict[str, Any] = {
    "rounds": 9,
    "jitter": 0.5,
    "dropouts": 0.2,
    "away_seconds": 4.0,
    "return_seconds": 2.0,
    "stragglers": 0.2,
    "late_joins": 0.3,
    "join_seconds": 12.0,
    "strategy": "fedadam",
    "schedule": "cosine",
}
ROUNDS = {**STORMY, "quorum": 6, "fraction": 0.8, "min_workers": 10}
BUFFERED = {**STORMY, "mode": "buffered", "buffer_size": 4}


async def stopped_after(config: SimulationConfig, number: int) -> None:
    """Run a simulation until this round is in the record; after that no word of it is."""
    with trio.CancelScope() as scope:

        def see(report: RoundReport) -> None:
            if report.number == number:
                scope.cancel()

        await simulate(config, on_round=see, now_unix=lambda: 1e9, offload=inline)
    assert scope.cancelled_caught


async def gone_on(config: SimulationConfig, **how: Any) -> SimulationResult:
    result, _ = await play(replace(config, resume=config.run), **how)
    return result


def record_of(config: SimulationConfig) -> dict[str, Any]:
    """Return all that is in the record of a run and does not tell when it was written."""
    with RoundPersistence(config.database, read_only=True) as record:
        run = record.find_run(config.run)
        assert run is not None
        return {
            "run": (run.status, run.model_sha256),
            "rounds": [
                {name: getattr(row, name) for name in ("number", "seconds", "train_loss", "model_sha256")}
                for row in record.rounds(run.id)
            ],
            "updates": record.updates(run.id),
            "scores": [replace(one, seconds=0.0) for one in record.evaluations(run.id)],
            "region scores": record.region_scores(run.id),
            "alone": record.baselines(run.id),
        }


# --- the same bytes -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 6])
@pytest.mark.parametrize("how", [ROUNDS, BUFFERED], ids=["rounds", "buffered"])
async def test_a_run_that_was_stopped_goes_on_to_the_bytes_of_one_that_was_not(
    tmp_path: Path, how: dict[str, Any], number: int
) -> None:
    """Virtual time, who is slow, lost or late, what is under way: all that is in the record is the same."""
    whole = settings(tmp_path, run="whole", **how)
    calm, _ = await play(whole)
    config = settings(tmp_path, **how)
    await stopped_after(config, number)
    assert record_of(config)["run"][0] == "stopped"

    result = await gone_on(config)

    assert result.model_sha256 == calm.model_sha256
    assert result.seconds == calm.seconds
    assert result.alone == calm.alone != {}
    assert record_of(config) == record_of(whole)


async def test_a_run_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    calm, _ = await play(settings(tmp_path, run="whole", **ROUNDS))
    config = settings(tmp_path, **ROUNDS)
    await stopped_after(config, 2)
    for number in (3, 5, 6):
        await stopped_after(replace(config, resume=config.run), number)

    assert (await gone_on(config)).model_sha256 == calm.model_sha256


async def test_what_the_record_has_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, rounds=6, compare=False)
    await stopped_after(config, 4)
    trained: list[int] = []
    train = Trainer.train

    def counted(self: Trainer, work: Any, places: Any, should_stop: Any) -> Any:
        trained.extend([work.round] * len(places))
        return train(self, work, places, should_stop)

    monkeypatch.setattr(Trainer, "train", counted)
    begun: list[Beginning] = []

    await gone_on(config, on_begin=begun.append)

    committed = begun[0].committed
    assert committed >= 4  # the round behind may have been written, too
    assert trained == [number for number in range(committed + 1, 7) for _ in range(20)]


async def test_a_score_that_was_not_written_any_more_is_made_up_for(tmp_path: Path) -> None:
    """A process may be killed after a round is in the record, and before the score of its model is."""
    whole = settings(tmp_path, run="whole", rounds=5)
    await play(whole)
    config = settings(tmp_path, rounds=5)
    await stopped_after(config, 3)
    with closing(sqlite3.connect(config.database)) as file, file:
        for table in ("evaluations", "region_scores"):
            last = "run = 2 AND round = (SELECT max(number) FROM rounds WHERE run = 2)"
            assert file.execute(f"DELETE FROM {table} WHERE {last}").rowcount > 0

    await gone_on(config)

    assert record_of(config) == record_of(whole)


async def test_a_run_that_has_finished_goes_on_with_more_rounds(tmp_path: Path) -> None:
    longer, _ = await play(settings(tmp_path, run="longer", rounds=5))
    config = settings(tmp_path, rounds=3)
    before, _ = await play(config)

    assert (await gone_on(config)).model_sha256 == before.model_sha256
    assert (await gone_on(replace(config, rounds=5))).model_sha256 == longer.model_sha256


# --- what cannot go on --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"run": "", "resume": "none"}, "--resume none: no run of that name"),
        ({"run": "", "resume": "deployed"}, "--resume deployed: that run was not simulated"),
        ({"seed": 3}, "--resume test: it began with seed 0, not 3"),
        ({"quorum": 3}, "--resume test: it began with quorum None, not 3"),
        ({"run": "other"}, "--run and --resume: a run that goes on has its name"),
    ],
)
async def test_what_is_another_run_does_not_go_on(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    config = settings(tmp_path)
    await play(config)
    with RoundPersistence(config.database) as record:
        record.create_run(
            NewRun(
                name="deployed",
                created_unix=1.0,
                settings={},
                seed=0,
                source="test",
                synthetic=True,
            )
        )

    with pytest.raises(SettingsError, match=text):
        await play(replace(config, **{"resume": "test", **changes}))


async def test_a_round_that_comes_out_otherwise_is_said(tmp_path: Path) -> None:
    """A record that was changed, or a version of ours that plays otherwise."""
    config = settings(tmp_path, rounds=5)
    await stopped_after(config, 3)
    with closing(sqlite3.connect(config.database)) as file, file:
        file.execute("UPDATE worker_updates SET outcome = 'late' WHERE round = 2 AND worker = 'w07'")

    with pytest.raises(SettingsError, match=r"round 2 was kept with \('w07', 'late'\), and with this data"):
        await gone_on(config)


# --- the command --------------------------------------------------------------------------------

JOB = ["--workers", "30", "--rounds", "60", "--epochs", "1", "--plain", "--fraction", "0.5"]
JOB += ["--dropouts", "0.1", "--jitter", "0.3", "--strategy", "fedavgm"]


def last_word(folder: Path, *flags: str) -> str:
    """Run the command to its end; return the fingerprint of its model."""
    done = CliRunner().invoke(main, ["run", "--workspace", str(folder), *flags])
    assert done.exit_code == 0, done.stderr
    return next(line.split()[-1] for line in done.stdout.splitlines() if line.startswith("model SHA-256"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_killed_or_stopped_goes_on(tmp_path: Path, number: int) -> None:
    calm = last_word(tmp_path / "calm", *JOB)
    folder = tmp_path / "disturbed"
    command = [sys.executable, "-m", "federation.simulation", "run", "--workspace", str(folder), *JOB]
    command += ["--run", "it"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(6)]  # the opening, and five rounds
        os.kill(process.pid, number)
        said += process.stderr.readlines()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert said[-1] == f"Go on with: bin/simulate-federation --workspace {folder} --resume it\n"

    assert last_word(folder, "--resume", "last", "--plain") == calm


def test_the_command_takes_only_what_may_be_given_anew(tmp_path: Path) -> None:
    write_regions(tmp_path)
    flags = ["run", "--workspace", str(tmp_path), "--plain"]
    begun = CliRunner().invoke(main, [*flags, "--partition", "regions", "--rounds", "2", "--run", "it"])
    assert begun.exit_code == 0, begun.stderr

    refused = CliRunner().invoke(main, [*flags, "--resume", "it", "--epochs", "2"])
    unknown = CliRunner().invoke(main, [*flags, "--resume", "that"])
    longer = CliRunner().invoke(main, [*flags, "--resume", "last", "--rounds", "3", "--no-compare"])

    assert (refused.exit_code, unknown.exit_code, longer.exit_code) == (2, 2, 0)
    assert "--epochs: a run goes on with the settings it began with" in refused.stderr
    assert "--resume that: no run of that name" in unknown.stderr
    assert "the latest is it" in unknown.stderr
    assert longer.stderr.splitlines()[0].endswith("going on after round 2")
    assert "alone" not in longer.stdout


def test_a_run_goes_on_with_another_engine(tmp_path: Path) -> None:
    """A cluster that is gone keeps nobody from going on: what it was told is forgotten with it."""
    config = settings(tmp_path, rounds=3, engine="ray", ray_address="10.0.0.1:6379", processes=2)
    folder = RunFolder(tmp_path / "runs" / "test")
    folder.path.mkdir(parents=True)
    write_settings(folder, config.as_table())
    with RoundPersistence(config.database) as record:
        new = NewRun(
            name="test",
            created_unix=1.0,
            settings={**config.for_record(), "simulated": True},
            seed=0,
            source="drawn",
            synthetic=True,
        )
        record.create_run(new)

    done = CliRunner().invoke(
        main, ["run", "--workspace", str(tmp_path), "--resume", "test", "--engine", "inline"]
    )

    assert done.exit_code == 0, done.stderr
    assert "Finished: 3 rounds" in done.stdout


def test_settings_come_back_from_their_table(tmp_path: Path) -> None:
    config = settings(tmp_path, partition="regions", region=("B", "C"), dataset=tmp_path, quorum=2)

    again = SimulationConfig.from_table(config.as_table())

    assert {
        one.name for one in fields(config) if getattr(config, one.name) != getattr(again, one.name)
    } == set()
