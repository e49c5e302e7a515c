"""How much is in memory of answers that peers have asked for and do not read, over all peers of a system."""

from __future__ import annotations

from collections.abc import Callable

CutOff = Callable[[str], None]


class Unread:
    """Keeps the sum under its limit: when it is passed, the peer with the most is cut off.

    One that reads as fast as it asks has next to nothing here, however much it asks.

    Args:
        limit_bytes: Of all together.

    Attributes:
        total_bytes: What there is now.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.total_bytes = 0
        self._holders: dict[CutOff, int] = {}

    def note(self, cut_off: CutOff, size: int) -> None:
        """Take note of how much waits for one peer.

        Args:
            cut_off: Ends its connection, with a reason; also its key here.
            size: Bytes; 0 when nothing waits.
        """
        self.total_bytes += size - self._holders.pop(cut_off, 0)
        if size:
            self._holders[cut_off] = size
        if self.total_bytes > self._limit_bytes:
            worst = max(self._holders, key=self._holders.__getitem__)
            self.note(worst, 0)
            worst(
                f"answers that nobody reads take more than {self._limit_bytes:,} bytes here, and this peer"
                " leaves the most; raise unread_bytes if there are to be so many at a time"
            )
