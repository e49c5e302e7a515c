"""The record of coordinated runs, as the roles use it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import persistence
from persistence import (
    BaselineRow,
    Damaged,
    EvaluationRow,
    EventRow,
    RegionScoreRow,
    RoundConflict,
    RoundPersistence,
    RunRow,
    UnknownRun,
    UpdateRow,
    load_run,
)
from tests.persistence.samples import accepted, commit, model, new_run, round_row, sha

# --- runs -----------------------------------------------------------------------------------


def test_a_run_is_entered_as_running(record: RoundPersistence) -> None:
    run = record.create_run(new_run())

    assert run == RunRow(
        id=1,
        name="first",
        created_unix=1_700_000_000.0,
        settings={"rounds": 3, "mu": 0.0},
        seed=7,
        source="synthetic",
        synthetic=True,
        status="running",
    )
    assert record.runs() == (run,)
    assert record.find_run("first") == run
    assert record.find_run("second") is None


def test_a_name_is_given_once(record: RoundPersistence, run_id: int) -> None:
    with pytest.raises(ValueError, match=r"there is a run 'first' in .*; choose another name"):
        record.create_run(new_run())
    assert len(record.runs()) == 1


def test_a_finished_run_has_the_model_of_its_last_round(record: RoundPersistence, run_id: int) -> None:
    commit(record, run_id, 1)
    commit(record, run_id, 2)

    run = record.end_run(run_id, status="finished", ended_unix=1_700_000_009.0)

    assert (run.status, run.reason, run.ended_unix) == ("finished", "", 1_700_000_009.0)
    assert run.model_sha256 == sha(2)


def test_a_failed_run_says_why(record: RoundPersistence, run_id: int) -> None:
    run = record.end_run(run_id, status="failed", ended_unix=2.0, reason="no update was accepted in round 1")
    assert (run.status, run.reason, run.model_sha256) == ("failed", "no update was accepted in round 1", None)


def test_a_stopped_run_runs_again(record: RoundPersistence, run_id: int) -> None:
    commit(record, run_id, 1)
    record.end_run(run_id, status="stopped", ended_unix=2.0, reason="Ctrl-C")

    run = record.reopen_run(run_id)

    assert (run.status, run.reason, run.ended_unix, run.model_sha256) == ("running", "", None, None)
    assert record.last_committed_round(run_id) == 1


@pytest.mark.parametrize("status", ["running", "done", ""])
def test_a_run_ends_in_one_of_the_known_ways(record: RoundPersistence, run_id: int, status: str) -> None:
    with pytest.raises(ValueError, match="running"):
        record.end_run(run_id, status=status, ended_unix=2.0)
    assert record.run(run_id).status == "running"


Call = Callable[[RoundPersistence, int], Any]


@pytest.mark.parametrize(
    "call",
    [
        lambda record, run: record.run(run),
        lambda record, run: commit(record, run, 1),
        lambda record, run: record.record_failed_round(run, round_row(1), updates=[]),
        lambda record, run: record.add_update(run, 1, accepted("A")),
        lambda record, run: record.save_evaluation(run, score(1)),
        lambda record, run: record.save_baseline(
            run, BaselineRow(worker="A", region="D", samples=1, loss=0.0, accuracy=0.0)
        ),
        lambda record, run: record.save_region_scores(run, []),
        lambda record, run: record.add_events(run, []),
        lambda record, run: record.end_run(run, status="failed", ended_unix=0.0),
        lambda record, run: record.reopen_run(run),
    ],
)
def test_an_unknown_run_is_refused(record: RoundPersistence, call: Call) -> None:
    with pytest.raises(UnknownRun, match=r"no run with id 5 in .*training\.db"):
        call(record, 5)


def test_settings_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        replace(new_run(), settings={"path": Path("x")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(new_run(), settings={"mu": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(new_run(), strategy_parameters={"trim": float("inf")})


def test_a_run_says_how_it_averages(record: RoundPersistence) -> None:
    new = replace(new_run(), mode="buffered", strategy="trimmed-mean", strategy_parameters={"trim": 0.2})
    assert record.create_run(new) == RunRow(id=1, **asdict(new))
    assert (new_run().mode, new_run().strategy) == ("rounds", "fedavg")


# --- rounds ---------------------------------------------------------------------------------


def test_a_committed_round_comes_back_whole(record: RoundPersistence, run_id: int) -> None:
    assert record.last_committed_round(run_id) == 0

    assert commit(record, run_id, 1) is True

    assert record.last_committed_round(run_id) == 1
    assert record.rounds(run_id) == (round_row(1, sha(1)),)
    assert record.updates(run_id) == {1: (accepted("A"), accepted("B", 50))}
    weights = record.load_weights(run_id, 1)
    assert list(weights) == ["W", "b"]
    for name, array in model(1).items():
        np.testing.assert_array_equal(weights[name], array)
        assert weights[name].dtype == array.dtype


NAMES = st.text(min_size=1, max_size=8)
ARRAYS = npst.arrays(
    st.sampled_from(["float32", "float64", "int64"]), npst.array_shapes(min_dims=0, max_dims=3, min_side=0)
)


@settings(max_examples=40, deadline=None)  # each makes a file
@given(
    weights=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3),
    state=st.dictionaries(NAMES, ARRAYS, max_size=3),
)
def test_whatever_arrays_a_model_and_a_strategy_have_come_back(
    tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Any], state: dict[str, Any]
) -> None:
    with RoundPersistence(tmp_path_factory.mktemp("record") / "training.db") as record:
        run_id = record.create_run(new_run()).id
        record.commit_round(
            run_id, round_row(1, sha(1)), weights=weights, strategy_state=state, updates=[accepted("A")]
        )
        for given_arrays, back in (
            (weights, record.load_weights(run_id, 1)),
            (state, record.load_strategy_state(run_id, 1)),
        ):
            assert list(back) == list(given_arrays)
            for name, array in given_arrays.items():
                assert back[name].dtype == array.dtype
                assert back[name].shape == array.shape
                assert back[name].tobytes() == array.tobytes()


def test_the_same_round_committed_twice_counts_once(record: RoundPersistence, run_id: int) -> None:
    """After a crash nobody knows whether the commit was reached; asking again is safe."""
    assert commit(record, run_id, 1) is True
    assert commit(record, run_id, 1) is False

    assert len(record.rounds(run_id)) == 1
    assert len(record.updates(run_id)[1]) == 2


def test_another_model_for_a_committed_round_is_an_error(record: RoundPersistence, run_id: int) -> None:
    commit(record, run_id, 1)
    with pytest.raises(RoundConflict, match=rf"round 1 is committed with model {sha(1)}.*{sha(9)}"):
        record.commit_round(run_id, round_row(1, sha(9)), weights=model(9), updates=[])
    np.testing.assert_array_equal(record.load_weights(run_id, 1)["W"], model(1)["W"])


def test_no_round_is_left_out(record: RoundPersistence, run_id: int) -> None:
    commit(record, run_id, 1)
    with pytest.raises(
        RoundConflict, match=r"round 3 cannot be committed, the last one is round 1; go on with round 2"
    ):
        commit(record, run_id, 3)


def test_a_round_that_cannot_be_kept_leaves_nothing(record: RoundPersistence, run_id: int) -> None:
    unfit = replace(accepted("B"), reason=b"bytes")  # type: ignore[arg-type]  # no text, says the table
    with pytest.raises(sqlite3.IntegrityError, match="cannot store BLOB value in TEXT column"):
        record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=[accepted("A"), unfit])
    assert record.rounds(run_id) == ()
    assert record.updates(run_id) == {}
    with pytest.raises(LookupError, match="round 1 of run 1 is not committed"):
        record.load_weights(run_id, 1)


def test_a_committed_round_has_a_model_and_its_fingerprint(record: RoundPersistence, run_id: int) -> None:
    with pytest.raises(ValueError, match="no model_sha256; record_failed_round keeps it"):
        record.commit_round(run_id, round_row(1), weights=model(1), updates=[])
    with pytest.raises(ValueError, match="no weights"):
        record.commit_round(run_id, round_row(1, sha(1)), weights={}, updates=[])


def test_a_failed_round_is_kept_and_its_second_try_takes_its_place(
    record: RoundPersistence, run_id: int
) -> None:
    failed = round_row(1, reason="no update was accepted")
    lost = UpdateRow(worker="A", outcome="lost", reason="connection reset")
    record.record_failed_round(run_id, failed, updates=[lost])
    assert record.rounds(run_id) == (failed,)
    assert record.rounds(run_id)[0].status == "failed"
    assert record.last_committed_round(run_id) == 0

    commit(record, run_id, 1)

    assert record.rounds(run_id) == (round_row(1, sha(1)),)
    assert lost not in record.updates(run_id)[1]


def test_a_committed_round_cannot_fail_afterwards(record: RoundPersistence, run_id: int) -> None:
    commit(record, run_id, 1)
    with pytest.raises(RoundConflict, match="round 1 is committed; it cannot have failed"):
        record.record_failed_round(run_id, round_row(1), updates=[])
    with pytest.raises(ValueError, match="has a model; commit_round keeps it"):
        record.record_failed_round(run_id, round_row(2, sha(2)), updates=[])


def test_a_late_update_is_added_to_its_round(record: RoundPersistence, run_id: int) -> None:
    commit(record, run_id, 1)
    late = UpdateRow(worker="C", outcome="late", reason="2.5 s after the round was closed", samples=70)

    record.add_update(run_id, 1, late)

    assert record.updates(run_id)[1] == (accepted("A"), accepted("B", 50), late)
    with pytest.raises(RoundConflict, match="round 2 is not in the record yet"):
        record.add_update(run_id, 2, late)


def test_an_update_says_how_old_its_model_was_and_how_long_it_trained(
    record: RoundPersistence, run_id: int
) -> None:
    update = replace(accepted("A"), staleness=3, train_seconds=0.125)
    record.commit_round(run_id, round_row(1, sha(1)), weights=model(1), updates=[update])
    assert record.updates(run_id)[1] == (update,)


def test_runs_do_not_mix(record: RoundPersistence, run_id: int) -> None:
    other = record.create_run(new_run("second")).id
    commit(record, run_id, 1)
    commit(record, run_id, 2)
    commit(record, other, 1)
    assert (record.last_committed_round(run_id), record.last_committed_round(other)) == (2, 1)
    assert len(record.rounds(other)) == 1


def test_numbers_from_numpy_are_taken_and_no_number_is_none(record: RoundPersistence, run_id: int) -> None:
    diverged = UpdateRow(
        worker="A",
        outcome="accepted",
        samples=np.int64(8),  # type: ignore[arg-type]  # callers sum with NumPy
        loss=float("nan"),
        accuracy=np.float32(0.5),  # type: ignore[arg-type]
    )
    row = replace(round_row(1, sha(1)), train_loss=float("inf"))
    record.commit_round(run_id, row, weights=model(1), updates=[diverged])

    assert record.updates(run_id)[1] == (
        UpdateRow(worker="A", outcome="accepted", samples=8, loss=None, accuracy=0.5),
    )
    assert record.rounds(run_id)[0].train_loss is None


def test_an_array_that_is_cut_short_is_found(path: Path, record: RoundPersistence, run_id: int) -> None:
    commit(record, run_id, 1)
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE weights SET data = substr(data, 1, 7) WHERE name = 'b'")
        other.commit()
    with pytest.raises(
        Damaged, match=r"array 'b' of round 1, run 1: float32 of shape \[3\] takes 12 bytes, 7"
    ):
        record.load_weights(run_id, 1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET settings = 'no JSON'",
        "UPDATE runs SET settings = 'null'",
        "UPDATE runs SET status = 'odd'",
        "UPDATE worker_updates SET outcome = 'odd'",
        "UPDATE evaluations SET per_class = '['",
        "UPDATE evaluations SET confusion = '[[1], [2]]'",
    ],
)
def test_a_row_that_somebody_has_changed_into_none_of_ours_is_damage(
    path: Path, record: RoundPersistence, run_id: int, change: str
) -> None:
    commit(record, run_id, 1)
    record.save_evaluation(run_id, score(1))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(change)

    with pytest.raises(Damaged, match="a row is not what was written"):
        load_run(path)


# --- scores and events ----------------------------------------------------------------------


def score(number: int, accuracy: float = 0.5) -> EvaluationRow:
    return EvaluationRow(
        round=number,
        region="D",
        samples=4,
        loss=1.25,
        accuracy=accuracy,
        per_class={"Forest": 0.5, "River": None},
        confusion=((1, 1), (1, 1)),
        seconds=0.125,
    )


def test_scores_come_back_and_a_second_scoring_replaces_the_first(
    record: RoundPersistence, run_id: int
) -> None:
    commit(record, run_id, 1)
    own = EvaluationRow(round=1, region="A", model="A", samples=9, loss=None, accuracy=1.0)
    record.save_evaluation(run_id, score(1))
    record.save_evaluation(run_id, own)
    record.save_evaluation(run_id, score(1, accuracy=0.75))

    assert record.evaluations(run_id) == (own, score(1, accuracy=0.75))


def test_only_a_committed_model_is_scored(record: RoundPersistence, run_id: int) -> None:
    record.record_failed_round(run_id, round_row(1, reason="nobody answered"), updates=[])
    with pytest.raises(RoundConflict, match="round 1 is not committed; only its model is scored"):
        record.save_evaluation(run_id, score(1))


def on_region(worker: str, number: int) -> RegionScoreRow:
    return RegionScoreRow(
        round=number,
        worker=worker,
        samples=8,
        loss=0.5,
        accuracy=0.25,
        per_class={"Forest": 0.5, "Lake": 0.0, "River": None},
    )


def test_what_workers_say_of_the_model_on_their_regions_comes_back(
    record: RoundPersistence, run_id: int
) -> None:
    commit(record, run_id, 1)
    record.save_region_scores(run_id, [on_region("B", 1), on_region("A", 1)])
    better = replace(on_region("B", 1), accuracy=0.75, loss=float("inf"))
    record.save_region_scores(run_id, [better])

    assert record.region_scores(run_id) == (on_region("A", 1), replace(better, loss=None))
    assert record.evaluations(run_id) == ()  # the judge has not spoken yet


def test_what_a_worker_says_of_a_model_that_is_not_there_is_left_out(
    record: RoundPersistence, run_id: int
) -> None:
    commit(record, run_id, 1)
    record.record_failed_round(run_id, round_row(2, reason="nobody answered"), updates=[])
    record.save_region_scores(run_id, [on_region("A", number) for number in (1, 2, 3)])
    assert record.region_scores(run_id) == (on_region("A", 1),)


def test_what_a_worker_reaches_alone_is_part_of_the_record(record: RoundPersistence, run_id: int) -> None:
    alone = BaselineRow(worker="A", region="D", samples=4, loss=2.0, accuracy=0.25)
    record.save_baseline(run_id, replace(alone, accuracy=0.0))
    record.save_baseline(run_id, alone)
    assert record.baselines(run_id) == (alone,)


def test_events_keep_their_order(record: RoundPersistence, run_id: int) -> None:
    events = tuple(
        EventRow(
            at_unix=5.0 - number, source="worker-A", kind="joined", text=f"{number}", round=number or None
        )
        for number in range(3)
    )
    record.add_events(run_id, events[:2])
    record.add_events(run_id, events[2:])
    assert record.events(run_id) == events


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replace(new_run(), name=" "), "name is empty"),
        (lambda: replace(new_run(), source=""), "source is empty"),
        (
            lambda: round_row(1, "x").__class__(number=0, started_unix=0, ended_unix=0, seconds=0),
            "counted from 1",
        ),
        (lambda: replace(round_row(1), seconds=-1.0), "seconds=-1.0; it cannot be below 0"),
        (
            lambda: replace(round_row(1), train_accuracy=1.5),
            "train_accuracy=1.5; a share lies between 0 and 1",
        ),
        (lambda: UpdateRow(worker="", outcome="lost"), "worker is empty"),
        (lambda: UpdateRow(worker="A", outcome="fine"), "outcome='fine'; use one of accepted, refused"),
        (lambda: UpdateRow(worker="A", outcome="refused"), "reason of a refused update is empty"),
        (lambda: replace(accepted("A"), bytes_in=-1), "bytes_in=-1"),
        (lambda: replace(accepted("A"), accuracy=-0.5), "accuracy=-0.5"),
        (lambda: replace(accepted("A"), staleness=-1), "staleness=-1; it cannot be below 0"),
        (lambda: replace(accepted("A"), train_seconds=-0.5), "train_seconds=-0.5"),
        (lambda: replace(new_run(), strategy=""), "strategy is empty"),
        (lambda: replace(score(1), samples=0), "nothing can be scored on no samples"),
        (lambda: replace(score(1), accuracy=float("nan")), "accuracy=nan"),
        (lambda: replace(score(1), per_class={"Forest": 2.0}), "accuracy of class 'Forest'=2.0"),
        (lambda: replace(on_region("A", 1), worker=""), "worker is empty"),
        (lambda: replace(on_region("A", 1), samples=0), "nothing can be scored on no samples"),
        (lambda: replace(on_region("A", 1), accuracy=1.5), "accuracy=1.5"),
        (lambda: replace(on_region("A", 1), per_class={"Lake": -1.0}), "accuracy of class 'Lake'=-1.0"),
        (lambda: replace(score(1), confusion=((1, 2),)), "confusion is not square"),
        (lambda: BaselineRow(worker="A", region="D", samples=0, loss=0, accuracy=0), "no samples"),
        (lambda: BaselineRow(worker="A", region="D", samples=1, loss=0, accuracy=2), "accuracy=2"),
        (lambda: EventRow(at_unix=0, source="", kind="x", text=""), "source is empty"),
    ],
)
def test_rows_check_themselves(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


# --- for other programs ---------------------------------------------------------------------

SCHEMA_PAGE = (Path(persistence.__file__).with_name("SCHEMA.md")).read_text()


def test_the_queries_of_the_schema_page_work(path: Path, record: RoundPersistence, run_id: int) -> None:
    by_round, by_worker, worst = re.findall(r"```sql\n(.*?)```", SCHEMA_PAGE, re.DOTALL)
    for number in (1, 2):
        commit(record, run_id, number)
        record.save_evaluation(run_id, score(number, accuracy=number / 4))
    record.save_region_scores(run_id, [on_region("A", 2), replace(on_region("B", 2), accuracy=0.125)])
    record.add_update(run_id, 2, UpdateRow(worker="C", outcome="late", reason="too slow"))

    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
        assert other.execute(by_round).fetchall() == [(1, 0.25, 1.25, 0.5), (2, 0.5, 1.25, 0.5)]
        assert other.execute(by_worker).fetchall() == [
            ("A", "accepted", "", 2, 240),
            ("B", "accepted", "", 2, 240),
            ("C", "late", "too slow", 1, 0),
        ]
        assert other.execute(worst).fetchall() == [("B", 0.125, "Lake", 0.0), ("A", 0.25, "Lake", 0.0)]


def test_the_schema_page_names_every_table_and_column(path: Path, record: RoundPersistence) -> None:
    rows = {line.split("`")[1]: line for line in SCHEMA_PAGE.splitlines() if line.startswith("| `")}
    with closing(sqlite3.connect(path)) as other:
        tables = [name for (name,) in other.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        columns = {
            table: [name for (name,) in other.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            for table in tables
        }
        version, mark = (
            other.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
        )

    assert set(rows) == set(tables)
    for table, names in columns.items():
        assert [name for name in names if f"`{name}`" not in rows[table]] == []
    assert f"is 0x{mark:08x}" in SCHEMA_PAGE
    assert f"now {version}." in SCHEMA_PAGE


def old_file(path: Path, version: int) -> Path:
    """Make the file as that version of the program made it: those texts never change."""
    with closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name(f"training_version_{version}.sql").read_text())
    return path


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_every_version_is_read_and_written(path: Path, version: int) -> None:
    with RoundPersistence(old_file(path, version)) as record:
        (run,) = record.runs()
        assert (run.name, run.settings, run.status) == ("first", {"rounds": 3}, "running")
        np.testing.assert_array_equal(record.load_weights(run.id, 1)["b"], np.array([1, 2], np.float32))
        assert record.updates(run.id)[1][0].worker == "A"
        assert record.evaluations(run.id)[0].accuracy == 0.5
        assert record.baselines(run.id)[0].accuracy == 0.25
        assert record.events(run.id)[0].text == "A is there"
        assert commit(record, run.id, 2)


def test_what_version_1_did_not_say_is_told_as_it_was(path: Path) -> None:
    """It averaged, round by round; how old a model was, or how long was trained, nobody wrote down."""
    with RoundPersistence(old_file(path, 1), read_only=True) as record:
        (run,) = record.runs()
        assert (run.mode, run.strategy, run.strategy_parameters) == ("rounds", "fedavg", {})
        (update,) = record.updates(run.id)[1]
        assert (update.staleness, update.train_seconds) == (None, None)
        assert record.region_scores(run.id) == ()


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_brought_up_to_date_is_like_a_new_one(path: Path, tmp_path: Path, version: int) -> None:
    RoundPersistence(old_file(path, version)).close()
    RoundPersistence(tmp_path / "new.db").close()

    old, new = (columns(file) for file in (path, tmp_path / "new.db"))

    assert old == new
    assert len(new) > 50


def columns(path: Path) -> set[tuple[str, str, str, int, str | None]]:
    """Return every column of a file: its table, name, type, whether it must be filled, and its default."""
    with closing(sqlite3.connect(path)) as file:
        found = file.execute(
            """SELECT t.name, c.name, c.type, c."notnull", c.dflt_value
            FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'"""
        )
        return set(found)
