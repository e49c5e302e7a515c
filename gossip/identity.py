"""Who a peer is, and the promise that it never is the same twice.

A peer keeps its name for good, but each life of it has its own *incarnation*: 32 bits that count the lives,
and 32 bits of chance. The count makes a later life win; the chance makes a life that was begun from an old
copy of the disk another one than the life that the copy knows nothing of. Timestamps carry name and
incarnation, so no timestamp is ever used twice, even where nobody can be asked.

What becomes of a peer that starts:

| its disk | what it does |
| --- | --- |
| intact | the next life, saved before anything is sent; the clock goes on behind its lease |
| lost | asks two peers for the last life they saw, and what time it is (`survey.py`); then the next |
| an old copy | the same; with nobody to ask, it hears of its later life from the first peer it meets |
| shared with a live process of the same name | is refused: `DuplicateIdentity` |

Without this, a reborn peer's new model is silently replaced by its own ghost, or two peers hold different
values for ever under one timestamp. Riak (riak_kv#679, #1865) and others have shipped both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from gossip.clock import LamportClock, ReplicaId
from gossip.errors import IdentityExhausted, WrongIdentity

SALT_BITS = 32
MAX_LIVES = 2**32
MAX_INCARNATION = MAX_LIVES << SALT_BITS

MAX_LIVES_AHEAD = 2**20
"""No disk forgets a million lives. Who says so wants to drive a peer out of its name."""


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """What a disk knows of the peer that owns it.

    Attributes:
        peer: Its name.
        incarnation: Its last life.
        lease_end: Logical times below may be in use.
    """

    peer: str
    incarnation: int
    lease_end: int


class IdentityStore(Protocol):
    """The part of a store that keeps an identity. Both calls block, for milliseconds on a disk."""

    def load_identity(self) -> StoredIdentity | None:
        """Return what was saved last, None when nothing ever was."""

    def save_identity(self, identity: StoredIdentity) -> None:
        """Have it on disk, safe from a power cut, before this returns."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What another peer knows of us.

    Attributes:
        witness: Who says so.
        incarnation: The latest life of ours that it has seen, 0 for none.
        time: What its clock shows.
    """

    witness: str
    incarnation: int
    time: int


def life_of(incarnation: int) -> int:
    """Return the number of the life, from 1: the part of an incarnation that people want to read."""
    return incarnation >> SALT_BITS


def salt_of(incarnation: int) -> int:
    """Return the part that is chance: it tells two processes of one name from each other."""
    return incarnation & ((1 << SALT_BITS) - 1)


class Identity:
    """The identity of one process: its name, its present life, and the disk that remembers them.

    It is the `LeaseStore` of the peer's clock, so that life and lease are saved together.

    Args:
        peer: Its name.
        store: Where lives and leases are kept.
        rng: Draws the chance part of the incarnation, once: a process keeps it through all its lives. It
            must not be seeded alike at two starts; a program takes the system's entropy.

    Attributes:
        peer: Its name.
        remembered: Whether the disk knows of an earlier life. A peer without one asks the others first.

    Raises:
        WrongIdentity: The store holds the identity of another peer.
    """

    def __init__(self, peer: str, store: IdentityStore, rng: Random) -> None:
        stored = store.load_identity()
        if stored is not None and stored.peer != peer:
            raise WrongIdentity(
                f"the store belongs to peer {stored.peer!r}, this is {peer!r}; "
                "give each peer a store of its own"
            )
        self.peer = peer
        self.remembered = stored is not None
        self._store = store
        self._salt = rng.getrandbits(SALT_BITS)
        self._saved = stored or StoredIdentity(peer, 0, 0)
        self._begun = False

    @property
    def salt(self) -> int:
        """What this process draws by chance, and no other process has: `SALT_BITS` of it."""
        return self._salt

    @property
    def replica(self) -> ReplicaId:
        """The present life."""
        assert self._begun, "an identity has no life before begin()"
        return ReplicaId(self.peer, self._saved.incarnation)

    def begin(self, sightings: Iterable[Sighting] = ()) -> LamportClock:
        """Begin a life that nobody has seen, have it on disk, and return its clock.

        Args:
            sightings: What other peers know of us; two are enough, and needed by a peer without a memory.
                One that tells of a life too far ahead is no reason to outlive that.

        Raises:
            IdentityExhausted: Our disk knows of the last life that there is.
        """
        sightings = list(sightings)
        credible = [one.incarnation for one in sightings if self.may_have_forgotten(one.incarnation)]
        latest = max([self._saved.incarnation, *credible])
        self._begun = True
        self.renew(latest)
        clock = LamportClock(self, lease_end=self._saved.lease_end)
        for sighting in sightings:
            clock.witness(sighting.witness, sighting.time, needed=min(2, len(sightings)))
        return clock

    def renew(self, above: int) -> ReplicaId:
        """Begin another life, later than the given incarnation and our own, and have it on disk.

        Raises:
            IdentityExhausted: There is no later one.
        """
        life = life_of(max(above, self._saved.incarnation)) + 1
        if life >= MAX_LIVES:
            raise IdentityExhausted(
                f"peer {self.peer!r} is said to have had {life - 1:,} lives, there is none after; "
                "give it another name"
            )
        self._save(replace(self._saved, incarnation=life << SALT_BITS | self._salt))
        return self.replica

    def is_ours(self, incarnation: int) -> bool:
        """Whether this very process has lived under that incarnation."""
        return salt_of(incarnation) == self._salt and incarnation <= self._saved.incarnation

    def may_have_forgotten(self, incarnation: int) -> bool:
        """Whether our disk may have forgotten a life of ours that another tells of."""
        return life_of(incarnation) <= life_of(self._saved.incarnation) + MAX_LIVES_AHEAD

    def save_lease(self, until: int) -> None:
        """See `LeaseStore`."""
        self._save(replace(self._saved, lease_end=until))

    def _save(self, identity: StoredIdentity) -> None:
        self._store.save_identity(identity)  # first on disk, then in use
        self._saved = identity
