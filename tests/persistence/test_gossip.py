"""What peers keep in gossip.db: by pieces, whole or not at all; and what becomes of a damaged file."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from persistence import NewRun
from persistence.errors import Damaged, NewerSchema, NotADatabase
from persistence.gossip import FileMoved, GossipPersistence, open_or_set_aside
from persistence.gossip_history import load_gossip_run
from persistence.gossip_rows import (
    EntryRow,
    GossipEventRow,
    IdentityRow,
    PeerMetricsRow,
    PeerStateRow,
)
from persistence.rounds import UnknownRun

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gossip.db"


@pytest.fixture
def store(file: Path) -> Iterator[GossipPersistence]:
    with GossipPersistence(file) as opened:
        yield opened


@pytest.fixture
def run_id(store: GossipPersistence) -> int:
    return store.enter_run(new_run()).id


def new_run(name: str = "first") -> NewRun:
    return NewRun(
        name=name, created_unix=1.7e9, settings={"rounds": 3}, seed=7, source="synthetic", synthetic=True
    )


def state(peer: str = "A", round: int = 1) -> PeerStateRow:
    return PeerStateRow(peer=peer, round=round, finished=False, samples=10, life=1, saved_unix=1.7e9)


def model(owner: str, time: int, data: bytes) -> tuple[EntryRow, dict[bytes, bytes]]:
    content = sha256(data).digest()
    entry = EntryRow(
        key=f"model/{owner}",
        time=time,
        writer=owner,
        life=1,
        salt=2**32 - 1,
        value={"samples": 10},
        content=content,
    )
    return entry, {content: data}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET settings = 'no JSON'",
        "UPDATE runs SET status = 'odd'",
        "UPDATE runs SET settings = 'null'",
    ],
)
def test_a_row_that_somebody_has_changed_into_none_of_ours_is_damage(
    file: Path, store: GossipPersistence, run_id: int, change: str
) -> None:
    store.save_snapshot(run_id, state())
    store.add_events(run_id, [GossipEventRow(at_unix=1.7e9, source="A", kind="joined", text="")])
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("PRAGMA ignore_check_constraints = ON")
        other.execute(change)

    with pytest.raises(Damaged, match="a row is not what was written"):
        load_gossip_run(file)


# --- snapshots --------------------------------------------------------------------------------------


def test_a_peer_that_saved_nothing_has_an_empty_snapshot(store: GossipPersistence, run_id: int) -> None:
    found = store.load_snapshot(run_id, "A")

    assert (found.entries, dict(found.contents), found.state) == ((), {}, None)


def test_a_snapshot_is_the_sum_of_what_has_changed(store: GossipPersistence, run_id: int) -> None:
    first, bytes_of_first = model("A", 1, b"one")
    other, bytes_of_other = model("B", 2, b"two")
    newer, bytes_of_newer = model("A", 3, b"three")
    store.save_snapshot(run_id, state(), changed=[first], contents=bytes_of_first)
    store.save_snapshot(run_id, state(), changed=[other], contents=bytes_of_other)
    store.save_snapshot(run_id, state(round=2), changed=[newer], contents=bytes_of_newer)

    found = store.load_snapshot(run_id, "A")

    assert found.entries == (newer, other)
    assert dict(found.contents) == {**bytes_of_newer, **bytes_of_other}  # nothing of the first is left
    assert found.state == state(round=2)


def test_bytes_that_two_entries_share_stay_until_both_are_gone(store: GossipPersistence, run_id: int) -> None:
    one, shared = model("A", 1, b"zeros")
    two, _ = model("B", 1, b"zeros")
    store.save_snapshot(run_id, state(), changed=[one, two], contents=shared)
    store.save_snapshot(run_id, state(), removed=["model/A"])
    assert dict(store.load_snapshot(run_id, "A").contents) == shared

    store.save_snapshot(run_id, state(), changed=[replace(two, time=2, deleted=True, content=None)])

    found = store.load_snapshot(run_id, "A")
    assert dict(found.contents) == {}
    assert [entry.deleted for entry in found.entries] == [True]


def test_only_what_has_changed_is_written(store: GossipPersistence, run_id: int) -> None:
    for owner in "ABCDEFGH":
        entry, data = model(owner, 1, owner.encode() * 40_000)
        store.save_snapshot(run_id, state(), changed=[entry], contents=data)
    statements: list[str] = []
    store.database._connection.set_trace_callback(statements.append)
    entry, data = model("A", 2, b"new")

    store.save_snapshot(run_id, state(), changed=[entry], contents=data)

    written = [each for each in statements if each.startswith("INSERT")]
    assert len(written) == 3  # the entry, its bytes, the state
    assert sum(map(len, written)) < 2000


def test_a_snapshot_is_written_whole_or_not_at_all(store: GossipPersistence, run_id: int) -> None:
    good, data = model("A", 1, b"one")
    bad = replace(good, key="model/B", time=-1)  # refused by a CHECK, after the first entry was written

    with pytest.raises(sqlite3.IntegrityError):
        store.save_snapshot(run_id, state(), changed=[good, bad], contents=data)

    assert store.load_snapshot(run_id, "A").entries == ()
    assert store.states(run_id) == {}


def test_a_round_is_kept_with_the_snapshot_that_says_it_is_trained_or_neither_is(
    store: GossipPersistence, run_id: int
) -> None:
    row = PeerMetricsRow(peer="A", round=2, at_unix=1.7e9, seconds=0.1)
    store.save_snapshot(run_id, state(round=1), metrics=replace(row, round=1))
    with pytest.raises(sqlite3.IntegrityError):
        store.save_snapshot(run_id, state(round=2), metrics=replace(row, seconds=-1.0))  # refused by a CHECK
    assert store.load_snapshot(run_id, "A").state == state(round=1)
    assert store.last_metrics(run_id, "A") == replace(row, round=1)

    store.save_snapshot(run_id, state(round=2), metrics=row)

    assert store.load_snapshot(run_id, "A").state == state(round=2)
    assert store.last_metrics(run_id, "A") == row
    assert store.last_metrics(run_id, "B") is None


def test_peers_that_share_a_file_do_not_see_each_others_snapshots(
    store: GossipPersistence, run_id: int
) -> None:
    entry, data = model("A", 1, b"one")
    store.save_snapshot(run_id, state("A"), changed=[entry], contents=data)
    store.save_snapshot(run_id, state("B"))

    assert store.load_snapshot(run_id, "B").entries == ()
    assert dict(store.load_snapshot(run_id, "A").contents) == data
    assert list(store.states(run_id)) == ["A", "B"]


def test_a_run_that_is_not_there_is_named(store: GossipPersistence) -> None:
    with pytest.raises(UnknownRun, match="no run with id 9"):
        store.save_snapshot(9, state())


# --- identities, runs, metrics ------------------------------------------------------------------------


def test_an_identity_is_kept_apart_from_all_runs(store: GossipPersistence) -> None:
    assert store.load_identity("A") is None
    row = IdentityRow(peer="A", life=2**32 - 1, salt=2**32 - 1, lease_end=2**62)
    store.save_identity(replace(row, life=1))
    store.save_identity(row)

    assert store.load_identity("A") == row
    assert store.load_identity("B") is None


def test_an_identity_is_forced_to_the_disk_and_metrics_are_not(store: GossipPersistence, run_id: int) -> None:
    statements: list[str] = []
    store.database._connection.set_trace_callback(statements.append)
    store.save_metrics(run_id, PeerMetricsRow(peer="A", round=1, at_unix=1.7e9, seconds=0.1))
    store.save_identity(IdentityRow(peer="A", life=1, salt=1, lease_end=0))

    modes = [each for each in statements if "synchronous" in each]

    assert modes == ["PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"]


def test_who_enters_a_run_second_gets_the_same(store: GossipPersistence) -> None:
    one = store.enter_run(new_run())
    two = store.enter_run(replace(new_run(), seed=8))

    assert one == two
    assert [run.name for run in store.runs()] == ["first"]


def test_a_run_ends_and_goes_on(store: GossipPersistence, run_id: int) -> None:
    ended = store.end_run(run_id, status="stopped", reason="Ctrl-C", ended_unix=1.8e9, model_sha256="ab")
    assert (ended.status, ended.reason, ended.model_sha256) == ("stopped", "Ctrl-C", "ab")

    again = store.reopen_run(run_id, {"rounds": 40})

    assert (again.status, again.reason, again.ended_unix, again.model_sha256) == ("running", "", None, None)
    assert again.settings == {"rounds": 40}


def test_a_round_that_is_trained_again_takes_the_place_of_the_first(
    store: GossipPersistence, run_id: int
) -> None:
    rows = [PeerMetricsRow(peer="A", round=number, at_unix=1.7e9, seconds=0.1) for number in (1, 2)]
    again = replace(rows[1], accuracy=0.5, average_sha256="ab" * 32)
    for row in (*rows, again):
        store.save_metrics(run_id, row)

    assert store.metrics(run_id) == {"A": (rows[0], again)}


def test_a_loss_that_is_no_number_is_kept_as_none(store: GossipPersistence, run_id: int) -> None:
    row = PeerMetricsRow(peer="A", round=1, at_unix=1.7e9, seconds=0.1, train_loss=float("nan"))
    store.save_metrics(run_id, row)

    assert store.metrics(run_id)["A"][0].train_loss is None


def test_events_stay_in_their_order(store: GossipPersistence, run_id: int) -> None:
    rows = [GossipEventRow(at_unix=9.0 - n, source="A", kind="dead", text=f"B {n}") for n in range(3)]
    store.add_events(run_id, rows)

    assert store.events(run_id) == tuple(rows)


# --- files that are not what they should be -----------------------------------------------------------


def test_a_good_file_is_opened_as_it_is(file: Path) -> None:
    GossipPersistence(file).close()

    with closing(open_or_set_aside(file).store) as store:
        assert store.runs() == ()
    assert [path.name for path in file.parent.iterdir()] == ["gossip.db"]


def test_a_file_that_is_no_database_is_put_aside_with_a_reason(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)

    store, aside, why = open_or_set_aside(file)

    with store:
        store.save_identity(IdentityRow(peer="A", life=1, salt=1, lease_end=0))
    assert aside == file.with_name("gossip.db.aside-1")
    assert aside.read_bytes().startswith(b"no database")
    assert "no SQLite database" in why


def test_a_database_of_another_program_is_put_aside(file: Path) -> None:
    with closing(sqlite3.connect(file)) as foreign:
        foreign.execute("CREATE TABLE t (x)")
        foreign.commit()

    store, aside, why = open_or_set_aside(file)

    store.close()
    assert aside is not None
    assert "another program" in why


def test_a_torn_page_is_found_and_the_file_put_aside(file: Path, store: GossipPersistence) -> None:
    run = store.enter_run(new_run())
    for owner in "ABC":
        entry, data = model(owner, 1, owner.encode() * 40_000)
        store.save_snapshot(run.id, state(), changed=[entry], contents=data)
    store.close()
    size = file.stat().st_size
    with file.open("r+b") as raw:
        raw.seek(size // 4096 // 2 * 4096)
        raw.write(b"\xff" * 4096 * 4)

    fresh, aside, why = open_or_set_aside(file)

    with fresh:
        assert fresh.runs() == ()
    assert aside is not None
    assert "damaged" in why


def test_the_second_file_that_is_put_aside_takes_the_next_number(file: Path) -> None:
    for number in (1, 2):
        file.write_bytes(b"no database" * 1000)
        store, aside, _ = open_or_set_aside(file)
        store.close()
        assert aside == file.with_name(f"gossip.db.aside-{number}")


def test_a_file_of_a_later_version_is_left_where_it_is(file: Path) -> None:
    GossipPersistence(file).close()
    with closing(sqlite3.connect(file)) as later:
        later.execute("PRAGMA user_version = 99")

    with pytest.raises(NewerSchema):
        open_or_set_aside(file)
    assert file.exists()


def test_a_folder_is_not_put_aside(tmp_path: Path) -> None:
    with pytest.raises(NotADatabase):
        open_or_set_aside(tmp_path)


def test_who_has_a_file_open_that_was_put_aside_is_told(file: Path, store: GossipPersistence) -> None:
    file.rename(file.with_name("elsewhere"))

    with pytest.raises(FileMoved, match="open it anew"):
        store.save_identity(IdentityRow(peer="A", life=1, salt=1, lease_end=0))


def test_a_peer_that_is_killed_again_and_again_keeps_a_whole_snapshot(file: Path) -> None:
    """The entry, its bytes and the state of one snapshot are there together, and no identity goes back."""
    seen = 0
    for _ in range(5):
        command = [sys.executable, "-m", "tests.persistence.gossip_writer", str(file)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert writer.stdout is not None
        for told, _line in enumerate(writer.stdout):
            if told >= 20:
                break
        writer.kill()
        told_last = max([seen, *map(int, writer.stdout.read().split())])
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()

        with GossipPersistence(file) as store:
            store.check()
            (run,) = store.runs()
            found = store.load_snapshot(run.id, "A")
            identity = store.load_identity("A")
        assert found.state is not None
        assert identity is not None
        (entry,) = found.entries
        assert entry.time == found.state.round
        assert found.contents[entry.content or b""] == b"%d" % entry.time * 5000
        assert len(found.contents) == 1
        assert found.state.round >= told_last
        assert identity.lease_end >= found.state.round
        seen = found.state.round
    assert seen >= 100
