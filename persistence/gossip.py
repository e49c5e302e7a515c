"""`GossipPersistence`: what the peers of a gossip network keep, in gossip.db.

Three things with three rules:

- **the identity** of a peer, its life and the lease of its clock, is on the disk, safe from a power cut,
  before `save_identity` returns: a peer uses neither before;
- **the snapshot** of what it knows is written by pieces, only what has changed, and each time all of it or
  nothing. It may lag behind a crash: what is missing the other peers have;
- **metrics and events** are for people. They outlive the death of the process, not always a power cut. The
  metrics of a round are written together with the snapshot that says it is trained, so no death loses them.

Any number of peers may share one file, each under its name. A file that is damaged, or no database at all,
is no reason to stop: `open_or_set_aside` puts it aside and begins a new one, and the peers recover from each
other. Who still has the old file open finds that out with the next write (`FileMoved`), and begins anew, too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from persistence.columns import columns_of, insert, without
from persistence.database import BUSY_SECONDS, Database
from persistence.errors import Damaged, DatabaseError, NotADatabase, NotOurs
from persistence.gossip_rows import (
    EntryRow,
    GossipEventRow,
    IdentityRow,
    PeerMetricsRow,
    PeerStateRow,
    Snapshot,
)
from persistence.gossip_schema import GOSSIP_SCHEMA
from persistence.rounds import UnknownRun
from persistence.rows import NewRun, RunRow

SIDE_FILES = ("", "-wal", "-shm")
"""What a database consists of while it is open."""


class FileMoved(DatabaseError):
    """The file was put aside, or removed, while it was open. Open it anew."""


class GossipPersistence:
    """The record of gossip runs, in one SQLite file.

    Blocking, one call at a time for each object. Any number of processes may have the file open, and one
    process may have it open twice: a peer saves its identity while a thread of it saves its snapshot.

    Args:
        path: The file, by habit gossip.db. It is made when it is missing, its folder is not.
        read_only: Open it to read only; works while a run writes.
        busy_seconds: How long to wait for another program that holds the file.

    Raises:
        DatabaseError: The file cannot be used; the text says why. Every method may raise it too.
    """

    def __init__(
        self, path: Path | str, *, read_only: bool = False, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.database = Database(path, GOSSIP_SCHEMA, read_only=read_only, busy_seconds=busy_seconds)
        self._inode = _inode_of(self.database.path)

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """Read the whole file.

        Raises:
            Damaged: A page of it is not what was written.
        """
        (first, *_) = self.database.read("PRAGMA quick_check(1)")
        if first[0] != "ok":
            raise Damaged(self.database.path, f"this database is damaged ({first[0]}); move it away")

    # --- identities --------------------------------------------------------------------------

    def load_identity(self, peer: str) -> IdentityRow | None:
        """Return who a peer was last, None when it never was."""
        found = self.database.rows(
            lambda row: IdentityRow(**dict(row)), "SELECT * FROM identities WHERE peer = ?", peer
        )
        return found[0] if found else None

    def save_identity(self, identity: IdentityRow) -> None:
        """Have an identity on the disk, safe from a power cut, before this returns."""
        with self._writing() as connection:
            insert(connection, "identities", columns_of(identity), replace=True)

    # --- runs --------------------------------------------------------------------------------

    def enter_run(self, new: NewRun) -> RunRow:
        """Return the run of that name; enter it, with the status "running", when it is not there.

        Peers that start together all call this, and all get the same run.
        """
        with self._writing() as connection:
            known = connection.execute("SELECT 1 FROM runs WHERE name = ?", (new.name,)).fetchone()
            if known is None:
                insert(
                    connection,
                    "runs",
                    {
                        "name": new.name,
                        "created_unix": new.created_unix,
                        "settings": json.dumps(dict(new.settings)),
                        "seed": new.seed,
                        "source": new.source,
                        "synthetic": int(new.synthetic),
                        "status": "running",
                    },
                )
        found = self.find_run(new.name)
        assert found is not None
        return found

    def end_run(
        self,
        run_id: int,
        *,
        status: str,
        ended_unix: float,
        reason: str = "",
        model_sha256: str | None = None,
    ) -> RunRow:
        """Say how a run ended. Said again it replaces what was said before.

        Args:
            run_id: Which run.
            status: One of `RUN_STATUSES` but "running".
            ended_unix: When.
            reason: Why, in words, where there is more to say than the status.
            model_sha256: Of the average that all peers had; None when they had none in common.
        """
        if status == "running":
            raise ValueError("a run that ends is not running; reopen_run makes it run again")
        replace(self.run(run_id), status=status)  # checks it, before anything is written
        with self._writing() as connection:
            connection.execute(
                "UPDATE runs SET status = ?, reason = ?, ended_unix = ?, model_sha256 = ? WHERE id = ?",
                (status, reason, ended_unix, model_sha256, run_id),
            )
        return self.run(run_id)

    def reopen_run(self, run_id: int, settings: Mapping[str, object]) -> RunRow:
        """Make a run that was stopped run again, with the settings that it goes on with."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE runs SET status = 'running', reason = '', ended_unix = NULL, model_sha256 = NULL, "
                "settings = ? WHERE id = ?",
                (json.dumps(dict(settings)), run_id),
            )
        return self.run(run_id)

    def run(self, run_id: int) -> RunRow:
        """Return a run by its id.

        Raises:
            UnknownRun: There is none.
        """
        found = self.database.rows(_run, "SELECT * FROM runs WHERE id = ?", run_id)
        if not found:
            raise UnknownRun(f"there is no run with id {run_id} in {self.database.path}")
        return found[0]

    def find_run(self, name: str) -> RunRow | None:
        """Return the run of that name, or None."""
        found = self.database.rows(_run, "SELECT * FROM runs WHERE name = ?", name)
        return found[0] if found else None

    def runs(self) -> tuple[RunRow, ...]:
        """Return all runs, the oldest first."""
        return self.database.rows(_run, "SELECT * FROM runs ORDER BY id")

    # --- snapshots ---------------------------------------------------------------------------

    def save_snapshot(
        self,
        run_id: int,
        state: PeerStateRow,
        *,
        changed: Iterable[EntryRow] = (),
        removed: Iterable[str] = (),
        contents: Mapping[bytes, bytes] | None = None,
        metrics: PeerMetricsRow | None = None,
    ) -> None:
        """Write what has changed since the last snapshot of a peer: all of it, or nothing.

        Args:
            run_id: Which run.
            state: How the peer stands now.
            changed: Entries that are new, or newer.
            removed: Keys that it knows no more.
            contents: The bytes that `changed` speaks of, as far as they are not kept already. Bytes that
                no entry speaks of any more are dropped.
            metrics: The round of that peer that is new, or to be said again; see `save_metrics`.
        """
        with self._writing(run_id, durable=False) as connection:
            for key in removed:
                connection.execute(
                    "DELETE FROM crdt_snapshots WHERE run = ? AND peer = ? AND key = ?",
                    (run_id, state.peer, key),
                )
            for entry in changed:
                columns = {"run": run_id, "peer": state.peer, **columns_of(entry)}
                columns |= {"value": json.dumps(dict(entry.value)), "deleted": int(entry.deleted)}
                insert(connection, "crdt_snapshots", columns, replace=True)
            for content, data in (contents or {}).items():
                columns = {"run": run_id, "peer": state.peer, "content": content, "data": data}
                insert(connection, "crdt_contents", columns, replace=True)
            connection.execute(
                "DELETE FROM crdt_contents WHERE run = ? AND peer = ? AND content NOT IN ("
                "SELECT content FROM crdt_snapshots WHERE run = ? AND peer = ? AND content IS NOT NULL)",
                (run_id, state.peer, run_id, state.peer),
            )
            columns = {"run": run_id, **columns_of(state), "finished": int(state.finished)}
            insert(connection, "peer_states", columns, replace=True)
            if metrics is not None:
                insert(connection, "peer_metrics", {"run": run_id, **columns_of(metrics)}, replace=True)

    def load_snapshot(self, run_id: int, peer: str) -> Snapshot:
        """Return all that a peer has saved of a run; an empty one when that is nothing."""
        with self.database.snapshot():
            entries = self.database.rows(
                _entry, "SELECT * FROM crdt_snapshots WHERE run = ? AND peer = ? ORDER BY key", run_id, peer
            )
            contents = self.database.read(
                "SELECT content, data FROM crdt_contents WHERE run = ? AND peer = ?", (run_id, peer)
            )
            states = self.database.rows(
                _state, "SELECT * FROM peer_states WHERE run = ? AND peer = ?", run_id, peer
            )
        return Snapshot(
            entries=entries,
            contents={row["content"]: row["data"] for row in contents},
            state=states[0] if states else None,
        )

    def states(self, run_id: int) -> dict[str, PeerStateRow]:
        """Return how each peer stood when it last saved itself, by name."""
        found = self.database.rows(_state, "SELECT * FROM peer_states WHERE run = ? ORDER BY peer", run_id)
        return {state.peer: state for state in found}

    # --- metrics and events --------------------------------------------------------------------

    def save_metrics(self, run_id: int, metrics: PeerMetricsRow) -> None:
        """Keep one round of one peer; said again it replaces what was said before."""
        with self._writing(run_id, durable=False) as connection:
            insert(connection, "peer_metrics", {"run": run_id, **columns_of(metrics)}, replace=True)

    def metrics(self, run_id: int) -> dict[str, tuple[PeerMetricsRow, ...]]:
        """Return the rounds of each peer in their order, by its name."""
        found = self.database.rows(
            _metrics, "SELECT * FROM peer_metrics WHERE run = ? ORDER BY peer, round", run_id
        )
        by_peer: dict[str, list[PeerMetricsRow]] = {}
        for one in found:
            by_peer.setdefault(one.peer, []).append(one)
        return {peer: tuple(rows) for peer, rows in by_peer.items()}

    def last_metrics(self, run_id: int, peer: str) -> PeerMetricsRow | None:
        """Return the last round that is kept of a peer, None when none is."""
        found = self.database.rows(
            _metrics,
            "SELECT * FROM peer_metrics WHERE run = ? AND peer = ? ORDER BY round DESC LIMIT 1",
            run_id,
            peer,
        )
        return found[0] if found else None

    def add_events(self, run_id: int, events: Iterable[GossipEventRow]) -> None:
        """Keep what happened."""
        with self._writing(run_id, durable=False) as connection:
            for event in events:
                insert(connection, "events", {"run": run_id, **columns_of(event)})

    def events(self, run_id: int) -> tuple[GossipEventRow, ...]:
        """Return all events of a run in the order they were kept."""
        return self.database.rows(
            lambda row: GossipEventRow(**without(row, "id", "run")),
            "SELECT * FROM events WHERE run = ? ORDER BY id",
            run_id,
        )

    # --- inside --------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, run_id: int | None = None, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        if _inode_of(self.database.path) != self._inode:
            raise FileMoved(
                self.database.path, "this file was put aside or removed while it was open; open it anew"
            )
        with self.database.transaction(durable=durable) as connection:
            if run_id is not None:
                found = connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone()
                if found is None:
                    raise UnknownRun(f"there is no run with id {run_id} in {self.database.path}")
            yield connection


