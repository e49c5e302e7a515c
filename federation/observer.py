"""`Observer`: an actor that is told what happens in a run, wherever it is, and passes it on to a view."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio

from federation.events import Event, Happened
from federation.messages import Observe
from trioactor import Actor, ActorRef, PeerDown

RETRY_SECONDS = 0.1


class Observer(Actor):
    """Asks the Provider for its events.

    Args:
        provider: Whose run to observe.
        on_event: Told every event so far, then each new one, in their order.
    """

    def __init__(self, provider: ActorRef, on_event: Callable[[Event], None]) -> None:
        self._provider = provider
        self._on_event = on_event

    async def pre_start(self) -> None:
        """Begin to observe."""
        self.context.start_soon(self._keep_observing)

    async def _keep_observing(self) -> None:
        """Ask for the events; ask anew whenever the Provider was gone: one that comes back knows nobody."""
        while True:
            await self._provider.tell(Observe(self.context.ref))
            with suppress(PeerDown):
                async with self._provider.watch():
                    await trio.sleep_forever()
            await trio.sleep(RETRY_SECONDS)

    async def receive(self, message: Happened) -> None:
        """Pass events on."""
        for event in message.events:
            self._on_event(event)
