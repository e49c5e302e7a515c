"""The soak itself: both modes at once, killed for a while and then not, and besieged to the end."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from tests.benchmarks.processes import ROOT
from tests.soak.cast import BEGIN_SECONDS, FAR, Coordinated, Gossip, Mode, hostile, prepare
from tests.soak.relay import Relay
from tests.soak.verdict import Soaked, stuck_seconds

KILLING_SHARE = 0.5  # of the time; then nobody is killed, so that a leak has time to show
KILL_SECONDS = (4.0, 9.0)  # between two kills of a mode
HOSTILE_CONNECTIONS = 32  # one of each kind, at each mode
SLOW_BYTES_PER_SECOND, SLOW_SECONDS = 400_000.0, 0.02
SLOW_HOST = "127.0.0.2"
MOST_STUCK_SECONDS = 60.0  # once nobody is killed
MOST_SAMPLES = 300  # of each mode
# What a process takes to begin and to end, on a machine that is busy.
HOSTILE_START_SECONDS, HOSTILE_START_SHARE = 10.0, 0.05


class Soak:
    """One soak.

    Args:
        folder: An empty one, for both workspaces.
        seconds: How long.
        seed: Who is killed, and when.
        told: Is told what goes on, in a line.
    """

    def __init__(self, folder: Path, seconds: float, seed: int, told: Callable[[str], None]) -> None:
        tasks = folder / "tasks"
        tasks.mkdir(parents=True)
        self._seconds = seconds
        self._seed = seed
        self._told = told
        self.coordinated = Coordinated(folder / "coordinated", tasks)
        self.gossip = Gossip(folder / "gossip", tasks)
        self.soaked = Soaked(calm_from=seconds * KILLING_SHARE)

    async def run(self) -> Soaked:
        """Soak, and say how it went."""
        modes = (self.coordinated, self.gossip)
        for mode in modes:
            await trio.to_thread.run_sync(prepare, mode.folder)
        to_provider = _slow(self.coordinated.port)
        to_peer = _slow(self.gossip.ports[FAR])
        async with trio.open_nursery() as links:
            port = await links.start(to_provider.serve, "127.0.0.1", 0)
            await links.start(to_peer.serve, SLOW_HOST, self.gossip.ports[FAR])
            try:
                self.coordinated.begin(port)
                self.gossip.begin(SLOW_HOST)
                await self._wait_for_rounds()
                await self._disturb()
                for mode in modes:
                    self.soaked.losses += await trio.to_thread.run_sync(mode.end)
                self._told("the soak is over; now gossip has to agree, and the model is trained anew")
                self.soaked.losses += await trio.to_thread.run_sync(self.gossip.agree, SLOW_HOST)
            finally:
                for mode in modes:
                    mode.end()
            links.cancel_scope.cancel()
        for mode in modes:
            self.soaked.losses += await trio.to_thread.run_sync(mode.losses)
            self._say_progress(mode)
        for name, link in (("the far worker", to_provider), ("the far peer", to_peer)):
            carried = f"{link.carried_bytes / 1e6:.1f} MB in {link.connections} connections"
            self.soaked.said.append(
                f"The slow link of {name} carried {carried}, {SLOW_BYTES_PER_SECOND / 1e3:.0f} kB/s and"
                f" {1000 * SLOW_SECONDS:.0f} ms each way."
            )
        return self.soaked

    async def _wait_for_rounds(self) -> None:
        self._told(f"waiting for the first round of both modes in {self.coordinated.folder.parent}")
        with trio.move_on_after(BEGIN_SECONDS):
            while not (self.coordinated.rounds() and self.gossip.rounds()):
                if ended := [*self.coordinated.revive(), *self.gossip.revive()]:
                    raise RuntimeError("; ".join(ended))
                await trio.sleep(0.2)

    async def _disturb(self) -> None:
        """Kill, attack and look, for the time that is given."""
        began = trio.current_time()
        with trio.move_on_after(self._seconds):
            async with trio.open_nursery() as nursery:
                for mode in (self.coordinated, self.gossip):
                    nursery.start_soon(self._kill, mode)
                    nursery.start_soon(self._look, mode, began)
                for number, port in enumerate((self.coordinated.port, self.gossip.ports["A"])):
                    nursery.start_soon(self._attack, port, number)

    async def _kill(self, mode: Mode) -> None:
        chance = random.Random(f"{self._seed}/{mode.name}")
        with trio.move_on_after(self.soaked.calm_from):
            while True:
                await trio.sleep(chance.uniform(*KILL_SECONDS))
                victims = sorted(mode.victims())
                if victims:
                    with suppress(ProcessLookupError):
                        os.kill(chance.choice(victims), signal.SIGKILL)
                        mode.kills += 1

    async def _look(self, mode: Mode, began: float) -> None:
        every = max(1.0, self._seconds / MOST_SAMPLES)
        while True:
            self.soaked.losses += mode.revive()
            sample = await trio.to_thread.run_sync(mode.look, trio.current_time() - began)
            self.soaked.samples.append(sample)
            self._told(
                f"{sample.seconds:4.0f} s  {mode.name}: {sample.rounds} rounds, {sample.memory_mib:.0f} MiB"
                f" in {sample.processes} processes, {sample.handles} handles, {sample.tasks} tasks"
            )
            await trio.sleep(every)

    async def _attack(self, port: int, number: int) -> None:
        spared = max(HOSTILE_START_SECONDS, HOSTILE_START_SHARE * self._seconds)
        seconds = self._seconds - spared  # so that it can still say what it has done
        command = hostile(port, HOSTILE_CONNECTIONS, seconds, self._seed + number)
        done = await trio.run_process(command, cwd=ROOT, capture_stdout=True)
        fates = json.loads(done.stdout)["fates"].values()
        connections, ended = (sum(fate[key] for fate in fates) for key in ("connections", "hung_up_on"))
        whom = ("the Provider", "peer A")[number]
        self.soaked.said.append(
            f"Hostile peers of {len(fates)} kinds made {connections:,} connections to {whom}, who hung up on"
            f" {ended:,} of them."
        )

    def _say_progress(self, mode: Mode) -> None:
        samples = self.soaked.of(mode.name)
        stuck = stuck_seconds(samples)
        calm = stuck_seconds([one for one in samples if one.seconds >= self.soaked.calm_from])
        self.soaked.said.append(
            f"{mode.name.capitalize()}: {samples[-1].rounds:,} rounds, {mode.kills} kills, at most"
            f" {stuck:.0f} s without a new round, and {calm:.0f} s when nobody was killed."
        )
        if calm > MOST_STUCK_SECONDS:
            self.soaked.losses.append(f"{mode.name}: no new round for {calm:.0f} s, and nobody was killed")


def _slow(target: int) -> Relay:
    return Relay(target, bytes_per_second=SLOW_BYTES_PER_SECOND, delay_seconds=SLOW_SECONDS)
