"""Mistakes that somebody could make in the CRDTs, or has made: a fuzzer that does not find them is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from gossip import LWWMap, PNCounter, Replica, clock, crdt, identity


@dataclass(frozen=True)
class Bug:
    """A mistake that somebody could make, or has made.

    Attributes:
        name: What it is.
        patches: What is replaced: holder, attribute, replacement.
    """

    name: str
    patches: Sequence[tuple[Any, str, Any]]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in the code for a while."""
        patchers = [patch.object(holder, name, value) for holder, name, value in self.patches]
        for patcher in patchers:
            patcher.start()
        try:
            yield
        finally:
            for patcher in patchers:
                patcher.stop()


def _merge_by(place: Callable[[crdt.Timestamp], Any]) -> Callable[[LWWMap, crdt.Delta], LWWMap]:
    """A merge of deltas that orders timestamps otherwise."""

    def merge(self: LWWMap, delta: crdt.Delta) -> LWWMap:
        mine = self.entries.get(delta.key)
        stamp = delta.entry.stamp
        if stamp.time < self.floor or (mine is not None and place(stamp) <= place(mine.stamp)):
            return self
        return LWWMap({**self.entries, delta.key: delta.entry}, self.floor)

    return merge


def _merge_state_forgets_the_floor(self: LWWMap, other: LWWMap) -> LWWMap:
    entries = {**self.entries}
    for key, theirs in other.entries.items():
        if key not in entries or theirs.stamp > entries[key].stamp:
            entries[key] = theirs
    return LWWMap(entries, self.floor)


def _merge_refuses_at_the_floor(self: LWWMap, delta: crdt.Delta) -> LWWMap:
    return self if delta.entry.stamp.time <= self.floor else _true_merge(self, delta)


def _delete_without_a_tombstone(self: LWWMap, key: str, time: int, who: clock.ReplicaId) -> LWWMap:
    return LWWMap({k: entry for k, entry in self.entries.items() if k != key}, self.floor)


def _delta_of_a_delete(self: LWWMap, key: str) -> crdt.Delta:
    gone = crdt.Entry(crdt.Timestamp(self.latest + 1, clock.ReplicaId("a", 1), True, b""), None)
    return crdt.Delta(key, self.entries.get(key, gone))


def _collect_without_a_floor(self: LWWMap, floor: int) -> LWWMap:
    kept = {key: entry for key, entry in self.entries.items() if not entry.stamp.deleted}
    return LWWMap(kept, self.floor)


def _merge_without_observing(self: Replica, delta: crdt.Delta) -> bool:
    self._map = self._map.merge(delta)
    return True


def _observe_anything(self: clock.LamportClock, time: int) -> bool:
    self._time = max(self._time, time)
    return True


def _merge_state_without_the_bound(self: Replica, other: LWWMap) -> bool:
    self._clock.restore(other.latest)
    self._map = self._map.merge_state(other)
    return True


def _renew_in_memory_of_nothing(self: identity.Identity, above: int) -> clock.ReplicaId:
    life = identity.StoredIdentity(self.peer, 1 << identity.SALT_BITS, self._saved.lease_end)
    self._save(life)
    return clock.ReplicaId(self.peer, life.incarnation)


def _lease_in_memory(self: identity.Identity, until: int) -> None:
    self._saved = identity.StoredIdentity(self.peer, self._saved.incarnation, until)


def _counters_add(self: PNCounter, other: PNCounter) -> PNCounter:
    rows = dict(self.rows)
    for who, (up, down) in other.rows.items():
        ups, downs = rows.get(who, (0, 0))
        rows[who] = (ups + up, downs + down)
    return PNCounter(rows, self.folded)


def _the_larger_row_wins(self: PNCounter, other: PNCounter) -> PNCounter:
    rows = dict(self.rows)
    for who, row in other.rows.items():
        mine = rows.get(who, (0, 0))
        rows[who] = row if row[0] - row[1] > mine[0] - mine[1] else mine
    return PNCounter(rows, self.folded)


def _folded_rows_stay(self: PNCounter) -> PNCounter:
    return self


def _decode_without_the_floor(plain: Any) -> LWWMap:
    return _true_decode(("lww-map", 1, 0, plain[3]))


def _save_after_use(self: clock.LamportClock, time: int) -> None:
    self._time = max(self._time, time)
    if time >= self._lease_end:  # the lease is kept where it was: one block late
        self._store.save_lease(max(time - clock.LEASE_TIMES, 0))
        self._lease_end = time + clock.LEASE_TIMES


_true_merge = LWWMap.merge
_true_decode = LWWMap.from_plain

BUGS = (
    Bug(
        "the tie-break is removed: first come, first served", [(LWWMap, "merge", _merge_by(lambda s: s[:2]))]
    ),
    Bug(
        "a put wins over a delete of the same time",
        [(LWWMap, "merge", _merge_by(lambda s: (*s[:2], not s[2], s[3])))],
    ),
    Bug("the replica is not part of the order", [(LWWMap, "merge", _merge_by(lambda s: s[0]))]),
    Bug("the merge keeps the older", [(LWWMap, "merge", _merge_by(lambda s: -s[0]))]),
    Bug("the floor is off by one", [(LWWMap, "merge", _merge_refuses_at_the_floor)]),
    Bug("a merged state leaves its floor behind", [(LWWMap, "merge_state", _merge_state_forgets_the_floor)]),
    Bug("a stored state loses its floor", [(LWWMap, "from_plain", _decode_without_the_floor)]),
    Bug("tombstones are dropped early, without a floor", [(LWWMap, "collect", _collect_without_a_floor)]),
    Bug(
        "a delete leaves no tombstone",
        [(LWWMap, "delete", _delete_without_a_tombstone), (LWWMap, "delta", _delta_of_a_delete)],
    ),
    Bug("a merge does not move the clock", [(Replica, "merge", _merge_without_observing)]),
    Bug("a time far ahead is obeyed", [(clock.LamportClock, "observe", _observe_anything)]),
    Bug("a time far ahead comes in with a state", [(Replica, "merge_state", _merge_state_without_the_bound)]),
    Bug("the lease is skipped", [(identity.Identity, "save_lease", _lease_in_memory)]),
    Bug("the lease lags one block behind", [(clock.LamportClock, "_move_to", _save_after_use)]),
    Bug("a restart begins no newer life", [(identity.Identity, "renew", _renew_in_memory_of_nothing)]),
    Bug("lives of one number are the same life", [(identity, "SALT_BITS", 1)]),
    Bug("counters add what they hear", [(PNCounter, "merge", _counters_add)]),
    Bug("of two rows of a counter the larger wins whole", [(PNCounter, "merge", _the_larger_row_wins)]),
    Bug("a folded row is counted again", [(PNCounter, "_without_folded", _folded_rows_stay)]),
)
