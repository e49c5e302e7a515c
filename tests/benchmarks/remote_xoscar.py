"""The same with xoscar, at both ends. Run by `two.py`. It has no TLS."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import xoscar

from tests.benchmarks.two import HOST


class Counter(xoscar.Actor):
    def __init__(self) -> None:
        self._total = 0

    async def add(self, n: int) -> None:
        self._total += n

    async def total(self) -> int:
        return self._total


async def lines() -> Any:
    """What the benchmark says, until it lets go."""
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        yield line


async def far() -> None:
    pool = await xoscar.create_actor_pool(f"{HOST}:0", n_process=0)
    await xoscar.create_actor(Counter, address=pool.external_address, uid="counter")
    print(pool.external_address.rpartition(":")[2], flush=True)
    async for _ in lines():
        pass
    await pool.stop()


async def near(port: int) -> None:
    counter = await xoscar.actor_ref(address=f"{HOST}:{port}", uid="counter")
    async for line in lines():
        what, count = line.split()
        print(await (tell if what == "tell" else ask)(counter, int(count)), flush=True)


async def tell(counter: Any, count: int) -> float:
    before = await counter.total()
    start = time.perf_counter()
    for _ in range(count):
        await counter.add.tell(1)
    while await counter.total() != before + count:  # tells are handled in tasks of their own
        pass
    return count / (time.perf_counter() - start)


async def ask(counter: Any, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        await counter.total()
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["far", _folder]:
            asyncio.run(far())
        case ["near", _folder, port]:
            asyncio.run(near(int(port)))
