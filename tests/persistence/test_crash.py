"""What is committed survives `kill -9`, and others read it while it is written: real processes."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from persistence import RoundPersistence
from persistence.history import load_run
from tests.persistence.samples import model, sha

ROOT = Path(__file__).parents[2]


def start(path: Path, *arguments: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.persistence.writer", str(path), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def assert_whole(path: Path) -> int:
    """Check every round in the file, and return how many there are."""
    with RoundPersistence(path) as record:
        (run,) = record.runs()
        rounds = record.rounds(run.id)
        assert [row.number for row in rounds] == list(range(1, len(rounds) + 1))
        assert record.last_committed_round(run.id) == len(rounds)
        for row in rounds:
            assert row.model_sha256 == sha(row.number)
            weights = record.load_weights(run.id, row.number)
            for name, array in model(row.number).items():
                np.testing.assert_array_equal(weights[name], array)
            assert [update.worker for update in record.updates(run.id)[row.number]] == ["A", "B"]
        assert record.database.read("PRAGMA integrity_check")[0][0] == "ok"
        assert record.database.read("PRAGMA foreign_key_check") == []
        assert record.database.read("SELECT count(*) FROM weights")[0][0] == 2 * len(rounds)
    return len(rounds)


def test_a_writer_killed_again_and_again_loses_no_committed_round(path: Path) -> None:
    """Kills fall between and inside commits; each writer goes on where the last one ended."""
    chance = random.Random(20)
    committed = kills = 0
    while committed < 200:
        writer = start(path, 200)
        assert writer.stdout is not None
        told = committed
        for line in writer.stdout:
            told = int(line)
            if told >= committed + 20 + chance.randrange(10):
                break
        writer.kill()
        told = max([told, *map(int, writer.stdout.read().split())])  # said before the kill reached it
        kills += writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        committed = assert_whole(path)
        assert committed in (told, told + 1)  # on the disk, but killed before it could say so
    assert kills >= 5
    assert committed == 200


# BEGIN, is there such a run, the last round, DELETE of a failed one, the round, 2 updates, 2 arrays, COMMIT.
STATEMENTS_OF_A_COMMIT = 10


@pytest.mark.parametrize("statement", range(1, STATEMENTS_OF_A_COMMIT + 3))
def test_a_writer_killed_inside_a_commit_leaves_the_whole_round_or_none(path: Path, statement: int) -> None:
    """Before BEGIN, after the round's row, between two arrays, before COMMIT: nothing of it is there."""
    first = start(path, 1)
    assert first.communicate()[0] == "1\n"

    doomed = start(path, 5, statement)
    said, _ = doomed.communicate()

    assert doomed.returncode == -signal.SIGKILL
    assert assert_whole(path) == 1 + len(said.split())
    assert said == ("" if statement <= STATEMENTS_OF_A_COMMIT else "2\n")


def test_another_process_reads_rounds_while_they_are_written(path: Path) -> None:
    writer = start(path, 200)
    assert writer.stdout is not None
    seen = []
    for line in writer.stdout:
        if int(line) % 25 == 0 and writer.poll() is None:
            with RoundPersistence(path, read_only=True) as record:
                seen.append(record.last_committed_round(1))
                assert seen[-1] >= int(line)
                np.testing.assert_array_equal(record.load_weights(1, seen[-1])["W"], model(seen[-1])["W"])
    writer.stdout.close()
    assert writer.wait() == 0
    assert seen == sorted(seen)
    assert len(seen) >= 4
    assert assert_whole(path) == 200


def test_the_report_reads_a_run_while_it_is_written(path: Path) -> None:
    """Every look sees whole rounds only, never fewer than the one before."""
    writer = start(path, 150)
    assert writer.stdout is not None
    seen = []
    for line in writer.stdout:
        if int(line) % 25 == 0 and writer.poll() is None:
            history = load_run(path)
            seen.append(len(history.committed))
            assert seen[-1] >= int(line)
            assert history.model_sha256 == sha(seen[-1])
            assert all(one.accepted == ("A", "B") for one in history.rounds)
    writer.stdout.close()
    assert writer.wait() == 0
    assert seen == sorted(seen)
    assert len(seen) >= 3


def test_a_full_disk_ends_the_writer_at_a_committed_round(small_disk: Path) -> None:
    """It says so in a line; what it had committed can be read, and the run goes on when there is room."""
    path, ballast = small_disk / "training.db", small_disk / "ballast"
    ballast.write_bytes(bytes(80_000))
    command = [sys.executable, "-m", "tests.persistence.writer", str(path), "100000"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    told = [int(line) for line in done.stdout.split()]
    assert (done.returncode, done.stderr) == (
        1,
        f"{path}: no room left on the disk; make room, what was committed is kept\n",
    )
    assert told == list(range(1, len(told) + 1))
    assert len(told) >= 3
    assert len(load_run(path).committed) == len(told)  # also while the disk is still full

    ballast.unlink()
    assert assert_whole(path) == len(told)
    assert start(path, len(told) + 2).communicate()[0] == f"{len(told) + 1}\n{len(told) + 2}\n"
    assert assert_whole(path) == len(told) + 2


def test_any_program_with_sqlite_reads_the_running_record(path: Path) -> None:
    """No code of ours is needed on the reading side."""
    with RoundPersistence(path):
        writer = start(path, 3)
        assert writer.communicate()[0] == "1\n2\n3\n"
        assert path.with_name("training.db-wal").exists()  # we still hold it open
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
            assert other.execute("SELECT number, status FROM rounds").fetchall() == [
                (number, "committed") for number in (1, 2, 3)
            ]
