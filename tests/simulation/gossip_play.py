"""A season of gossip played by views without I/O: see `gossip_season.py` and `gossip_judge.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random

from gossip import DuplicateIdentity
from tests.gossip.notaries import SecretNotary
from tests.gossip.world import Violation, require
from tests.simulation.gossip_judge import LIAR, Judge, Seen
from tests.simulation.gossip_lies import ABOUT_ALL, ABOUT_TIME
from tests.simulation.gossip_net import LATENCY_SECONDS, Disk, Net, Node, peer_address, peer_name
from tests.simulation.gossip_season import Season, Step, draw_season

MOST_ROUNDS = 150
MOST_ROUNDS_MORE = 10
"""Until the core agrees, from the worst that a season can leave behind, and more for each peer above five.

Most of it is for suspects to die. Where nearly all have gone at once, those that are left find themselves
ill, for nobody answers, and look after others more slowly: in a core of 6 out of 64 it takes minutes."""

SLOW_SECONDS = 3.0
STORM_SECONDS = 10.0
STAY_ROUNDS = 10
MODEL_COPIES = 9  # of a few words: a model of some hundred bytes


def most_rounds(peers: int) -> int:
    """Return within how many rounds a core out of so many peers must agree."""
    return MOST_ROUNDS + MOST_ROUNDS_MORE * max(peers - 5, 0)


@dataclass(slots=True)
class SeasonReport:
    """What became of a season.

    Attributes:
        seed: Which.
        fired: How often each fault, and each other step, was played.
        rounds: After how many rounds the core agreed, and went on to agree.
        violation: What must not have happened; empty when nothing did.
        digest: Equal for equal stories.
        events: How much happened on the virtual network; 0 where there is none.
        seconds: How long it was, in virtual time.
    """

    seed: int
    fired: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    violation: str = ""
    digest: str = ""
    events: int = 0
    seconds: float = 0.0


def play(seed: int, peers: int = 5, told: Callable[[str], None] = lambda line: None) -> SeasonReport:
    """Play the season of a seed.

    Args:
        seed: Which.
        peers: How many there are.
        told: Gets a line for each step.
    """
    hashing = blake2b(digest_size=8)

    def tell(line: str) -> None:
        hashing.update(line.encode())
        told(line)

    report = SeasonReport(seed)
    stage = Stage(draw_season(seed, peers), report, tell)
    try:
        stage.play()
    except Violation as violation:
        report.violation = str(violation)
    hashing.update(repr([each.summary for each in stage.look()]).encode())
    report.digest = hashing.hexdigest()
    return report


class Stage:
    """Where the season is played.

    Args:
        season: What happens.
        report: Is filled in.
        tell: Gets a line for each step.
    """

    def __init__(self, season: Season, report: SeasonReport, tell: Callable[[str], None]) -> None:
        self._season = season
        self._report = report
        self._tell = tell
        self._rng = Random(f"stage/{season.seed}")
        self._judge = Judge()
        self._down: dict[str, tuple[float, Disk]] = {}  # until when, and what it will find
        self._cuts_end_at: float | None = None
        self._net = Net(
            season.peers,
            loss=season.loss,
            probing=True,
            notary_of=SecretNotary if season.sealed else None,
            authenticated=season.sealed,
            seed=f"season/{season.seed}",
        )
        self._net.seeds = [peer_address(number) for number in range(season.peers)]
        self._net.doubled = season.doubled
        self._net.latency = self._latency
        self._names = [peer_name(number) for number in range(season.peers)]
        self._slow = season.slow
        self._backups = {node.name: node.disk.copy() for node in self._net.nodes.values()}
        report.fired.update(season.weather)

    def _latency(self) -> float:
        if self._slow and self._net.rng.random() < self._slow:
            return self._net.rng.uniform(0, SLOW_SECONDS)
        return self._net.rng.uniform(*LATENCY_SECONDS)

    # --- both parts -----------------------------------------------------------------------------

    def play(self) -> None:
        """Play the season. Raises Violation."""
        for step in self._season.steps:
            self._run(step.pause)
            self._take(step)
            self._judge.look(self.look())
        core = frozenset(self._names[number] for number in self._season.core)
        self._mend(core)
        agreed = 0
        while agreed < STAY_ROUNDS:  # an old word about a peer that is gone may still be on some disk
            most = most_rounds(self._season.peers)
            require(self._report.rounds < most, f"the core differs:\n{self._differences(core)}")
            self._run(self._net.timing.round_seconds)
            self._judge.look(self.look())
            self._report.rounds += 1
            agreed = agreed + 1 if self._judge.agree(self._look_at(core), core) else 0
        self._report.rounds -= STAY_ROUNDS - 1
        self._judge.judge_end(self._look_at(core))

    def _run(self, seconds: float) -> None:
        """Let time pass, and what was planned for it happen."""
        end = self._net.now + seconds
        while True:
            due = min([end, *(at for at, _ in self._down.values()), *self._cut_end()])
            self._net.run(max(due - self._net.now, 0.0))
            for name, (at, disk) in list(self._down.items()):
                if at <= due:
                    self._come_back(name, disk)
            if self._cuts_end_at is not None and self._cuts_end_at <= due:
                self._net.reconnect()
                self._cuts_end_at = None
            if due >= end:
                return

    def _cut_end(self) -> list[float]:
        return [] if self._cuts_end_at is None else [self._cuts_end_at]

    def _mend(self, core: frozenset[str]) -> None:
        """Mend the core; break all else for good."""
        self._net.mend()
        self._slow = 0.0
        self._cuts_end_at = None
        outside = [node for node in self._net.nodes.values() if node.name not in core]
        self._tell(f"{self._net.now:6.1f}  the core is mended: {', '.join(sorted(core))}")
        if self._rng.random() < 0.5:
            for node in outside:
                self._net.crash(node.handle)
        else:
            inside = [node.handle for node in self._net.nodes.values() if node.name in core]
            self._net.cut([node.handle for node in outside], [*inside, *core])
        for name, (_, disk) in list(self._down.items()):
            if name in core:
                self._come_back(name, disk)
        self._down.clear()
        for name in sorted(core):
            require(self._nodes_of(name) != [], f"both processes called {name} have ended; one must go on")

    # --- steps ----------------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        node = self._net.nodes.get(self._names[step.peer])
        if node is not None:
            getattr(self, f"_{step.kind.replace(' ', '_').replace('-', '_')}")(node, step)

    def _say(self, kind: str, text: str) -> None:
        self._report.fired[kind] += 1
        self._tell(f"{self._net.now:6.1f}  {kind}: {text}")

    def _hear(self, node: Node, data: bytes | None) -> None:
        """A process is about to write."""
        self._judge.hear(_process(node), node.name, data)

    def _publish(self, node: Node, step: Step) -> None:
        data = f"{_process(node)} {step.number} ".encode() * MODEL_COPIES
        self._say("publish", f"{node.name}, {step.number}")
        self._hear(node, data)
        self._net.publish(node.handle, data)

    def _withdraw(self, node: Node, step: Step) -> None:
        if node.view.models.get(node.name) is not None:
            self._say("withdraw", node.name)
            self._hear(node, None)
            self._net.act(node, lambda now: node.view.withdraw())

    def _save(self, node: Node, step: Step) -> None:
        self._say("save", node.name)
        node.save()

    def _back_up(self, node: Node, step: Step) -> None:
        self._say("back up", node.name)
        node.save()
        self._backups[node.name] = node.disk.copy()

    def _cut(self, node: Node, step: Step, kind: str = "cut") -> None:
        side = {self._names[number] for number in step.side}
        handles = set(self._net.nodes) | set(self._names)
        one_way = kind == "one-way cut"
        self._say(kind, f"{sorted(side)} from the others for {step.seconds:.1f} s")
        self._net.cut(side, handles - side, one_way=one_way)
        self._cuts_end_at = self._net.now + step.seconds

    def _one_way_cut(self, node: Node, step: Step) -> None:
        self._cut(node, step, "one-way cut")

    def _crash(self, node: Node, step: Step) -> None:
        disk = {"intact": node.disk, "lost": Disk()}.get(step.disk) or self._backups[node.name].copy()
        self._say(f"crash, disk {step.disk}", f"{node.name} for {step.seconds:.1f} s")
        self._net.crash(node.handle)
        self._down[node.name] = self._net.now + step.seconds, disk

    def _storm(self, node: Node, step: Step) -> None:
        self._say("storm", f"{len(self._net.nodes)} processes")
        for each in list(self._net.nodes.values()):
            if each.handle in self._names:
                self._net.crash(each.handle)
                at = self._net.now + self._rng.uniform(0, STORM_SECONDS)
                self._down[each.name] = at, each.disk

    def _stall(self, node: Node, step: Step) -> None:
        self._say("stall", f"{node.name} for {step.seconds:.1f} s")
        self._net.stall(node.handle, step.seconds)

    def _jump(self, node: Node, step: Step) -> None:
        seconds = step.seconds * self._rng.choice([1, 100])
        self._say("jump", f"the clock of {node.name} by {seconds:.1f} s")
        self._net.jump(node.handle, seconds)

    def _twin(self, node: Node, step: Step) -> None:
        handle = f"{node.name}/twin"
        if handle in self._net.nodes:
            return
        self._say("twin", node.name)
        node.save()
        address = peer_address(self._season.peers + step.peer)
        self._net.start(node.name, address, node.disk.copy(), surveyed=False, handle=handle)
        if step.number % 2:
            self._publish(self._net.nodes[handle], step)

    def _poison(self, node: Node, step: Step) -> None:
        lies = ABOUT_ALL if self._season.sealed else ABOUT_TIME
        lie = lies[step.number % len(lies)]
        self._say("poison", f"{node.name}, {lie.__name__.strip('_')}")
        self._net.hear(node, lie(node.view, self._rng), LIAR)

    def _come_back(self, name: str, disk: Disk) -> None:
        del self._down[name]
        try:
            self._net.start(name, peer_address(self._names.index(name)), disk)
            self._tell(f"{self._net.now:6.1f}  {name} is back")
        except DuplicateIdentity:
            require(self._nodes_of(name) != [], f"{name} is refused, though nobody else has its name")
            self._tell(f"{self._net.now:6.1f}  {name} found its name in use")

    # --- looking --------------------------------------------------------------------------------

    def _nodes_of(self, name: str) -> list[Node]:
        return [node for node in self._net.nodes.values() if node.name == name]

    def look(self) -> list[Seen]:
        """Look at all processes that live."""
        return [_seen(node) for node in self._net.nodes.values()]

    def _look_at(self, core: frozenset[str]) -> list[Seen]:
        return [_seen(node) for node in self._net.nodes.values() if node.name in core]

    def _differences(self, core: frozenset[str]) -> str:
        return "\n".join(
            f"  {each.process} takes for alive: {', '.join(sorted(each.live))}; knows "
            + ", ".join(f"{info.owner}@{info.version}" for _, info in sorted(each.models.items()))
            for each in self._look_at(core)
        )


def _process(node: Node) -> str:
    return f"{node.handle}#{node.life}"


def _seen(node: Node) -> Seen:
    view = node.view
    models = {info.owner: info for info in view.models.infos()}
    return Seen(
        _process(node),
        node.name,
        node.clock.time,
        view.models.equivocations,
        models,
        {model.owner: model.data for model in view.all_models()},
        frozenset({node.name, *view.membership.live}),
        view.summary(),
    )
