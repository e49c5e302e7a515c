"""Three stages with small mailboxes: the slowest sets the pace, and nothing piles up.

The source makes numbers as fast as it can. `tell` waits for room in the next mailbox, so it makes them
just as fast as the slow last stage takes them, and at no time do more wait than the mailboxes hold.
"""

import trio

from trioactor import Actor, ActorRef, ActorSystem, MailboxSettings, message

ITEMS = 50
SMALL = MailboxSettings(capacity=4)


@message("pipeline.item")
class Item:
    """A number on its way."""

    value: int


class Double(Actor):
    """Doubles what comes and passes it on."""

    def __init__(self, following: ActorRef) -> None:
        self.following = following

    async def receive(self, message: Item) -> None:
        """Pass on the double; waits when the next stage has no room."""
        await self.following.tell(Item(message.value * 2))


class SlowSum(Actor):
    """Adds up, slowly."""

    total = 0

    async def receive(self, message: Item) -> None:
        """Add one number."""
        await trio.sleep(0.001)
        self.total += message.value

    async def post_stop(self) -> None:
        """Say what has come together."""
        print("sum:", self.total)


async def main() -> None:
    """Send the numbers through, and watch how many wait at most."""
    most = 0
    async with ActorSystem("pipeline") as system:
        last = await system.actor_of(SlowSum, "sum", mailbox=SMALL)
        first = await system.actor_of(lambda: Double(last), "double", mailbox=SMALL)
        for value in range(ITEMS):
            await first.tell(Item(value))
            most = max(most, system.ledger().queued)
        report = await system.drain()
        print(f"at most {most} waited;", report)


if __name__ == "__main__":
    trio.run(main)
