"""What the log is told of peers that misbehave: the first of it word for word, more of it as numbers.

Who wants to fill a disk, or to keep a system busy with writing, is not helped: of one address there are
a few lines of a kind in ten seconds, of all together a hundred. What is left out is counted, and the count is
written.
"""

from __future__ import annotations

import logging
from collections import Counter

import trio

INTERVAL_SECONDS = 10.0
LINES_OF_A_KIND = 5  # per address
LINES_IN_ALL = 100

# Of so many addresses it is counted what is left out of each, of all others together.
ADDRESSES_COUNTED = 100
ELSEWHERE = "elsewhere"


class Complaints:
    """Writes warnings, within bounds.

    Args:
        log: Where to.
        nursery: Where the task runs that writes the numbers, while there are some.
    """

    def __init__(self, log: logging.Logger, nursery: trio.Nursery) -> None:
        self._log = log
        self._nursery = nursery
        self._written: Counter[tuple[str, str]] = Counter()  # lines in this interval, by IP address and kind
        self._left_out: Counter[str] = Counter()
        self._lines = 0
        self._runs = False  # whether an interval is on

    def write(self, address: tuple[str, int], what: str, why: object) -> None:
        """Say what a peer did or was done to, and why; `why` becomes a text only when it is written."""
        host, port = address
        if self._lines >= LINES_IN_ALL or self._written[host, what] >= LINES_OF_A_KIND:
            has_place = host in self._left_out or len(self._left_out) < ADDRESSES_COUNTED
            self._left_out[host if has_place else ELSEWHERE] += 1
            return
        self._lines += 1
        self._written[host, what] += 1
        self._log.warning("%s:%d %s: %s", host, port, what, why)
        if not self._runs:
            self._runs = True
            self._nursery.start_soon(self._sum_up, name="numbers of complaints")

    async def _sum_up(self) -> None:
        try:
            await trio.sleep(INTERVAL_SECONDS)
        finally:
            left_out, self._left_out = self._left_out, Counter()
            self._written.clear()
            self._lines = 0
            self._runs = False
            if left_out:
                each = ", ".join(f"{host} {count:,}" for host, count in left_out.most_common(10))
                addresses = f"{ADDRESSES_COUNTED} and more" if ELSEWHERE in left_out else f"{len(left_out):,}"
                self._log.warning(
                    "%s more complaints within %g s, of %s addresses: %s",
                    f"{left_out.total():,}",
                    INTERVAL_SECONDS,
                    addresses,
                    each,
                )
