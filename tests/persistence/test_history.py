"""A run read back as one object."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from persistence import EvaluationRow, RoundPersistence, UnknownRun, UpdateRow
from persistence.history import load_run, load_runs
from tests.persistence.samples import accepted, keep_a_run, model, new_run, round_row, sha


def test_a_run_is_read_whole(path: Path) -> None:
    keep_a_run(path)

    history = load_run(path)

    assert (history.run.name, history.run.status, history.region) == ("first", "finished", "D")
    assert [one.number for one in history.rounds] == [1, 2, 3]
    assert [one.accuracy for one in history.rounds] == [0.25, 0.5, 0.75]
    assert history.rounds[1].loss == 1.0
    assert history.workers == ("A", "B", "C")
    assert history.rounds[0].accepted == ("A", "B", "C")
    assert (history.rounds[0].bytes_in, history.rounds[0].bytes_out) == (180, 180)
    assert {worker: one.accuracy for worker, one in history.alone.items()} == {"A": 0.05, "B": 0.1, "C": 0.15}
    assert history.best_alone is not None
    assert history.best_alone.worker == "C"
    assert history.model_sha256 == sha(3)


def test_nothing_in_it_changes(path: Path) -> None:
    keep_a_run(path)
    with pytest.raises(FrozenInstanceError):
        load_run(path).region = "E"  # type: ignore[misc]


def test_the_latest_run_is_the_default_and_others_are_asked_for(path: Path) -> None:
    for name in ("first", "second", "third"):
        keep_a_run(path, name=name, rounds=1)

    assert load_run(path).run.name == "third"
    assert load_run(path, "second").run.name == "second"
    assert load_run(path, "1").run.name == "first"
    assert [one.run.name for one in load_runs(path)] == ["first", "second", "third"]


def test_an_unknown_run_is_answered_with_the_nearest_names(path: Path) -> None:
    keep_a_run(path, name="2026-11-24-digits", rounds=1)
    keep_a_run(path, name="2026-11-25-synthetic", rounds=1)

    with pytest.raises(UnknownRun, match=r"no run '2026-11-24-digit' in .*; did you mean 2026-11-24-digits"):
        load_run(path, "2026-11-24-digit")
    with pytest.raises(UnknownRun, match="; the latest is 2026-11-25-synthetic"):
        load_run(path, "x")


def test_a_record_without_a_run_says_so(path: Path) -> None:
    RoundPersistence(path).close()
    with pytest.raises(UnknownRun, match=r"there is no run in .* yet"):
        load_run(path)
    assert load_runs(path) == ()


def test_a_running_run_is_read_as_far_as_it_is(path: Path) -> None:
    with RoundPersistence(path) as record:
        run_id = record.create_run(new_run()).id
        history = load_run(path)
        assert (history.rounds, history.region, history.scored, history.model_sha256) == ((), "", None, None)

        record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=[accepted("A")])
        history = load_run(path)
        assert history.rounds[0].score is None  # committed, and not scored yet
        assert history.model_sha256 == sha(1)


def test_a_workers_own_part_is_told_from_its_other_messages(record: RoundPersistence, run_id: int) -> None:
    updates = [
        UpdateRow(worker="B", outcome="stale", reason="for round 0", bytes_in=7),
        accepted("A"),
        UpdateRow(worker="A", outcome="duplicate", bytes_in=60),
        UpdateRow(worker="B", outcome="late", reason="too slow", bytes_out=60),
        UpdateRow(worker="Z", outcome="stranger", bytes_in=5),
    ]
    record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=updates)

    (one,) = load_run(record.database.path).rounds

    assert one.asked == ("A", "B")
    assert one.accepted == ("A",)
    assert one.workers["A"].update.outcome == "accepted"
    assert [aside.outcome for aside in one.workers["A"].aside] == ["duplicate"]
    assert one.workers["B"].update.outcome == "late"
    assert [aside.reason for aside in one.workers["B"].aside] == ["for round 0"]
    assert (one.bytes_in, one.bytes_out) == (60 + 60 + 7 + 5, 60 + 60)


def test_a_run_is_judged_by_the_region_that_nobody_trains_on(record: RoundPersistence, run_id: int) -> None:
    record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=[accepted("A")])
    for region, of, accuracy in (("A", "global", 0.9), ("D", "global", 0.5), ("D", "A", 0.1)):
        record.save_evaluation(
            run_id, EvaluationRow(round=1, region=region, model=of, samples=4, loss=1.0, accuracy=accuracy)
        )

    history = load_run(record.database.path)

    assert history.region == "D"
    assert history.rounds[0].accuracy == 0.5
