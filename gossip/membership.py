"""Who is alive: SWIM (Das et al., 2002) with the local health of Lifeguard (Dadgar et al., 2017), no I/O.

Each peer looks after one other at a time, in a shuffled round, so that each is looked after once in every
round of all. One that does not answer is looked for by a few others, too. If none of them hears from it,
it is *suspect*, and everybody is told, itself first of all. It may rebut: it lives, with one rebuttal more.
One that does not is *dead* when its time is over. That time is long as long as only we suspect it, and we
take more time for everything when it is us who get no answers.

The words of others are weighed. That a peer is dead is taken as a suspicion, with all the time to rebut.
That it left, or is alive again, is taken as it is: `roster.py` says what is newer. What is said about us
ourselves is for `namesake.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple, TypeAlias

from gossip.identity import Identity
from gossip.messages import (
    MAX_NEWS,
    GossipAck,
    GossipNack,
    GossipPeerJoin,
    GossipPing,
    GossipPingRequest,
    GossipWelcome,
    PeerInfo,
    Status,
)
from gossip.namesake import OwnName
from gossip.news import News
from gossip.outgoing import Address, Outgoing
from gossip.ownership import Notary
from gossip.prober import Prober
from gossip.roster import Learned, Roster
from gossip.suspicion import Suspicions
from gossip.timing import Timing

MAX_WELCOME = 4 * MAX_NEWS
MAX_CHANGES = 1024

MAX_LATENESS_PROBES = 1.0
"""A tick that comes later than so many probes' time shows that we were stalled ourselves."""

MembershipMessage: TypeAlias = (
    GossipPing | GossipAck | GossipPingRequest | GossipNack | GossipPeerJoin | GossipWelcome
)


class Change(NamedTuple):
    """What happened to a peer, as we see it.

    Attributes:
        peer: Which.
        status: What it is now.
    """

    peer: str
    status: Status


