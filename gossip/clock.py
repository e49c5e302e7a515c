"""Logical time: it never repeats itself, not even over a crash, and does not follow a liar.

A Lamport clock (Lamport, 1978) with three bounds that others had to learn about:

- **a ceiling**: a time outside of `0 <= t < 2**62` is refused, whoever shows it;
- **a bounded advance**: a time more than `2**20` ahead is not obeyed. Whatever carries it is put aside and
  tried again later, not thrown away: an honest peer that was away for long would otherwise never agree with
  the others. Two peers that both show so late a time are believed (`witness`); one alone is not;
- **a lease**: before a time is used or obeyed, one beyond it is on disk. A peer that crashed goes on behind
  its lease. So what it did last and did not save cannot make it use a time twice, and what it writes next is
  later than all that it ever saw: also later than a floor below which others have collected.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, Protocol, TypeVar

from gossip.errors import BadTime

T = TypeVar("T")

CEILING = 2**62
"""Logical times lie below. At a million events a second that is 146,000 years."""

MAX_ADVANCE = 2**20
"""How far one message can move a clock. A liar needs four million million messages to the ceiling."""

LEASE_TIMES = 1024
"""How far one write to disk reaches: a fsync costs milliseconds, a tick a microsecond."""

MAX_FAR_WITNESSES = 64
MAX_PARKED = 64


class ReplicaId(NamedTuple):
    """One life of one peer. No two lives are ever the same: see `identity.py`.

    Attributes:
        peer: The name of the peer.
        incarnation: Which of its lives.
    """

    peer: str
    incarnation: int


class LeaseStore(Protocol):
    """Where a clock keeps its lease."""

    def save_lease(self, until: int) -> None:
        """Have on disk, before this returns, that times below `until` may have been used or seen."""


def check_time(time: object) -> int:
    """Return a logical time that came from elsewhere, or refuse it.

    Raises:
        BadTime: It is no int (a bool and a NaN are none), or not within `0 <= time < CEILING`.
    """
    if type(time) is not int:
        raise BadTime(f"a logical time is an int, found {type(time).__name__}")
    if not 0 <= time < CEILING:
        raise BadTime(
            f"a logical time outside of 0 <= t < 2**62 ({time.bit_length()} bits); no honest clock shows it"
        )
    return time


class LamportClock:
    """The clock of one replica.

    Args:
        store: Where the lease is kept.
        lease_end: The lease that was on disk when this life began; 0 when there was none.
    """

    def __init__(self, store: LeaseStore, *, lease_end: int = 0) -> None:
        self._store = store
        self._lease_end = lease_end
        self._time = max(lease_end - 1, 0)
        self._far: OrderedDict[str, int] = OrderedDict()

    @property
    def time(self) -> int:
        """The latest time that was used or observed."""
        return self._time

    @property
    def lease_end(self) -> int:
        """Times below may have been used or seen, says the disk."""
        return self._lease_end

    def tick(self) -> int:
        """Return a time for an event of this replica, later than all that it has used or seen.

        Like all that moves the clock, it writes to disk when the lease is used up, every `LEASE_TIMES` times.

        Raises:
            BadTime: The ceiling is reached.
        """
        time = self._time + 1
        if time >= CEILING - 1:
            raise BadTime("this clock has come to its end; the network must begin anew under other names")
        self._move_to(time)
        return time

    def _move_to(self, time: int) -> None:
        if time <= self._time:
            return
        if time >= self._lease_end:
            until = min(time + LEASE_TIMES, CEILING)
            self._store.save_lease(until)  # first on disk, then in use
            self._lease_end = until
        self._time = time

    def reaches(self, time: int) -> bool:
        """Whether a time is near enough to be obeyed.

        Raises:
            BadTime: No honest clock shows it.
        """
        return check_time(time) <= self._time + MAX_ADVANCE

    def observe(self, time: int) -> bool:
        """Take note of a time that came with a message, before the message is merged.

        Returns:
            Whether it was obeyed. If not, it is too far ahead: put aside what carried it, and try again.

        Raises:
            BadTime: No honest clock shows it.
        """
        if not self.reaches(time):
            return False
        self._move_to(time)
        return True

    def restore(self, time: int) -> None:
        """Take note of a time in our own snapshot, however far ahead: we have obeyed it before.

        Raises:
            BadTime: No honest clock shows it.
        """
        self._move_to(check_time(time))

    def witness(self, peer: str, time: int, *, needed: int = 2) -> bool:
        """Hear what time it is at another peer.

        Late times are not believed before `needed` different peers have shown them, so that one liar moves
        no clock and a newcomer is not lost for ever. Where names are not verified, a liar may have several.

        Args:
            peer: Who says so.
            time: What it says.
            needed: How many must agree on a time that is far ahead: 2, or 1 when we know of one peer only.

        Returns:
            Whether our clock is now within reach of that time.

        Raises:
            BadTime: No honest clock shows it.
        """
        if self.observe(time):
            return True
        self._far[peer] = max(time, self._far.pop(peer, 0))
        if len(self._far) > MAX_FAR_WITNESSES:
            self._far.popitem(last=False)
        if len(self._far) >= needed:
            # The one that is enough is the one that speaks now, not a liar that was heard before.
            agreed = time if needed == 1 else sorted(self._far.values(), reverse=True)[needed - 1]
            self._move_to(agreed)
            self._far = OrderedDict((who, far) for who, far in self._far.items() if not self.reaches(far))
        return self.reaches(time)


class Parked(Generic[T]):
    """What is too far ahead of our clock, put aside until it is not. Bounded: the oldest gives way.

    Args:
        most: How many things are kept.
    """

    def __init__(self, most: int = MAX_PARKED) -> None:
        self._most = most
        self._things: OrderedDict[Hashable, tuple[int, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._things)

    def put(self, name: Hashable, time: int, thing: T) -> None:
        """Put a thing aside; one of the same name gives way to it."""
        self._things.pop(name, None)
        self._things[name] = time, thing
        if len(self._things) > self._most:
            self._things.popitem(last=False)

    def take_reachable(self, clock: LamportClock) -> list[T]:
        """Take out all that the clock reaches by now, the earliest times first."""
        reachable = [(time, name) for name, (time, _) in self._things.items() if clock.reaches(time)]
        reachable.sort(key=lambda pair: pair[0])
        return [self._things.pop(name)[1] for _, name in reachable]
