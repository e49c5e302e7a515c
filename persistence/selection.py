"""What is asked for: which runs, by name or number, in one record or in several, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persistence.history import RunHistory, load_run
from persistence.rounds import UnknownRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to see of a record.

    Attributes:
        databases: The files to look into, at least one.
        runs: Names or numbers of runs; the latest when there is none.
        list_runs: Whether to show a line for each run instead.
        form: What is written: "table", "json", "jsonl", "csv", "parquet", or "" for nothing.
        out: The file that it is written to; None for stdout.
        by: Which side: "round", "worker", "region", "class", or "" for all that fits.
        picture: The file for a picture; None for none.
        csv: The file for CSV; None for none.
    """

    databases: tuple[Path, ...]
    runs: tuple[str, ...] = ()
    list_runs: bool = False
    form: str = "table"
    out: Path | None = None
    by: str = ""
    picture: Path | None = None
    csv: Path | None = None


def select_runs(databases: Sequence[Path], wanted: Sequence[str]) -> tuple[RunHistory, ...]:
    """Return the runs that are asked for, in the order in which they are.

    Args:
        databases: Where to look, at least one file.
        wanted: Names or numbers of runs, each found in exactly one of the files; "FILE:RUN" names the file
            as well, and "FILE" the latest run in it. Without any, the latest run of each file.

    Raises:
        UnknownRun: There is none of that name, or more than one; the text says how to name it.
        DatabaseError: A file cannot be read.
    """
    if not wanted:
        return tuple(load_run(path) for path in databases)
    return tuple(_one(databases, name) for name in wanted)


def _one(databases: Sequence[Path], name: str) -> RunHistory:
    path, run = _file_and_run(name)
    if path is not None:
        return load_run(path, run)
    found, missed = [], []
    for database in databases:
        try:
            found.append(load_run(database, name))
        except UnknownRun as unknown:
            missed.append(unknown)
    if not found:
        raise missed[0] if len(missed) == 1 else UnknownRun("; ".join(map(str, missed)))
    if len(found) > 1:
        ways = " or ".join(f"{one.database}:{name}" for one in found)
        raise UnknownRun(f"there is a run {name!r} in {len(found)} of the records; say which: {ways}")
    return found[0]


def _file_and_run(name: str) -> tuple[Path | None, str | None]:
    """Tell "FILE:RUN" and "FILE" from a run: a file has a slash or the ending .db, a run has neither."""
    file, colon, run = name.rpartition(":")
    if colon and _is_file(file):
        return Path(file), run or None
    return (Path(name), None) if _is_file(name) else (None, None)


def _is_file(name: str) -> bool:
    return "/" in name or name.endswith(".db")
