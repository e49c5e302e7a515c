"""`simulate`: a whole cluster in one process, from a seed.

    async def hub(node: Node, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with ActorSystem("hub", vocabulary=[...], rng=node.rng) as system:
            await system.listen(node.name, 7000)
            task_status.started()
            await trio.sleep_forever()

    async def main(sim: Simulation) -> None:
        await sim.start("hub", hub)
        await sim.start("site", site)
        sim.partition(["hub"], ["site"])
        await trio.sleep(30)                      # takes no time
        sim.heal()
        ...

    report = simulate(main, seed=7)               # the same seed, the same report.digest

What a simulation does not control, its programs must not use: `time.time`, `random` without a seed,
`uuid4`, threads (they are refused), and the order of sets of strings. `node.rng` is where chance comes
from; real time stands still.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import trio
from trio.testing import MockClock

from trioactor.testing.determinism import mark_as_simulated, repeatable
from trioactor.testing.errors import Deadlock, SimulationError, bare
from trioactor.testing.network import OUTSIDE, Network, Partition
from trioactor.testing.trace import Trace
from trioactor.testing.watchman import Watchman

T = TypeVar("T")
Program = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Report(Generic[T]):
    """What a simulation has come to.

    Attributes:
        value: What `main` returned.
        seed: The seed.
        digest: Of all that happened; the same for the same seed and the same program.
        events: How many events there were on the network, and of faults.
        counts: How many of each kind.
        seconds: How much virtual time has passed.
    """

    value: T
    seed: object
    digest: str
    events: int
    counts: Mapping[str, int]
    seconds: float


def simulate(
    main: Callable[[Simulation], Awaitable[T]],
    *,
    seed: object = 0,
    network: Callable[..., Network] = Network,
    trace: Trace | None = None,
) -> Report[T]:
    """Run `main` and all that it starts, in virtual time on a virtual network.

    Args:
        main: What happens. It runs on a host named "main". When it returns, the programs are cancelled.
        seed: Of everything: the order of tasks, the network, the generators of the nodes. An int or str.
        network: Makes the network: `Network`, or `partial(Network, link=Link(loss=0.1))`.
        trace: Where it is written down what happens; hand one in to copy it to a file.

    Raises:
        Exception: What `main` raised, or a program that had not crashed, with a note that says the seed
            and the last events.
        Deadlock: All tasks wait for each other.
        SimulationError: trio is built differently from what is known here, or runs already.
    """
    if _in_trio():
        raise SimulationError("simulate() starts a trio of its own; call it from a plain function")
    trace = trace or Trace()
    clock = MockClock(autojump_threshold=0)
    watchman = Watchman()

    async def run() -> T:
        mark_as_simulated()
        async with network(seed=seed, trace=trace) as made:
            with watchman.scope, made.at(OUTSIDE):
                return await Simulation(seed, made).run(main)
        raise Deadlock(watchman.finding)

    try:
        with repeatable(seed):
            value = trio.run(run, clock=clock, instruments=[watchman])
    except BaseException as error:
        seconds = clock.current_time()
        error.add_note(
            f"in the simulation of seed {seed!r}, {trace.events:,} events and {seconds:.6f} virtual seconds"
            f" after its beginning; the same seed does the same again. The last events:\n"
            f"  {'  '.join(trace.last)}"
        )
        raise
    return Report(value, seed, trace.digest, trace.events, dict(trace.counts), clock.current_time())


class Simulation:
    """A cluster: hosts that run programs, and what befalls them.

    Args:
        seed: The seed.
        network: An open network.

    Attributes:
        seed: The seed.
        network: The links, and what can go wrong with each: `set_link`, `reset`, `black_hole` ...
        rng: For `main` and the faults.
        nodes: What runs, or ran last, on each host.
    """

    def __init__(self, seed: object, network: Network) -> None:
        self.seed = seed
        self.network = network
        self.rng = _generator(seed, OUTSIDE)
        self.nodes: dict[str, Node] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, main: Callable[[Simulation], Awaitable[T]]) -> T:
        """Run `main`, then cancel the programs. An error comes out bare when it is the only one."""
        try:
            async with trio.open_nursery() as self._nursery:
                value = await main(self)
                self._nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            failure = bare(group)
            raise failure from failure.__cause__
        return value

    # --- programs -------------------------------------------------------------------------------

    async def start(self, name: str, program: Program, *args: Any) -> Any:
        """Run a program on a host, and return what it says in `task_status.started`.

        Args:
            name: The host; it is switched on.
            program: Called as `program(node, *args, task_status=...)`, like by `nursery.start`.
            args: For it.

        Raises:
            SimulationError: A program runs there already, or the host crashed before it was ready.
        """
        node = self._new_node(name, program, args)
        try:
            return await self._open_nursery.start(node.live, name=f"host {name}")
        except RuntimeError as error:
            if node.crashed:
                raise SimulationError(f"host {name!r} crashed before its program was ready") from error
            raise

    def start_soon(self, name: str, program: Program, *args: Any) -> Node:
        """Run a program on a host, and go on at once. Called as `program(node, *args, task_status=...)`."""
        node = self._new_node(name, program, args)
        self._open_nursery.start_soon(node.live, name=f"host {name}")
        return node

    async def restart(self, name: str) -> Any:
        """Run the program that ran there last, anew; a running one crashes. See `start`."""
        node = self._last_node(name)
        return await self.start(name, node.program, *node.args)

    def restart_soon(self, name: str) -> Node:
        """Run the program that ran there last, anew; a running one crashes. See `start_soon`."""
        node = self._last_node(name)
        return self.start_soon(name, node.program, *node.args)

    def crash(self, name: str, *, silently: bool = False) -> None:
        """End what runs on a host, at once.

        Its tasks are cancelled and its sockets are dead before that, so nothing that it still does, in
        `finally` say, reaches anybody; what it then raises is written into the trace, and no error.

        Args:
            name: The host.
            silently: It loses its power and says nothing; otherwise its peers see resets.
        """
        node = self.nodes.get(name)
        if node is not None and not node.over:
            node.crashed = True
            node.over_at = trio.current_time()
            node.scope.cancel()
        self.network.crash(name, silently=silently)

    def is_running(self, name: str) -> bool:
        """Whether a program runs on the host."""
        node = self.nodes.get(name)
        return node is not None and not node.over

    @property
    def _open_nursery(self) -> trio.Nursery:
        if self._nursery is None:
            raise SimulationError("the simulation does not run: use `simulate`")
        return self._nursery

    def _new_node(self, name: str, program: Program, args: tuple[Any, ...]) -> Node:
        before = self.nodes.get(name)
        if before is not None and not before.over:
            raise SimulationError(f"a program runs on host {name!r} already; crash it first")
        self.network.host(name)
        self.network.switch_on(name)
        life = before.life + 1 if before is not None else 1
        node = self.nodes[name] = Node(self, name, life, program, args)
        self.network.note("start", f"{name} {life}")
        return node

    def _last_node(self, name: str) -> Node:
        if name not in self.nodes:
            raise SimulationError(f"no program has run on host {name!r} yet; use start")
        if self.is_running(name):
            self.crash(name)
        return self.nodes[name]

    # --- faults: see `Network` --------------------------------------------------------------------

    def partition(self, *groups: Collection[str], one_way: bool = False) -> Partition:
        """Cut the links between groups of hosts. See `Network.partition`."""
        return self.network.partition(*groups, one_way=one_way)

    def heal(self, among: Collection[str] | None = None) -> None:
        """End all partitions and stalls, or those among some hosts."""
        self.network.heal(among)

    def stall(self, *names: str) -> None:
        """Freeze hosts, as seen from outside."""
        self.network.stall(*names)

    def resume(self, *names: str) -> None:
        """End their stall."""
        self.network.resume(*names)

    def note(self, kind: str, detail: str = "") -> None:
        """Write into the trace what the network does not see, so that the digest vouches for it too."""
        self.network.note(kind, detail)


class Node:
    """A program on a host, from its start to its end.

    Attributes:
        sim: The simulation.
        name: The host.
        life: 1 for the first program on this host, and one more for each after it.
        rng: Where its chance comes from: seeded by the simulation's seed, its name and its life.
        program: What it runs.
        args: With what.
        scope: Around the program.
        crashed: Whether its host has crashed.
        over: Whether it has crashed or ended.
        over_at: When it did.
        ended: Set when its last task has.
    """

    def __init__(
        self, sim: Simulation, name: str, life: int, program: Program, args: tuple[Any, ...]
    ) -> None:
        self.sim = sim
        self.name = name
        self.life = life
        self.rng = _generator(sim.seed, f"{name}/{life}")
        self.program = program
        self.args = args
        self.scope = trio.CancelScope()
        self.crashed = False
        self.over_at: float | None = None
        self.ended = trio.Event()

    def __repr__(self) -> str:
        return f"<Node {self.name}, life {self.life}>"

    @property
    def over(self) -> bool:
        """Whether another program may be started on the host."""
        return self.crashed or self.ended.is_set()

    async def live(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the program. What it raises after its host has crashed is nobody's error."""
        network = self.sim.network
        try:
            with network.at(self.name), self.scope:
                await self.program(self, *self.args, task_status=task_status)
        except (Exception, BaseExceptionGroup) as error:
            if not self.crashed:
                raise
            self.sim.note("ghost", f"{self.name} {self.life} {type(error).__name__}")
            cancelled = error.split(Exception)[1] if isinstance(error, BaseExceptionGroup) else None
            if cancelled is not None:  # the simulation ends meanwhile
                raise cancelled from None
        finally:
            self.ended.set()
            if not self.crashed:
                self.over_at = trio.current_time()
                network.host(self.name).close_all()


async def run_inline(function: Callable[..., T], *args: Any, seconds: float = 0.0) -> T:
    """Do blocking work in place of `trio.to_thread.run_sync`, and let virtual time pass for it.

    Args:
        function: The work; it holds up everything, but not the virtual clock.
        args: For it.
        seconds: How long it takes in virtual time.
    """
    await trio.sleep(seconds)
    return function(*args)


def _generator(seed: object, who: str) -> random.Random:
    return random.Random(f"{seed}/{who}")  # noqa: S311  # a simulation's chance


def _in_trio() -> bool:
    try:
        trio.lowlevel.current_trio_token()
    except RuntimeError:
        return False
    return True
