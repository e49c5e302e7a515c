"""A cluster of five actor systems in a season of faults, and the laws that it must obey whatever happens.

    report = run_seed(7)
    assert not report.violations

First the safety phase: the hosts send to each other while faults befall them. Then the liveness phase:
a core of the hosts is healed, all others stay as they are, and the core must work again within the time
that the limits of its systems promise. In the end everything stops and the books are read.
"""

from __future__ import annotations

import atexit
import logging
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TextIO

import trio

from tests.simulation.cluster_history import History
from tests.simulation.cluster_node import DESK, PORT, Member, Plan, run_node
from tests.simulation.cluster_words import SLOW_SECONDS, Question
from tests.trioactor.certificates import Files
from tests.trioactor.testing.ed25519 import make_certificate
from trioactor import MailboxSettings
from trioactor.limits import KIB, MIB, Limits
from trioactor.mailbox import WhenFull
from trioactor.testing import (
    KINDS,
    Auditor,
    Faults,
    Link,
    Network,
    Simulation,
    Trace,
    assert_accounted,
    drawn_link,
    simulate,
)

HOSTS = ("a", "b", "c", "d", "e")

# One seed in so many has its accounts read after every step of every task, the others after every fault.
AUDITED_SEEDS = 10

# One seed in so many speaks TLS, which takes longer.
TLS_SEEDS = 10

# A link as it is when all is well again.
CALM = Link(latency_seconds=0.001, jitter_seconds=0.001)

# Beside the times that the limits promise: for what is on its way, and for handlers.
SLACK_SECONDS = 5.0
ROLL_CALL_SECONDS = 5.0


@dataclass(frozen=True)
class SeedReport:
    """What became of one seed.

    Attributes:
        seed: The seed.
        violations: The laws that were broken, in words; empty when all is well.
        counts: Faults, messages, outcomes, and events of the network.
        digest: Of the trace.
        events: How many events it has.
        seconds: Virtual time.
    """

    seed: int
    violations: tuple[str, ...]
    counts: Counter[str]
    digest: str
    events: int
    seconds: float

    def with_violation(self, text: str) -> SeedReport:
        """Return it with one more law broken."""
        return replace(self, violations=(*self.violations, text))


def run_seed(seed: int, copy_trace_to: TextIO | None = None) -> SeedReport:
    """Run the cluster once."""
    trace = _Trace(copy_to=copy_trace_to)
    tls = seed % TLS_SEEDS == TLS_SEEDS - 1
    cluster: Cluster | None = None

    async def main(sim: Simulation) -> None:
        nonlocal cluster
        cluster = trace.cluster = Cluster(sim, _certificate() if tls else None)
        await cluster.run()

    seconds = 0.0
    with _errors_in_logs() as errors:
        try:
            seconds = simulate(
                main, seed=seed, trace=trace, network=partial(Network, shows_contents=not tls)
            ).seconds
        except Exception as error:  # a broken law like any other: the report says which seed
            errors += _in_words(error)
    counts = Counter(trace.counts)
    if cluster is not None:
        errors += cluster.violations
        counts += cluster.history.counts
    return SeedReport(seed, tuple(errors), counts, trace.digest, trace.events, seconds)


