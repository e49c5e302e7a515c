"""What experiment trackers are told of a run; and TensorBoard's files and MLflow's store, read back."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from persistence import RoundPersistence
from persistence.errors import MissingExtra
from persistence.history import load_run
from persistence.mlflow_tracker import EXPERIMENT, IMPATIENT, MlflowTracker
from persistence.tensorboard_tracker import MAX_OPEN, TensorBoardTracker
from persistence.tracking import TrackingFailed, settings_of, steps_of, whole_rounds
from tests.extras import need
from tests.persistence.samples import (
    accepted,
    keep_a_run,
    keep_a_troubled_run,
    model,
    new_run,
    round_row,
    sha,
)


@pytest.fixture
def begun(path: Path) -> Path:
    """Return a record of a run that goes on: one round with its score, one that has none yet."""
    keep_a_run(path, rounds=1, workers=["A", "B"])
    with RoundPersistence(path) as record:
        record.reopen_run(1)
        update = replace(accepted("A"), loss=0.25)
        record.commit_round(1, round_row(2, sha(2)), weights=model(2), updates=[update])
    return path


def end(path: Path) -> None:
    with RoundPersistence(path) as record:
        record.end_run(1, status="finished", ended_unix=1_700_000_100.0)


# --- what is told -------------------------------------------------------------------------------


def test_a_round_without_its_score_is_left_for_later(begun: Path) -> None:
    assert [one.number for one in whole_rounds(load_run(begun))] == [1]
    assert [one.number for one in whole_rounds(load_run(begun), after=1)] == []

    end(begun)
    assert [one.number for one in whole_rounds(load_run(begun), after=1)] == [2]


def test_a_round_is_told_for_the_federation_and_for_each_worker_in_it(begun: Path) -> None:
    one, two = load_run(begun).rounds
    federation, *workers = steps_of(one)

    assert (federation.stream, federation.round) == ("", 1)
    assert federation.values["global/accuracy"] == one.accuracy
    assert (federation.values["round/accepted"], federation.values["round/asked"]) == (2, 2)
    assert [step.stream for step in workers] == ["A", "B"]
    unscored, alone = steps_of(two)
    assert "global/accuracy" not in unscored.values
    assert alone.values["train/loss"] == 0.25
    assert alone.values["round/seconds"] == 0.25


def test_who_did_not_take_part_has_no_numbers(path: Path) -> None:
    keep_a_troubled_run(path)

    for one in load_run(path).rounds:
        assert {step.stream for step in steps_of(one)} == {"", *one.accepted}


def test_settings_are_texts_by_name(begun: Path) -> None:
    assert settings_of(load_run(begun)) == {
        "mode": "rounds",
        "mu": "0.0",
        "rounds": "3",
        "seed": "7",
        "source": "synthetic",
        "strategy": "fedavg",
    }


# --- TensorBoard --------------------------------------------------------------------------------


def scalars(folder: Path) -> list[tuple[str, int, float, float]]:
    """Return what the event files of a folder say: tag, step, value and time, in order."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.glob("events.*")):
        for record in records(file.read_bytes()):
            event = Event.FromString(record)
            found += [
                (value.tag, event.step, value.simple_value, event.wall_time)
                for value in event.summary.value
                if value.HasField("simple_value")
            ]
    return found


def records(data: bytes) -> Iterator[bytes]:
    """Take apart a TFRecord file: a length and its checksum, the bytes and theirs."""
    while data:
        (length,) = struct.unpack_from("<Q", data)
        yield data[12 : 12 + length]
        data = data[16 + length :]


def test_tensorboard_has_a_run_for_the_federation_and_for_each_worker(begun: Path, tmp_path: Path) -> None:
    need("tensorboardX")
    history = load_run(begun)
    with closing(TensorBoardTracker(tmp_path / "board")) as tracker:
        tracker.tell(history)

    folder = tmp_path / "board" / "first"
    assert {place.name for place in folder.iterdir()} == {
        "federation",
        "worker-A",
        "worker-B",
        "tracked.json",
    }
    told = scalars(folder / "federation")
    ended = history.rounds[0].row.ended_unix
    assert ("global/accuracy", 1, history.rounds[0].accuracy, ended) in told  # 0.5, so float32 has it
    assert {step for _, step, _, _ in told} == {1}
    assert ("train/loss", 1, 0.5, ended) in scalars(folder / "worker-A")


def test_tensorboard_is_told_what_is_new_and_nothing_twice(begun: Path, tmp_path: Path) -> None:
    need("tensorboardX")
    for _ in range(2):
        with closing(TensorBoardTracker(tmp_path / "board")) as tracker:
            tracker.tell(load_run(begun))
    end(begun)
    for _ in range(2):
        TensorBoardTracker(tmp_path / "board").tell(load_run(begun))

    losses = [step for tag, step, _, _ in scalars(tmp_path / "board" / "first" / "worker-A") if "loss" in tag]
    assert losses == [1, 2]


def test_a_run_that_is_followed_makes_one_file_for_each_stream(begun: Path, tmp_path: Path) -> None:
    need("tensorboardX")
    tracker = TensorBoardTracker(tmp_path / "board")
    tracker.tell(load_run(begun))
    end(begun)
    tracker.tell(load_run(begun))  # it has ended: the files are closed

    folder = tmp_path / "board" / "first"
    assert len(list((folder / "worker-A").glob("events.*"))) == 1
    assert {step for _, step, _, _ in scalars(folder / "worker-A")} == {1, 2}


