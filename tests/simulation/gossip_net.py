"""A network of `View`s without I/O, in virtual time.

Messages take time; they can be lost, cut off by a partition, or wait at a node that stands still. Nodes crash
and come back with the disk that they had, an old copy of it, or none. All of it follows from a seed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from random import Random
from typing import Any

from gossip import (
    Address,
    DuplicateIdentity,
    GossipSurvey,
    Identity,
    LamportClock,
    Membership,
    ModelInfo,
    Notary,
    Outgoing,
    PeerInfo,
    Survey,
    Timing,
    View,
)
from gossip.messages import GossipAnnounce, GossipPiece
from tests.gossip.stores import MemoryStore
from tests.gossip.wire import wire_bytes

LATENCY_SECONDS = (0.001, 0.02)
TICKS_PER_ROUND = 4
DOUBLE_SECONDS = 20.0
ROUNDING_SECONDS = 1e-6  # between two clocks, so that nobody wakes a hair too early, again and again


def peer_name(number: int) -> str:
    """Return the name of a node; names are in the order of numbers."""
    return f"peer-{number:04}"


def peer_address(number: int) -> Address:
    """Return where a node listens."""
    return f"10.0.{number >> 8}.{number & 255}", 7000


@lru_cache(maxsize=16_384)
def _usual_name(host: str) -> str:
    """Return who usually listens there: a peer's address follows from its number."""
    high, low = host.split(".")[2:]
    return peer_name(int(high) << 8 | int(low))


@dataclass(slots=True)
class Disk:
    """What a node has on disk: its identity always, the rest as of the last snapshot."""

    store: MemoryStore = field(default_factory=MemoryStore)
    models: tuple[tuple[ModelInfo, bytes], ...] = ()
    peers: tuple[PeerInfo, ...] = ()

    def copy(self) -> Disk:
        """Return a copy that later writes do not change."""
        return Disk(MemoryStore(self.store.stored), self.models, self.peers)


@dataclass(slots=True, eq=False)
class Node:
    """One process of one peer.

    Attributes:
        handle: What the network calls it: the peer's name, or another one for a second process of that name.
        name: Of the peer.
        life: How many processes were started before it: no two are alike.
        ahead: By how much its clock is ahead of the network's, in seconds.
    """

    handle: str
    name: str
    life: int
    address: Address
    rng: Random
    disk: Disk
    identity: Identity
    clock: LamportClock
    view: View
    ahead: float = 0.0
    wakes_at: float = 0.0  # when its membership is to be ticked

    def save(self) -> None:
        """Take a snapshot."""
        held = [(info, self.view.transfers.held(info.content) or b"") for info in self.view.models.infos()]
        self.disk.models = tuple(held)
        self.disk.peers = tuple(self.view.membership.roster.infos())


