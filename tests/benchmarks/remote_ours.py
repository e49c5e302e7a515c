"""The runtime across the network, at both ends. Run by `two.py`."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import numpy as np
import trio

from tests.benchmarks.runtime import Add, Counter, Total
from tests.benchmarks.two import HOST, NO_TLS, obey, tls_files, until_input_ends
from trioactor import Actor, ActorRef, ActorSystem, Request, message

ELEMENTS = 45_000_000 // 8
TRANSFER_BYTES = 256 * 2**20


@message("bench.weights")
class Weights:
    values: np.ndarray[Any, Any]


@message("bench.last")
class Last(Request[float]):
    """What the last array ended in."""


VOCABULARY = (Add, Total, Weights, Last)


class Keeper(Actor):
    """Keeps the last array that it was told."""

    async def pre_start(self) -> None:
        self.values = np.zeros(1)

    async def receive(self, message: Weights | Last) -> float | None:
        match message:
            case Weights(values):
                self.values = values
            case Last():
                return float(self.values[-1])
        return None


class Near:
    """Measures, seen from the near side.

    Args:
        counter: A far `Counter`.
        keeper: A far `Keeper`.
    """

    def __init__(self, counter: ActorRef, keeper: ActorRef) -> None:
        self._counter = counter
        self._keeper = keeper
        self._array = np.arange(ELEMENTS, dtype=np.float64)

    async def tell(self, count: int) -> float:
        """Messages a second."""
        counter = self._counter
        before = await counter.ask(Total())
        start = time.perf_counter()
        for _ in range(count):
            await counter.tell(Add(1))
        assert await counter.ask(Total()) == before + count
        return count / (time.perf_counter() - start)

    async def ask(self, count: int) -> float:
        """Round trips a second."""
        start = time.perf_counter()
        for _ in range(count):
            await self._counter.ask(Total())
        return count / (time.perf_counter() - start)

    async def arrays(self, count: int) -> float:
        """Bytes a second, told as arrays of 45 MB."""
        start = time.perf_counter()
        for _ in range(count):
            await self._keeper.tell(Weights(self._array))
        assert await self._keeper.ask(Last()) == ELEMENTS - 1
        return count * self._array.nbytes / (time.perf_counter() - start)

    async def idle(self, count: int) -> float:
        """Microseconds that an ask takes on an idle connection: the median."""
        return statistics.median([await self._round_trip() for _ in range(count)])

    async def busy(self, count: int) -> float:
        """The same beside as many transfers of 256 MiB, one after the other, over the same connection."""
        waited = []
        transfer = np.zeros(TRANSFER_BYTES // 8)
        for _ in range(count):
            async with trio.open_nursery() as nursery:
                done = trio.Event()
                nursery.start_soon(self._transfer, transfer, done)
                while not done.is_set():
                    waited.append(await self._round_trip())
        return statistics.median(waited)

    async def _round_trip(self) -> float:
        start = time.perf_counter()
        await self._counter.ask(Total())
        return (time.perf_counter() - start) * 1e6

    async def _transfer(self, values: np.ndarray[Any, Any], done: trio.Event) -> None:
        await self._keeper.tell(Weights(values))
        assert await self._keeper.ask(Last()) == 0
        done.set()


async def far(folder: str) -> None:
    async with ActorSystem("far", vocabulary=VOCABULARY) as system:
        if folder != NO_TLS:
            system.enable_ssl(*tls_files(folder))
        await system.actor_of(Counter, "counter")
        await system.actor_of(Keeper, "keeper")
        _, port = await system.listen(HOST, 0)
        print(port, flush=True)
        await until_input_ends()


async def near(folder: str, port: int) -> None:
    async with ActorSystem("near", vocabulary=VOCABULARY) as system:
        if folder != NO_TLS:
            system.enable_ssl(*tls_files(folder))
        measured = Near(system.ref(HOST, port, "counter"), system.ref(HOST, port, "keeper"))
        names = ("tell", "ask", "arrays", "idle", "busy")
        await obey({name: getattr(measured, name) for name in names})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["far", folder]:
            trio.run(far, folder)
        case ["near", folder, port]:
            trio.run(near, folder, int(port))
