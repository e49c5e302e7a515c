"""A siege: the victim and the attackers in processes of their own, the honest peers here."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.siege.attackers import Fate
from tests.siege.kinds import KINDS
from tests.siege.words import WORDS, Count
from tests.trioactor.certificates import Files
from trioactor import ActorRef, ActorSystem, DeliveryError, NotDelivered

ROOT = Path(__file__).resolve().parent.parent.parent

QUIET_SECONDS = 3.0
ASK_EVERY_SECONDS = 0.02
NEW_PEER_EVERY_SECONDS = 1.0
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a system must keep to.

    Attributes:
        grown_mib: So much more memory, at most.
        times_idle: So many times as long as before may an honest question take, in the median.
        shed_seconds: So long may a slow peer be borne.
        late_seconds: In 99 of 100 cases the hostile ones are at most so late themselves. If they are later,
            the machine has too little time for them, and nothing is shown.
    """

    grown_mib: float = 64.0
    times_idle: float = 5.0
    shed_seconds: float = 10.0
    late_seconds: float = 1.0


@dataclass
class Served:
    """What honest peers saw, in seconds per answer.

    Attributes:
        idle: Before the siege, over a connection that stands.
        besieged: The same during it.
        newcomers_idle: Before it, of peers that connect, ask once and go.
        newcomers: The same during it.
        turned_away: How often a newcomer had to come again.
        failures: Questions without an answer.
    """

    idle: list[float] = field(default_factory=list)
    besieged: list[float] = field(default_factory=list)
    newcomers_idle: list[float] = field(default_factory=list)
    newcomers: list[float] = field(default_factory=list)
    turned_away: int = 0
    failures: list[str] = field(default_factory=list)


class Siege:
    """One siege.

    Args:
        connections: Hostile ones at a time.
        seconds: How long.
        seed: Of chance.
        files: The certificate of all, for mutual TLS; None for plaintext.
        addresses: How many the hostile ones come from.
        limits: Of the victim: "small" or "default", see `victim.py`.

    Attributes:
        served: What honest peers saw.
        fates: What became of the hostile ones, by kind.
        late: How late the tasks of the hostile ones were themselves, in seconds.
        before: What the victim said of itself at last before the siege.
        during: What it said during it.
    """

    def __init__(
        self,
        connections: int,
        seconds: float,
        seed: int,
        files: Files | None,
        *,
        addresses: int = 20,
        limits: str = "small",
    ) -> None:
        self.served = Served()
        self.fates: dict[str, Fate] = {}
        self.late: list[float] = []
        self._addresses = addresses
        self._limits = limits
        self.before: dict[str, Any] = {}
        self.during: list[dict[str, Any]] = []
        self._connections = connections
        self._seconds = seconds
        self._seed = seed
        self._files = files
        self._besieged = False

    async def run(self) -> None:
        """Besiege."""
        async with trio.open_nursery() as nursery:
            start = partial(
                trio.run_process,
                [sys.executable, "-m", "tests.siege.victim", self._limits, *self._paths()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            victim: trio.Process = await nursery.start(start)
            assert victim.stdin is not None
            assert victim.stdout is not None
            said = _lines(victim.stdout)
            port = (await anext(said))["port"]
            nursery.start_soon(self._listen, said)
            await self._be_there(port)
            await victim.stdin.aclose()

    async def _be_there(self, port: int) -> None:
        async with self._honest() as system:
            clerk = system.ref("127.0.0.1", port, "clerk")
            await self._ask(clerk)  # the connection is made
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_newcomers, port, self.served.newcomers_idle)
                await self._ask_for(QUIET_SECONDS, clerk, self.served.idle)
                nursery.cancel_scope.cancel()
            self._besieged = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_newcomers, port, self.served.newcomers)
                nursery.start_soon(self._ask_for, float("inf"), clerk, self.served.besieged)
                await self._attack(port)
                nursery.cancel_scope.cancel()

    async def _attack(self, port: int) -> None:
        command = [sys.executable, "-m", "tests.siege.attackers", str(port), str(self._connections)]
        command += [str(self._seconds), str(self._seed), str(self._addresses), *self._paths()]
        done = await trio.run_process(command, capture_stdout=True, cwd=ROOT)
        found = json.loads(done.stdout)
        self.fates = {name: Fate(**fate) for name, fate in found["fates"].items()}
        self.late = found["late"]

    def _paths(self) -> list[str]:
        files = self._files
        return [] if files is None else [files.certfile, files.keyfile, files.ca_cert]

    # --- honest peers -----------------------------------------------------------------------------------

    def _honest(self) -> ActorSystem:
        return _Honest("honest", self._files)

    async def _ask_for(self, seconds: float, clerk: ActorRef, times: list[float]) -> None:
        with trio.move_on_after(seconds):
            while True:
                took = await self._ask(clerk)
                if took is not None:
                    times.append(took)
                await trio.sleep(ASK_EVERY_SECONDS)

    async def _send_newcomers(self, port: int, times: list[float]) -> None:
        while True:
            await trio.sleep(NEW_PEER_EVERY_SECONDS)
            async with self._honest() as system:
                took = await self._ask_until_answered(system.ref("127.0.0.1", port, "clerk"))
            if took is not None:
                times.append(took)

    async def _ask_until_answered(self, clerk: ActorRef) -> float | None:
        """Ask again as long as the question is not delivered: that is safe, and what programs do."""
        began = trio.current_time()
        while trio.current_time() - began < PATIENCE_SECONDS:
            with suppress(NotDelivered), trio.move_on_after(PATIENCE_SECONDS):
                await clerk.ask(Count())
                return trio.current_time() - began
            self.served.turned_away += 1
        self.served.failures.append(f"a newcomer was not served within {PATIENCE_SECONDS:g} s")
        return None

    async def _ask(self, clerk: ActorRef) -> float | None:
        began = trio.current_time()
        try:
            with trio.fail_after(PATIENCE_SECONDS):
                await clerk.ask(Count())
        except (DeliveryError, trio.TooSlowError) as error:
            self.served.failures.append(f"{type(error).__name__}: {error}")
            return None
        return trio.current_time() - began

    # --- the victim ---------------------------------------------------------------------------------------

    async def _listen(self, said: AsyncIterator[dict[str, Any]]) -> None:
        async for line in said:
            if self._besieged:
                self.during.append(line)
            else:
                self.before = line

    @property
    def grown_mib(self) -> float:
        """How much more memory the victim had at the most, than before."""
        most = max(line["resident_kib"] for line in self.during)
        return float(most - self.before["resident_kib"]) / 1024

    @property
    def longest_borne(self) -> tuple[float, str]:
        """How long a slow peer was borne, and of which kind."""
        slow = [(fate.longest_seconds, name) for name, fate in self.fates.items() if KINDS[name].slow]
        return max(slow)

    def lines(self) -> Iterator[str]:
        """Yield a report for people."""
        served = self.served
        yield f"{'kind':30}{'connections':>12}{'hung up on':>12}{'longest':>10}"
        for name, fate in self.fates.items():
            yield f"{name:30}{fate.connections:>12,}{fate.hung_up_on:>12,}{fate.longest_seconds:>8.1f} s"
        last = self.during[-1]
        yield (
            f"{sum(fate.connections for fate in self.fates.values()):,} hostile connections,"
            f" {max(line['connections'] for line in self.during):,} past the handshake at a time;"
            f" {last['turned_away']:,} turned away, {last['cut_off']:,} cut off"
        )
        yield (
            f"memory {self.before['resident_kib'] / 1024:.0f} MiB before, {self.grown_mib:+.1f} MiB at most;"
            f" {(last['cpu_seconds'] - self.before['cpu_seconds']) / self._seconds:.0%} of a processor"
        )
        yield f"honest questions, idle:      {_spread(served.idle)}"
        yield f"honest questions, besieged:  {_spread(served.besieged)}"
        yield f"honest newcomers, idle:      {_spread(served.newcomers_idle)}"
        again = f", came again {served.turned_away:,} times" if served.turned_away else ""
        yield f"honest newcomers, besieged:  {_spread(served.newcomers)}{again}"
        yield f"hostile ones, late by:       {_spread(self.late)}"


