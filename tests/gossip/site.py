"""Real peers on a virtual network, with toy regions and a real gossip.db each: for simulations."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import trio

from federation.learning import Budget, Region, RegionMeta
from federation.offload import Offload
from gossip import MESSAGES, Address, GossipState, Notary, Timing
from gossip.learner import Learner
from gossip.peer import GossipPeer, Leave
from gossip.plan import Over, Plan, World
from gossip.roles import actor_of, supervisor_of
from gossip.store import GossipStore, PeerStore
from persistence import GossipPersistence, NewRun
from trioactor import ActorRef, ActorSystem, ChildSpec, Health, Middleware, Supervisor
from trioactor.testing import Node, Simulation

PORT = 7000
TOY = "toy"
RUN = NewRun(name=TOY, created_unix=0, settings={}, seed=0, source="toy", synthetic=True)

T = TypeVar("T")


def toy_region(name: str, samples: int = 24) -> Region:
    """Three classes, of which a region has mostly one."""
    chance = np.random.default_rng(sum(map(ord, name)))
    y = chance.choice(3, samples, p=np.roll([0.8, 0.1, 0.1], ord(name[-1]) % 3)).astype(np.int64)
    X = (np.eye(3)[y] + chance.normal(0, 0.5, (samples, 3))).astype(np.float32)
    return Region(X, y, RegionMeta(class_names=("a", "b", "c"), source="toy", synthetic=True))


async def inline(work: Callable[[Callable[[], bool]], T]) -> T:
    """Blocking work in a simulation: it takes no virtual time, but lets others go first."""
    await trio.sleep(0.001)
    return work(lambda: False)


def _while_on(node: Node, work: Callable[[Callable[[], bool]], T]) -> Callable[[Callable[[], bool]], T]:
    """What is still to be done when a machine crashes is not done: what is not on its disk, never is."""

    def run(should_stop: Callable[[], bool]) -> T:
        if node.crashed:
            raise OSError(f"machine {node.name} has crashed")
        return work(should_stop)

    return run


@dataclass
class Site:
    """A machine with one peer: its settings, its disk, and what it told.

    Attributes:
        name: Of the machine and its peer.
        folder: Its disk.
        seeds: Whom it asks first.
        plan: What its peer is to do; the address is filled in.
        peer: The present instance, for a look inside.
        over: Why each life ended that ended by itself.
        reporters: Whom it tells how it is doing.
        notary: Who seals what it says.
        offload: Where its blocking work goes.
        ahead_seconds: By how much its calendar is wrong.
        make_peer: Makes its peer, once for each life of the actor.
        run: The run that it is part of.
        receive: Sees what its system receives.
        health: How its supervisor finds out that it is stuck; None: it does not ask.
        make_region: Makes what it trains on, and what averages are scored on, of a name and a number.
    """

    name: str
    folder: Path
    seeds: Sequence[Address]
    plan: Plan
    samples: int = 24
    peer: GossipPeer | None = None
    over: list[Over] = field(default_factory=list)
    reporters: Sequence[Address] = ()
    wrap_store: Callable[[PeerStore], PeerStore] = lambda store: store
    notary: Notary | None = None
    offload: Offload = inline
    ahead_seconds: float = 0.0
    make_peer: Callable[[Plan, Learner, World], GossipPeer] = GossipPeer
    run: str = TOY
    receive: Sequence[Middleware] = ()
    health: Health | None = None
    make_region: Callable[[str, int], Region] = toy_region

    @property
    def database(self) -> Path:
        return self.folder / "gossip.db"

    @property
    def state(self) -> GossipState:
        assert self.peer is not None
        return self.peer._state()

    def saved(self) -> Any:
        """Return the snapshot on its disk."""
        with closing(GossipPersistence(self.database, read_only=True)) as record:
            return record.load_snapshot(1, self.plan.peer)

    def back_up(self) -> bytes:
        """Return a copy of its database as it is now."""
        with closing(sqlite3.connect(self.database)) as source, closing(sqlite3.connect(":memory:")) as copy:
            source.backup(copy)
            return copy.serialize()

    def lose_disk(self) -> None:
        for path in self.folder.glob("gossip.db*"):
            path.unlink()

    def put_back(self, backup: bytes) -> None:
        self.lose_disk()
        self.database.write_bytes(backup)

    async def live(
        self, node: Node, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the peer on its machine: the program for `Simulation.start`."""
        ended = trio.Event()

        def on_over(over: Over) -> None:
            self.over.append(over)
            ended.set()

        async with ActorSystem(node.name, vocabulary=MESSAGES, receive=self.receive, rng=node.rng) as system:
            world = World(
                ref_to=lambda address: system.ref(*address, actor_of(self.run)),
                reporter_at=lambda address: system.ref(*address, "reporter"),
                find_reporters=lambda: self.reporters,
                rng=random.Random(node.rng.getrandbits(64)),
                open_store=lambda: self.wrap_store(GossipStore(self.database, RUN, self.plan.peer)),
                find_seeds=lambda: self.seeds,
                notary=self.notary,
                offload=lambda work: self.offload(_while_on(node, work)),
                now_unix=lambda: trio.current_time() + self.ahead_seconds,
                on_over=on_over,
            )
            learner = Learner(
                self.plan.peer,
                self.make_region(self.plan.peer, self.samples),
                Budget(rounds=self.plan.rounds, epochs=1, batch_size=8, seed=0),
                evaluation=self.make_region("evaluation", 60),
            )

            def make() -> GossipPeer:
                self.peer = self.make_peer(self.plan, learner, world)
                return self.peer

            await system.listen(node.name, PORT)
            await system.actor_of(
                lambda: Supervisor([ChildSpec(make, "peer", restart="transient")], health=self.health),
                supervisor_of(self.run),
            )
            self.system = system
            task_status.started()
            await ended.wait()

    async def leave(self) -> None:
        ref: ActorRef | None = self.system.find(actor_of(self.run))
        assert ref is not None
        await ref.ask(Leave("the test"))


