"""Whether a peer sends and reads at least as fast as it must. No trio here, and no stream."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trioactor.limits import Limits

# How often a peer is looked at in `stall_seconds`: who is too slow is cut off after a quarter more.
LOOKS_PER_STALL = 4


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a peer at an instant.

    Attributes:
        at: trio's time.
        unfinished: What has begun to come: its number, and how many bytes of it are there.
        written: How many bytes the stream has taken.
        stuck_since: Since when it has not taken what it was given; None when it has taken all.
    """

    at: float
    unfinished: tuple[int, int] | None
    written: int
    stuck_since: float | None


class Pace:
    """Whether the peer sends and reads at least as fast as it must.

    Two looks are compared that are `stall_seconds` apart, and only when it had something to do all the time
    between them.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._least = limits.least_bytes_per_second * limits.stall_seconds
        self._looks: deque[Look] = deque()

    def judge(self, now: Look) -> str | None:
        """Return what is too slow, None when nothing is."""
        looks = self._looks
        looks.append(now)
        before = None
        while now.at - looks[0].at >= self._limits.stall_seconds:
            before = looks.popleft()
        if before is None:
            return None
        least = f"{self._limits.least_bytes_per_second:,} bytes a second"
        if (
            before.unfinished
            and now.unfinished
            and before.unfinished[0] == now.unfinished[0]
            and now.unfinished[1] - before.unfinished[1] < self._least
        ):
            return f"the peer began a frame and sends it at less than {least}"
        if (
            now.stuck_since is not None
            and now.stuck_since <= before.at
            and now.written - before.written < self._least
        ):
            return f"the peer reads at less than {least}"
        return None
