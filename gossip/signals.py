"""`Signal`: something that happens again and again, and that tasks wait for."""

from __future__ import annotations

import trio


class Signal:
    """Wakes all tasks that wait for it. What happened before they waited they do not hear of.

    So a task looks first whether there is anything to do, and waits when there is not.
    """

    def __init__(self) -> None:
        self._event = trio.Event()

    def fire(self) -> None:
        """It happens."""
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """Return when it happens next."""
        await self._event.wait()

    async def wait_until(self, deadline: float) -> None:
        """Return when it happens next, or at trio's time `deadline`."""
        with trio.move_on_at(deadline):
            await self._event.wait()
