"""What the besieged system is asked, by honest peers and by others."""

from __future__ import annotations

from trioactor import Actor, Request, message


@message("siege.count")
class Count(Request[int]):
    """How often was this asked?"""


@message("siege.parrot")
class Parrot(Request[bytes]):
    """Say the same again."""

    data: bytes


class Clerk(Actor):
    """Counts."""

    def __init__(self) -> None:
        self.times = 0

    async def receive(self, message: Count) -> int:
        self.times += 1
        return self.times


class Echo(Actor):
    """Says the same again."""

    async def receive(self, message: Parrot) -> bytes:
        return message.data


WORDS = (Count, Parrot)
