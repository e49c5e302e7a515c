"""One node of the simulated cluster: an actor system with a supervised desk, and tasks that send."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from tests.simulation.cluster_history import History, Key
from tests.simulation.cluster_words import (
    SLOW_SECONDS,
    WORDS,
    CallBack,
    CalledBack,
    Note,
    Question,
    Table,
    data_of,
    is_sound,
    values_of,
)
from tests.trioactor.certificates import Files
from trioactor import (
    Actor,
    ActorRef,
    ActorSystem,
    Backoff,
    ChildSpec,
    DeliveryError,
    MailboxSettings,
    PeerDown,
    Rejected,
    Supervisor,
)
from trioactor.limits import Limits
from trioactor.testing import Node

PORT = 7000
DESK, COLLECTOR = "office/desk", "collector"

# A failing desk comes back whatever happens: that a supervisor gives up is tested elsewhere.
RESTARTS = 1_000_000


@dataclass
class Plan:
    """What the seed has drawn for a host: the same in all its lives.

    Attributes:
        limits: Of its system.
        mailbox: Of its desk.
        listens: Whether others can dial it.
        streams: How many tasks send.
        longest_bytes: How long a message may be.
        tls: Its certificate; None without TLS.
    """

    limits: Limits
    mailbox: MailboxSettings
    listens: bool
    streams: int
    longest_bytes: int
    tls: Files | None = None


class Cluster(Protocol):
    """What a node needs to know of the whole."""

    history: History
    plans: dict[str, Plan]
    raging: bool
    stop: trio.Event

    def address_of(self, name: str) -> tuple[str, int]:
        """Where the system of a host listens."""

    def enroll(self, member: Member) -> None:
        """A host has opened its system."""


class Desk(Actor):
    """Handles what others send, and writes it into the history."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        self._cluster = cluster
        self._node = node

    async def receive(self, message: Note | Table | Question | CallBack) -> int | None:
        if self._node.crashed:
            return None  # the host has crashed, and its last tasks still unwind
        history = self._cluster.history
        key = message.stream, message.number
        history.begin(key, self._node.name, is_sound(message))
        match message:
            case CallBack(caller=caller):
                history.counts["call back"] += 1
                with trio.move_on_after(3):
                    await caller.tell(CalledBack(*key))
            case Question(work="slow"):
                await trio.sleep(self.context.rng.uniform(0, SLOW_SECONDS))
            case Question(work="reject"):
                raise Rejected("on purpose")
            case Question(work="fail"):
                history.counts["desk failed"] += 1
                raise ZeroDivisionError("on purpose")
        history.end(key)
        return message.number * 2 if isinstance(message, Question) else None


