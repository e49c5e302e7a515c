"""`Link`: what one direction of a cable between two hosts is like."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from math import inf

KIB = 1024

# TCP sends a lost segment again after at least so long, then after twice as long, and so on (RFC 6298,
# with Linux's minimum). A lost connection request waits longer at first.
RETRANSMIT_SECONDS = 0.2
RETRANSMIT_REQUEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How segments get from one host to another. The defaults are a good local network.

    Attributes:
        latency_seconds: The least time that a segment takes.
        jitter_seconds: Up to so much more, drawn for each segment. The segments of a connection arrive
            in the order of sending all the same; those of two connections may overtake each other.
        bytes_per_second: Bandwidth, shared by all connections in this direction.
        buffer_bytes: How much a connection holds that was sent and not yet read: its two kernel
            buffers and what is on the way. A sender waits when it is full.
        loss: Probability that a segment is lost and sent again, which makes it 0.2 s late, or 0.6, 1.4 ...
        resets: Probability that a segment is lost together with its connection: both ends see a reset.
        short_sends: Probability that `send` takes only a part of what it is given, though it had room.
        connect_seconds: After so long without an answer `connect` fails; Linux waits for 127 s.
        patience_seconds: A connection whose segments got lost for so long breaks at the sender's end;
            Linux waits for some 924 s.
    """

    latency_seconds: float = 0.000_5
    jitter_seconds: float = 0.000_1
    bytes_per_second: float = inf
    buffer_bytes: int = 64 * KIB
    loss: float = 0.0
    resets: float = 0.0
    short_sends: float = 0.0
    connect_seconds: float = 127.0
    patience_seconds: float = 924.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value >= 0:
                raise ValueError(f"{field.name}={value}; a link has nothing below 0")
        for name in ("loss", "resets", "short_sends"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name}={getattr(self, name)}; it is a probability below 1")
        for name in ("bytes_per_second", "buffer_bytes", "connect_seconds", "patience_seconds"):
            if not getattr(self, name):
                raise ValueError(f"{name}=0; nothing would ever arrive. To cut a link, use a partition")


def drawn_link(rng: random.Random) -> Link:
    """Draw a link, from excellent to dreadful. About half of them have each kind of trouble."""
    latency_seconds = 10 ** rng.uniform(-4, -0.7)

    def sometimes(probability: float, value: float, otherwise: float = 0.0) -> float:
        return value if rng.random() < probability else otherwise

    return Link(
        latency_seconds=latency_seconds,
        jitter_seconds=sometimes(0.7, latency_seconds * rng.uniform(0, 3)),
        bytes_per_second=sometimes(0.4, 10 ** rng.uniform(4.3, 7), inf),
        buffer_bytes=int(2 ** rng.uniform(10, 18)),
        loss=sometimes(0.5, rng.uniform(0, 0.05)),
        resets=sometimes(0.3, rng.uniform(0, 0.003)),
        short_sends=sometimes(0.5, rng.uniform(0, 0.5)),
        patience_seconds=sometimes(0.3, rng.uniform(2, 20), 924.0),
    )


# Inside one machine.
LOOPBACK = Link(latency_seconds=0.000_02, jitter_seconds=0.0)
