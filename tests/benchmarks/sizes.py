"""An ask whose answer is as large as the question, by its size, between two processes. Run by `two.py`."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import trio

from tests.benchmarks.curve import Curve
from tests.benchmarks.two import HOST, obey, two_processes, until_input_ends
from trioactor import Actor, ActorRef, ActorSystem, Request, message

SIZES = (16, 256, 4_096, 65_536, 1_048_576, 4_194_304)  # bytes; a message without arrays has at most 8 MiB


@message("bench.echo")
class Echo(Request[bytes]):
    data: bytes


class Repeater(Actor):
    """Says what it is told."""

    async def receive(self, message: Echo) -> bytes:
        return message.data


def curves(*, quick: bool, progress: Callable[[str], None]) -> list[Curve]:
    """Return how long a round trip takes, and what it carries, by size."""
    sizes = SIZES[:-2] if quick else SIZES
    seconds = {}
    with two_processes("sizes") as both:
        for size in sizes:
            progress(f"round trips of {size:,} bytes")
            count = max(5, min(500 if quick else 2_000, 50_000_000 // size))
            seconds[size] = statistics.median(both.case(f"{size}", count)() for _ in range(3))
    return [
        Curve(
            "an ask with an answer of the same size, over TCP",
            "bytes each way",
            "us",
            {"ours": [(size, 1e6 * one) for size, one in seconds.items()]},
        ),
        Curve(
            "what such asks carry, one at a time",
            "bytes each way",
            "MB/s each way",
            {"ours": [(size, size / one / 1e6) for size, one in seconds.items()]},
        ),
    ]


async def far() -> None:
    async with ActorSystem("far", vocabulary=[Echo]) as system:
        await system.actor_of(Repeater, "repeater")
        _, port = await system.listen(HOST, 0)
        print(port, flush=True)
        await until_input_ends()


async def near(port: int) -> None:
    async with ActorSystem("near", vocabulary=[Echo]) as system:
        repeater = system.ref(HOST, port, "repeater")
        await obey({f"{size}": partial(round_trip, repeater, size) for size in SIZES})


async def round_trip(repeater: ActorRef, size: int, count: int) -> float:
    """Return the median seconds of so many."""
    question, taken = Echo(bytes(size)), []
    for _ in range(count):
        start = time.perf_counter()
        assert len(await repeater.ask(question)) == size
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    trio.run(far) if sys.argv[1] == "far" else trio.run(near, int(sys.argv[3]))