@dataclass(slots=True)
class Traffic:
    """What was sent, in bytes as on the wire: frame, actor, tag, name and fields.

    Attributes:
        bytes_of: Bytes by class of message.
        messages: Messages by class.
        model_bytes_in: Bytes of models that came to each node.
        largest: The largest message of each class.
    """

    bytes_of: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    model_bytes_in: Counter[str] = field(default_factory=Counter)
    largest: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All bytes."""
        return sum(self.bytes_of.values())

    def clear(self) -> None:
        """Begin to count anew."""
        for counter in (self.bytes_of, self.messages, self.model_bytes_in, self.largest):
            counter.clear()

    def add(self, message: Any, size: int) -> None:
        """Count a message."""
        kind = type(message).__name__
        self.bytes_of[kind] += size
        self.messages[kind] += 1
        self.largest[kind] = max(self.largest[kind], size)


class Net:
    """Some nodes and what lies between them.

    Args:
        size: How many nodes start at once.
        loss: What share of messages is lost, 0 to 1.
        acquainted: Whether all know each other from the beginning; else they know the first one as a seed.
        counted: Whether bytes are counted, which takes longer than all else.
        announcing: Whether new models are announced. Without, the exchange is alone.
        exchanging: Whether nodes begin an exchange in each round.
        probing: Whether nodes look after each other.
        timing: The pace of all.
        notary_of: Makes the notary of a node, if there are any.
        authenticated: Whether connections say who speaks.
        seed: Of all chance.
    """

    def __init__(
        self,
        size: int,
        *,
        loss: float = 0.0,
        acquainted: bool = True,
        counted: bool = False,
        announcing: bool = True,
        exchanging: bool = True,
        probing: bool = False,
        timing: Timing | None = None,
        notary_of: Callable[[str], Notary] | None = None,
        authenticated: bool = False,
        seed: int | str = 0,
    ) -> None:
        self.timing = timing or Timing()
        self.loss = loss
        self.counted = counted
        self.announcing = announcing
        self.exchanging = exchanging
        self.probing = probing
        self.authenticated = authenticated
        self.notary_of = notary_of
        self.traffic = Traffic()
        self.now = 0.0
        self.latency: Callable[[], float] = lambda: self.rng.uniform(*LATENCY_SECONDS)
        self.doubled = 0.0  # what share of messages comes twice, the second time within DOUBLE_SECONDS
        self.rng = Random(f"net/{seed}")
        self.lives = count()
        self._order = count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._cuts: list[tuple[frozenset[str], frozenset[str]]] = []
        self._stalled: dict[str, float] = {}  # until when, by handle
        self.ended: list[tuple[str, DuplicateIdentity]] = []  # nodes that found their name in use
        self.nodes: dict[str, Node] = {}
        self.seeds: list[Address] = [] if acquainted else [peer_address(0)]
        for number in range(size):
            self.start(peer_name(number), peer_address(number), surveyed=False)
        if acquainted:
            self.acquaint(self.nodes.values())

    # --- nodes ----------------------------------------------------------------------------------

    def acquaint(self, nodes: Iterable[Node]) -> None:
        """Let nodes know each other."""
        nodes = list(nodes)
        infos = [node.view.membership.me for node in nodes]
        for node in nodes:
            for info in infos:
                node.view.membership.learn(info, self.now, info.peer)
            node.view.membership.take_changes()
            self._wake_on_time(node)

    def introduce(self, node: Node) -> None:
        """Let one node and all others know each other."""
        for other in self.nodes.values():
            for one, info in ((node, other.view.membership.me), (other, node.view.membership.me)):
                one.view.membership.learn(info, self.now, info.peer)
                one.view.membership.take_changes()
                self._wake_on_time(one)

    def forget_news(self) -> None:
        """Let all that is told with pings be old, as it is once it was told some times: that takes long."""
        for node in self.nodes.values():
            news = node.view.membership._news
            while news.take(""):
                pass

    def start(
        self,
        name: str,
        address: Address,
        disk: Disk | None = None,
        *,
        surveyed: bool = True,
        handle: str | None = None,
    ) -> Node:
        """Start a node, or start it again, with that disk.

        Args:
            name: Of the peer.
            address: Where it listens.
            disk: What it finds; an empty one without.
            surveyed: Whether it asks others first, those that it can reach.
            handle: What the network calls it, where it is not the only process of its name.

        Raises:
            DuplicateIdentity: The survey found its name in use.
        """
        disk = disk or Disk()
        life = next(self.lives)
        rng = Random(f"{self.rng.random()}/{name}/{life}")
        identity = Identity(name, disk.store, rng)
        seeds = [*self.seeds, *(info.address for info in disk.peers)]
        survey = Survey(name, address, seeds)
        if surveyed:
            self._ask_around(name, survey)
        clock = identity.begin(survey.sightings)
        notary = self.notary_of(name) if self.notary_of is not None else None
        membership = Membership(
            identity,
            *address,
            now=self.now,
            rng=rng,
            timing=self.timing,
            seeds=self.seeds,
            notary=notary,
            remembered=disk.peers,
        )
        view = View(identity, clock, membership, rng=rng, timing=self.timing, notary=notary)
        view.models.restore(disk.models)
        handle = handle or name
        node = self.nodes[handle] = Node(handle, name, life, address, rng, disk, identity, clock, view)
        self._begin_loops(node)
        return node

    def _ask_around(self, name: str, survey: Survey) -> None:
        asked: set[Address] = set()
        while not survey.enough and (left := [each for each in survey.to_ask() if each not in asked]):
            asked.add(left[0])
            other = self._at_address(left[0])
            if other is None or self._is_cut(name, other.handle) or self._is_cut(other.handle, name):
                survey.on_failure(left[0])
            else:
                survey.on_answer(left[0], other.view.sighting_of(GossipSurvey(name)))

    def _at_address(self, address: Address) -> Node | None:
        return next((node for node in self.nodes.values() if node.address == address), None)

    def crash(self, handle: str) -> Node:
        """End a node without a word."""
        return self.nodes.pop(handle)

    def _begin_loops(self, node: Node) -> None:
        if self.exchanging:
            self._at(self.now + self.rng.random() * self.timing.round_seconds, self._round, node)
            self._at(self.now + self.rng.random() * self.timing.round_seconds, self._tick, node)
        self._wake_on_time(node)

    def begin_anew(self, seed: int | str) -> None:
        """Draw all chance from another seed, and begin all loops at other moments; nodes keep what they know.

        What is on its way is lost: do it when nothing is.
        """
        self.rng = Random(f"net/{seed}")
        self._events.clear()
        for node in self.nodes.values():
            node.rng.seed(f"{seed}/{node.name}")
            node.wakes_at = 0.0
            self._begin_loops(node)

    # --- faults ---------------------------------------------------------------------------------

    def cut(self, one: Iterable[str], other: Iterable[str], *, one_way: bool = False) -> None:
        """Let nothing pass between two groups, from now on; or only nothing from the one to the other."""
        self._cuts.append((frozenset(one), frozenset(other)))
        if not one_way:
            self._cuts.append((frozenset(other), frozenset(one)))

    def reconnect(self) -> None:
        """End all cuts."""
        self._cuts.clear()

    def mend(self) -> None:
        """Let everything pass again, lose and double nothing more, and let all move that stand still."""
        self.reconnect()
        self.loss = self.doubled = 0.0
        self._stalled.clear()

    def stall(self, handle: str, seconds: float) -> None:
        """Let a node stand still for a while: it neither acts nor reads."""
        self._stalled[handle] = self.now + seconds

    def jump(self, handle: str, seconds: float) -> None:
        """Let a node's clock jump ahead, as that of a machine that slept does."""
        node = self.nodes[handle]
        node.ahead += seconds
        node.wakes_at = 0.0
        self._wake_on_time(node)

    def _is_cut(self, source: str, target: str) -> bool:
        return any(source in sources and target in targets for sources, targets in self._cuts)

    # --- messages -------------------------------------------------------------------------------

    def send(self, node: Node, out: list[Outgoing]) -> None:
        """Put a node's messages on their way."""
        for to, message in out:
            if self.counted:
                self.traffic.add(message, wire_bytes(message))
            address = self._address_of(node, to)
            if address is None or (self.loss and self.rng.random() < self.loss):
                continue
            self._at(self.now + self.latency(), self._deliver, node, address, message)
            if self.doubled and self.rng.random() < self.doubled:
                late = self.now + self.rng.uniform(0, DOUBLE_SECONDS)
                self._at(late, self._deliver, node, address, message)

    def _address_of(self, node: Node, to: str | Address) -> Address | None:
        if not isinstance(to, str):
            return to
        info = node.view.membership.roster.get(to)
        return None if info is None else info.address

    def _deliver(self, source: Node, address: Address, message: Any) -> None:
        node = self._at_address_fast(address)
        if node is None or (self._cuts and self._is_cut(source.handle, node.handle)):
            return
        if self._is_stalled(node, self._deliver, source, address, message):
            return
        if isinstance(message, GossipPiece):
            self.traffic.model_bytes_in[node.name] += len(message.data)
        self.hear(node, message, source.name)

    def hear(self, node: Node, message: Any, source: str) -> None:
        """Let a node take in a message that a process of that name has sent."""
        authenticated = source if self.authenticated else None
        self.act(node, lambda now: node.view.on_message(message, now, authenticated))

    def _at_address_fast(self, address: Address) -> Node | None:
        node = self.nodes.get(_usual_name(address[0]))
        return node if node is not None and node.address == address else self._at_address(address)

    def act(self, node: Node, act: Callable[[float], list[Outgoing]]) -> None:
        """Let a node do something at its time, send what comes of it, and end it if its name is in use."""
        try:
            out = act(self.now + node.ahead)
        except DuplicateIdentity as error:
            self.ended.append((node.handle, error))
            if self.nodes.get(node.handle) is node:
                del self.nodes[node.handle]
            return
        if not self.announcing:
            out = [each for each in out if not isinstance(each.message, GossipAnnounce)]
        if out:
            self.send(node, out)
        if self.probing:
            self._wake_on_time(node)

    # --- time -----------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action, args = heapq.heappop(self._events)
            action(*args)
        self.now = end

    def rounds_until(self, done: Callable[[Node], bool], most: float = 300) -> float:
        """Return after how many rounds all nodes are done, in steps of a quarter."""
        waiting = list(self.nodes.values())
        steps = 0
        while waiting := [node for node in waiting if not done(node)]:
            assert steps < most * TICKS_PER_ROUND, f"{len(waiting)} nodes are not done after {most} rounds"
            self.run(self.timing.round_seconds / TICKS_PER_ROUND)
            steps += 1
        return steps / TICKS_PER_ROUND

    def publish(self, handle: str, data: bytes) -> None:
        """Let a node write its model, and announce it if announcements are on."""
        node = self.nodes[handle]
        self.act(node, lambda now: node.view.publish(data, samples=100))

    def _round(self, node: Node) -> None:
        if self.nodes.get(node.handle) is node and not self._is_stalled(node, self._round, node):
            self.act(node, node.view.start_round)
            self._at(self.now + self.timing.round_seconds, self._round, node)

    def _tick(self, node: Node) -> None:
        if self.nodes.get(node.handle) is node and not self._is_stalled(node, self._tick, node):
            self.act(node, node.view.tick)
            self._at(self.now + self.timing.round_seconds / TICKS_PER_ROUND, self._tick, node)

    def _wake(self, node: Node) -> None:
        if self.nodes.get(node.handle) is not node or node.wakes_at > self.now:
            return
        if not self._is_stalled(node, self._wake, node):
            node.wakes_at = float("inf")
            self.act(node, node.view.membership.tick)

    def _wake_on_time(self, node: Node) -> None:
        if not self.probing:
            return
        due = node.view.membership.next_tick_at() - node.ahead
        due = max(due + (ROUNDING_SECONDS if node.ahead else 0.0), self.now)
        if node.wakes_at <= self.now or due < node.wakes_at:
            node.wakes_at = due
            self._at(due, self._wake, node)

    def _is_stalled(self, node: Node, action: Callable[..., None], *args: Any) -> bool:
        until = self._stalled.get(node.handle, 0.0) if self._stalled else 0.0
        if until > self.now:
            self._at(until, action, *args)
            return True
        return False

    def _at(self, time: float, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (time, next(self._order), action, args))
