"""Our own name in the mouths of others: rebut what is wrong, outlive our ghosts, make way for a namesake.

| what is said of us | what it means | what we do |
| --- | --- | --- |
| that our present life is suspect, dead or left | somebody did not hear from us | rebut it |
| a later life at our address, or one that is gone | a ghost: our disk has forgotten it | outlive it |
| our present life at another address | a lie, or a mistake | outlive it |
| a later life at another address | a ghost, or another process of our name | ask there |

If somebody answers there under our name, there are two processes of one name, and that of the older life,
ours, ends with `DuplicateIdentity`. If nobody does, it was a ghost. One that cannot be asked, but keeps
outliving us, is no ghost either. Where seals are in use, only our own seal makes a word about another life
of ours worth hearing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gossip.errors import DuplicateIdentity
from gossip.identity import Identity, life_of, salt_of
from gossip.messages import MAX_REBUTTALS, PeerInfo
from gossip.ownership import Notary, peer_claim
from gossip.timing import Timing

MAX_CONTESTS = 3
"""A ghost does not grow older. One that has done so three times is no ghost."""


class OwnName:
    """What a peer does about its own name.

    Args:
        identity: Who it is.
        notary: Who seals; None where nothing is sealed.
        timing: Its pace.
    """

    def __init__(self, identity: Identity, notary: Notary | None, timing: Timing) -> None:
        self._identity = identity
        self._notary = notary
        self._patience_seconds = 2 * timing.probe_seconds
        self._contests: Counter[int] = Counter()  # by the salt of the namesake
        self._ghost: PeerInfo | None = None
        self._until = 0.0

    def first_info(self, host: str, port: int) -> PeerInfo:
        """Return our own info as a life begins."""
        return self._sealed(PeerInfo(self._identity.peer, host, port, self._identity.replica.incarnation))

    def hear(self, info: PeerInfo, me: PeerInfo, now: float) -> tuple[PeerInfo, PeerInfo | None]:
        """Hear what is said of us.

        Args:
            info: What is said.
            me: What we say ourselves.
            now: The time.

        Returns:
            What we say of ourselves from now on; and an info to ask at whether anybody lives there.

        Raises:
            IdentityError: We cannot go on under our name.
        """
        moved = info.incarnation == me.incarnation and info.address != me.address
        if me.status == "left" or (info.version <= me.version and not moved):
            return me, None
        if info.incarnation == me.incarnation and not moved and info.rebuttals < MAX_REBUTTALS:
            return replace(me, rebuttals=info.rebuttals + 1), None
        if not self._is_credible(info):
            return me, None
        if info.incarnation == me.incarnation or info.gone or info.address == me.address:
            return self._outlive(info, me), None
        if self._ghost is not None:
            return me, None  # one question at a time; the others will be heard of again
        self._ghost, self._until = info, now + self._patience_seconds
        return me, info

    def _is_credible(self, info: PeerInfo) -> bool:
        if not self._identity.may_have_forgotten(info.incarnation):
            return False
        return self._notary is None or self._notary.is_sealed(info.peer, peer_claim(info), info.proof)

    def meet(self, info: PeerInfo) -> None:
        """Somebody speaks to us directly. If it has our name, one of us two must go.

        Raises:
            DuplicateIdentity: It is us.
        """
        if info.peer != self._identity.peer or self._identity.is_ours(info.incarnation):
            return
        ours = self._identity.replica.incarnation
        if info.incarnation > ours:
            raise DuplicateIdentity(
                f"another process lives under the name {info.peer!r}, at {info.host}:{info.port}, in its "
                f"life {life_of(info.incarnation)}; this one, in its life {life_of(ours)}, stops. "
                "Give one of them another name"
            )

    def next_at(self) -> float | None:
        """Return when `tick` has something to do; None when it has nothing."""
        return None if self._ghost is None else self._until

    def tick(self, me: PeerInfo, now: float) -> PeerInfo:
        """Return what we say of ourselves from now on: nobody answered for a while, so it was a ghost.

        Raises:
            IdentityError: We cannot go on under our name.
        """
        if self._ghost is None or now < self._until:
            return me
        ghost, self._ghost = self._ghost, None
        return self._outlive(ghost, me)

    def postpone(self, seconds: float, now: float) -> None:
        """Give the one that we ask so much longer, and no more than if we asked now."""
        self._until = min(self._until + seconds, now + self._patience_seconds)

    def _outlive(self, ghost: PeerInfo, me: PeerInfo) -> PeerInfo:
        salt = salt_of(ghost.incarnation)
        self._contests[salt] += 1
        if self._contests[salt] >= MAX_CONTESTS and not self._identity.is_ours(ghost.incarnation):
            raise DuplicateIdentity(
                f"a process at {ghost.host}:{ghost.port} keeps outliving {me.peer!r} and cannot be asked; "
                "two processes have this name: give one of them another"
            )
        replica = self._identity.renew(ghost.incarnation)
        return self._sealed(replace(me, incarnation=replica.incarnation, rebuttals=0))

    def _sealed(self, info: PeerInfo) -> PeerInfo:
        return info if self._notary is None else replace(info, proof=self._notary.seal(peer_claim(info)))
