"""How much is in memory of messages that are not complete, over all peers of a system."""

from __future__ import annotations

from collections.abc import Callable

CutOff = Callable[[str], None]


class Unfinished:
    """Keeps the sum under its limit: when it is passed, the slowest sender is cut off.

    One that sends fast is soon done and gives the memory back, so it is the others that fill it.

    Args:
        limit_bytes: Of all together.

    Attributes:
        total_bytes: What there is now.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.total_bytes = 0
        self._holders: dict[CutOff, tuple[int, float]] = {}  # bytes, and trio's time of the first

    def note(self, cut_off: CutOff, size: int, now: float) -> None:
        """Take note of how much one peer has sent of what is not complete.

        Args:
            cut_off: Ends its connection, with a reason; also its key here.
            size: Bytes; 0 when everything is complete.
            now: trio's time.
        """
        before, since = self._holders.pop(cut_off, (0, now))
        self.total_bytes += size - before
        if size:
            self._holders[cut_off] = size, (now if size < before else since)
        if self.total_bytes > self._limit_bytes:
            slowest = min(self._holders, key=lambda holder: self._rate(holder, now))
            self.note(slowest, 0, now)
            slowest(
                f"incomplete messages take more than {self._limit_bytes:,} bytes here, and this peer is the"
                " slowest to send; raise unfinished_bytes if there are to be so many at a time"
            )

    def _rate(self, holder: CutOff, now: float) -> float:
        size, since = self._holders[holder]
        return size / max(now - since, 1e-9)
