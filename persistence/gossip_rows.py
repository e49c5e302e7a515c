"""What goes into gossip.db and comes out of it: frozen rows that check themselves.

Times ending in `_unix` are seconds since 1970 as the caller measured them: nothing here looks at a clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CONTENT_BYTES = 32
MAX_HALF = 2**32
"""A life, and its salt, are numbers of 32 bits each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRow:
    """Who a peer was last.

    Attributes:
        peer: Its name.
        life: Which of its lives, 0 for none.
        salt: Chance that tells two lives of one number apart.
        lease_end: Logical times below may be in use.
    """

    peer: str
    life: int
    salt: int
    lease_end: int

    def __post_init__(self) -> None:
        if not 0 <= self.life < MAX_HALF or not 0 <= self.salt < MAX_HALF:
            raise ValueError(f"life={self.life}, salt={self.salt}; both are 0 or more and below 2**32")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """One key of what a peer knows, with its timestamp.

    Attributes:
        key: Like "model/B".
        time: Logical time of writing.
        writer: Who wrote it.
        life: In which of its lives.
        salt: See `IdentityRow`.
        value: What is said under that key: anything that JSON can hold.
        deleted: Whether the key was deleted.
        content: SHA-256 of bytes that belong to it and are kept beside it; None without any.
    """

    key: str
    time: int
    writer: str
    life: int
    salt: int
    value: Mapping[str, Any]
    deleted: bool = False
    content: bytes | None = None

    def __post_init__(self) -> None:
        if self.content is not None and len(self.content) != CONTENT_BYTES:
            raise ValueError(f"content has {len(self.content)} bytes; a SHA-256 has {CONTENT_BYTES}")
        json.dumps(dict(self.value), allow_nan=False)  # says itself what it cannot hold


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStateRow:
    """How a peer stands, saved together with what it knows.

    Attributes:
        peer: Its name.
        round: How many rounds it has trained.
        finished: Whether these were all.
        samples: How many samples it trains on.
        life: Which of its lives.
        saved_unix: When.
        accuracy: Of its average on the evaluation region, 0 to 1; None without one.
        loss: The same, mean cross-entropy.
        delta: Distance of its own model to the average.
        known_peers: How many peers it knows, itself included.
        live_peers: How many of them it takes for alive, itself included.
        models: How many models the average is made of.
        bytes_in: Received since this life began.
        bytes_out: Sent since this life began.
        average_sha256: Of the average; None before there is one.
    """

    peer: str
    round: int
    finished: bool
    samples: int
    life: int
    saved_unix: float
    accuracy: float | None = None
    loss: float | None = None
    delta: float | None = None
    known_peers: int = 1
    live_peers: int = 1
    models: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    average_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerMetricsRow:
    """One round of training of one peer.

    Attributes:
        peer: Its name.
        round: Which, from 1. A round that a peer trains again, since it was killed, takes the place of
            the first one.
        at_unix: When it ended.
        seconds: How long training took.
        train_loss: On its own region, of the model that it trained.
        train_accuracy: The same, 0 to 1.
        accuracy: Of its average on the evaluation region, as soon as its model was part of it.
        loss: The same.
        delta: See `PeerStateRow`; so are the others.
    """

    peer: str
    round: int
    at_unix: float
    seconds: float
    train_loss: float | None = None
    train_accuracy: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    delta: float | None = None
    known_peers: int = 1
    live_peers: int = 1
    models: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    average_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.round < 1:
            raise ValueError(f"round {self.round}; rounds are counted from 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipEventRow:
    """Something that happened.

    Attributes:
        at_unix: When.
        source: Which peer says so.
        kind: One word, like "dead".
        text: What, in words.
    """

    at_unix: float
    source: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a peer had saved of a run.

    Attributes:
        entries: What it knew, in the order of the keys.
        contents: The bytes beside, by their SHA-256.
        state: How it stood; None when it never saved anything.
    """

    entries: tuple[EntryRow, ...] = ()
    contents: Mapping[bytes, bytes] = field(default_factory=dict)
    state: PeerStateRow | None = None
