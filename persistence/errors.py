"""What can go wrong with a database file, split by what the caller should do next.

| error | what happened | what to do |
| --- | --- | --- |
| `NoDatabase` | there is no file, or it is empty, and it was opened to read | make one by a run |
| `NotADatabase` | the path is a folder, or a file of another kind | give another path |
| `NotOurs` | a SQLite file of another program | give another path |
| `NewerSchema` | the file was written by a later version of this program | update this program |
| `NoAccess` | the file or its folder may not be read or written | change the permissions or the path |
| `Locked` | another program holds the file for writing | wait, or end that program |
| `DiskFull` | no room; nothing of the transaction was kept | make room, go on at the last commit |
| `Damaged` | the contents are not what was written | restore a copy |
| `DatabaseError` | any other failure of SQLite, with its own words | see the text |
| `MissingExtra` | a package that only some users need is not installed | install it; the text says how |
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DatabaseError(Exception):
    """Base of all errors of this package that the world causes, not the caller.

    Attributes:
        path: The file in question.
    """

    def __init__(self, path: Path, summary: str) -> None:
        super().__init__(f"{path}: {summary}")
        self.path = path


class NoDatabase(DatabaseError):
    """There is no file at the path, or nothing in it yet, and it was opened only to read."""


class NotADatabase(DatabaseError):
    """The path is a folder, or a file that is no SQLite database. It was not touched."""


class NotOurs(DatabaseError):
    """The file is a SQLite database of another program or of another kind. It was not touched."""


class NewerSchema(DatabaseError):
    """The file was written by a later version of this program. It was not touched."""


class NoAccess(DatabaseError):
    """The file, or the folder it lies in, may not be read or written by this user."""


class Locked(DatabaseError):
    """Another program held the file for longer than we wait."""


class DiskFull(DatabaseError):
    """There was no room. Nothing of the transaction was kept; what was committed before is."""


class Damaged(DatabaseError):
    """The contents of the file are not what was written."""


class MissingExtra(ImportError):
    """A package is not installed that only some users need.

    Attributes:
        package: What cannot be imported.
        extra: The extra of ours that brings it.
    """

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(
            f"this needs the package {package}, which is not installed here; get it with "
            f"pip install 'trioactor[{extra}]'"
        )
        self.package = package
        self.extra = extra


@contextmanager
def explained(path: Path, busy_seconds: float) -> Iterator[None]:
    """Turn SQLite's errors into ours, with what to do about them.

    A broken constraint and a wrong statement (`sqlite3.IntegrityError`, `ProgrammingError`) pass
    unchanged: those are errors of our own code.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.DatabaseError as error:
        raise _in_words(path, error, busy_seconds) from error


def _in_words(path: Path, error: sqlite3.DatabaseError, busy_seconds: float) -> DatabaseError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest is the finer cause
    name = getattr(error, "sqlite_errorname", "no code")
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Locked(
                path,
                f"another program has held this database for more than {busy_seconds:g} s; end it (an open "
                "sqlite3 shell, a copy in progress), then try again",
            )
        case sqlite3.SQLITE_FULL:
            return DiskFull(path, "no room left on the disk; make room, what was committed is kept")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return NoAccess(
                path, "this file may not be written; change its permissions, or give another path"
            )
        case sqlite3.SQLITE_CANTOPEN:
            return NoAccess(
                path,
                f"cannot be opened here ({_why_not_opened(path)}); SQLite needs to write in the folder, "
                "where it keeps a -wal and a -shm file. Change the permissions, or give another path",
            )
        case sqlite3.SQLITE_NOTADB:
            return NotADatabase(path, "this file is no SQLite database; give another path")
        case sqlite3.SQLITE_CORRUPT:
            return Damaged(path, f"this database is damaged ({error}); restore a copy, or move it away")
        case sqlite3.SQLITE_IOERR:
            return DatabaseError(
                path, f"the disk failed ({name}); check that it is healthy and that no quota is used up"
            )
        case _:
            return DatabaseError(path, f"SQLite failed: {error} ({name})")


def _why_not_opened(path: Path) -> str:
    for place, needed in ((path.parent, os.W_OK | os.X_OK), (path, os.R_OK)):
        if not os.access(place, needed, effective_ids=True):
            return f"{place}: {os.strerror(errno.EACCES).lower()}"
    return "no further reason given"
