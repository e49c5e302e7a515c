"""An actor that counts: the smallest whole program."""

import trio

from trioactor import Actor, ActorSystem, Request, message


@message("counter.add")
class Add:
    """Count further."""

    n: int


@message("counter.total")
class Total(Request[int]):
    """How far have you counted?"""


class Counter(Actor):
    """Adds up what it is told."""

    async def pre_start(self) -> None:
        """Begin at nothing."""
        self.total = 0

    async def receive(self, message: Add | Total) -> int | None:
        """Count, or say how far it has counted."""
        match message:
            case Add(n=n):
                self.total += n
            case Total():
                return self.total
        return None


async def main() -> None:
    """Start it, tell it some numbers, ask it for the sum."""
    async with ActorSystem("hub") as hub:
        counter = await hub.actor_of(Counter, "counter")
        for n in range(1, 11):
            await counter.tell(Add(n))
        with trio.fail_after(1):
            print("total:", await counter.ask(Total()))
        print("ledger:", hub.ledger())


if __name__ == "__main__":
    trio.run(main)