class Network:
    """Some sites in one simulation.

    Args:
        sim: The simulation.
        folder: Where their disks are.
        names: Of the peers.
        plan: What all of them are to do.
    """

    def __init__(self, sim: Simulation, folder: Path, names: Sequence[str], **plan: Any) -> None:
        self.sim = sim
        seeds = [(names[0], PORT)]
        self.sites: dict[str, Site] = {}
        for name in names:
            self.add(name, folder, seeds, **{"min_peers": len(names), "rounds": 3, **plan})

    def add(self, name: str, folder: Path, seeds: Sequence[Address], **plan: Any) -> Site:
        disk = folder / f"{self.sim.seed}-{name}"
        disk.mkdir(parents=True, exist_ok=True)
        plan = {"peer": name, "address": (name, PORT), "timing": Timing(), **plan}
        site = self.sites[name] = Site(name, disk, seeds, Plan(**plan))
        return site

    async def start(self, *names: str) -> None:
        for name in names or self.sites:
            await self.sim.start(name, self.sites[name].live)

    def running(self) -> list[Site]:
        return [site for name, site in self.sites.items() if self.sim.is_running(name)]

    async def until(self, ready: Callable[[], bool], seconds: float, what: str) -> float:
        """Wait, at most so long in virtual time; return how long it took."""
        began = trio.current_time()
        while not ready():
            assert trio.current_time() - began < seconds, f"not {what} after {seconds} s: {self.told()}"
            await trio.sleep(0.05)
        return trio.current_time() - began

    async def until_converged(self, seconds: float = 60, models: int | None = None) -> str:
        """Wait until all that run have finished and hold the same average; return its SHA-256."""
        count = len(self.sites) if models is None else models
        await self.until(lambda: self.converged(count), seconds, "converged")
        return self.running()[0].state.average

    def converged(self, models: int) -> bool:
        states = [site.state for site in self.running()]
        return (
            all(state.finished and state.models == models for state in states)
            and len({state.average for state in states}) == 1
        )

    def told(self) -> list[GossipState]:
        return [site.state for site in self.running()]


def with_plan(site: Site, **changes: Any) -> None:
    """Give a site another plan for its next life."""
    site.plan = replace(site.plan, **changes)
