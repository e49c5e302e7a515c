"""A network of `View`s without I/O, in virtual time: messages take time, some are lost, bytes are counted."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from cbor2 import CBORTag, dumps

from gossip.clock import LamportClock
from gossip.identity import Identity, StoredIdentity
from gossip.membership import Membership
from gossip.messages import MESSAGES, GossipPiece
from gossip.outgoing import Address, Outgoing
from gossip.timing import Timing
from gossip.view import View
from trioactor.messages import wire_name_of

FRAME_BYTES = 4
ACTOR = dumps("gossip")  # the actor that a message goes to stands in its frame

LATENCY_SECONDS = (0.001, 0.02)


class MemoryStore:
    """A disk that keeps an identity, and can be copied, lost and put back."""

    def __init__(self, stored: StoredIdentity | None = None) -> None:
        self.stored = stored
        self.writes = 0

    def load_identity(self) -> StoredIdentity | None:
        return self.stored

    def save_identity(self, identity: StoredIdentity) -> None:
        self.stored = identity
        self.writes += 1


@dataclass(slots=True)
class Node:
    """One peer of the network."""

    name: str
    address: Address
    rng: Random
    store: MemoryStore
    identity: Identity
    clock: LamportClock
    view: View
    phase: float = 0.0


@dataclass(slots=True)
class Traffic:
    """What was sent, in bytes as on the wire: frame, actor, tag, name and fields.

    Attributes:
        by_kind: Bytes by class of message.
        messages: Messages by class.
        model_bytes_in: Bytes of models that came to each node.
    """

    by_kind: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    model_bytes_in: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.by_kind.values())


def wire_bytes(message: Any) -> int:
    """Return how many bytes a message takes, as `trioactor.codec` writes it."""
    return FRAME_BYTES + 1 + len(ACTOR) + len(dumps(_packed(message)))


def _packed(value: Any) -> Any:
    if type(value) in _FIELDS:
        fields = [_packed(getattr(value, name)) for name in _FIELDS[type(value)]]
        return CBORTag(27, [wire_name_of(type(value)), fields])
    return [_packed(each) for each in value] if isinstance(value, tuple) else value


_FIELDS = {kind: tuple(kind.__dataclass_fields__) for kind in MESSAGES}


class Net:
    """N views that know each other.

    Args:
        size: How many.
        loss: What share of messages is lost, 0 to 1.
        counted: Whether bytes are counted, which takes longer than all else.
        announcing: Whether new models are announced. Without, the exchange is alone.
        timing: The pace of all.
    """

    def __init__(
        self,
        size: int,
        *,
        loss: float = 0.0,
        counted: bool = False,
        announcing: bool = True,
        timing: Timing | None = None,
    ) -> None:
        self.timing = timing or Timing()
        self.loss = loss
        self.counted = counted
        self.announcing = announcing
        self.traffic = Traffic()
        self.now = 0.0
        self._rng = Random("net")
        self._order = count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.nodes = {
            name: self._node(name, number) for number, name in enumerate(map(peer_name, range(size)))
        }
        infos = [node.view.membership.me for node in self.nodes.values()]
        for node in self.nodes.values():
            for info in infos:
                node.view.membership.learn(info, self.now)
        self.reseed(0)

    def _node(self, name: str, number: int) -> Node:
        rng = Random(f"start/{name}")
        store = MemoryStore()
        identity = Identity(name, store, rng)
        clock = identity.begin()
        address = (f"10.0.{number >> 8}.{number & 255}", 7000)
        membership = Membership(identity, *address, now=self.now, rng=rng, timing=self.timing)
        view = View(identity, clock, membership, rng=rng, timing=self.timing)
        return Node(name, address, rng, store, identity, clock, view)

    def reseed(self, seed: int) -> None:
        """Begin a run of its own: who meets whom, when, and what is lost."""
        self._rng.seed(f"net/{seed}")
        for name, node in self.nodes.items():
            node.rng.seed(f"{name}/{seed}")
            node.phase = self._rng.random() * self.timing.round_seconds
        self._events.clear()
        self.traffic = Traffic()

    def publish(self, name: str, data: bytes) -> None:
        """Let a node write its model, and announce it if announcements are on."""
        out = self.nodes[name].view.publish(data, samples=100)
        if self.announcing:
            self.send(out)

    def send(self, out: list[Outgoing]) -> None:
        """Put messages on their way."""
        for to, message in out:
            assert isinstance(to, str)
            if self.counted:
                self._count(to, message)
            if self.loss and self._rng.random() < self.loss:
                continue
            self._at(self.now + self._rng.uniform(*LATENCY_SECONDS), self._deliver, to, message)

    def _count(self, to: str, message: Any) -> None:
        kind = type(message).__name__
        self.traffic.by_kind[kind] += wire_bytes(message)
        self.traffic.messages[kind] += 1

    def _deliver(self, to: str, message: Any) -> None:
        if isinstance(message, GossipPiece):
            self.traffic.model_bytes_in[to] += len(message.data)
        out = self.nodes[to].view.on_message(message, self.now)
        self.send(out)

    def run_round(self, done: Callable[[], bool] | None = None) -> float:
        """Let one round pass: each node begins one exchange, at a time of its own.

        Args:
            done: Asked a few times in the round; when it says yes, the round ends there.

        Returns:
            What share of the round has passed.
        """
        start, steps = self.now, self.timing.attempts
        for node in self.nodes.values():
            self._at(start + node.phase, self._start_round, node)
        for step in range(1, steps + 1):
            self._run_until(start + step * self.timing.round_seconds / steps)
            for node in self.nodes.values():
                self.send(node.view.tick(self.now))
            if done is not None and done():
                return step / steps
        return 1.0

    def rounds_until(self, done: Callable[[Node], bool], most: int = 1000) -> float:
        """Return after how many rounds all nodes are done, in steps of a quarter."""
        waiting = list(self.nodes.values())

        def all_done() -> bool:
            waiting[:] = [node for node in waiting if not done(node)]
            return not waiting

        rounds = 0.0
        while waiting:
            assert rounds < most, f"{len(waiting)} nodes are not done after {most} rounds"
            rounds += self.run_round(all_done)
        self._events.clear()
        return rounds

    def _start_round(self, node: Node) -> None:
        self.send(node.view.start_round(self.now))

    def _at(self, time: float, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (time, next(self._order), action, args))

    def _run_until(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            self.now, _, action, args = heapq.heappop(self._events)
            action(*args)
        self.now = end


def peer_name(number: int) -> str:
    """Return the name of a node: as long as names are, and in the order of numbers."""
    return f"peer-{number:04}"