class _Honest(ActorSystem):
    """A system that knows the words, with TLS when that is spoken."""

    def __init__(self, name: str, files: Files | None) -> None:
        super().__init__(name, vocabulary=WORDS)
        self._files = files

    async def __aenter__(self) -> _Honest:
        await super().__aenter__()
        if self._files is not None:
            self.enable_ssl(self._files.certfile, self._files.keyfile, self._files.ca_cert)
        return self


def judged(siege: Siege, bounds: Bounds) -> list[str]:
    """Return what was not as it must be."""
    served, found = siege.served, []
    if siege.grown_mib > bounds.grown_mib:
        found.append(f"{siege.grown_mib:.1f} MiB more memory; {bounds.grown_mib:g} are allowed")
    if served.failures:
        found.append(f"{len(served.failures):,} honest questions failed, the first: {served.failures[0]}")
    if not served.besieged or not served.newcomers:
        found.append("no honest question was answered")
        return found
    times = statistics.median(served.besieged) / statistics.median(served.idle)
    if times > bounds.times_idle:
        found.append(f"honest answers take {times:.1f} times as long; {bounds.times_idle:g} are allowed")
    longest, kind = siege.longest_borne
    if longest > bounds.shed_seconds:
        found.append(
            f"a slow peer ({kind}) was borne for {longest:.1f} s; {bounds.shed_seconds:g} are allowed"
        )
    late = _at(0.99, siege.late)
    if late > bounds.late_seconds:
        found.append(
            f"the hostile peers were late by {late:.1f} s themselves; this machine is too busy for a siege"
        )
    for name, fate in siege.fates.items():
        if fate.borne:
            found.append(f"{fate.borne:,} peers ({name}) were not shed at all")
        if not fate.connections:
            found.append(f"not one hostile peer was there for: {name}; the siege does not test it")
    return found


def _spread(times: Sequence[float]) -> str:
    if not times:
        return "none"
    median, late, most = (_at(part, times) * 1000 for part in (0.5, 0.99, 0.9999))
    return f"{len(times):>6,}, median {median:.2f} ms, p99 {late:.2f} ms, longest {most:.0f} ms"


def _at(part: float, times: Sequence[float]) -> float:
    """The value that so large a part of all does not pass."""
    return sorted(times)[int(len(times) * part)]


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[dict[str, Any]]:
    rest = b""
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)
