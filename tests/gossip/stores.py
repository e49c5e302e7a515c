"""A disk that keeps an identity: it can be copied, lost, and put back from an old copy."""

from __future__ import annotations

from random import Random

from gossip.clock import LamportClock
from gossip.identity import Identity, Sighting, StoredIdentity


class MemoryStore:
    """An `IdentityStore` whose disk is an attribute.

    Attributes:
        stored: What is on the disk.
        writes: How often it was written.
    """

    def __init__(self, stored: StoredIdentity | None = None) -> None:
        self.stored = stored
        self.writes = 0

    def load_identity(self) -> StoredIdentity | None:
        return self.stored

    def save_identity(self, identity: StoredIdentity) -> None:
        self.stored = identity
        self.writes += 1


def begin(
    peer: str, store: MemoryStore | None = None, *, salt: int = 0, sightings: tuple[Sighting, ...] = ()
) -> tuple[Identity, LamportClock]:
    """Begin a life with that disk; `salt` stands for the chance of this start."""
    identity = Identity(peer, store or MemoryStore(), Random(f"{peer}/{salt}"))
    return identity, identity.begin(sightings)
