"""A season of gossip played by whole peers: actors, frames, virtual TCP, and a gossip.db for each.

The seasons are those of `gossip_season.py`, the judge is that of `gossip_judge.py`. What differs from the
views: peers train by themselves, so writes are theirs, between the steps; blocking work takes time; TCP
doubles nothing, but connections are reset instead; a clock that jumps is that of the calendar, for nothing
else jumps on a machine that runs; and a disk may be damaged as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from string import ascii_lowercase
from tempfile import TemporaryDirectory
from typing import TypeVar

import trio

from gossip import MESSAGES, GossipPeer, Identity, View
from gossip.learner import Learner
from gossip.plan import Plan, World
from gossip.roles import actor_of
from tests.gossip.notaries import SecretNotary
from tests.gossip.site import PORT, TOY, Network, Site
from tests.gossip.world import Violation, require
from tests.simulation.gossip_judge import LIAR, Judge, Seen
from tests.simulation.gossip_lies import ABOUT_ALL, ABOUT_TIME
from tests.simulation.gossip_play import STORM_SECONDS, SeasonReport, most_rounds
from tests.simulation.gossip_season import Season, Step, draw_season
from trioactor import ActorSystem
from trioactor.testing import Link, Node, Simulation, simulate

T = TypeVar("T")

NAMES = [tens + letter for tens in ("", "b", "c") for letter in ascii_lowercase]
ROUNDS = 12  # that a peer trains in all, over its lives
DISK_SECONDS = 0.3  # the longest that a piece of blocking work takes
RESETS = 0.002
STAY_ROUNDS = 5  # so long the core must go on to agree
SLOW = Link(latency_seconds=0.3, jitter_seconds=1.0)
MEMORY = Path("/dev/shm")  # where a disk may be that need not outlive a power cut

FAULTS = ("cut", "one-way cut", "crash", "stall", "jump", "twin", "poison", "storm", "back up")
WRITES = ("crash", "back up", "", "")  # what becomes of a step in which a view would be made to write
DISKS = ("intact", "old", "lost", "damaged")
WHOLE_KINDS = ("loss", "resets", "slow", "cut", "one-way cut", *(f"crash, disk {disk}" for disk in DISKS))
WHOLE_KINDS += ("stall", "jump", "twin", "poison", "storm")
"""What must have fired in some of many seeds."""


def play_whole(seed: int, peers: int = 5, told: Callable[[str], None] = lambda line: None) -> SeasonReport:
    """Play the season of a seed with whole peers; see `gossip_play.play`. There may be 3 to 64 of them."""
    season = draw_season(seed, peers)
    report = SeasonReport(seed)

    async def main(sim: Simulation) -> None:
        stage = WholeStage(season, report, told, sim, Path(folder))
        try:
            await stage.play()
        except* Violation as found:  # alone, or out of the nursery of the faults
            report.violation = str(found.exceptions[0])

    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        ended = simulate(main, seed=seed)
    report.digest, report.events, report.seconds = ended.digest, ended.events, ended.seconds
    return report


class HeardPeer(GossipPeer):
    """A peer whose writes are heard by the judge.

    Args:
        hear: Told what it is about to write.
        plan: As of any peer.
        learner: As of any peer.
        world: As of any peer.
    """

    def __init__(self, hear: Callable[[bytes], None], plan: Plan, learner: Learner, world: World) -> None:
        super().__init__(plan, learner, world)
        self._hear = hear

    def _begin(self, identity: Identity, view: View) -> None:
        publish = view.publish

        def publish_heard(data: bytes, samples: int) -> object:
            self._hear(data)
            return publish(data, samples)

        view.publish = publish_heard  # type: ignore[method-assign, assignment]
        super()._begin(identity, view)


class WholeStage:
    """Where the season is played.

    Args:
        season: What happens.
        report: Is filled in.
        told: Gets a line for each step.
        sim: The simulation.
        folder: Where disks are.
    """

    def __init__(
        self,
        season: Season,
        report: SeasonReport,
        told: Callable[[str], None],
        sim: Simulation,
        folder: Path,
    ) -> None:
        self._season = season
        self._report = report
        self._told = told
        self._sim = sim
        self._folder = folder
        self._judge = Judge()
        self._makes: dict[str, int] = {}  # how many peers were made on each host
        self._names = NAMES[: season.peers]
        self._plan = {"rounds": ROUNDS, "min_peers": 1, "patience_seconds": 2.0, "report_seconds": 60.0}
        self._net = Network(sim, folder, self._names, **self._plan)
        self._seeds = [(name, PORT) for name in self._names]
        for site in self._net.sites.values():
            self._prepare(site)
        self._backups: dict[str, bytes] = {}
        self._liar: ActorSystem | None = None

    def _prepare(self, site: Site) -> None:
        site.seeds = self._seeds
        site.notary = SecretNotary(site.plan.peer) if self._season.sealed else None
        site.offload = partial(self._offload, Random(f"disk/{self._season.seed}/{site.name}"))
        site.make_peer = partial(self._make_peer, site)

    async def _offload(self, rng: Random, work: Callable[[Callable[[], bool]], T]) -> T:
        """Blocking work takes its time, so that others act meanwhile."""
        await trio.sleep(rng.uniform(0.001, DISK_SECONDS))
        return work(lambda: False)

    def _make_peer(self, site: Site, plan: Plan, learner: Learner, world: World) -> GossipPeer:
        self._makes[site.name] = self._makes.get(site.name, 0) + 1
        return HeardPeer(partial(self._judge.hear, self._process(site), plan.peer), plan, learner, world)

    def _process(self, site: Site) -> str:
        return f"{site.name}#{self._makes[site.name]}"

    # --- both parts -----------------------------------------------------------------------------

    async def play(self) -> None:
        """Play the season. Raises Violation."""
        self._begin_weather()
        await self._sim.start(LIAR, self._lie_in_wait)
        await self._net.start()
        async with trio.open_nursery() as faults:
            for step in self._season.steps:
                await trio.sleep(step.pause)
                await self._take(step, faults)
                self._judge.look(self._look())
            faults.cancel_scope.cancel()
        core = frozenset(self._names[number] for number in self._season.core)
        self._mend(core)
        agreed = 0
        while agreed < STAY_ROUNDS:
            most = most_rounds(self._season.peers)
            self._bring_back(core)
            if self._report.rounds >= most:
                raise Violation(f"the core differs:\n{self._differences(core)}")
            await trio.sleep(1.0)
            self._judge.look(self._look())
            self._report.rounds += 1
            agreed = agreed + 1 if self._agree(core) else 0
        self._report.rounds -= STAY_ROUNDS - 1
        self._judge.judge_end(self._look(core))

    def _begin_weather(self) -> None:
        """What is so for the whole of the first part. TCP hides a loss, and is late for it."""
        season, fired = self._season, self._report.fired
        fired.update(kind for kind in season.weather if kind != "doubled")
        fired["resets"] += bool(season.doubled)
        link = Link(
            latency_seconds=0.005,
            jitter_seconds=0.01,
            loss=season.loss / 3,  # of segments: a connection waits for each of them
            resets=RESETS if season.doubled else 0.0,
        )
        for one in self._names:
            for other in self._names:
                if one != other:
                    slow = season.slow and self._names[0] in (one, other)
                    self._sim.network.disturb(one, other, SLOW if slow else link)

    def _mend(self, core: frozenset[str]) -> None:
        """Mend the core; break all else for good: end it, or cut it off, each in half of the seasons."""
        self._told(f"{trio.current_time():6.1f}  the core is mended: {', '.join(sorted(core))}")
        self._sim.heal()
        for one in self._names:
            for other in self._names:
                self._sim.network.calm(one, other)
        outside = [host for host, site in self._net.sites.items() if site.plan.peer not in core]
        if self._season.seed % 2:
            inside = [host for host in self._net.sites if host not in outside]
            self._sim.partition(outside, inside)
        else:
            for host in outside:
                if self._sim.is_running(host):
                    self._sim.crash(host)

    def _bring_back(self, core: frozenset[str]) -> None:
        """Let those of the core live of whom no process does.

        Not only once: a twin may have been about to make way for one whose machine has crashed by now.
        """
        for name in sorted(core):
            if not any(site.plan.peer == name for site in self._running()):
                lost = self._lost_twice(name)
                require(not lost, f"both processes called {name} have ended; one must go on")
                self._start(name)

    def _lost_twice(self, name: str) -> bool:
        """Whether two that lived at a time both made way for each other: nobody crashed, and none is left."""
        ended = [site.over for site in self._net.sites.values() if site.plan.peer == name]
        return len(ended) == 2 and all(over and over[-1].kind == "name lost" for over in ended)

    def _agree(self, core: frozenset[str]) -> bool:
        """Whether the core knows the same, has the same average of it, and has it all on its disks."""
        sites = [site for site in self._running() if site.plan.peer in core]
        if not self._judge.agree(self._look(core), core):
            return False
        return len({site.state.average for site in sites}) == 1 and all(site.state.finished for site in sites)

    # --- steps ----------------------------------------------------------------------------------

    async def _take(self, step: Step, faults: trio.Nursery) -> None:
        name = self._names[step.peer]
        kind = WRITES[step.number % len(WRITES)] if step.kind == "publish" else step.kind
        if kind in FAULTS and self._sim.is_running(name):
            await getattr(self, f"_{kind.replace(' ', '_').replace('-', '_')}")(name, step, faults)

    def _say(self, kind: str, text: str) -> None:
        self._report.fired[kind] += 1
        self._told(f"{trio.current_time():6.1f}  {kind}: {text}")
        self._sim.note(kind, text)

    async def _after(self, seconds: float, act: Callable[[], object]) -> None:
        await trio.sleep(seconds)
        act()

    async def _cut(self, name: str, step: Step, faults: trio.Nursery, kind: str = "cut") -> None:
        side = [self._names[number] for number in sorted(step.side)]
        others = [host for host in self._net.sites if host not in side]
        self._say(kind, f"{','.join(side)} from the others for {step.seconds:.1f} s")
        partition = self._sim.partition(side, others, one_way=kind == "one-way cut")
        faults.start_soon(self._after, step.seconds, partition.heal)

    async def _one_way_cut(self, name: str, step: Step, faults: trio.Nursery) -> None:
        await self._cut(name, step, faults, "one-way cut")

    async def _stall(self, name: str, step: Step, faults: trio.Nursery) -> None:
        self._say("stall", f"{name} for {step.seconds:.1f} s")
        self._sim.stall(name)
        faults.start_soon(self._after, step.seconds, partial(self._sim.resume, name))

    async def _jump(self, name: str, step: Step, faults: trio.Nursery) -> None:
        days = step.number % 2_000 - 1_000
        self._say("jump", f"the calendar of {name} by {days} days")
        self._net.sites[name].ahead_seconds += days * 86_400

    async def _back_up(self, name: str, step: Step, faults: trio.Nursery) -> None:
        self._say("back up", name)
        with suppress(sqlite3.DatabaseError):  # the file is damaged, and the peer has not looked at it yet
            self._backups[name] = self._net.sites[name].back_up()

    async def _crash(self, name: str, step: Step, faults: trio.Nursery) -> None:
        site = self._net.sites[name]
        backup = self._backups.get(name)
        disk = step.disk if step.disk != "old" or backup is not None else "damaged"
        self._say(f"crash, disk {disk}", f"{name} for {step.seconds:.1f} s")
        self._sim.crash(name, silently=bool(step.number % 2))
        await trio.sleep(0.01)  # its last tasks let go of the disk
        if disk == "old" and backup is not None:
            site.put_back(backup)
        elif disk == "lost":
            site.lose_disk()
        elif disk == "damaged":
            site.put_back(Random(step.number).randbytes(5_000))
        faults.start_soon(self._after, step.seconds, partial(self._start, name))

    async def _storm(self, name: str, step: Step, faults: trio.Nursery) -> None:
        hosts = [host for host in self._names if self._sim.is_running(host)]
        self._say("storm", f"{len(hosts)} machines")
        for host in hosts:
            self._sim.crash(host)
            seconds = Random(f"{step.number}/{host}").uniform(0.01, STORM_SECONDS)
            faults.start_soon(self._after, seconds, partial(self._start, host))

    async def _twin(self, name: str, step: Step, faults: trio.Nursery) -> None:
        host = f"{name}-twin"
        if host not in self._net.sites:
            self._say("twin", name)
            plan = {**self._plan, "peer": name}
            twin = self._net.add(host, self._folder, self._seeds, address=(host, PORT), **plan)
            self._prepare(twin)
            twin.put_back(self._net.sites[name].back_up())
            self._start(host)

    async def _poison(self, name: str, step: Step, faults: trio.Nursery) -> None:
        view = self._view(self._net.sites[name])
        if view is not None and self._liar is not None:
            lies = ABOUT_ALL if self._season.sealed else ABOUT_TIME
            lie = lies[step.number % len(lies)]
            self._say("poison", f"{name}, {lie.__name__.strip('_')}")
            self._liar.ref(name, PORT, actor_of(TOY)).tell_nowait(lie(view, Random(step.number)))

    async def _lie_in_wait(
        self, node: Node, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with ActorSystem(LIAR, vocabulary=MESSAGES, rng=node.rng) as self._liar:
            task_status.started()
            await trio.sleep_forever()

    def _start(self, host: str) -> None:
        if not self._sim.is_running(host):
            self._sim.start_soon(host, self._net.sites[host].live)

    # --- looking --------------------------------------------------------------------------------

    def _running(self) -> list[Site]:
        return [site for host, site in self._net.sites.items() if self._sim.is_running(host)]

    def _view(self, site: Site) -> View | None:
        """What the present life of a peer knows; None while there is none."""
        return None if site.peer is None else site.peer._view

    def _look(self, core: frozenset[str] | None = None) -> list[Seen]:
        return [
            self._seen(site, view)
            for site in self._running()
            if (core is None or site.plan.peer in core) and (view := self._view(site)) is not None
        ]

    def _seen(self, site: Site, view: View) -> Seen:
        for over in site.over:
            require(over.kind == "name lost", f"{site.name} has ended: {over.kind}, {over.reason}")
        return Seen(
            self._process(site),
            site.plan.peer,
            view._clock.time,
            view.models.equivocations,
            {info.owner: info for info in view.models.infos()},
            {model.owner: model.data for model in view.all_models()},
            frozenset({site.plan.peer, *view.membership.live}),
            view.summary(),
        )

    def _differences(self, core: frozenset[str]) -> str:
        return "\n".join(
            f"  {each.process} takes for alive: {', '.join(sorted(each.live))}; knows "
            + ", ".join(f"{info.owner}@{info.version}" for _, info in sorted(each.models.items()))
            for each in self._look(core)
        )
