"""The door: who comes to a listener is let in at once, or stands in line when very many come.

To let a peer in takes time, over TLS some milliseconds, and a crowd that comes again and again would take
all of it. So there are so many a second. Who has to wait is let in by addresses in turn, and those whose
peers were turned away or cut off come later than others, and fewer of them: see `fairness.py`. Without a
crowd nobody waits.
"""

from __future__ import annotations

from typing import Any

import trio

from trioactor.fairness import FairLine, Share
from trioactor.limits import Limits

# A peer that had to be turned away or cut off counts as if so many had come from its address; all that did
# so in the past count for no more than the second number.
OFFENCE_TURNS = 10
MOST_OFFENCE_TURNS = 100

# For so long after that, a peer from there takes up the time of so many at the door.
OFFENCE_SECONDS = 60.0
OFFENDER_SLOTS = 2

# Of so many addresses it is known how often they came. More are forgotten, the oldest first.
KNOWN_ADDRESSES = 4096


class Door:
    """Lets peers in.

    Args:
        limits: How many at once, how many a second, and how long one stands in line.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seconds_each = 1 / limits.handshakes_per_second
        self._line: FairLine[tuple[str, trio.Event]] = FairLine(newest_first=True)
        self._shares: dict[str, Share] = {}
        self._offences: dict[str, float] = {}  # when the last was, by address; the oldest first
        self._free_at = float("-inf")  # when all that were let in will have had their time
        self._somebody = trio.Event()

    def __len__(self) -> int:
        return len(self._line)

    async def let_in(self, address: str) -> bool:
        """Return True when a peer from that IP address may come in, False when it has waited for too long."""
        now = trio.current_time()
        if not self._line and self._opens_at() <= now:
            self._count(address, now)
            return True
        let_in = trio.Event()
        ticket = self._line.enter(self._share(address), (address, let_in))
        self._somebody.set()
        try:
            with trio.move_on_after(self._limits.door_seconds):
                await let_in.wait()
        finally:
            self._line.leave(ticket)
        return let_in.is_set()

    def note_offence(self, address: str) -> None:
        """A peer from there was turned away or cut off: others come first for a while."""
        share = self._share(address)
        on = self._line.number
        share.number = min(max(share.number, on) + OFFENCE_TURNS, on + MOST_OFFENCE_TURNS)
        self._offences.pop(address, None)
        self._offences[address] = trio.current_time()
        _bound(self._offences)

    async def keep(self) -> None:
        """Let in who stands in line, one after the other."""
        while True:
            if not self._line:
                self._somebody = trio.Event()
                await self._somebody.wait()
            await trio.sleep_until(self._opens_at())
            found = self._line.take()
            if found is not None:
                address, let_in = found
                self._count(address, trio.current_time())
                let_in.set()

    def _opens_at(self) -> float:
        return self._free_at - (self._limits.handshakes_at_once - 1) * self._seconds_each

    def _count(self, address: str, now: float) -> None:
        offended = now - self._offences.get(address, float("-inf")) < OFFENCE_SECONDS
        self._free_at = max(self._free_at, now) + self._seconds_each * (OFFENDER_SLOTS if offended else 1)

    def _share(self, address: str) -> Share:
        share = self._shares.pop(address, None) or Share()
        self._shares[address] = share
        _bound(self._shares)
        return share


def _bound(book: dict[str, Any]) -> None:
    if len(book) > KNOWN_ADDRESSES:
        del book[next(iter(book))]
