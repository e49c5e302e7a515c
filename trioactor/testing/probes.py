"""`Probe`: an actor that keeps what it is told, for a test to look at.

probe = await Probe.start(system)
await worker.tell(Work(reply_to=probe.ref))
with trio.fail_after(5):
    done = await probe.expect(Done)
await probe.expect_nothing(10)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, overload

import trio

from trioactor.actor import Actor
from trioactor.ref import ActorRef
from trioactor.system import ActorSystem

M = TypeVar("M")


class Probe(Actor):
    """Takes every message and keeps it until the test asks for it.

    Args:
        answer: Makes the answer to each message that is an ask; None answers None.

    Attributes:
        received: All messages so far, in the order of their coming.
    """

    def __init__(self, answer: Callable[[Any], Any] | None = None) -> None:
        self.received: list[Any] = []
        self._answer = answer
        self._unseen: deque[Any] = deque()
        self._something: trio.Event = trio.Event()

    @classmethod
    async def start(
        cls, system: ActorSystem, actor_id: str | None = None, *, answer: Callable[[Any], Any] | None = None
    ) -> Probe:
        """Start a probe in a system."""
        probe = cls(answer)
        await system.actor_of(lambda: probe, actor_id or f"probe-{system.fresh_number()}")
        return probe

    async def pre_start(self) -> None:
        """Nothing is to be made ready; but so `start` returns when the probe has its context."""

    @property
    def ref(self) -> ActorRef:
        """What to hand to others."""
        return self.context.ref

    async def receive(self, message: Any) -> Any:
        """Keep it."""
        self.received.append(message)
        self._unseen.append(message)
        self._something.set()
        return self._answer(message) if self._answer is not None else None

    async def next(self) -> Any:
        """Return the next message; wait for it if need be."""
        while not self._unseen:
            self._something = trio.Event()
            await self._something.wait()
        return self._unseen.popleft()

    @overload
    async def expect(self, wanted: type[M]) -> M: ...

    @overload
    async def expect(self, wanted: Callable[[Any], bool]) -> Any: ...

    @overload
    async def expect(self, wanted: M) -> M: ...

    async def expect(self, wanted: Any) -> Any:
        """Return the next message, which must be the wanted one.

        Args:
            wanted: A class of messages, a function that says True of them, or the very message.

        Raises:
            AssertionError: Another message came.
        """
        message = await self.next()
        assert _fits(message, wanted), f"{self.ref!r} expected {_in_words(wanted)} and got {message!r}"
        return message

    async def expect_nothing(self, for_seconds: float) -> None:
        """Wait for so long. Raises AssertionError if a message comes, or has come unseen."""
        with trio.move_on_after(for_seconds):
            message = await self.next()
            raise AssertionError(f"{self.ref!r} expected nothing and got {message!r}")


def _fits(message: Any, wanted: Any) -> bool:
    if isinstance(wanted, type):
        return isinstance(message, wanted)
    return bool(wanted(message)) if callable(wanted) else bool(message == wanted)


def _in_words(wanted: Any) -> str:
    if isinstance(wanted, type):
        return f"a {wanted.__name__}"
    return getattr(wanted, "__name__", repr(wanted))
