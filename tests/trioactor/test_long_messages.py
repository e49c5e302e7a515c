"""Messages that go in pieces, one behind the other, over a real connection."""

from __future__ import annotations

import numpy as np
import trio
from numpy.typing import NDArray

from trioactor import Actor, ActorSystem, message

LONG = 30_000  # numbers: more than goes in one frame


@message("test.long", eq=False)
class Long:
    numbers: NDArray[np.float64]


class Collector(Actor):
    def __init__(self, wanted: int, done: trio.Event) -> None:
        self._left = wanted
        self._done = done

    async def receive(self, message: Long) -> None:
        self._left -= 1
        if not self._left:
            self._done.set()


async def test_the_second_of_two_long_messages_does_not_wait_for_the_next_ping() -> None:
    done = trio.Event()
    async with (
        ActorSystem("a", vocabulary=[Long]) as here,
        ActorSystem("b", vocabulary=[Long]) as there,
    ):
        address = await there.listen()
        await there.actor_of(lambda: Collector(3, done), "collector")
        far = here.ref(*address, "collector")
        with trio.fail_after(3):  # a ping comes after 12 s
            for _ in range(3):
                await far.tell(Long(np.zeros(LONG)))
            await done.wait()
