"""What whole peers send: real systems and frames on a virtual network, models of the usual size."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import trio

from federation.learning import Region, RegionMeta
from gossip import View
from gossip.messages import GossipAnnounce, GossipDelta, GossipDigest, GossipPiece, GossipWant
from gossip.traffic import traffic_of
from tests.gossip.site import Network, Site
from trioactor import CallNext, Envelope
from trioactor.testing import Link, Simulation, simulate
from trioactor.testing import Network as VirtualNetwork

FEATURES, CLASSES = 512, 10  # of the features of images, in the classes of EuroSAT: a model of 20 kB
MOST_SECONDS = 600.0  # of virtual time, until peers have trained and agree
SETTLE_SECONDS = 30.0

ABOUT_MODELS = (GossipAnnounce, GossipDelta, GossipDigest, GossipPiece, GossipWant)


@dataclass(frozen=True, slots=True)
class WholeBytes:
    """What came into whole peers.

    Attributes:
        versions: Of models, that came into a peer; the fewest.
        entered: Bytes of pieces of models that came into a peer, per byte of the versions that it took in;
            the most.
        in_all: All bytes that came into a peer meanwhile, per byte of the versions that it took in; the most.
        idle_bytes_per_second: That a peer has sent, on average, once all was known to all.
        idle_model_bytes: Of models, and messages that speak of models, in that time, in all.
        idle_rounds: How long that was.
    """

    versions: int
    entered: float
    in_all: float
    idle_bytes_per_second: float
    idle_model_bytes: int
    idle_rounds: int


class Heard:
    """Counts what a peer hears: its middleware."""

    def __init__(self) -> None:
        self.model_bytes = 0
        self.wanted: set[tuple[str, str, bytes]] = set()  # who wants whose model, and which
        self.about_models = 0

    async def listen(self, envelope: Envelope, call_next: CallNext) -> Any:
        """See a message on its way to the handler."""
        message = envelope.message
        if isinstance(message, GossipPiece):
            self.model_bytes += len(message.data)
        if isinstance(message, GossipWant):
            self.wanted.add((message.sender, message.owner, message.content))
        self.about_models += isinstance(message, ABOUT_MODELS)
        return await call_next(envelope)


def image_region(name: str, samples: int) -> Region:
    """Return samples of chance, as wide as the features of images."""
    chance = np.random.default_rng(sum(map(ord, name)))
    y = chance.integers(0, CLASSES, samples).astype(np.int64)
    X = chance.normal(0, 1, (samples, FEATURES)).astype(np.float32)
    names = tuple(map(str, range(CLASSES)))
    return Region(X, y, RegionMeta(class_names=names, source="toy", synthetic=True))


def whole_bytes(peers: int, loss: float, rounds: int, idle_rounds: int) -> WholeBytes:
    """Let whole peers train some rounds and come to rest; count what comes in meanwhile, and after.

    Args:
        peers: How many there are, up to 26.
        loss: What share of TCP's segments is lost and sent again, 0 to 1.
        rounds: How many rounds each trains.
        idle_rounds: How many rounds of gossip to watch it after that.
    """

    async def main(sim: Simulation) -> WholeBytes:
        net = Network(sim, Path(folder), "abcdefghijklmnopqrstuvwxyz"[:peers], rounds=rounds)
        heard = {name: Heard() for name in net.sites}
        for name, site in net.sites.items():
            site.make_region, site.receive = image_region, [heard[name].listen]
        await net.start()
        await net.until_converged(MOST_SECONDS)
        entered = {name: traffic_of(site.system)[0] for name, site in net.sites.items()}
        wanted = set.union(*(one.wanted for one in heard.values()))
        versions = Counter(name for name, _, _ in wanted)
        size = min(len(model.data) for site in net.sites.values() for model in _view(site).all_models())
        await trio.sleep(SETTLE_SECONDS)
        before = sum(_sent(site) for site in net.sites.values())
        spoken = sum(one.about_models for one in heard.values())
        await trio.sleep(idle_rounds)
        sent = sum(_sent(site) for site in net.sites.values()) - before
        return WholeBytes(
            versions=min(versions.values()),
            entered=max(one.model_bytes / (versions[name] * size) for name, one in heard.items()),
            in_all=max(entered[name] / (versions[name] * size) for name in heard),
            idle_bytes_per_second=sent / (peers * idle_rounds),
            idle_model_bytes=sum(one.about_models for one in heard.values()) - spoken,
            idle_rounds=idle_rounds,
        )

    logging.disable(logging.WARNING)
    try:
        with TemporaryDirectory() as folder:
            link = partial(VirtualNetwork, link=Link(loss=loss))
            return simulate(main, seed=f"bytes-{peers}-{loss}", network=link).value
    finally:
        logging.disable(logging.NOTSET)


def _sent(site: Site) -> int:
    return traffic_of(site.system)[1]


def _view(site: Site) -> View:
    assert site.peer is not None
    assert site.peer._view is not None
    return site.peer._view