def test_more_workers_than_files_may_be_open(path: Path, tmp_path: Path) -> None:
    need("tensorboardX")
    workers = [f"w{number}" for number in range(MAX_OPEN + 5)]
    keep_a_run(path, workers=workers, rounds=2, alone=False)
    TensorBoardTracker(tmp_path / "board").tell(load_run(path))

    for worker in workers:
        told = scalars(tmp_path / "board" / "first" / f"worker-{worker}")
        assert {step for _, step, _, _ in told} == {1, 2}


def test_a_worker_of_any_name_has_a_folder_inside(path: Path, tmp_path: Path) -> None:
    need("tensorboardX")
    with RoundPersistence(path) as record:
        run = record.create_run(new_run()).id
        record.commit_round(run, round_row(1, sha(1)), weights=model(1), updates=[accepted("../../x")])
        record.end_run(run, status="finished", ended_unix=1.0)
    TensorBoardTracker(tmp_path / "board").tell(load_run(path))

    assert (tmp_path / "board" / "first" / "worker-..%2F..%2Fx").is_dir()


def test_a_folder_that_cannot_be_written_is_named(begun: Path, tmp_path: Path) -> None:
    need("tensorboardX")
    (tmp_path / "board").write_text("a file")
    with pytest.raises(TrackingFailed, match=r"TensorBoard in .*board: .*name another folder"):
        TensorBoardTracker(tmp_path / "board").tell(load_run(begun))


# --- MLflow -------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a store of MLflow in a folder, which it keeps without a server."""
    need("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name, value in IMPATIENT.items():
        monkeypatch.setenv(name, value)
    return (tmp_path / "mlruns").as_uri()


def runs_in(store: str) -> dict[str, Any]:
    """Return the runs of a store by their names."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def steps_in(store: str, run: str, metric: str) -> list[tuple[int, float]]:
    from mlflow.tracking import MlflowClient

    history = MlflowClient(store).get_metric_history(runs_in(store)[run].info.run_id, metric)
    return [(one.step, one.value) for one in history]


def test_mlflow_has_a_run_for_the_federation_and_below_it_its_workers(begun: Path, store: str) -> None:
    history = load_run(begun)
    MlflowTracker(store).tell(history)

    runs = runs_in(store)
    assert runs.keys() == {"first", "worker A", "worker B"}
    federation = runs.pop("first")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {federation.info.run_id}
    assert federation.data.params == settings_of(history)
    assert federation.data.metrics["global/accuracy"] == history.rounds[0].accuracy
    assert federation.info.start_time == 1_700_000_000_000
    assert {run.info.status for run in (federation, *runs.values())} == {"RUNNING"}


def test_mlflow_is_told_what_is_new_and_how_the_run_ended(begun: Path, store: str) -> None:
    for _ in range(2):
        MlflowTracker(store).tell(load_run(begun))  # another one: it was started again
    end(begun)
    for _ in range(2):
        MlflowTracker(store).tell(load_run(begun))

    assert steps_in(store, "worker A", "train/loss") == [(1, 0.5), (2, 0.25)]
    assert [step for step, _ in steps_in(store, "first", "round/asked")] == [1, 2]
    assert {run.info.status for run in runs_in(store).values()} == {"FINISHED"}
    assert runs_in(store)["worker B"].info.end_time == 1_700_000_100_000


@pytest.mark.parametrize(
    ("status", "theirs"), [("failed", "FAILED"), ("quorum lost", "FAILED"), ("stopped", "KILLED")]
)
def test_mlflow_knows_a_run_that_did_not_finish(begun: Path, store: str, status: str, theirs: str) -> None:
    with RoundPersistence(begun) as record:
        record.end_run(1, status=status, reason="a reason", ended_unix=1_700_000_100.0)
    MlflowTracker(store).tell(load_run(begun))
    assert {run.info.status for run in runs_in(store).values()} == {theirs}

    with RoundPersistence(begun) as record:
        record.reopen_run(1)
    MlflowTracker(store).tell(load_run(begun))
    assert {run.info.status for run in runs_in(store).values()} == {"RUNNING"}


def test_runs_of_one_name_in_two_records_are_two(tmp_path: Path, store: str) -> None:
    for number, name in enumerate(("here.db", "there.db")):
        with RoundPersistence(tmp_path / name) as record:
            record.create_run(replace(new_run(), created_unix=1e9 + number))
        MlflowTracker(store).tell(load_run(tmp_path / name))

    from mlflow.tracking import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_a_server_that_is_not_there_is_named(begun: Path, store: str, dead_port: int) -> None:
    with pytest.raises(TrackingFailed, match=f"MLflow at http://127.0.0.1:{dead_port}: nobody listens there"):
        MlflowTracker(f"http://127.0.0.1:{dead_port}").tell(load_run(begun))


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Return a port where nobody listens, and nobody else can begin to."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


# --- packages that are not there ----------------------------------------------------------------


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("tensorboardX", "mlflow", "mlflow.tracking", "mlflow.exceptions"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    for name in IMPATIENT:
        monkeypatch.setenv(name, os.environ.get(name, ""))

    with pytest.raises(MissingExtra, match=r"package tensorboardX.*pip install 'trioactor\[tracking\]'"):
        TensorBoardTracker(tmp_path)
    with pytest.raises(MissingExtra, match=r"package mlflow-skinny.*pip install 'trioactor\[tracking\]'"):
        MlflowTracker("http://127.0.0.1:5000")
