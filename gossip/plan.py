"""What a peer is to do, and what it needs of the world for it: two frozen objects, handed to `GossipPeer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from federation.offload import Offload, in_thread
from gossip.outgoing import Address
from gossip.ownership import Notary
from gossip.store import OpenStore
from gossip.timing import Timing
from trioactor import ActorRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a peer is to do.

    Attributes:
        peer: Its name.
        address: Where others reach it.
        rounds: How many rounds it trains.
        min_peers: It begins to train when so many are there, itself included.
        join_seconds: It waits for them no longer than that. One that has trained in this network before,
            as its disk says, waits for some rounds of gossip at most.
        patience_seconds: How long it waits, after each round, for the models of the others: see `pace.py`.
        report_seconds: How often it tells the reporters how it is doing, also when nothing has changed.
        until_converged: Whether it ends by itself when all live peers agree. Else it serves until it is told
            to leave.
        timing: The pace of its gossip.
    """

    peer: str
    address: Address
    rounds: int
    min_peers: int = 1
    join_seconds: float = 30.0
    patience_seconds: float = 2.0
    report_seconds: float = 1.0
    until_converged: bool = False
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class Over:
    """Why a peer has ended by itself.

    Attributes:
        kind: "left" (it was told to), "converged", "name lost" (it cannot go on under its name), or
            "failed" (it cannot train).
        reason: In words.
    """

    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a peer needs of the world. A simulation hands in its own.

    Attributes:
        ref_to: Returns the ref of the peer that listens at an address.
        reporter_at: The same of a reporter.
        rng: Where chance comes from. It must not be the same at two starts of one peer.
        open_store: Opens the peer's disk.
        find_seeds: Returns where to find a first peer, as far as that is known by now. Blocking.
        find_reporters: Returns who is to be told how the peer is doing, as far as that is known by now.
            Blocking. They may come and go.
        notary: Seals and checks; None where nothing is sealed.
        offload: Where blocking work goes.
        now_unix: The time in seconds since 1970, for the record.
        traffic: Returns the bytes received and sent so far.
        on_over: Told when the peer has ended by itself.
    """

    ref_to: Callable[[Address], ActorRef]
    reporter_at: Callable[[Address], ActorRef]
    rng: Random
    open_store: OpenStore
    find_seeds: Callable[[], Sequence[Address]] = tuple
    find_reporters: Callable[[], Sequence[Address]] = tuple
    notary: Notary | None = None
    offload: Offload = in_thread
    now_unix: Callable[[], float] = lambda: 0.0
    traffic: Callable[[], tuple[int, int]] = lambda: (0, 0)
    on_over: Callable[[Over], None] = lambda _over: None
