"""Files that are ours, files that are not, and disks that fail: real ones."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import NoReturn

import pytest

from persistence import (
    Damaged,
    DatabaseError,
    DiskFull,
    Locked,
    NewerSchema,
    NoAccess,
    NoDatabase,
    NotADatabase,
    NotOurs,
)
from persistence.database import Database, Schema, wal_with_news

ROOT = Path(__file__).parents[2]

ONE = ("CREATE TABLE note (text TEXT NOT NULL) STRICT",)
TWO = ("ALTER TABLE note ADD COLUMN stars INTEGER NOT NULL DEFAULT 1",)
THREE = ("UPDATE note SET stars = stars + 1", "CREATE TABLE tag (name TEXT PRIMARY KEY) STRICT")
MARK = 0x6E6F7465


def notes(*migrations: tuple[str, ...]) -> Schema:
    return Schema(title="book of notes", application_id=MARK, migrations=migrations)


NOTES = notes(ONE, TWO, THREE)


def write(database: Database, text: str) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO note (text) VALUES (?)", (text,))


def texts(database: Database) -> list[str]:
    return [row["text"] for row in database.read("SELECT text FROM note")]


# --- opening --------------------------------------------------------------------------------


def test_a_new_file_is_marked_versioned_and_in_wal_mode(path: Path) -> None:
    with Database(path, NOTES) as database:
        pragmas = [
            database.read(f"PRAGMA {name}")[0][0]
            for name in ("application_id", "user_version", "journal_mode", "synchronous", "foreign_keys")
        ]

    assert pragmas == [MARK, 3, "wal", 2, 1]


def test_what_was_written_is_there_when_the_file_is_opened_again(path: Path) -> None:
    with Database(path, NOTES) as database:
        write(database, "kept")
    with Database(path, NOTES) as database:
        assert texts(database) == ["kept"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # the WAL is folded back in


def test_threads_that_share_a_file_take_turns_durable_or_not(path: Path) -> None:
    with Database(path, NOTES) as database:

        def write_many(durable: bool) -> None:
            for number in range(30):
                with database.transaction(durable=durable) as connection:
                    connection.execute("INSERT INTO note (text) VALUES (?)", (f"{durable} {number}",))

        failed: list[BaseException] = []

        def guarded(durable: bool) -> None:
            try:
                write_many(durable)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=guarded, args=(durable,)) for durable in (True, False) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failed == []
        assert len(texts(database)) == 180


def test_a_name_that_a_uri_would_misread_is_only_a_name(tmp_path: Path) -> None:
    path = tmp_path / "50% done?mode=memory#x y.db"
    with Database(path, NOTES) as database:
        write(database, "kept")
    assert path.is_file()


def test_six_processes_open_a_new_file_at_once(path: Path) -> None:
    """Every role of a run opens its file in the same moment; one makes the tables, none fails."""
    program = (
        "import sys; from persistence import *; record = RoundPersistence(sys.argv[1]); "
        "record.create_run(NewRun(name=sys.argv[2], created_unix=0.0, settings={}, seed=0, source='s', "
        "synthetic=False)); record.close()"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", program, str(path), f"run {n}"], cwd=ROOT) for n in range(6)
    ]
    assert [other.wait() for other in others] == [0] * 6
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (6,)


# --- migrations -----------------------------------------------------------------------------


def test_a_file_of_every_earlier_version_is_brought_up_to_date(path: Path) -> None:
    with Database(path, notes(ONE)) as database:
        write(database, "old")
    with Database(path, notes(ONE, TWO)) as database:
        assert [tuple(row) for row in database.read("SELECT * FROM note")] == [("old", 1)]
    with Database(path, NOTES) as database:
        assert [tuple(row) for row in database.read("SELECT * FROM note")] == [("old", 2)]
    with Database(path, NOTES) as database:  # and not once more
        assert [tuple(row) for row in database.read("SELECT * FROM note")] == [("old", 2)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    with Database(path, notes(ONE)) as database:
        write(database, "old")
    broken = notes(ONE, (*TWO, "INSERT INTO nowhere VALUES (1)"))

    for read_only in (False, True):  # a reader migrates a copy
        with pytest.raises(DatabaseError, match="no such table: nowhere"):
            Database(path, broken, read_only=read_only)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT * FROM note").fetchall() == [("old",)]


def test_an_older_file_is_read_without_being_changed(path: Path) -> None:
    with Database(path, notes(ONE)) as database:
        write(database, "old")
    before = path.read_bytes()

    with Database(path, NOTES, read_only=True) as database:
        assert [tuple(row) for row in database.read("SELECT * FROM note")] == [("old", 2)]

    assert path.read_bytes() == before


def test_a_newer_file_is_refused_and_not_touched(path: Path) -> None:
    Database(path, NOTES).close()
    before = path.read_bytes()

    for read_only in (False, True):
        with pytest.raises(NewerSchema, match=r"version 3, this program knows versions up to 2; update"):
            Database(path, notes(ONE, TWO), read_only=read_only)

    assert path.read_bytes() == before


def test_a_schema_checks_itself() -> None:
    with pytest.raises(ValueError, match="application_id=0"):
        Schema(title="t", application_id=0, migrations=(ONE,))
    with pytest.raises(ValueError, match="no tables"):
        Schema(title="t", application_id=1, migrations=())


# --- files that are not ours ----------------------------------------------------------------

READ_OR_WRITE = pytest.mark.parametrize("read_only", [False, True], ids=["to write", "to read"])


@READ_OR_WRITE
@pytest.mark.parametrize("size_bytes", [1, 20, 300, 600, 5000])
def test_a_text_file_is_refused_and_not_touched(path: Path, read_only: bool, size_bytes: int) -> None:
    text = ("Dear diary, " * 1000)[:size_bytes].encode()
    path.write_bytes(text)

    with pytest.raises(NotADatabase, match="no SQLite database; give another path"):
        Database(path, NOTES, read_only=read_only)

    assert path.read_bytes() == text
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@READ_OR_WRITE
@pytest.mark.parametrize("mark", [0, 42], ids=["unmarked", "marked"])
def test_a_database_of_another_program_is_refused_and_not_touched(
    path: Path, read_only: bool, mark: int
) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url)")
        other.execute(f"PRAGMA application_id = {mark}")
        other.commit()
    before = path.read_bytes()

    with pytest.raises(NotOurs, match=r"made by another program.*book of notes is marked 0x6e6f7465"):
        Database(path, NOTES, read_only=read_only)

    assert path.read_bytes() == before


@READ_OR_WRITE
def test_a_folder_is_refused(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(NotADatabase, match="this is a folder"):
        Database(tmp_path, NOTES, read_only=read_only)


@READ_OR_WRITE
def test_a_device_is_refused(read_only: bool) -> None:
    with pytest.raises(NotADatabase, match="no ordinary file"):
        Database("/dev/null", NOTES, read_only=read_only)


def test_a_missing_file_is_not_made_by_a_reader(path: Path) -> None:
    with pytest.raises(NoDatabase, match="no such file"):
        Database(path, NOTES, read_only=True)
    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoDatabase, match=r"there is no folder .*/nowhere; make it first"):
        Database(tmp_path / "nowhere" / "x.db", NOTES)
    with pytest.raises(NoDatabase, match="no such file"):
        Database(tmp_path / "nowhere" / "x.db", NOTES, read_only=True)


def test_an_empty_file_is_taken_by_a_writer_and_refused_by_a_reader(path: Path) -> None:
    path.touch()
    with pytest.raises(NoDatabase, match="nothing in it yet"):
        Database(path, NOTES, read_only=True)
    with Database(path, NOTES) as database:
        assert texts(database) == []


# --- files that may not be written ----------------------------------------------------------

AsAUser = Callable[[], AbstractContextManager[None]]


def test_a_read_only_file_is_refused_at_opening_not_at_the_first_commit(
    open_folder: Path, as_a_user: AsAUser
) -> None:
    path = open_folder / "notes.db"
    Database(path, NOTES).close()
    path.chmod(0o444)

    with as_a_user(), pytest.raises(NoAccess, match="this file may not be written; change its permissions"):
        Database(path, NOTES)


def test_a_read_only_folder_is_refused_to_a_writer(open_folder: Path, as_a_user: AsAUser) -> None:
    open_folder.chmod(0o555)
    with as_a_user(), pytest.raises(NoAccess, match="this folder may not be written"):
        Database(open_folder / "notes.db", NOTES)


def test_a_finished_file_is_read_in_a_read_only_folder(open_folder: Path, as_a_user: AsAUser) -> None:
    """A record on a read-only disk or in somebody else's folder can be reported on."""
    path = open_folder / "notes.db"
    with Database(path, NOTES) as database:
        write(database, "kept")
    path.chmod(0o444)
    open_folder.chmod(0o555)

    with as_a_user(), Database(path, NOTES, read_only=True) as database:
        assert texts(database) == ["kept"]


