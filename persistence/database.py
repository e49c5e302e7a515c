"""One SQLite file: opened, recognised, brought up to date.

A `Schema` says what a file of ours looks like: its mark (`PRAGMA application_id`) and its migrations
(`PRAGMA user_version` counts how many the file has seen). `Database` opens a file by it, in WAL mode,
so that others may read while one writes.

Threads: everything here blocks, so an actor calls it through a worker thread, another one each time. Roles
that share a process share one connection, which has one transaction at a time; so callers take turns, and
nobody reads what another is just writing.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from persistence.errors import (
    Damaged,
    DatabaseError,
    NewerSchema,
    NoAccess,
    NoDatabase,
    NotADatabase,
    NotOurs,
    explained,
)

R = TypeVar("R")

# Below this SQLite has no STRICT tables. Python 3.11 brings a later one nearly everywhere.
OLDEST_SQLITE = (3, 37, 0)

# A commit of a round takes milliseconds; who holds the file for seconds is a forgotten shell or a copy.
BUSY_SECONDS = 5.0

# No SQLite file is smaller than one page, and no page is smaller than this. (SQLite takes a file of one
# byte for an empty database, and would write over it.)
SMALLEST_FILE_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a file of one kind looks like.

    Attributes:
        title: What the file is, for error texts, like "record of coordinated runs".
        application_id: The mark in its header, 1 to 2**31 - 1, by which it is known as ours.
        migrations: The statements that lead from each version to the next. Append only: a file says
            how many it has seen, and a published one is never changed.
    """

    title: str
    application_id: int
    migrations: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not 0 < self.application_id < 2**31:
            raise ValueError(f"application_id={self.application_id}; SQLite keeps 1 to 2**31 - 1")
        if not self.migrations:
            raise ValueError("a schema without migrations has no tables")

    @property
    def version(self) -> int:
        """The version that this program writes."""
        return len(self.migrations)


def mark_of(path: Path) -> int:
    """Return the mark of a file, by which a reader is chosen; 0 when it has none, or cannot be read."""
    if not path.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            return _pragma(connection, "application_id")
    except sqlite3.DatabaseError:
        return 0  # whoever opens it in earnest says why


