"""`Faults`: a season of misfortune, drawn from the seed of a simulation.

faults = Faults(sim, ["a", "b", "c"])
await faults.rage(60)                  # a minute of virtual time
faults.mend(["a", "b"])                # these two shall be well; the third stays as it is
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import trio

from trioactor.testing.links import Link
from trioactor.testing.simulation import Simulation

KINDS = (
    "reset",
    "black hole",
    "half open",
    "partition",
    "one-way partition",
    "cut link",
    "stall",
    "slow link",
    "crash",
    "power cut",
)

SLOW = Link(latency_seconds=0.8, jitter_seconds=1.5, bytes_per_second=20_000)


class Faults:
    """Strikes a cluster with faults, each after a pause and each for a while.

    Each that met something is written into the trace as "fault: KIND", so that a report of many seeds
    shows whether every kind has occurred: see `Report.counts`.

    Args:
        sim: The simulation.
        hosts: Which hosts may be struck. Their programs are restarted after a crash.
        kinds: Some of `KINDS`, or all.
        pause_seconds: The least and the longest time between two faults.
        lasting_seconds: The least and the longest time until a fault is repaired.
        rng: Where chance comes from; by default the simulation's.
    """

    def __init__(
        self,
        sim: Simulation,
        hosts: Sequence[str],
        *,
        kinds: Collection[str] = KINDS,
        pause_seconds: tuple[float, float] = (0.1, 2.0),
        lasting_seconds: tuple[float, float] = (0.3, 8.0),
        rng: random.Random | None = None,
    ) -> None:
        if len(hosts) < 2:
            raise ValueError("faults need two hosts at least: most of them befall the way between two")
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"no faults are called {unknown}; there are {', '.join(KINDS)}")
        self.kinds = [kind for kind in KINDS if kind in kinds]
        self._sim = sim
        self._hosts = list(hosts)
        self._pause_seconds = pause_seconds
        self._lasting_seconds = lasting_seconds
        self._rng = rng or sim.rng

    async def rage(self, seconds: float) -> None:
        """Strike again and again for so long. What is broken then stays broken; see `mend`."""
        if not self.kinds:
            await trio.sleep(seconds)
            return
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.sleep(self._rng.uniform(*self._pause_seconds))
                    nursery.start_soon(self._strike, self._rng.choice(self.kinds))

    def mend(self, core: Collection[str] | None = None) -> None:
        """Heal the links among some hosts and restart those that are down; by default all.

        Connections that the network has forgotten stay so: to find that out is their programs' task.
        """
        core = self._hosts if core is None else core
        self._sim.heal(core)
        for one in core:
            for other in core:
                self._sim.network.calm(one, other)
        for name in core:
            if not self._sim.is_running(name):
                self._sim.restart_soon(name)

    async def _strike(self, kind: str) -> None:
        match kind:
            case "reset" | "black hole" | "half open":
                self._strike_connection(kind)
            case "partition" | "one-way partition" | "cut link":
                await self._cut(kind)
            case "stall":
                await self._stall()
            case "slow link":
                await self._slow_down()
            case _:
                await self._crash(silently=kind == "power cut")

    def _struck(self, kind: str, detail: str) -> None:
        self._sim.note(f"fault: {kind}", detail)

    async def _while_it_lasts(self) -> None:
        await trio.sleep(self._rng.uniform(*self._lasting_seconds))

    def _strike_connection(self, kind: str) -> None:
        network = self._sim.network
        pairs = [
            (one, other)
            for one in self._hosts
            for other in self._hosts
            if one != other and network.connections(one, other)
        ]
        if not pairs:
            return
        one, other = self._rng.choice(pairs)
        self._struck(kind, f"{one} {other}")
        strike = {"reset": network.reset, "black hole": network.black_hole, "half open": network.half_open}
        strike[kind](one, other)

    async def _cut(self, kind: str) -> None:
        hosts = self._rng.sample(self._hosts, len(self._hosts))
        if kind == "cut link":
            groups = hosts[:1], hosts[1:2]
        else:
            border = self._rng.randrange(1, len(hosts))
            groups = hosts[:border], hosts[border:]
        self._struck(kind, " ".join(map(",".join, groups)))
        partition = self._sim.partition(*groups, one_way=kind == "one-way partition")
        await self._while_it_lasts()
        partition.heal()

    async def _stall(self) -> None:
        name = self._rng.choice(self._hosts)
        self._struck("stall", name)
        self._sim.stall(name)
        await self._while_it_lasts()
        self._sim.resume(name)

    async def _slow_down(self) -> None:
        one, other = self._rng.sample(self._hosts, 2)
        self._struck("slow link", f"{one} {other}")
        self._sim.network.disturb(one, other, SLOW)
        await self._while_it_lasts()
        self._sim.network.calm(one, other)

    async def _crash(self, *, silently: bool) -> None:
        up = [name for name in self._hosts if self._sim.is_running(name)]
        if not up:
            return
        name = self._rng.choice(up)
        self._struck("power cut" if silently else "crash", name)
        self._sim.crash(name, silently=silently)
        await self._while_it_lasts()
        if not self._sim.is_running(name):
            self._sim.restart_soon(name)
