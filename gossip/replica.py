"""A map with its clock: every local write ticks, every merge observes, and what is too far ahead waits."""

from __future__ import annotations

from typing import Protocol

from gossip.clock import LamportClock, Parked, ReplicaId
from gossip.crdt import Delta, LWWMap


class Writer(Protocol):
    """Under whose name a replica writes; an `Identity` is one."""

    @property
    def replica(self) -> ReplicaId:
        """The present life."""


class Replica:
    """One replica of an `LWWMap`.

    Args:
        writer: Under whose name it writes. Asked for each write, since a peer may begin a new life.
        clock: The peer's clock.
        state: What a snapshot held. The clock observes it.
    """

    def __init__(self, writer: Writer, clock: LamportClock, state: LWWMap | None = None) -> None:
        self._writer = writer
        self._clock = clock
        self._map = LWWMap()
        self._parked: Parked[Delta | LWWMap] = Parked()
        if state is not None:
            clock.restore(state.latest)
            self._map = state

    @property
    def map(self) -> LWWMap:
        """The present state."""
        return self._map

    @property
    def parked(self) -> int:
        """How many deltas and states are put aside, because their times are too far ahead."""
        return len(self._parked)

    def put(self, key: str, value: object) -> Delta:
        """Write a value, and return what other replicas are to merge. Raises as `LWWMap.put`."""
        self._map = self._map.put(key, value, self._clock.tick(), self._writer.replica)
        return self._map.delta(key)

    def delete(self, key: str) -> Delta:
        """Delete a key, and return what other replicas are to merge. Raises as `LWWMap.delete`."""
        self._map = self._map.delete(key, self._clock.tick(), self._writer.replica)
        return self._map.delta(key)

    def collect(self, floor: int) -> None:
        """Drop the tombstones older than the floor; see `LWWMap.collect`."""
        self._map = self._map.collect(min(floor, self._clock.time + 1))

    def merge(self, delta: Delta) -> bool:
        """Take in a put or delete of another replica.

        Returns:
            Whether it was taken in. If not, it is parked, and tried again when the clock has moved.
        """
        if not self._clock.observe(delta.entry.stamp.time):
            self._parked.put((delta.key, delta.entry.stamp.replica), delta.entry.stamp.time, delta)
            return False
        self._map = self._map.merge(delta)
        return True

    def merge_state(self, other: LWWMap) -> bool:
        """Take in the whole state of another replica. Returns and parks as `merge` does."""
        if not self._clock.observe(other.latest):
            self._parked.put(other.digest(), other.latest, other)
            return False
        self._map = self._map.merge_state(other)
        return True

    def retry(self) -> int:
        """Take in what was parked and is within reach by now; return how much that was."""
        ready = self._parked.take_reachable(self._clock)
        for each in ready:
            if isinstance(each, LWWMap):
                self.merge_state(each)
            else:
                self.merge(each)
        return len(ready)