class Database:
    """An open file of one schema.

    Args:
        path: The file. Opened to write it is made when it is missing; its folder must be there.
        schema: What it must be.
        read_only: Open it only to read. Works while another process writes, and on a file of an older
            version, which is then brought up to date in memory only.
        busy_seconds: How long to wait for another program that holds the file, before `Locked`. SQLite
            waits in the calling thread, where no cancellation reaches it; hence a bound.

    Raises:
        DatabaseError: One of those in `persistence.errors`. The file has not been changed then.
    """

    def __init__(
        self, path: Path | str, schema: Schema, *, read_only: bool = False, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.path = Path(path)
        self.schema = schema
        self.read_only = read_only
        self._busy_seconds = busy_seconds
        self._durable = True
        self._turn = threading.RLock()
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise DatabaseError(
                self.path,
                f"Python was built with SQLite {sqlite3.sqlite_version}, 3.37 or later is needed; "
                "use another Python",
            )
        _check_path(self.path, read_only=read_only)
        with explained(self.path, busy_seconds):
            self._connection = self._open_to_read() if read_only else self._open_to_write()

    def close(self) -> None:
        """Close the file. The last writer to leave folds the WAL back into it."""
        with explained(self.path, self._busy_seconds):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, sql: str, arguments: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of one query."""
        with self._turn, explained(self.path, self._busy_seconds):
            return self._connection.execute(sql, arguments).fetchall()

    def rows(self, make: Callable[[sqlite3.Row], R], sql: str, *arguments: int | str) -> tuple[R, ...]:
        """Return what is made of the rows of a query.

        Raises:
            Damaged: A row is none that we would have written.
        """
        found = self.read(sql, arguments)
        try:
            return tuple(map(make, found))
        except (ValueError, TypeError) as error:  # of JSON, or of the check of a row
            raise Damaged(
                self.path, f"a row is not what was written ({error}); restore a copy, or move it away"
            ) from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within the block every `read` sees the file as it was at the first one."""
        with self._within("BEGIN"):
            yield

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Write all that is executed in the block, or nothing.

        Args:
            durable: Whether the commit is forced to the disk (`synchronous=FULL`), so that it outlives
                a power cut. One that is not still outlives the death of the process.

        Raises:
            DatabaseError: The transaction was rolled back.
        """
        with self._turn:
            if durable is not self._durable:  # the pragma has no effect inside a transaction
                with explained(self.path, self._busy_seconds):
                    self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            with self._within("BEGIN IMMEDIATE"):  # take the write lock first: a later upgrade could not wait
                yield self._connection

    @contextmanager
    def _within(self, begin: str) -> Iterator[None]:
        with self._turn, explained(self.path, self._busy_seconds), _unit(self._connection, begin):
            yield

    def _open_to_write(self) -> sqlite3.Connection:
        connection = self._connect("rwc")
        try:
            with _unit(connection, "BEGIN"):
                self._recognise(connection)  # before the first write: a stranger's file stays as it is
            _switch_to_wal(connection, self.path, self._busy_seconds)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_to_read(self) -> sqlite3.Connection:
        connection = self._connect_to_read()
        try:
            with _unit(connection, "BEGIN"):
                version = self._recognise(connection)
            if version == 0:
                raise NoDatabase(self.path, "there is nothing in it yet")
            if version < self.schema.version:
                connection = self._updated_copy(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_to_read(self) -> sqlite3.Connection:
        connection = self._connect("ro")
        try:
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.DatabaseError as error:
            connection.close()
            no_access = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if not no_access or wal_with_news(self.path) is not None:
                raise
            # In a folder that may not be written SQLite cannot make its -shm file. Nobody is writing
            # either: a writer would have left its -wal file there.
            return self._connect("ro", immutable=True)
        return connection

    def _connect(self, mode: str, *, immutable: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}?mode={mode}{'&immutable=1' if immutable else ''}",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,  # transactions begin and end where we say so
            check_same_thread=False,  # worker threads take turns; see the top of the module
        )
        connection.row_factory = sqlite3.Row
        return connection

    def _recognise(self, connection: sqlite3.Connection) -> int:
        """Return the version of the file's schema, 0 for an empty file; refuse a file that is not ours.

        Called inside a transaction: another process may be just making the file.
        """
        mark = _pragma(connection, "application_id")
        version = _pragma(connection, "user_version")
        if mark == 0 and version == 0 and not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            return 0
        if mark != self.schema.application_id:
            found = f"marked {mark:#010x}" if mark else "without a mark"
            raise NotOurs(
                self.path,
                f"this SQLite file ({found}) was made by another program or for another purpose; a "
                f"{self.schema.title} is marked {self.schema.application_id:#010x}. Give another path, "
                "or move this file away",
            )
        if version > self.schema.version:
            raise NewerSchema(
                self.path,
                f"its schema has version {version}, this program knows versions up to "
                f"{self.schema.version}; update this program, or give another path",
            )
        return version

    def _migrate(self, connection: sqlite3.Connection) -> None:
        with _unit(connection, "BEGIN"):
            version = self._recognise(connection)
        if version == self.schema.version:
            return
        with _unit(connection, "BEGIN IMMEDIATE"):
            # Asked again, now that nobody else can write: another process may have just done it.
            for number in range(self._recognise(connection), self.schema.version):
                for statement in self.schema.migrations[number]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {self.schema.application_id}")
            connection.execute(f"PRAGMA user_version = {self.schema.version}")

    def _updated_copy(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return a copy in memory, in the present schema; the file itself stays as it is."""
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        copy.row_factory = sqlite3.Row
        try:
            connection.backup(copy)
            self._migrate(copy)
        except BaseException:
            copy.close()
            raise
        connection.close()
        return copy


def _check_path(path: Path, *, read_only: bool) -> None:
    """Refuse what SQLite would call by one name only, "unable to open database file"."""
    try:
        size_bytes = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        if read_only:
            raise NoDatabase(path, "there is no such file") from error
        if not path.parent.is_dir():
            raise NoDatabase(path, f"there is no folder {path.parent}; make it first") from error
        _check_may_write(path.parent)
        return
    except PermissionError as error:
        raise NoAccess(path, "its folder may not be entered; change the permissions") from error
    if path.is_dir():
        raise NotADatabase(path, "this is a folder; give the path of a file in it")
    if not path.is_file():
        raise NotADatabase(path, "this is no ordinary file; give another path")
    if 0 < size_bytes < SMALLEST_FILE_BYTES:
        raise NotADatabase(path, "this file is no SQLite database; give another path")
    if not read_only:  # SQLite would open it all the same, and fail at the first commit
        _check_may_write(path)
        _check_may_write(path.parent)


def _check_may_write(path: Path) -> None:
    if not os.access(path, os.W_OK, effective_ids=True):
        what = "folder" if path.is_dir() else "file"
        raise NoAccess(path, f"this {what} may not be written; change its permissions, or give another path")


def wal_with_news(path: Path) -> Path | None:
    """Return the -wal file of a database while part of it lies there; one that a reader has made is empty."""
    wal = path.with_name(path.name + "-wal")
    try:
        return wal if wal.stat().st_size > 0 else None
    except FileNotFoundError:  # the last writer to leave takes it away, at any moment
        return None


def _switch_to_wal(connection: sqlite3.Connection, path: Path, busy_seconds: float) -> None:
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            # SQLite does not wait here when another process makes the same switch at the same moment,
            # and every role of a run opens its file at the same moment.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise DatabaseError(
            path,
            f"this file system allows journal mode {mode!r} only, and others could not read while a run "
            "writes; give a path on a local disk",
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


@contextmanager
def _unit(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it already
            connection.execute("ROLLBACK")
        raise