class Opened(NamedTuple):
    """A file that was opened, if need be anew.

    Attributes:
        store: The open file.
        aside: Where the former file is kept, None when there was nothing wrong with it.
        why: What was wrong with it, in words.
    """

    store: GossipPersistence
    aside: Path | None
    why: str


def open_or_set_aside(path: Path) -> Opened:
    """Open gossip.db to write; put a damaged or foreign file aside first, and begin a new one.

    Raises:
        DatabaseError: It cannot be used for another reason: a folder, no access, a newer version, no room.
    """
    inode = _inode_of(path)
    try:
        return Opened(_open_whole(path), None, "")
    except (Damaged, NotADatabase, NotOurs) as error:
        if path.is_dir():
            raise
        why = str(error)
    aside = set_aside(path) if _inode_of(path) == inode else None  # else another peer was quicker
    return Opened(_open_whole(path), aside, why)


def _open_whole(path: Path) -> GossipPersistence:
    store = GossipPersistence(path)
    try:
        store.check()
    except BaseException:
        with suppress(DatabaseError):  # what is damaged may also fail to close
            store.close()
        raise
    return store


def set_aside(path: Path) -> Path:
    """Rename a database and what belongs to it, so that a new one can take its place; return its new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    for end in SIDE_FILES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return aside


def _inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _run(row: sqlite3.Row) -> RunRow:
    columns = dict(row)
    return RunRow(
        **{**columns, "settings": json.loads(columns["settings"]), "synthetic": bool(columns["synthetic"])}
    )


def _entry(row: sqlite3.Row) -> EntryRow:
    columns = without(row, "run", "peer")
    return EntryRow(**{**columns, "value": json.loads(columns["value"]), "deleted": bool(columns["deleted"])})


def _state(row: sqlite3.Row) -> PeerStateRow:
    columns = without(row, "run")
    return PeerStateRow(**{**columns, "finished": bool(columns["finished"])})


def _metrics(row: sqlite3.Row) -> PeerMetricsRow:
    return PeerMetricsRow(**without(row, "run"))
