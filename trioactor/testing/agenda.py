"""`Agenda`: what is to happen, at which instant. One task makes it happen, in the order of the times."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf

import trio


class Agenda:
    """Things to come. What is due at one instant happens in the order in which it was put down."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._serial = 0
        self._nap = trio.CancelScope()

    def at(self, due: float, action: Callable[[], object]) -> None:
        """Have `action` called at that time of trio's clock. It must not wait."""
        self._serial += 1
        heappush(self._heap, (due, self._serial, action))
        if due < self._nap.deadline:
            self._nap.deadline = due

    async def run(self) -> None:
        """Make it happen, for ever."""
        heap = self._heap
        while True:
            with trio.CancelScope(deadline=heap[0][0] if heap else inf) as self._nap:
                await trio.sleep_forever()
            now = trio.current_time()
            while heap and heap[0][0] <= now:
                heappop(heap)[2]()
