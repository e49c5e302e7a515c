"""What a peer knows, and how two peers come to know the same. No I/O.

**Exchange.** Once a round a peer sends a summary of all it knows to one other:

    we    -> they   GossipSyn      summaries of peers and models, 48 bytes each
    they  -> we     GossipEqual    that is what I know: done
                or  GossipDigest   rows of the buckets that differ, 32 bytes each
    we    -> they   GossipDelta    infos that they lack, and which we want
    they  -> we     GossipDelta    those
    both            GossipWant, GossipPiece   the bytes of models, each from one source

An exchange that is not closed in time is begun again, with the same partner, a few times before the next
round. No other step is repeated or remembered, so any message may be lost, late or doubled. Infos go within
a budget: peers first, then models that the other side has none of, then newer ones, and bytes last. What is
left over is for the next exchange. What is held already is never sent.

**Announcement.** A new model is announced to a few peers. Who takes it in from there passes it on, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TypeAlias

from gossip.clock import LamportClock
from gossip.digest import Difference, DigestTable
from gossip.identity import Identity
from gossip.membership import Membership, MembershipMessage
from gossip.messages import (
    KEY_HASH_BYTES,
    MAX_NEWS,
    GossipAnnounce,
    GossipDelta,
    GossipDigest,
    GossipEqual,
    GossipPiece,
    GossipSighting,
    GossipSurvey,
    GossipSyn,
    GossipWant,
    ModelInfo,
    PeerInfo,
    Rows,
)
from gossip.models import Model, Models
from gossip.outgoing import Outgoing
from gossip.ownership import Notary
from gossip.timing import Timing
from gossip.transfer import Transfers

BUDGET_BYTES = 64 * 1024
"""Of the infos in one message: some 700 peers, or 500 models."""

MAX_INFOS = 1000
"""In one message. Each is 14 CBOR items, and a frame has 16,384: of short names the bytes allow more."""

# What one info takes in a message, but for its texts and its seal: tags, names, numbers.
_PEER_INFO_BYTES = 48
_MODEL_INFO_BYTES = 88

ExchangeMessage: TypeAlias = (
    GossipSyn | GossipEqual | GossipDigest | GossipDelta | GossipAnnounce | GossipWant | GossipPiece
)


@dataclass(slots=True)
class _Exchange:
    """The exchange of this round, as long as it is not closed."""

    partner: str
    begun_at: float
    attempts: int
    again_at: float


class View:
    """What one peer knows. It is told the time and what comes, and says what is to be sent.

    Args:
        identity: Who we are; its life has begun.
        clock: Our clock.
        membership: Who is there.
        rng: Chooses partners.
        timing: Our pace.
        notary: Who seals and checks; None where nothing is sealed.
        max_pending_bytes: How many bytes of models may be on their way to us.

    Attributes:
        membership: Who is there.
        models: What is known of models.
        transfers: The bytes of models.
    """

    def __init__(
        self,
        identity: Identity,
        clock: LamportClock,
        membership: Membership,
        *,
        rng: Random,
        timing: Timing | None = None,
        notary: Notary | None = None,
        max_pending_bytes: int = 1024**3,
    ) -> None:
        self._me = identity.peer
        self._clock = clock
        self._rng = rng
        self._timing = timing or Timing()
        self.membership = membership
        self.transfers = Transfers(self._me, self._timing, max_pending_bytes=max_pending_bytes)
        self.models = Models(identity, clock, self.transfers, notary)
        self._exchange: _Exchange | None = None
        self._rounds = rng.randrange(self._timing.heal_rounds)
        self._refused: Counter[str] = Counter()

    # --- for the program ------------------------------------------------------------------------

    def publish(self, data: bytes, samples: int) -> list[Outgoing]:
        """Write our own model and announce it. Raises as `Models.publish`."""
        self.models.publish(data, samples)
        return self._announce()

    def withdraw(self) -> list[Outgoing]:
        """Take our own model back and announce that."""
        self.models.withdraw()
        return self._announce()

    def all_models(self) -> list[Model]:
        """Return all models that are known, in the order of their owners' names."""
        return self.models.all()

    def summary(self) -> bytes:
        """Return what is equal only for peers that know the same models and peers."""
        return self._peers.summary() + self.models.table.summary()

    @property
    def refused(self) -> Counter[str]:
        """What was refused, counted by reason."""
        return self._refused + self.models.refused + self.transfers.refused + self.membership.roster.refused

    @property
    def _peers(self) -> DigestTable:
        return self.membership.roster.table

    def sighting_of(self, survey: GossipSurvey) -> GossipSighting:
        """Answer a peer that asks what is known of it."""
        roster = self.membership.roster
        info, model = roster.get(survey.peer), self.models.get(survey.peer)
        lives = (found.incarnation for found in (info, model) if found is not None)
        others = [peer for peer in self.membership.live if peer != survey.peer]
        chosen = self._rng.sample(others, min(len(others), MAX_NEWS))
        return GossipSighting(
            self._me,
            max(lives, default=0),
            self._clock.time,
            None if info is None or info.gone else info.address,
            tuple(roster[peer].address for peer in chosen),
        )

    # --- time -----------------------------------------------------------------------------------

    def start_round(self, now: float) -> list[Outgoing]:
        """Begin an exchange with one other peer; to be called once in `round_seconds`.

        Now and then one that is gone, or a seed, is tried as well.
        """
        self._rounds += 1
        out = self.membership.heal() if self._rounds % self._timing.heal_rounds == 0 else []
        if not self.membership.live:
            self._exchange = None
            return out
        partner = self._rng.choice(self.membership.live)
        self._exchange = _Exchange(partner, now, 1, now + self._timing.retry_seconds)
        return [*out, Outgoing(partner, self._syn())]

    def tick(self, now: float) -> list[Outgoing]:
        """Ask again for what did not come; to be called at least once in `retry_seconds`."""
        out = self.transfers.tick(now)
        exchange = self._exchange
        if exchange is not None and now >= exchange.again_at and exchange.attempts < self._timing.attempts:
            exchange.attempts += 1
            exchange.again_at = now + self._timing.retry_seconds
            out.append(Outgoing(exchange.partner, self._syn()))
        return out

    def lose(self, peer: str, now: float) -> list[Outgoing]:
        """A peer cannot be reached just now: ask others for what was asked of it."""
        if self._exchange is not None and self._exchange.partner == peer:
            self._exchange = None
        return self.transfers.lose(peer, now)

    # --- messages -------------------------------------------------------------------------------

    def on_message(
        self, message: ExchangeMessage | MembershipMessage, now: float, authenticated: str | None = None
    ) -> list[Outgoing]:
        """Take in a message, and return what is to be sent for it.

        Args:
            message: One of the exchange, or of the membership.
            now: The time.
            authenticated: Who sent it, if the connection tells.

        Raises:
            IdentityError: It shows that we cannot go on under our name.
        """
        if not isinstance(message, ExchangeMessage):
            return self.membership.on_message(message, now, authenticated)
        if authenticated is not None and authenticated != message.sender:
            self._refused["a sender under another's name"] += 1
            return []
        match message:
            case GossipSyn():
                return self._on_syn(message)
            case GossipEqual():
                return self._on_equal(message, now)
            case GossipDigest():
                return self._on_digest(message, now)
            case GossipDelta():
                return self._on_delta(message, now, authenticated)
            case GossipAnnounce():
                out = self.models.take(
                    message.model, message.sender, now, authenticated=authenticated, announced=True
                )
                return out + self._announce(message.sender)
            case GossipWant():
                return self._on_want(message)
            case GossipPiece():
                return self.models.on_piece(message, now) + self._announce(message.sender)

    def _on_syn(self, syn: GossipSyn) -> list[Outgoing]:
        self._hear_time(syn.sender, syn.time)
        peers, models = self._peers.differing(syn.peers), self.models.table.differing(syn.models)
        if not peers and not models:
            return [Outgoing(syn.sender, GossipEqual(self._me))]
        digest = GossipDigest(
            self._me, self._clock.time, _rows(self._peers, peers), _rows(self.models.table, models)
        )
        return [Outgoing(syn.sender, digest)]

    def _on_equal(self, equal: GossipEqual, now: float) -> list[Outgoing]:
        if self._exchange is not None and self._exchange.partner == equal.sender:
            self._hear_answer(self._exchange, now)
            self._exchange = None
        return []

    def _on_digest(self, digest: GossipDigest, now: float) -> list[Outgoing]:
        exchange = self._exchange
        if exchange is None or exchange.partner != digest.sender:
            return []  # the answer to an exchange that we have given up
        self._hear_answer(exchange, now)
        self._hear_time(digest.sender, digest.time)
        peers = _compare(self._peers, digest.peers)
        models = _compare(self.models.table, digest.models)
        out: list[Outgoing] = []
        wanted = []
        for row in models.wanted:
            info = self.models.on_its_way(row)
            if info is not None:  # they have it as well, should the one that we ask not answer
                out += self.models.take(info, digest.sender, now)
            elif self.models.is_reachable(row):
                wanted.append(row[:KEY_HASH_BYTES])
        want_peers = b"".join(row[:KEY_HASH_BYTES] for row in peers.wanted)
        give_peers, give_models = self._within_budget(peers.lacking, models.lacking)
        if not (give_peers or give_models or wanted or want_peers):
            self._exchange = None
            return out
        exchange.again_at = now + self._timing.retry_seconds
        delta = GossipDelta(self._me, give_peers, give_models, want_peers, b"".join(wanted))
        return [Outgoing(digest.sender, delta), *out]

    def _on_delta(self, delta: GossipDelta, now: float, authenticated: str | None) -> list[Outgoing]:
        out: list[Outgoing] = []
        for info in delta.peers:
            out += self.membership.learn(info, now, authenticated)
        for model in delta.models:
            out += self.models.take(model, delta.sender, now, authenticated=authenticated)
        if delta.closes:
            self._close(delta.sender)
            return out + self._announce(delta.sender)
        peers = [key for each in _hashes(delta.want_peers) if (key := self._peers.key_of(each))]
        models = [key for each in _hashes(delta.want_models) if (key := self.models.table.key_of(each))]
        answer = GossipDelta(self._me, *self._within_budget(peers, models), closes=True)
        return [Outgoing(delta.sender, answer), *out, *self._announce(delta.sender)]

    def _on_want(self, want: GossipWant) -> list[Outgoing]:
        if self.transfers.held(want.content) is not None:
            return self.transfers.pieces_for(want)
        newest = self.models.get(want.owner)
        if newest is None:
            return []
        return [Outgoing(want.sender, GossipDelta(self._me, (), (newest,), closes=True))]

    def _hear_time(self, peer: str, time: int) -> None:
        """Two must agree on a time that is far ahead, unless that peer is the only one that we know."""
        self._clock.witness(peer, time, needed=1 if self.membership.live == [peer] else 2)

    def _hear_answer(self, exchange: _Exchange, now: float) -> None:
        """How long one takes to answer tells how long to wait for models. Not where it was asked twice."""
        if exchange.attempts == 1:
            self.transfers.hear(now - exchange.begun_at)

    def _close(self, partner: str) -> None:
        if self._exchange is not None and self._exchange.partner == partner:
            self._exchange = None

    def _syn(self) -> GossipSyn:
        return GossipSyn(self._me, self._clock.time, self._peers.summary(), self.models.table.summary())

    def _announce(self, source: str | None = None) -> list[Outgoing]:
        """Tell a few peers of what is fresh: our own models, and what was announced to us."""
        out = []
        live = self.membership.live
        for info in self.models.take_fresh():
            others = [peer for peer in live if peer not in (source, info.owner)]
            count = min(len(others), self._timing.forwards(len(live) + 1))
            message = GossipAnnounce(self._me, info)
            out += [Outgoing(peer, message) for peer in self._rng.sample(others, count)]
        return out

    def _within_budget(
        self, peers: Iterable[str], owners: Iterable[str]
    ) -> tuple[tuple[PeerInfo, ...], tuple[ModelInfo, ...]]:
        """Infos of peers, then of models, as far as they fit into one message."""
        left = BUDGET_BYTES
        infos: list[PeerInfo] = []
        for peer in islice(peers, MAX_INFOS):
            info = self.membership.roster[peer]
            left -= _PEER_INFO_BYTES + len(info.peer) + len(info.host) + len(info.accuser) + len(info.proof)
            if left < 0:
                break
            infos.append(info)
        models: list[ModelInfo] = []
        for owner in islice(owners, MAX_INFOS - len(infos)):
            model = self.models[owner]
            left -= _MODEL_INFO_BYTES + len(model.owner) + len(model.proof)
            if left < 0:
                break
            models.append(model)
        return tuple(infos), tuple(models)


def _rows(table: DigestTable, mask: int) -> Rows:
    return Rows(mask, table.summary(), table.rows(mask))


def _compare(table: DigestTable, theirs: Rows) -> Difference:
    return table.compare(theirs.mask, theirs.summary, theirs.rows)


def _hashes(data: bytes) -> list[bytes]:
    return [data[start : start + KEY_HASH_BYTES] for start in range(0, len(data), KEY_HASH_BYTES)]
