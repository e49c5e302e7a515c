"""What is measured of gossip, cell by cell: each cell is a size and a loss, and many seeds.

The networks are those of `gossip_net.py`: the views as they are shipped, in virtual time. A network is
expensive to set up, so the seeds of a task share one: what the nodes know stays, as in a network that has
run for a while.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.gossip_net import Net, Node, peer_name

MODEL_BYTES = 64
SETTLE_ROUNDS = 2.0
CALM_SECONDS = 8.0  # after which nothing is on its way any more


@dataclass(frozen=True, slots=True)
class Cell:
    """One place in a table.

    Attributes:
        peers: How many there are.
        loss: What share of all messages is lost.
        announcing: Whether new models are announced, as they are in use; else the exchange is alone.
    """

    peers: int
    loss: float
    announcing: bool = False

    @property
    def most_rounds(self) -> float | None:
        """The target for the 99th percentile; None where there is none."""
        if self.announcing:
            return None
        factor = 1.5 if self.loss <= 0.1 else 2.0
        return factor * math.log2(self.peers) + 2


def percentile(values: list[float], share: float) -> float:
    """Return the least value that so large a share of all does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


# --- convergence ----------------------------------------------------------------------------------


def convergence(cell: Cell, seeds: range) -> list[float]:
    """Return for each seed after how many rounds all peers have the model that one has just written.

    With fan-out 1: each peer begins one exchange in each round.
    """
    net = Net(cell.peers, announcing=cell.announcing, seed=f"{cell}/{seeds.start}")
    rounds = []
    for seed in seeds:
        net.loss = cell.loss
        net.begin_anew(f"{cell}/{seed}")
        writer = peer_name(net.rng.randrange(cell.peers))
        net.publish(writer, f"{writer} {seed}".encode().ljust(MODEL_BYTES))
        rounds.append(net.rounds_until(_has(writer, net.nodes[writer].view.models[writer].version)))
        net.loss = 0.0
        net.run(SETTLE_ROUNDS * net.timing.round_seconds)
        summaries = {node.view.summary() for node in net.nodes.values()}
        assert len(summaries) == 1, "all have the newest model, and still differ"
    return rounds


def _has(owner: str, version: int) -> Callable[[Node], bool]:
    def has(node: Node) -> bool:
        info = node.view.models.get(owner)
        return info is not None and info.version == version

    return has


# --- failure detection ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Detected:
    """How a crash was noticed, in probe periods after it.

    Attributes:
        suspected: When the first peer suspected it.
        dead: When the first peer held it for dead.
        everywhere: When all did.
    """

    suspected: float
    dead: float
    everywhere: float


def detection(cell: Cell, seeds: range) -> list[Detected]:
    """Return for each seed how the crash of one peer was noticed, in a network that has run for a while.

    One that has just begun is slower to tell all: there is something new about everybody.
    """
    net = Net(cell.peers, probing=True, exchanging=False, seed=f"detect {cell}/{seeds.start}")
    found = []
    for _ in seeds:
        net.forget_news()
        net.loss = cell.loss
        net.run(net.rng.uniform(2, 4) * net.timing.probe_seconds)
        victim = peer_name(net.rng.randrange(cell.peers))
        crashed = net.crash(victim)
        crashed_at = net.now
        reached: dict[str, float] = {}
        while "everywhere" not in reached:
            net.run(net.timing.probe_seconds / 4)
            _note_statuses(net, victim, reached, (net.now - crashed_at) / net.timing.probe_seconds)
        found.append(Detected(reached["suspected"], reached["dead"], reached["everywhere"]))
        net.loss = 0.0
        net.introduce(net.start(victim, crashed.address, crashed.disk, surveyed=False))
        net.run(CALM_SECONDS)
    return found


def _note_statuses(net: Net, victim: str, reached: dict[str, float], periods: float) -> None:
    statuses = Counter(node.view.membership.roster[victim].status for node in net.nodes.values())
    if statuses["suspect"] or statuses["dead"]:
        reached.setdefault("suspected", periods)
    if statuses["dead"]:
        reached.setdefault("dead", periods)
    if statuses["dead"] == len(net.nodes):
        reached["everywhere"] = periods


