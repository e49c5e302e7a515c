"""Who is known: one info for each peer, the newest. What is newer, what is refused, what is remembered.

Of two infos about a peer the one with the higher (incarnation, rebuttals, status) is the newer one, and
status counts alive < suspect < dead < left. So a suspicion beats the life that it doubts, and a rebuttal
beats the suspicion. An address changes only with a newer incarnation, and where seals are in use only the
peer's own seal brings one.

Peers that are gone are remembered: an old word that they live does not bring them back. All is bounded.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum, auto
from hashlib import blake2b

from gossip.digest import DigestTable
from gossip.messages import MAX_PEERS, STATUSES, PeerInfo
from gossip.outgoing import Address
from gossip.ownership import Notary, may_say, peer_claim

MAX_GONE = 512
"""How many peers that are gone are remembered, those that went last. chitchat's bound."""


class Learned(Enum):
    """What became of an info."""

    NEWS = auto()
    OLD = auto()
    REFUSED = auto()


class Roster:
    """The peers that one peer knows, itself included.

    Args:
        me: Its own info.
        notary: Who checks seals; None where nothing is sealed.

    Attributes:
        table: The rows of all infos, for the exchange.
        refused: What was refused, counted by reason.
    """

    def __init__(self, me: PeerInfo, notary: Notary | None = None) -> None:
        self._name = me.peer
        self._notary = notary
        self._infos: dict[str, PeerInfo] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._live: list[str] | None = None
        self.table = DigestTable()
        self.refused: Counter[str] = Counter()
        self.set(me)

    @property
    def me(self) -> PeerInfo:
        """Our own info."""
        return self._infos[self._name]

    def get(self, peer: str) -> PeerInfo | None:
        """Return what is known of a peer, None when it is not known."""
        return self._infos.get(peer)

    def __getitem__(self, peer: str) -> PeerInfo:
        return self._infos[peer]

    def way_to(self, info: PeerInfo) -> str | Address:
        """Return how to reach a peer: by name, if we know it at that address, else by the address."""
        known = self._infos.get(info.peer)
        return info.peer if known is not None and known.address == info.address else info.address

    def infos(self) -> Iterable[PeerInfo]:
        """Return all infos, our own included."""
        return self._infos.values()

    @property
    def live(self) -> list[str]:
        """The others that are not gone, by name. Not to be changed."""
        if self._live is None:
            names = (name for name, info in self._infos.items() if not info.gone and name != self._name)
            self._live = sorted(names)
        return self._live

    @property
    def gone(self) -> list[str]:
        """The others that are dead or have left, those first that went first."""
        return list(self._gone)

    def __len__(self) -> int:
        return len(self._infos)

    def learn(self, info: PeerInfo, authenticated: str | None = None) -> Learned:
        """Take in an info about another peer, if it is newer than what is known and may be believed.

        Args:
            info: What is said.
            authenticated: Who says so, if the connection tells.
        """
        known = self._infos.get(info.peer)
        if known is not None and info.version <= known.version:
            if info.incarnation == known.incarnation and info.address != known.address:
                return self._refuse("an address without a newer incarnation")
            return Learned.OLD
        if known is not None and info.incarnation == known.incarnation:
            if info.address != known.address:
                return self._refuse("an address without a newer incarnation")
            info = replace(
                known, rebuttals=info.rebuttals, status=info.status, accuser=info.accuser
            )  # the seal that we have checked stays
        elif not may_say(
            info.peer, peer_claim(info), info.proof, notary=self._notary, authenticated=authenticated
        ):
            return self._refuse("an address that its owner has not given")
        elif known is None and len(self._infos) >= MAX_PEERS:
            return self._refuse("too many peers")
        self.set(info)
        return Learned.NEWS

    def set(self, info: PeerInfo) -> None:
        """Know this of a peer from now on."""
        known = self._infos.get(info.peer)
        if known is None or known.gone != info.gone:
            self._live = None
        self._infos[info.peer] = info
        self.table.set(
            info.peer, info.incarnation, info.rebuttals * len(STATUSES) + info.version[2], _content(info)
        )
        if info.peer == self._name:
            return
        if not info.gone:
            self._gone.pop(info.peer, None)
        elif info.peer not in self._gone:
            self._gone[info.peer] = None
            if len(self._gone) > MAX_GONE:
                self._forget(next(iter(self._gone)))

    def _forget(self, peer: str) -> None:
        del self._gone[peer], self._infos[peer]
        self.table.remove(peer)

    def _refuse(self, reason: str) -> Learned:
        self.refused[reason] += 1
        return Learned.REFUSED


def _content(info: PeerInfo) -> bytes:
    return blake2b(f"{info.host}\n{info.port}".encode(), digest_size=16).digest()
