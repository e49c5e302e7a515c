"""The record beside its physical limits: a round on disk, as it must be before anybody hears of it.

A round is three updates and a model of 512 x 10. Limits: the same rows through `sqlite3` by hand, in one
transaction with `synchronous=FULL`, without a check; and as many bytes written to a file and synced.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from persistence import NewRun, RoundPersistence, RoundRow, UpdateRow
from tests.benchmarks.measure import Row, compare
from tests.benchmarks.processes import ROOT

BY_HAND, SYNCED = "sqlite3 by hand, FULL", "write and fdatasync"

WEIGHTS = {"W": np.ones((512, 10), np.float32), "b": np.ones(10, np.float32)}
UPDATES = tuple(
    UpdateRow(worker=name, outcome="accepted", samples=2_000, loss=0.5, accuracy=0.9, seconds=0.1)
    for name in ("A", "B", "C")
)


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Return rounds per second that are committed, one transaction each."""
    count = 30 if quick else 200
    workspace = ROOT / "workspace"  # on a disk, which the place for temporary files need not be
    workspace.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace) as folder:
        place = Path(folder)
        cases = {
            "ours": partial(_ours, place, count),
            BY_HAND: partial(_by_hand, place, count),
            SYNCED: partial(_synced, place, count),
        }
        committed = compare(
            "commit a round of three updates and 20 KB of weights",
            cases,
            {BY_HAND: 0.5},
            rounds=2 if quick else 9,
            unit="rounds/s",
            progress=progress,
        )
        reading = {
            "ours": partial(_read_ours, place, count),
            "sqlite3 by hand": partial(_read_by_hand, place, count),
        }
        return [
            *committed,
            *compare(
                "load the weights of a round",
                reading,
                {},
                rounds=2 if quick else 9,
                unit="rounds/s",
                progress=progress,
            ),
        ]


def _ours(place: Path, count: int) -> float:
    with RoundPersistence(_fresh(place / "ours.db")) as store:
        run = store.create_run(
            NewRun(name="a run", created_unix=0.0, settings={}, seed=0, source="none", synthetic=True)
        )
        start = time.perf_counter()
        for number in range(1, count + 1):
            row = RoundRow(
                number=number, started_unix=0.0, ended_unix=1.0, seconds=1.0, model_sha256="0" * 64
            )
            assert store.commit_round(run.id, row, weights=WEIGHTS, updates=UPDATES)
        return count / (time.perf_counter() - start)


def _read_ours(place: Path, count: int) -> float:
    with RoundPersistence(place / "ours.db", read_only=True) as store:
        start = time.perf_counter()
        for number in range(1, count + 1):
            assert store.load_weights(1, number)["W"].shape == (512, 10)
        return count / (time.perf_counter() - start)


def _by_hand(place: Path, count: int) -> float:
    connection = sqlite3.connect(_fresh(place / "hand.db"), isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE rounds (number INTEGER PRIMARY KEY, ended REAL, sha TEXT) STRICT;"
        "CREATE TABLE updates (round INTEGER, worker TEXT, outcome TEXT, samples INTEGER, loss REAL) STRICT;"
        "CREATE TABLE weights (round INTEGER, name TEXT, data BLOB, PRIMARY KEY (round, name)) STRICT;"
    )
    start = time.perf_counter()
    for number in range(1, count + 1):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rounds VALUES (?, ?, ?)", (number, 1.0, "0" * 64))
        for one in UPDATES:
            told = (number, one.worker, one.outcome, one.samples, one.loss)
            connection.execute("INSERT INTO updates VALUES (?, ?, ?, ?, ?)", told)
        for name, array in WEIGHTS.items():
            connection.execute("INSERT INTO weights VALUES (?, ?, ?)", (number, name, array.tobytes()))
        connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return count / seconds


def _read_by_hand(place: Path, count: int) -> float:
    connection = sqlite3.connect(place / "hand.db")
    start = time.perf_counter()
    for number in range(1, count + 1):
        found = connection.execute("SELECT name, data FROM weights WHERE round = ?", (number,)).fetchall()
        assert np.frombuffer(dict(found)["W"], np.float32).reshape(512, 10).shape == (512, 10)
    seconds = time.perf_counter() - start
    connection.close()
    return count / seconds


def _synced(place: Path, count: int) -> float:
    data = b"".join(array.tobytes() for array in WEIGHTS.values())
    with (place / "bytes").open("wb", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(count):
            file.write(data)
            os.fdatasync(file.fileno())
        return count / (time.perf_counter() - start)


def _fresh(path: Path) -> Path:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path
