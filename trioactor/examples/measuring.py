"""A middleware that measures: how many messages of each kind, and how long their handlers take."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import trio

from trioactor import ActorSystem, CallNext, Envelope
from trioactor.examples.counter import Add, Counter, Total


@dataclass(slots=True)
class Figures:
    """What was measured of one kind of message."""

    count: int = 0
    failed: int = 0
    seconds: float = 0.0


class Meter:
    """Receive middleware: `ActorSystem(receive=[meter])`, then look at `meter.figures`."""

    def __init__(self) -> None:
        self.figures: defaultdict[str, Figures] = defaultdict(Figures)

    async def __call__(self, envelope: Envelope, call_next: CallNext) -> Any:
        """Time one handler, by trio's clock."""
        figures = self.figures[type(envelope.message).__name__]
        start = trio.current_time()
        try:
            return await call_next(envelope)
        except Exception:
            figures.failed += 1
            raise
        finally:
            figures.count += 1
            figures.seconds += trio.current_time() - start


async def main() -> None:
    """Measure a counter at work."""
    meter = Meter()
    async with ActorSystem("hub", receive=[meter]) as hub:
        counter = await hub.actor_of(Counter, "counter")
        for n in range(1000):
            await counter.tell(Add(n))
        await counter.ask(Total())
    for kind, figures in sorted(meter.figures.items()):
        print(f"{kind}: {figures.count}, {figures.failed} failed")


if __name__ == "__main__":
    trio.run(main)
