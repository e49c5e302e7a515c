"""Looking after one peer at a time, with the help of others: the probes of SWIM, the health of Lifeguard."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from gossip.messages import GossipAck, GossipNack, GossipPing, GossipPingRequest, PeerInfo
from gossip.news import News
from gossip.outgoing import Address, Outgoing
from gossip.roster import Roster
from gossip.timing import Timing

MAX_RELAYS = 256
"""How many peers we look for on behalf of others at a time."""

_NACK_SHARE = 0.8  # of the time for an answer, after which a helper says that it has none


@dataclass(slots=True)
class _Probe:
    """One look after one peer."""

    target: str
    number: int
    ask_others_at: float
    end_at: float
    helpers: int | None = None  # how many others look, too; None: not asked yet
    nacks: int = 0


@dataclass(slots=True)
class _Relay:
    """One look on behalf of another."""

    asker: str | Address
    number: int  # of the asker's question
    nack_at: float
    end_at: float
    nacked: bool = False


class Prober:
    """The probes of one peer.

    Args:
        roster: Whom it knows.
        news: What it tells along the way.
        timing: Its pace.
        rng: Shuffles whom it looks after, and chooses helpers.
        now: The time.

    Attributes:
        health: How ill we find ourselves: 0 is well, and each step makes us wait as much longer again.
    """

    def __init__(self, roster: Roster, news: News, timing: Timing, rng: Random, now: float) -> None:
        self._roster = roster
        self._news = news
        self._timing = timing
        self._rng = rng
        self._order: deque[str] = deque()  # whom to look after, in this round of all
        self._probe: _Probe | None = None
        self._next_at = now + rng.uniform(0, timing.probe_seconds)
        self._relays: dict[int, _Relay] = {}
        self._number = rng.getrandbits(32)  # late answers to an earlier life fit no question
        self.health = 0

    def next_at(self) -> float:
        """Return when `tick` has something to do next."""
        probe = self._probe
        if probe is None:
            times = [self._next_at]
        else:  # the next one waits for its end, which is later than planned where we were late ourselves
            times = [probe.end_at if probe.helpers is not None else probe.ask_others_at]
        times += [relay.end_at if relay.nacked else relay.nack_at for relay in self._relays.values()]
        return min(times)

    def postpone(self, seconds: float) -> None:
        """Give the present probe so much longer."""
        self._next_at += seconds
        if self._probe is not None:
            self._probe.ask_others_at += seconds
            self._probe.end_at += seconds

    def feel(self, worse: int) -> None:
        """Find ourselves more ill by so much, or better."""
        self.health = min(max(self.health + worse, 0), self._timing.health_most)

    def ping(self, to: PeerInfo) -> Outgoing:
        """Return a question to a peer that nobody waits for the answer of: it tells news, and learns some."""
        return self._ping(to, self._next_number())

    def tick(self, now: float) -> tuple[list[Outgoing], str | None]:
        """Do what is due; return what to send, and the peer that nobody hears from, if one was found."""
        out = self._answer_askers(now)
        silent = None
        probe = self._probe
        if probe is not None and probe.helpers is None and now >= probe.ask_others_at:
            out += self._ask_others(probe)
            seconds = self._timing.probe_seconds - self._timing.ack_seconds
            probe.end_at = max(probe.end_at, now + seconds)  # we may be late: they get all their time
        elif probe is not None and now >= probe.end_at:
            silent, self._probe = probe.target, None
            self.feel(max(probe.helpers - probe.nacks, 0) if probe.helpers else 1)
        if self._probe is None and now >= self._next_at:
            out += self._start(now)
        return out, silent

    def on_ack(self, ack: GossipAck) -> list[Outgoing]:
        """A peer is there: the one that we look after, or one that we were asked to look for."""
        probe = self._probe
        if probe is not None and probe.number == ack.number and probe.target == ack.info.peer:
            self._probe = None
            self.feel(-1)
        relay = self._relays.pop(ack.number, None)
        if relay is None:
            return []
        return [Outgoing(relay.asker, GossipAck(relay.number, self._roster.me.peer, ack.info))]

    def on_nack(self, nack: GossipNack) -> None:
        """One that we asked to help does not hear from it either, but we do hear from that one."""
        if self._probe is not None and self._probe.number == nack.number:
            self._probe.nacks += 1

    def on_request(self, request: GossipPingRequest, asker: str | Address, now: float) -> list[Outgoing]:
        """Look for a peer on behalf of another. Without effect when we do so for very many."""
        if len(self._relays) >= MAX_RELAYS:
            return []
        number = self._next_number()
        self._relays[number] = _Relay(
            asker,
            request.number,
            nack_at=now + _NACK_SHARE * self._timing.ack_seconds,
            end_at=now + self._timing.probe_seconds,
        )
        return [self._ping(request.target, number)]

    def _start(self, now: float) -> list[Outgoing]:
        scale = 1 + self.health
        self._next_at = now + self._timing.probe_seconds * scale
        target = self._next_target()
        if target is None:
            return []
        number = self._next_number()
        self._probe = _Probe(target.peer, number, now + self._timing.ack_seconds * scale, self._next_at)
        return [self._ping(target, number)]

    def _next_target(self) -> PeerInfo | None:
        """The next one in this round of all; everybody has a turn before anybody has another."""
        for _ in range(2):
            while self._order:
                info = self._roster.get(self._order.popleft())
                if info is not None and not info.gone:
                    return info
            self._order.extend(self._some(self._roster.live, len(self._roster.live)))
        return None

    def _ask_others(self, probe: _Probe) -> list[Outgoing]:
        target = self._roster.get(probe.target)
        others = [peer for peer in self._roster.live if peer != probe.target]
        helpers = self._some(others, self._timing.helpers) if target is not None else []
        probe.helpers = len(helpers)
        return [
            Outgoing(peer, GossipPingRequest(probe.number, self._roster.me, target))
            for peer in helpers
            if target is not None
        ]

    def _answer_askers(self, now: float) -> list[Outgoing]:
        out = []
        for number, relay in list(self._relays.items()):
            if now >= relay.end_at:
                del self._relays[number]
            elif now >= relay.nack_at and not relay.nacked:
                relay.nacked = True
                out.append(Outgoing(relay.asker, GossipNack(relay.number, self._roster.me.peer)))
        return out

    def _ping(self, to: PeerInfo, number: int) -> Outgoing:
        ping = GossipPing(number, self._roster.me, to.peer, self._news.take(to.peer))
        return Outgoing(self._roster.way_to(to), ping)

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _some(self, peers: Sequence[str], count: int) -> list[str]:
        return self._rng.sample(peers, min(count, len(peers)))