class Cluster:
    """Five hosts, what the seed has drawn for them, and what they have done."""

    def __init__(self, sim: Simulation, tls: Files | None = None) -> None:
        rng = sim.rng
        self.sim = sim
        self.history = History()
        self.raging = True
        self.stop = trio.Event()
        self.violations: list[str] = []
        self.members: list[Member] = []
        self.plans = {name: _drawn_plan(rng) for name in HOSTS}
        for name in rng.sample(HOSTS, rng.choice((0, 0, 1, 2))):
            self.plans[name].listens = False  # as behind a router that lets nobody in
        for plan in self.plans.values():
            plan.tls = tls
        self.history.counts["over TLS"] += tls is not None
        self._by_name = rng.random() < 0.5
        self._settle_seconds = SLACK_SECONDS + SLOW_SECONDS + max(map(_recovery_seconds, self.plans.values()))
        self._auditor = Auditor()

    def address_of(self, name: str) -> tuple[str, int]:
        """See `cluster_node.Cluster`."""
        return (name if self._by_name else self.sim.network.host(name).ip), PORT

    def enroll(self, member: Member) -> None:
        """See `cluster_node.Cluster`."""
        self.members.append(member)
        self._auditor.systems.append(member.system)

    def running(self, names: tuple[str, ...] = HOSTS) -> list[Member]:
        """The members whose program runs now."""
        return [m for m in self.members if m.node.name in names and not m.node.over]

    async def run(self) -> None:
        """Both phases, and the end."""
        rng = self.sim.rng
        for one in HOSTS:
            for other in HOSTS:
                if one != other:
                    self.sim.network.set_link(one, other, drawn_link(rng), one_way=True)
        for name in HOSTS:
            await self.sim.start(name, run_node, self)
        if rng.randrange(AUDITED_SEEDS) == 0:
            trio.lowlevel.add_instrument(self._auditor)
            self.history.counts["audited"] += 1
        kinds = [kind for kind in KINDS if rng.random() < 0.5] or [rng.choice(KINDS)]
        faults = Faults(self.sim, HOSTS, kinds=kinds, lasting_seconds=(0.3, rng.choice((3.0, 20.0))))
        await faults.rage(rng.choice((5.0, 15.0, 25.0)))
        await self._recover(faults)
        await self._end()

    async def _recover(self, faults: Faults) -> None:
        rng = self.sim.rng
        self.raging = False
        core = tuple(sorted(rng.sample(HOSTS, rng.choice((2, 3, 4, 5)))))
        self.sim.note("core", ",".join(core))
        for one in core:
            for other in core:
                if one < other:
                    self.sim.network.set_link(one, other, CALM)
        faults.mend(core)
        await trio.sleep(self._settle_seconds)
        self._check_accounts()
        for member in self.running():
            for stream in member.streams:
                if not stream.resting:
                    self._find(
                        f"the task {stream.name} still waits, {self._settle_seconds:.0f} s after healing"
                    )
            if member.guard.missed:
                self._find(f"{member.node} does not know that {member.guard.watched} has ended")
        await self._call_the_roll(core)

    async def _call_the_roll(self, core: tuple[str, ...]) -> None:
        """Every member of the core asks every other, and gets an answer."""
        async with trio.open_nursery() as nursery:
            for member in self.running(core):
                for index, name in enumerate(core):
                    if self.plans[name].listens:
                        nursery.start_soon(self._call, member, name, index)

    async def _call(self, member: Member, name: str, index: int) -> None:
        stream = f"{member.node.name}/{member.node.life}/roll-{index}"
        key = stream, 1
        self.history.send(key, name, trio.current_time())
        try:
            with trio.fail_after(ROLL_CALL_SECONDS):
                ref = member.system.ref(*self.address_of(name), DESK)
                self.history.settle(key, "answered", await ref.ask(Question(*key, "answer", b"")))
        except Exception as error:  # whatever it is, the core does not work
            self._find(f"{member.node.name} cannot ask {name} after healing: {error!r}")

    async def _end(self) -> None:
        """Stop everything, and read the books."""
        running = self.running()
        self.stop.set()
        with trio.move_on_after(SLACK_SECONDS + SLOW_SECONDS):
            for member in running:
                await member.node.ended.wait()
        for member in running:
            if not member.node.ended.is_set():
                self._find(f"{member.node} does not stop")
        self._check_accounts(ended=True)
        if self._auditor.finding is not None:
            self._find(self._auditor.finding)
        self.violations += self.history.violations()

    def _check_accounts(self, *, ended: bool = False) -> None:
        for member in self.members:
            try:
                assert_accounted(member.system, ended=ended and member.node.ended.is_set())
            except AssertionError as error:
                self._find(str(error))

    def _find(self, text: str) -> None:
        self.violations.append(text)


class _Trace(Trace):
    """Tells the history when a connection has been made."""

    cluster: Cluster | None = None

    def record(self, now: float, kind: str, detail: str = "") -> None:
        super().record(now, kind, detail)
        if kind == "connected" and self.cluster is not None:
            _, one, _, other, *_ = re.split("[ :>]", detail)
            network = self.cluster.sim.network
            ends = frozenset(host.name for ip in (one, other) if (host := network.host_at(ip)) is not None)
            self.cluster.history.connected_at[ends] = now


@cache
def _certificate() -> Files:
    """One for all hosts, by name and by address; made once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="simulate-"))
    atexit.register(shutil.rmtree, folder)
    return make_certificate(folder, HOSTS, [f"10.0.0.{number}" for number in range(1, 10)])


def _drawn_plan(rng: random.Random) -> Plan:
    capacity = rng.choice((1, 4, 64, 1024))
    when_full: WhenFull = rng.choice(("wait", "wait", "wait", "reject", "drop_oldest", "drop_newest"))
    return Plan(
        limits=Limits() if rng.random() < 0.4 else _drawn_limits(rng),
        mailbox=MailboxSettings(capacity, when_full),
        listens=True,
        streams=rng.choice((1, 2, 3)),
        longest_bytes=rng.choice((200, 5_000, 100_000)),
    )


def _drawn_limits(rng: random.Random) -> Limits:
    heartbeat_seconds = rng.uniform(0.5, 5)
    return Limits(
        frame_bytes=rng.choice((1, 4, 256)) * KIB,
        inline_array_bytes=rng.choice((1, 4 * KIB)),
        window_messages=rng.choice((1, 2, 16, 256)),
        window_bytes=rng.choice((1, 10 * KIB, 4 * MIB)),
        queued_messages=rng.choice((1, 16, 1024)),
        queued_bytes=rng.choice((1, 10 * KIB, 4 * MIB)),
        handshake_seconds=rng.uniform(1, 5),
        heartbeat_seconds=heartbeat_seconds,
        silence_seconds=heartbeat_seconds * rng.uniform(2, 3.5),
        stall_seconds=rng.uniform(2, 8),
        redial_first_seconds=rng.uniform(0.05, 0.5),
        redial_most_seconds=rng.uniform(0.5, 5),
    )


def _recovery_seconds(plan: Plan) -> float:
    """How long a system may take to find out that a connection is dead, and to have another one."""
    limits = plan.limits
    return (
        limits.silence_seconds
        + limits.stall_seconds * 2
        + limits.handshake_seconds
        + limits.redial_most_seconds
    )


def _in_words(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [line for inner in error.exceptions for line in _in_words(inner)]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    return [f"{error!r} at {where}"]


class _Errors(logging.Handler):
    """Keeps the texts of errors. What the runtime logs as an error, it did not expect."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@contextmanager
def _errors_in_logs() -> Iterator[list[str]]:
    log = logging.getLogger("trioactor")
    handler = _Errors()
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield handler.texts
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