def test_an_unfinished_file_is_not_read_by_halves(open_folder: Path, as_a_user: AsAUser) -> None:
    """What lies in the -wal file counts; where it cannot be read, nothing is reported rather than less."""
    path = open_folder / "notes.db"
    with Database(path, NOTES) as database:
        write(database, "in the WAL")
        for name in ("notes.db", "notes.db-wal"):
            (open_folder / f"copy-{name}").write_bytes((open_folder / name).read_bytes())
    open_folder.chmod(0o555)

    with as_a_user(), pytest.raises(NoAccess, match=r"SQLite needs to write in the folder"):
        Database(open_folder / "copy-notes.db", NOTES, read_only=True)


def test_a_folder_that_may_not_be_entered_is_said_to_be_so(open_folder: Path, as_a_user: AsAUser) -> None:
    open_folder.chmod(0o600)
    with as_a_user(), pytest.raises(NoAccess, match="its folder may not be entered"):
        Database(open_folder / "notes.db", NOTES)


def test_a_file_that_may_not_be_read_is_said_to_be_so(open_folder: Path, as_a_user: AsAUser) -> None:
    path = open_folder / "notes.db"
    Database(path, NOTES).close()
    path.chmod(0o000)
    with as_a_user(), pytest.raises(NoAccess, match="permission denied"):
        Database(path, NOTES, read_only=True)


