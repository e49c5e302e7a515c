"""The runtime inside one process, beside its physical limits and its peers.

Limits: a bounded deque with an Event (what a mailbox costs at least), trio's memory channel, a bare task.
Peers: pykka (threads), Thespian's simpleSystemBase (no concurrency at all). Each does the same work: one
sender, one receiver, a message with an integer, whose sum is checked.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from tests.benchmarks.measure import Case, Row, compare
from trioactor import Actor, ActorSystem, Envelope, Request, message
from trioactor.middleware import CallNext

CAPACITY = 1024


@message("bench.add")
class Add:
    n: int


@message("bench.total")
class Total(Request[int]):
    pass


class Counter(Actor):
    """Adds up what it is told."""

    async def pre_start(self) -> None:
        self.total = 0

    async def receive(self, message: Add | Total) -> int | None:
        match message:
            case Add(n=n):
                self.total += n
            case Total():
                return self.total
        return None


# --- ours -------------------------------------------------------------------------------------


def our_tell(count: int) -> float:
    async def main() -> float:
        async with ActorSystem() as system:
            ref = await system.actor_of(Counter, "counter")
            said = Add(1)
            start = time.perf_counter()
            for _ in range(count):
                await ref.tell(said)
            assert await ref.ask(Total()) == count
            seconds = time.perf_counter() - start
        return count / seconds

    return trio.run(main)


def our_ask(count: int) -> float:
    async def main() -> float:
        async with ActorSystem() as system:
            ref = await system.actor_of(Counter, "counter")
            question = Total()
            start = time.perf_counter()
            for _ in range(count):
                await ref.ask(question)
            seconds = time.perf_counter() - start
        return count / seconds

    return trio.run(main)


# --- limits -----------------------------------------------------------------------------------


class BareMailbox:
    """The least that a bounded mailbox with a fair receiver can be: no accounts, lanes or failures."""

    def __init__(self) -> None:
        self.queue: deque[Any] = deque()
        self.news: trio.Event | None = None
        self.room: trio.Event | None = None

    async def tell(self, said: Any) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self.queue) >= CAPACITY:
            self.room = trio.Event()
            await self.room.wait()
        self.queue.append(said)
        if self.news is not None:
            self.news.set()
            self.news = None

    async def serve(self, handle: Callable[[Any], Awaitable[Any]]) -> None:
        while True:
            for _ in range(64):
                if not self.queue:
                    break
                said = self.queue.popleft()
                if self.room is not None:
                    self.room.set()
                    self.room = None
                await handle(said)
            else:
                await trio.lowlevel.checkpoint()
                continue
            self.news = trio.Event()
            await self.news.wait()


@dataclass(slots=True)
class BareQuestion:
    """An ask of the bare mailbox: an Event to wait for, a place for the answer."""

    answered: trio.Event
    answer: Any = None


def bare_tell(count: int) -> float:
    async def main() -> float:
        counter = Counter()
        await counter.pre_start()
        box, done = BareMailbox(), trio.Event()

        async def handle(said: Any) -> None:
            if await counter.receive(said) is not None:
                done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.serve, handle)
            said = Add(1)
            start = time.perf_counter()
            for _ in range(count):
                await box.tell(said)
            await box.tell(Total())
            await done.wait()
            seconds = time.perf_counter() - start
            assert counter.total == count
            nursery.cancel_scope.cancel()
        return count / seconds

    return trio.run(main)


def bare_ask(count: int) -> float:
    async def main() -> float:
        counter = Counter()
        await counter.pre_start()
        box = BareMailbox()

        async def handle(question: BareQuestion) -> None:
            question.answer = await counter.receive(Total())
            question.answered.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.serve, handle)
            start = time.perf_counter()
            for _ in range(count):
                question = BareQuestion(trio.Event())
                await box.tell(question)
                await question.answered.wait()
            seconds = time.perf_counter() - start
            nursery.cancel_scope.cancel()
        return count / seconds

    return trio.run(main)


def channel_tell(count: int) -> float:
    async def main() -> float:
        send, receive = trio.open_memory_channel[Add](100)
        total = 0

        async def serve() -> None:
            nonlocal total
            async for said in receive:
                total += said.n

        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            said = Add(1)
            async with send:
                for _ in range(count):
                    await send.send(said)
        assert total == count
        return count / (time.perf_counter() - start)

    return trio.run(main)


# --- peers ------------------------------------------------------------------------------------


def pykka_tell(count: int) -> float:
    import pykka

    ref = _pykka_counter().start()
    said = Add(1)
    start = time.perf_counter()
    for _ in range(count):
        ref.tell(said)
    assert ref.ask(Total()) == count
    seconds = time.perf_counter() - start
    pykka.ActorRegistry.stop_all()
    return count / seconds


def pykka_ask(count: int) -> float:
    import pykka

    ref = _pykka_counter().start()
    question = Total()
    start = time.perf_counter()
    for _ in range(count):
        ref.ask(question)
    seconds = time.perf_counter() - start
    pykka.ActorRegistry.stop_all()
    return count / seconds


def _pykka_counter() -> Any:
    import pykka

    class PykkaCounter(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            self.total = 0

        def on_receive(self, message: Any) -> Any:
            match message:
                case Add(n=n):
                    self.total += n
                case Total():
                    return self.total
            return None

    return PykkaCounter


def thespian(count: int, *, ask: bool) -> float:
    from thespian.actors import ActorSystem as Thespian

    from tests.benchmarks.thespian_counter import ThespianCounter

    system = Thespian("simpleSystemBase")
    try:
        address = system.createActor(ThespianCounter)
        start = time.perf_counter()
        for _ in range(count):
            if ask:
                system.ask(address, "total")
            else:
                system.tell(address, 1)
        answer = system.ask(address, "total")
        assert answer == (0 if ask else count)
        return count / (time.perf_counter() - start)
    finally:
        system.shutdown()


# --- many actors --------------------------------------------------------------------------------

SPAWN = """
import sys, trio
from tests.benchmarks.runtime import spawn_bare, spawn_ours
print(*trio.run(spawn_ours if sys.argv[1] == "ours" else spawn_bare, int(sys.argv[2])))
"""


async def spawn_ours(count: int) -> tuple[float, float]:
    """Microseconds and KiB per actor, started one by one and all idle in the end."""
    gc.collect()
    memory, start = _memory_bytes(), time.perf_counter()
    async with ActorSystem() as system:
        for _ in range(count):
            await system.actor_of(Counter)
        await wait_all_tasks_blocked()
        seconds, used = time.perf_counter() - start, _memory_bytes() - memory
    return seconds / count * 1e6, used / count / 1024


async def spawn_bare(count: int) -> tuple[float, float]:
    """The same for tasks that have nothing but a deque."""

    async def task(end: trio.Event) -> None:
        queue: deque[Any] = deque()
        await end.wait()
        assert not queue

    gc.collect()
    end = trio.Event()
    memory, start = _memory_bytes(), time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(task, end)
        await wait_all_tasks_blocked()
        seconds, used = time.perf_counter() - start, _memory_bytes() - memory
        end.set()
    return seconds / count * 1e6, used / count / 1024


def spawned(which: str, count: int, position: int) -> float:
    """Return one of `spawn_figures`."""
    return spawn_figures(which, count)[position]


def spawn_figures(which: str, count: int) -> tuple[float, float]:
    """Run `spawn_ours` or `spawn_bare` in a fresh process, where memory starts from nothing."""
    command = [sys.executable, "-c", SPAWN, which, str(count)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    microseconds, kibibytes = map(float, output.split())
    return microseconds, kibibytes


def crowd(count: int) -> dict[str, float]:
    """So many actors at once: started, told something each, stopped. Seconds for each."""

    async def main() -> dict[str, float]:
        figures = {}
        start = time.perf_counter()
        async with ActorSystem() as system:
            refs = [await system.actor_of(Counter) for _ in range(count)]
            figures["started"] = time.perf_counter() - start
            start = time.perf_counter()
            for ref in refs:
                await ref.tell(Add(1))
            await system.drain()
            figures["told"] = time.perf_counter() - start
            assert system.ledger().handled == count
            figures["memory, MiB"] = _memory_bytes() / 2**20
            start = time.perf_counter()
        figures["stopped"] = time.perf_counter() - start
        assert system.ledger().balanced
        return figures

    return trio.run(main)


def _memory_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


# --- what middleware costs ------------------------------------------------------------------------


def our_tell_through_middleware(count: int) -> float:
    async def pass_on(envelope: Envelope, call_next: CallNext) -> Any:
        return await call_next(envelope)

    async def main() -> float:
        async with ActorSystem(send=[pass_on], receive=[pass_on]) as system:
            ref = await system.actor_of(Counter, "counter")
            said = Add(1)
            start = time.perf_counter()
            for _ in range(count):
                await ref.tell(said)
            assert await ref.ask(Total()) == count
            seconds = time.perf_counter() - start
        return count / seconds

    return trio.run(main)


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Measure everything, and say how it compares."""
    rounds = 1 if quick else 9
    tells, asks, actors = (50_000, 5_000, 2_000) if quick else (200_000, 20_000, 10_000)
    peers_tell: dict[str, Case] = {}
    peers_ask: dict[str, Case] = {}
    if find_spec("pykka"):
        peers_tell["pykka"] = partial(pykka_tell, tells)
        peers_ask["pykka"] = partial(pykka_ask, asks)
    if find_spec("thespian"):
        peers_tell["Thespian, one thread"] = partial(thespian, tells // 10, ask=False)
        peers_ask["Thespian, one thread"] = partial(thespian, asks, ask=True)
    measure = partial(compare, rounds=rounds, progress=progress)
    return [
        *measure(
            "tell, one pair",
            {
                "ours": partial(our_tell, tells),
                "bare bounded deque": partial(bare_tell, tells),
                "trio channel of 100": partial(channel_tell, tells // 4),
                **peers_tell,
            },
            {"pykka": 3, "trio channel of 100": 6, "bare bounded deque": 0.6},
            unit="messages/s",
        ),
        *measure(
            "tell through a middleware at each end",
            {
                "ours": partial(our_tell_through_middleware, tells // 4),
                "ours without": partial(our_tell, tells),
            },
            {},
            unit="messages/s",
        ),
        *measure(
            "ask, one pair",
            {"ours": partial(our_ask, asks), "bare deque and Event": partial(bare_ask, asks), **peers_ask},
            {"pykka": 4, "bare deque and Event": 0.6},
            unit="asks/s",
        ),
        *measure(
            f"spawn, {actors:,} actors",
            {"ours": partial(spawned, "ours", actors, 0), "bare task": partial(spawned, "bare", actors, 0)},
            {"bare task": 1 / 3},
            unit="us an actor",
            more_is_better=False,
        ),
        *measure(
            f"memory, {actors:,} actors",
            {"ours": partial(spawned, "ours", actors, 1), "bare task": partial(spawned, "bare", actors, 1)},
            {},
            unit="KiB an actor",
            more_is_better=False,
        ),
    ]
