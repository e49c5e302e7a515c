"""The disk of one peer: its identity, what it knows, how far it has come, in `gossip.db`.

`PeerStore` is what a peer asks of its disk; `GossipStore` keeps it in a `persistence.GossipPersistence`.
All of it blocks: identities are saved inline, since nothing may happen before they are safe, and that is
seldom; the rest in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gossip.identity import SALT_BITS, StoredIdentity, life_of, salt_of
from gossip.messages import ModelInfo, PeerInfo
from persistence import (
    EntryRow,
    GossipEventRow,
    GossipPersistence,
    IdentityRow,
    NewRun,
    PeerMetricsRow,
    PeerStateRow,
)
from persistence.gossip import open_or_set_aside

MODEL = "model/"
PEER = "peer/"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a peer finds on its disk when it starts.

    Attributes:
        models: What it knew of models, with the bytes; none where the model is withdrawn.
        peers: What it knew of peers.
        round: How many rounds it had trained.
        metrics: How the last of them went; None where that is not known.
    """

    models: tuple[tuple[ModelInfo, bytes], ...] = ()
    peers: tuple[PeerInfo, ...] = ()
    round: int = 0
    metrics: PeerMetricsRow | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be saved: the difference to the last snapshot.

    Attributes:
        state: How the peer stands.
        models: What is known anew of models.
        contents: The bytes of those models, by their SHA-256.
        peers: What is known anew of peers.
        forgotten: Peers that are known no more.
        metrics: How the last round went; None where there is nothing new to say.
    """

    state: PeerStateRow
    models: tuple[ModelInfo, ...] = ()
    contents: tuple[tuple[bytes, bytes], ...] = ()
    peers: tuple[PeerInfo, ...] = ()
    forgotten: tuple[str, ...] = ()
    metrics: PeerMetricsRow | None = None


class PeerStore(Protocol):
    """What a peer asks of its disk; also an `IdentityStore`. Every call blocks."""

    def load_identity(self) -> StoredIdentity | None:
        """See `IdentityStore`."""

    def save_identity(self, identity: StoredIdentity) -> None:
        """See `IdentityStore`."""

    def load(self) -> Remembered:
        """Return what was saved last."""

    def save(self, changes: Changes) -> None:
        """Save what has changed: all of it or nothing."""

    def add_events(self, events: Iterable[GossipEventRow]) -> None:
        """Keep what happened."""

    def finish(self, average_sha256: str, now_unix: float) -> None:
        """Keep that the run has finished, with that average at all peers."""

    def close(self) -> None:
        """Let go of the disk."""


class GossipStore:
    """The disk of one peer of one run, in a file that other peers may share.

    Args:
        path: The file; a damaged or foreign one is put aside, and a new one begun.
        run: The run, which is entered when it is not there.
        peer: Whose disk it is.

    Attributes:
        aside: Where a damaged file is kept now, and what was wrong with it; None when nothing was.

    Raises:
        DatabaseError: The file cannot be used.
    """

    def __init__(self, path: Path, run: NewRun, peer: str) -> None:
        self._peer = peer
        opened = open_or_set_aside(path)
        self._record = opened.store
        self.aside = None if not opened.why else (opened.aside, opened.why)
        # A second way in: an identity is saved while a thread saves a snapshot.
        self._identities = GossipPersistence(path)
        self._run = self._record.enter_run(run).id

    def close(self) -> None:
        """Close the file."""
        self._record.close()
        self._identities.close()

    def load_identity(self) -> StoredIdentity | None:
        """See `IdentityStore`."""
        row = self._identities.load_identity(self._peer)
        if row is None:
            return None
        return StoredIdentity(row.peer, row.life << SALT_BITS | row.salt, row.lease_end)

    def save_identity(self, identity: StoredIdentity) -> None:
        """See `IdentityStore`."""
        self._identities.save_identity(
            IdentityRow(
                peer=identity.peer,
                life=life_of(identity.incarnation),
                salt=salt_of(identity.incarnation),
                lease_end=identity.lease_end,
            )
        )

    def load(self) -> Remembered:
        """See `PeerStore`. An entry whose bytes are missing is passed over: the others have it."""
        found = self._record.load_snapshot(self._run, self._peer)
        models = []
        for entry in found.entries:
            if entry.key.startswith(MODEL) and (entry.content is None or entry.content in found.contents):
                models.append((model_of(entry), found.contents.get(entry.content or b"", b"")))
        peers = [_peer_of(entry) for entry in found.entries if entry.key.startswith(PEER)]
        round_number = 0 if found.state is None else found.state.round
        last = self._record.last_metrics(self._run, self._peer)
        return Remembered(tuple(models), tuple(peers), round_number, last)

    def save(self, changes: Changes) -> None:
        """See `PeerStore`."""
        self._record.save_snapshot(
            self._run,
            changes.state,
            changed=[*map(_model_entry, changes.models), *map(_peer_entry, changes.peers)],
            removed=[PEER + peer for peer in changes.forgotten],
            contents=dict(changes.contents),
            metrics=changes.metrics,
        )

    def add_events(self, events: Iterable[GossipEventRow]) -> None:
        """See `PeerStore`."""
        self._record.add_events(self._run, events)

    def finish(self, average_sha256: str, now_unix: float) -> None:
        """See `PeerStore`."""
        self._record.end_run(
            self._run, status="finished", ended_unix=now_unix, model_sha256=average_sha256 or None
        )


OpenStore = Callable[[], PeerStore]
"""Opens the disk of a peer, for each of its lives anew."""


def _entry(key: str, time: int, writer: str, incarnation: int, **more: Any) -> EntryRow:
    return EntryRow(
        key=key,
        time=time,
        writer=writer,
        life=life_of(incarnation),
        salt=salt_of(incarnation),
        **more,
    )


def _model_entry(info: ModelInfo) -> EntryRow:
    return _entry(
        MODEL + info.owner,
        info.version,
        info.owner,
        info.incarnation,
        value={"samples": info.samples, "size": info.size, "proof": info.proof.hex()},
        deleted=info.withdrawn,
        content=info.content or None,
    )


def model_of(entry: EntryRow) -> ModelInfo:
    """Return what is said about a model, as it was saved."""
    return ModelInfo(
        owner=entry.writer,
        incarnation=entry.life << SALT_BITS | entry.salt,
        version=entry.time,
        samples=entry.value["samples"],
        size=entry.value["size"],
        content=entry.content or b"",
        proof=bytes.fromhex(entry.value["proof"]),
    )


def _peer_entry(info: PeerInfo) -> EntryRow:
    return _entry(
        PEER + info.peer,
        info.rebuttals,
        info.peer,
        info.incarnation,
        value={
            "host": info.host,
            "port": info.port,
            "status": info.status,
            "accuser": info.accuser,
            "proof": info.proof.hex(),
        },
    )


def _peer_of(entry: EntryRow) -> PeerInfo:
    value = entry.value
    return PeerInfo(
        peer=entry.writer,
        host=value["host"],
        port=value["port"],
        incarnation=entry.life << SALT_BITS | entry.salt,
        rebuttals=entry.time,
        status=value["status"],
        accuser=value["accuser"],
        proof=bytes.fromhex(value["proof"]),
    )