@dataclass(frozen=True, slots=True)
class Health:
    """What was said of peers that were all alive.

    Attributes:
        node_hours: How long all of them lived, taken together.
        suspicions: How often a peer began to hold another for suspect.
        deaths: How often one held another for dead.
    """

    node_hours: float
    suspicions: int
    deaths: int


def health(cell: Cell, seed: int, hours: float) -> Health:
    """Let peers that are all alive look after each other for some hours of virtual time."""
    net = Net(cell.peers, loss=cell.loss, probing=True, exchanging=False, seed=f"health {cell}/{seed}")
    said: Counter[str] = Counter()
    for _ in range(max(1, round(hours * 60))):
        net.run(60.0)  # changes are kept for a while only
        for node in net.nodes.values():
            said.update(change.status for change in node.view.membership.take_changes())
    return Health(cell.peers * net.now / 3600, said["suspect"], said["dead"])


# --- bytes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IdleTraffic:
    """What peers send that all know the same.

    Attributes:
        exchange_bytes: Of the largest exchange, both ways.
        bytes_per_second: What a peer sends, exchanges and probes, on average.
        model_bytes: Bytes of models, and of anything that speaks of models, in all.
        rounds: How long it was.
    """

    exchange_bytes: int
    bytes_per_second: float
    model_bytes: int
    rounds: int


def idle_traffic(peers: int, rounds: int) -> IdleTraffic:
    """Measure a network in which nothing changes; each peer has a model, or 16 of many do."""
    net = Net(peers, counted=True, probing=True, seed=f"idle {peers}")
    for number in range(min(peers, 16)):
        net.publish(peer_name(number), peer_name(number).encode() * 8)
    net.rounds_until(lambda node: len(node.view.models.infos()) == min(peers, 16))
    net.counted = False
    net.forget_news()
    net.run(CALM_SECONDS)
    net.counted = True
    net.traffic.clear()
    net.run(rounds * net.timing.round_seconds)
    traffic = net.traffic
    about_models = ("GossipAnnounce", "GossipWant", "GossipPiece", "GossipDelta", "GossipDigest")
    return IdleTraffic(
        traffic.largest["GossipSyn"] + traffic.largest["GossipEqual"],
        traffic.total / (peers * rounds * net.timing.round_seconds),
        sum(traffic.bytes_of[kind] for kind in about_models),
        rounds,
    )


@dataclass(frozen=True, slots=True)
class ModelTraffic:
    """What a new version of a model costs.

    Attributes:
        entered: Bytes of pieces that came into a peer, per byte of the versions that it took in; the most.
        overhead_bytes: What else was sent for one version, per peer: announcements, questions, digests.
        versions: How many were written.
    """

    entered: float
    overhead_bytes: float
    versions: int


def model_traffic(peers: int, loss: float, size: int, versions: int) -> ModelTraffic:
    """Let peers write versions of their models, one after the other, and count what comes in."""
    net = Net(peers, loss=loss, counted=True, probing=False, seed=f"model {peers}/{loss}/{size}")
    net.run(2.0)
    net.traffic.clear()
    taken: Counter[str] = Counter()
    for number in range(versions):
        writer = peer_name(number % peers)
        net.publish(writer, f"{writer} {number} ".encode().ljust(size, b"."))
        info = net.nodes[writer].view.models[writer]
        net.rounds_until(_has(writer, info.version))
        taken.update({name: info.size for name in net.nodes if name != writer})
    net.run(4.0)
    entered = max(net.traffic.model_bytes_in[name] / taken[name] for name in taken)
    quiet = ("GossipSyn", "GossipEqual", "GossipPiece")
    other = net.traffic.total - sum(net.traffic.bytes_of[kind] for kind in quiet)
    return ModelTraffic(entered, other / (versions * peers), versions)
