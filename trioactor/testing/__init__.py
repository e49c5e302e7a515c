"""trioactor.testing: whole clusters in one process, from a seed, in no time.

Real systems, real frames, real TLS if wanted, over a network that exists only in memory: with latency and
bandwidth, with resets, partitions, black holes, stalls, crashes and restarts. Time is virtual, so a
minute of it takes milliseconds; chance comes from one seed, so what failed once fails again:

    from trioactor import ActorSystem
    from trioactor.testing import Faults, Node, Simulation, simulate

    async def site(node: Node, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with ActorSystem(node.name, rng=node.rng) as system:
            await system.actor_of(Counter, "counter")
            await system.listen(node.name, 7000)
            task_status.started()
            await trio.sleep_forever()

    async def main(sim: Simulation) -> None:
        for name in ("a", "b", "c"):
            await sim.start(name, site)
        faults = Faults(sim, ["a", "b", "c"])
        await faults.rage(60)
        faults.mend()
        ...

    report = simulate(main, seed=7)
    assert report.digest == simulate(main, seed=7).digest

`TESTING.md` beside this file is the guide. The parts, from the ground up: `links.py` what a cable is like,
`path.py` how segments cross it, `tcp.py`, `listening.py` and `sockets.py` what programs see, `hosts.py` and
`network.py` the machines and what befalls them, `hooks.py` how trio comes to use them, `determinism.py` how
trio is made to repeat itself, `simulation.py` a cluster from a seed, `watchman.py` how a dead end is found,
`faults.py` bad luck, `probes.py` and `accounts.py` what tests look at, `pytest_plugin.py` the fixture.

What it does not play: a machine whose processor stands still (a stall is seen by others only), disks,
clocks that differ, UDP, IPv6, and bytes that change on the way.
"""

from trioactor.testing.accounts import Auditor, assert_accounted, audited
from trioactor.testing.errors import Deadlock, SimulationError
from trioactor.testing.faults import KINDS, Faults
from trioactor.testing.links import Link, drawn_link
from trioactor.testing.network import Network, Partition
from trioactor.testing.probes import Probe
from trioactor.testing.simulation import Node, Report, Simulation, run_inline, simulate
from trioactor.testing.trace import Trace

__all__ = [
    "KINDS",
    "Auditor",
    "Deadlock",
    "Faults",
    "Link",
    "Network",
    "Node",
    "Partition",
    "Probe",
    "Report",
    "Simulation",
    "SimulationError",
    "Trace",
    "assert_accounted",
    "audited",
    "drawn_link",
    "run_inline",
    "simulate",
]