def test_a_reader_cannot_write(path: Path) -> None:
    Database(path, NOTES).close()
    with Database(path, NOTES, read_only=True) as reader, pytest.raises(NoAccess, match="may not be written"):
        write(reader, "sneaked in")


# --- others at the same file ----------------------------------------------------------------


def test_a_file_that_another_program_holds_is_locked(path: Path) -> None:
    Database(path, NOTES).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with Database(path, NOTES, busy_seconds=0.05) as database:
            with pytest.raises(Locked, match=r"held this database for more than 0.05 s; end it"):
                write(database, "too early")
            other.execute("COMMIT")
            write(database, "afterwards")
            assert texts(database) == ["afterwards"]


def test_a_file_that_is_held_while_it_is_opened_is_locked(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 0")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Locked):
            Database(path, NOTES, busy_seconds=0.05)


def test_a_file_that_another_reads_in_the_old_mode_is_switched_to_wal_when_it_has_gone(path: Path) -> None:
    """SQLite does not wait for the switch by itself; we do."""
    Database(path, NOTES).close()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN")
        other.execute("SELECT * FROM note").fetchall()
        with pytest.raises(Locked):
            Database(path, NOTES, busy_seconds=0.05)

        leaving = threading.Timer(0.05, other.execute, ["COMMIT"])
        leaving.start()
        with Database(path, NOTES) as database:
            leaving.join()
            assert database.read("PRAGMA journal_mode")[0][0] == "wal"


def test_a_writer_waits_for_its_turn(path: Path) -> None:
    with Database(path, NOTES) as one, Database(path, NOTES) as two:
        with one.transaction() as connection:
            late = threading.Thread(target=write, args=(two, "second"))
            late.start()
            connection.execute("INSERT INTO note (text) VALUES ('first')")
        late.join()
        assert texts(one) == ["first", "second"]


def test_a_snapshot_does_not_move(path: Path) -> None:
    with Database(path, NOTES) as writer, Database(path, NOTES, read_only=True) as reader:
        write(writer, "one")
        with reader.snapshot():
            assert texts(reader) == ["one"]
            write(writer, "two")
            assert texts(reader) == ["one"]
        assert texts(reader) == ["one", "two"]


def test_worker_threads_take_turns_with_one_connection(path: Path) -> None:
    with Database(path, NOTES) as database:
        for text in ("a", "b", "c"):
            thread = threading.Thread(target=write, args=(database, text))
            thread.start()
            thread.join()
        assert texts(database) == ["a", "b", "c"]


def test_what_is_new_lies_in_the_wal_file_while_somebody_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(path, NOTES) as database:
        write(database, "new")
        assert wal_with_news(path) == path.with_name(f"{path.name}-wal")

    monkeypatch.setattr(Path, "exists", lambda _self: True)  # as it was a moment before the writer left
    assert wal_with_news(path) is None


# --- transactions ---------------------------------------------------------------------------


def test_a_thread_does_not_read_what_another_is_just_writing(path: Path) -> None:
    with Database(path, NOTES) as database:
        seen: list[list[str]] = []
        reader = threading.Thread(target=lambda: seen.append(texts(database)))

        def write_half_while_another_reads() -> None:
            with database.transaction() as connection:
                connection.execute("INSERT INTO note (text) VALUES ('half')")
                reader.start()
                reader.join(0.2)  # long enough to read, were it not for its turn
                raise KeyError("somewhere in the caller")

        with pytest.raises(KeyError):
            write_half_while_another_reads()
        reader.join()
        assert seen == [[]]


def test_a_transaction_that_raises_leaves_nothing(path: Path) -> None:
    with Database(path, NOTES) as database:

        def fail_half_way() -> None:
            with database.transaction() as connection:
                connection.execute("INSERT INTO note (text) VALUES ('half')")
                raise KeyError("somewhere in the caller")

        with pytest.raises(KeyError, match="somewhere"):
            fail_half_way()
        assert texts(database) == []
        write(database, "the connection still works")


def test_a_durable_commit_is_forced_to_the_disk(path: Path) -> None:
    with Database(path, NOTES) as database:
        seen = []
        for durable in (True, False, True):
            with database.transaction(durable=durable) as connection:
                seen.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        assert seen == [2, 1, 2]  # FULL, NORMAL, FULL


def test_our_own_mistakes_pass_as_they_are(path: Path) -> None:
    with Database(path, NOTES) as database, pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        write(database, None)  # type: ignore[arg-type]  # that is the mistake


# --- disks that fail ------------------------------------------------------------------------


def test_no_room_in_the_file_is_a_full_disk(path: Path) -> None:
    with Database(path, NOTES) as database:
        write(database, "before")
        pages = database.read("PRAGMA page_count")[0][0]
        database.read(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(DiskFull, match="make room, what was committed is kept"):
            write(database, "x" * 100_000)
        assert texts(database) == ["before"]
        write(database, "short")
        assert texts(database) == ["before", "short"]


def test_a_disk_that_is_full_keeps_what_was_committed(small_disk: Path) -> None:
    path = small_disk / "notes.db"
    with Database(path, NOTES) as database:
        kept = 0

        def write_for_ever() -> NoReturn:
            nonlocal kept
            while True:
                write(database, f"{kept:05}" + "x" * 10_000)
                kept += 1

        with pytest.raises(DiskFull, match="no room left on the disk"):
            write_for_ever()
        assert kept > 3
    with Database(path, NOTES) as database:
        assert [int(text[:5]) for text in texts(database)] == list(range(kept))


def test_a_disk_that_refuses_to_write_is_told_apart_from_a_full_one(path: Path) -> None:
    """A limit on the size of files stands for every failure of a disk but the full one."""
    program = """
import resource, signal, sys
from persistence import DatabaseError, DiskFull, RoundPersistence
from tests.persistence.samples import commit, new_run
with RoundPersistence(sys.argv[1]) as record:
    run = record.create_run(new_run())
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size_bytes = record.database.path.with_name("training.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes + 4096, size_bytes + 4096))
    try:
        commit(record, run.id, 1)
    except DatabaseError as error:
        print(type(error).__name__, error)
    print(record.last_committed_round(run.id))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        f"DatabaseError {path}: the disk failed (SQLITE_IOERR_WRITE); check that it is healthy and that no "
        "quota is used up\n0\n"
    )


def test_a_damaged_file_is_said_to_be_damaged(path: Path) -> None:
    with Database(path, NOTES) as database:
        for _ in range(200):
            write(database, "x" * 200)
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)  # the header is whole, the rest is gone
    path.write_bytes(content)

    with pytest.raises(Damaged, match="damaged"), Database(path, NOTES) as database:
        texts(database)