class Collector(Actor):
    """Takes what the desks of others tell it in reply."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        self._cluster = cluster
        self._node = node

    async def receive(self, message: CalledBack) -> None:
        if self._node.crashed:
            return
        history = self._cluster.history
        history.counts["called back"] += 1
        history.called_back[message.stream, message.number] += 1


class Stream:
    """A task that sends to the desks of all hosts, one message after the other, and keeps a record."""

    def __init__(self, cluster: Cluster, node: Node, system: ActorSystem, index: int) -> None:
        self.name = f"{node.name}/{node.life}/{index}"
        self.resting = True
        self._cluster = cluster
        self._node = node
        self._system = system
        self._rng = random.Random(node.rng.getrandbits(64))
        self._plan = cluster.plans[node.name]
        self._number = 0

    async def run(self) -> None:
        """Send while the faults rage."""
        rng = self._rng
        targets = [name for name, plan in self._cluster.plans.items() if plan.listens]
        while self._cluster.raging:
            await trio.sleep(rng.expovariate(2.0))
            receiver = rng.choice(targets)
            ref = self._system.ref(*self._cluster.address_of(receiver), DESK)
            self.resting = False
            for _ in range(rng.choice((1, 1, 1, 4, 12))):
                if self._cluster.raging:
                    await self._send(ref, receiver)
            self.resting = True

    async def _send(self, ref: ActorRef, receiver: str) -> None:
        key = self._next_key()
        match self._rng.choice(("note", "note", "table", "ask", "ask", "asks", "call back", "watch")):
            case "note":
                await self._tell(ref, receiver, Note(*key, data_of(*key, self._size())))
            case "table":
                await self._tell(ref, receiver, Table(*key, values_of(key[1], self._size() // 4)))
            case "call back":
                caller = self._system.find(COLLECTOR)
                assert caller is not None
                await self._tell(ref, receiver, CallBack(*key, caller))
            case "ask":
                await self._ask(ref, receiver, key)
            case "asks":  # one after the other: then the stream reads the answers by itself
                await self._ask(ref, receiver, key)
                for _ in range(self._rng.choice((3, 6, 12))):
                    if self._cluster.raging:
                        await self._ask(ref, receiver, self._next_key())
            case "watch":
                await self._watch(ref)

    def _next_key(self) -> Key:
        self._number += 1
        return self.name, self._number

    async def _tell(self, ref: ActorRef, receiver: str, message: Note | Table | CallBack) -> None:
        key = message.stream, message.number
        self._cluster.history.send(key, receiver, trio.current_time())
        try:
            with trio.move_on_after(self._patience()) as scope:
                await ref.tell(message)
        except DeliveryError as error:
            self._settle(key, type(error).__name__)
        else:
            self._settle(key, "given up" if scope.cancelled_caught else "told")

    async def _ask(self, ref: ActorRef, receiver: str, key: Key) -> None:
        self._cluster.history.send(key, receiver, trio.current_time())
        work = self._rng.choice(("answer",) * 6 + ("slow", "slow", "reject", "fail"))
        question = Question(*key, work, data_of(*key, self._size()))
        answer = None
        try:
            with trio.move_on_after(self._patience()) as scope:
                answer = await ref.ask(question)
        except DeliveryError as error:
            self._settle(key, type(error).__name__)
        else:
            self._settle(key, "given up" if scope.cancelled_caught else "answered", answer)

    async def _watch(self, ref: ActorRef) -> None:
        counts = self._cluster.history.counts
        counts["watch"] += 1
        try:
            with trio.move_on_after(self._rng.uniform(0, 10)):
                async with ref.watch():
                    await trio.sleep_forever()
        except PeerDown:
            counts["peer down"] += 1

    def _settle(self, key: Key, outcome: str, answer: int | None = None) -> None:
        if self._node.crashed:  # what a dead host thinks is of no interest
            outcome, answer = "unheard", None
        self._cluster.history.settle(key, outcome, answer)

    def _patience(self) -> float:
        return self._rng.choice((float("inf"), float("inf"), 0.01, 0.5, 3.0))

    def _size(self) -> int:
        """How many bytes of contents the next message has: few, mostly."""
        most = self._plan.longest_bytes
        return int(most ** self._rng.random()) if self._rng.random() < 0.2 else 20


class Guard:
    """Watches one desk for as long as it can, and then again.

    Attributes:
        watched: The life of the host that is being watched; None while none is.
        since: When that began.
    """

    def __init__(self, cluster: Cluster, node: Node, system: ActorSystem) -> None:
        self.watched: Node | None = None
        self.since = 0.0
        self._cluster = cluster
        self._system = system
        self._rng = random.Random(node.rng.getrandbits(64))
        self._node = node

    @property
    def missed(self) -> bool:
        """Whether it watches a life that is over, and that lived long enough to be reached."""
        if self.watched is None or self.watched.over_at is None:
            return False
        limits = self._cluster.plans[self._node.name].limits
        reached = self.since + limits.handshake_seconds + limits.redial_most_seconds
        return reached < self.watched.over_at

    async def run(self) -> None:
        """Watch until cancelled."""
        listening = [name for name, plan in self._cluster.plans.items() if plan.listens]
        others = [name for name in listening if name != self._node.name]
        if not others or self._rng.random() < 0.5:
            return
        name = self._rng.choice(others)
        ref = self._system.ref(*self._cluster.address_of(name), DESK)
        counts = self._cluster.history.counts
        while True:
            target = self._node.sim.nodes.get(name)
            try:
                async with ref.watch():
                    self.watched = None if target is None or target.over else target
                    self.since = trio.current_time()
                    await trio.sleep_forever()
            except PeerDown:
                counts["peer down"] += 1
            self.watched = None
            await trio.sleep(self._rng.uniform(0.5, 3))


@dataclass
class Member:
    """A node of the cluster in one of its lives, as the test sees it.

    Attributes:
        node: The node.
        system: Its actor system.
        streams: Its tasks that send.
        guard: Its task that watches.
    """

    node: Node
    system: ActorSystem
    streams: list[Stream]
    guard: Guard


async def run_node(
    node: Node, cluster: Cluster, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    """The program of a host."""
    plan = cluster.plans[node.name]
    desk = ChildSpec(lambda: Desk(cluster, node), "desk", mailbox=plan.mailbox)
    backoff = Backoff(first_seconds=0.05, most_seconds=0.5)
    system = ActorSystem(node.name, vocabulary=WORDS, rng=node.rng, limits=plan.limits)
    streams = [Stream(cluster, node, system, index) for index in range(plan.streams)]
    guard = Guard(cluster, node, system)
    cluster.enroll(Member(node, system, streams, guard))
    async with system:
        await system.actor_of(lambda: Supervisor([desk], max_restarts=RESTARTS, backoff=backoff), "office")
        await system.actor_of(lambda: Collector(cluster, node), COLLECTOR)
        if plan.tls is not None:
            system.enable_ssl(plan.tls.certfile, plan.tls.keyfile, plan.tls.ca_cert)
        if plan.listens:
            await system.listen(*cluster.address_of(node.name))
        task_status.started()
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(stream.run, name=f"stream {stream.name}")
            nursery.start_soon(guard.run, name=f"guard of {node.name}")
            await cluster.stop.wait()
            nursery.cancel_scope.cancel()
