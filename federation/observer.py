"""`Observer`: an actor that is told what happens in a run, wherever it is, and passes it on to a view."""

from __future__ import annotations

from collections.abc import Callable

from federation.events import Event, Happened
from federation.messages import Observe
from trioactor import Actor, ActorRef


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
        self.context.start_soon(self._provider.tell, Observe(self.context.ref))

    async def receive(self, message: Happened) -> None:
        """Pass events on."""
        for event in message.events:
            self._on_event(event)