class Membership:
    """Who is alive, as one peer sees it. It is told the time and what comes, and says what is to be sent.

    Args:
        identity: Who we are; its life has begun.
        host: Where we listen.
        port: Where we listen.
        now: The time, in seconds of any clock that only moves on.
        rng: Chooses whom to ask.
        timing: Our pace.
        seeds: Where to find a first peer.
        notary: Who seals and checks; None where nothing is sealed.
        remembered: Infos of an earlier life, out of a snapshot. Who was gone stays gone.

    Attributes:
        roster: Who is known.
    """

    def __init__(
        self,
        identity: Identity,
        host: str,
        port: int,
        *,
        now: float,
        rng: Random,
        timing: Timing | None = None,
        seeds: Sequence[Address] = (),
        notary: Notary | None = None,
        remembered: Iterable[PeerInfo] = (),
    ) -> None:
        timing = timing or Timing()
        self._timing = timing
        self._rng = rng
        self._seeds: list[Address] = []
        self._own_name = OwnName(identity, notary, timing)
        self.roster = Roster(self._own_name.first_info(host, port), notary)
        self._news = News(self.roster)
        self._prober = Prober(self.roster, self._news, timing, rng, now)
        self._suspicions = Suspicions(timing)
        self.set_seeds(seeds)
        self._join_at = now
        self._join_pause = timing.join_first_seconds
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)
        for info in remembered:
            if info.peer != identity.peer:  # checked when it was learned, so it is as good as from its owner
                self.roster.learn(replace(info, status="alive") if not info.gone else info, info.peer)

    # --- for the program ------------------------------------------------------------------------

    @property
    def me(self) -> PeerInfo:
        """Our own info."""
        return self.roster.me

    @property
    def live(self) -> Sequence[str]:
        """The others that are not gone, by name; suspects are among them."""
        return self.roster.live

    @property
    def health(self) -> int:
        """How ill we find ourselves, from 0."""
        return self._prober.health

    def take_changes(self) -> list[Change]:
        """Return what happened to peers since the last call. At most the last 1,024 are kept."""
        changes = list(self._changes)
        self._changes.clear()
        return changes

    def set_seeds(self, seeds: Sequence[Address]) -> None:
        """Look for a first peer there from now on: seeds may become known after us, or move."""
        self._seeds = [seed for seed in seeds if seed != self.me.address]

    def leave(self) -> list[Outgoing]:
        """Say goodbye to some peers, who tell the others. Nothing is said or rebutted after it."""
        self._know(replace(self.me, status="left", rebuttals=self.me.rebuttals + 1))
        count = min(len(self.live), self._timing.forwards(len(self.roster)))
        return [self._prober.ping(self.roster[peer]) for peer in self._rng.sample(self.live, count)]

    # --- time -----------------------------------------------------------------------------------

    def next_tick_at(self) -> float:
        """Return when `tick` has something to do next, if nothing comes before."""
        times = [
            self._prober.next_at(),
            self._suspicions.next_at(len(self.live) + 1),
            self._own_name.next_at(),
        ]
        if not self.live and self._seeds:
            times.append(self._join_at)
        return min(time for time in times if time is not None)

    def tick(self, now: float) -> list[Outgoing]:
        """Do what is due.

        Args:
            now: The time. After a pause much longer than planned it was us who stood still: then all get as
                much longer to answer.

        Raises:
            IdentityError: We cannot go on under our name.
        """
        if self.me.status == "left":
            return []
        self._forgive(now)
        out, silent = self._prober.tick(now)
        if silent is not None:
            self._suspect(silent, self.me.peer, now)
        for peer in self._suspicions.expired(now, len(self.live) + 1):
            self._know(replace(self.roster[peer], status="dead", accuser=self.me.peer))
        self._know_me(self._own_name.tick(self.me, now))
        return out + self._join(now)

    def heal(self) -> list[Outgoing]:
        """Try one that is gone, and a seed that is not among the live ones: so partitions heal."""
        out = []
        if self.roster.gone:
            out.append(self._prober.ping(self.roster[self._rng.choice(self.roster.gone)]))
        strangers = self._strangers() if self._seeds else []
        if strangers:
            out.append(Outgoing(self._rng.choice(strangers), GossipPeerJoin(self.me)))
        return out

    def _strangers(self) -> list[Address]:
        """Seeds at whose address no live peer is known."""
        addresses = {self.roster[peer].address for peer in self.live}
        return [seed for seed in self._seeds if seed not in addresses]

    def _forgive(self, now: float) -> None:
        """When we were stalled, answers wait to be read. Move all deadlines by the time that we lost."""
        late = now - self.next_tick_at()
        if late > MAX_LATENESS_PROBES * self._timing.probe_seconds:
            self._prober.feel(1)
            self._prober.postpone(late)
            self._suspicions.postpone(late, now)
            self._own_name.postpone(late, now)

    def _join(self, now: float) -> list[Outgoing]:
        """While nobody is known, ask the seeds, with pauses drawn from 0 to a bound that doubles."""
        if self.live or now < self._join_at:
            return []
        self._join_at = now + self._rng.uniform(0, self._join_pause)
        self._join_pause = min(2 * self._join_pause, self._timing.join_most_seconds)
        return [Outgoing(seed, GossipPeerJoin(self.me)) for seed in self._seeds]

    # --- learning -------------------------------------------------------------------------------

    def learn(self, info: PeerInfo, now: float, authenticated: str | None = None) -> list[Outgoing]:
        """Take in what is said about a peer, whoever says so.

        Args:
            info: What is said.
            now: The time.
            authenticated: Who says so, if the connection tells.

        Raises:
            IdentityError: It shows that we cannot go on under our name.
        """
        if info.peer == self.me.peer:
            return self._hear_of_me(info, now)
        known = self.roster.get(info.peer)
        doubted = info.status == "suspect" or (info.status == "dead" and known is not None and not known.gone)
        believed = replace(info, status="alive", accuser="") if doubted else info
        if self.roster.learn(believed, authenticated) is Learned.NEWS:
            self._tell(info.peer, known)
        found = self.roster.get(info.peer)
        if doubted and found is not None and found.version[:2] == info.version[:2]:
            self._suspect(info.peer, info.accuser or "?", now)
        return []

    def _hear_of_me(self, info: PeerInfo, now: float) -> list[Outgoing]:
        me, ask_at = self._own_name.hear(info, self.me, now)
        if me != self.me:
            self._prober.feel(1)  # somebody did not hear from us: perhaps we are slow
        self._know_me(me)
        return [] if ask_at is None else [self._prober.ping(ask_at)]

    def _suspect(self, peer: str, accuser: str, now: float) -> None:
        """Suspect a peer, or take note that one more does."""
        info = self.roster.get(peer)
        if info is not None and not info.gone and self._suspicions.doubt(peer, accuser, now):
            self._know(replace(info, status="suspect", accuser=accuser))  # others count the accuser, too

    def _know_me(self, me: PeerInfo) -> None:
        if me != self.me:
            self._know(me)

    def _know(self, info: PeerInfo) -> None:
        """Hold something for true that we found out ourselves."""
        known = self.roster.get(info.peer)
        self.roster.set(info)
        self._tell(info.peer, known)

    def _tell(self, peer: str, before: PeerInfo | None) -> None:
        """Pass on what is new about a peer, and end a suspicion that is answered by it."""
        status = self.roster[peer].status
        self._news.add(peer)
        if status != "suspect":
            self._suspicions.clear(peer)
        if before is None or before.status != status:
            self._changes.append(Change(peer, status))

    # --- messages -------------------------------------------------------------------------------

    def on_message(
        self, message: MembershipMessage, now: float, authenticated: str | None = None
    ) -> list[Outgoing]:
        """Take in a message, and return what is to be sent for it.

        Args:
            message: Any of `MembershipMessage`.
            now: The time.
            authenticated: Who sent it, if the connection tells.

        Raises:
            IdentityError: It shows that we cannot go on under our name.
        """
        if authenticated is not None and authenticated != message.sender:
            self.roster.refused["a sender under another's name"] += 1
            return []
        if self.me.status == "left":
            return []
        match message:
            case GossipPing():
                return self._on_ping(message, now, authenticated)
            case GossipAck():
                self._own_name.meet(message.info)
                out = self._learn_all((message.info, *message.news), now, authenticated)
                return out + self._prober.on_ack(message)
            case GossipPingRequest():
                self._own_name.meet(message.info)
                out = self._learn_all((message.info, message.target), now, authenticated)
                return out + self._prober.on_request(message, self.roster.way_to(message.info), now)
            case GossipNack():
                self._prober.on_nack(message)
                return []
            case GossipPeerJoin():
                return self._on_join(message, now, authenticated)
            case GossipWelcome():
                return self._learn_all(message.peers, now, authenticated)

    def _learn_all(self, infos: Iterable[PeerInfo], now: float, authenticated: str | None) -> list[Outgoing]:
        return [out for info in infos for out in self.learn(info, now, authenticated)]

    def _on_ping(self, ping: GossipPing, now: float, authenticated: str | None) -> list[Outgoing]:
        self._own_name.meet(ping.info)
        if ping.target != self.me.peer:
            return []  # meant for another, who had our address before us: it is gone from here
        out = self._learn_all((ping.info, *ping.news), now, authenticated)
        news = self._news.take(ping.sender)
        held = self.roster.get(ping.sender)
        if held is not None and held.version > ping.info.version and held not in news:
            news = (held, *news)  # perhaps a second process of its name: all that we send by name goes there
        ack = GossipAck(ping.number, self.me.peer, self.me, news)
        return [*out, Outgoing(self.roster.way_to(ping.info), ack)]

    def _on_join(self, join: GossipPeerJoin, now: float, authenticated: str | None) -> list[Outgoing]:
        self._own_name.meet(join.info)
        out = self.learn(join.info, now, authenticated)
        held = self.roster.get(join.sender)
        infos = [self.me, *([held] if held is not None and held.version > join.info.version else [])]
        others = [peer for peer in self.live if peer != join.sender]
        chosen = self._rng.sample(others, min(len(others), MAX_WELCOME - len(infos)))
        infos += [self.roster[peer] for peer in chosen]
        return [*out, Outgoing(self.roster.way_to(join.info), GossipWelcome(self.me.peer, tuple(infos)))]
