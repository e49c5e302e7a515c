"""Convergent types: whatever order, however often, with whatever detours: the same in the end.

`LWWMap` is a map in which the last write wins, `PNCounter` a number that goes up and down. Both are frozen,
and both are join semilattices (Shapiro et al., 2011): merging is commutative, associative and idempotent and
only ever adds knowledge. They know no clock, no network and no disk; `replica.py` joins one with a clock.

**Order.** Two writes to one key are compared by `Timestamp`: logical time, then replica, then a delete beats
a put, then the content's hash. The last two decide only between writes that should not exist, those of a
replica that lives twice or lies; but decide they must, or two replicas would agree on the timestamps and
hold different values for ever.

**Collection.** A deleted key leaves a tombstone, or a late put would bring it back. `collect(floor)` drops
the tombstones older than the floor and keeps the floor instead. Below the floor, what is not in the map is
known to be gone: it is neither taken from a late delta nor kept where another replica still has it. So a
floor says: *every write older than this has reached me*, those included that are still to be made. It must
only be chosen where that is so: by the only writer of a map at any time, by others when all replicas have
told that they hold the older writes and that their clocks have passed the floor. Age alone is no reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple, Self

from cbor2 import dumps

from gossip.clock import ReplicaId, check_time
from gossip.errors import BadState
from gossip.identity import MAX_INCARNATION
from gossip.plain import Plain, fingerprint, freeze

MAX_ENTRIES = 65_536
MAX_KEY_CHARACTERS = 256
MAX_PEER_CHARACTERS = 100
MAX_COUNT = 2**62

_MAP_FORM = ("lww-map", 1)  # what stored states begin with: type and version
_COUNTER_FORM = ("pn-counter", 1)


class Timestamp(NamedTuple):
    """When something was written and by whom. Its order is total: tuples compare field by field.

    Attributes:
        time: Logical time.
        replica: Who wrote.
        deleted: Whether it was a delete. True is more than False, so a delete beats a put.
        content: Fingerprint of the value, empty for a delete.
    """

    time: int
    replica: ReplicaId
    deleted: bool
    content: bytes


class Entry(NamedTuple):
    """What a map knows of one key.

    Attributes:
        stamp: When it was written.
        value: The value, None when it is deleted.
    """

    stamp: Timestamp
    value: Plain


class Delta(NamedTuple):
    """One put or delete, on its way to other replicas.

    Attributes:
        key: Of the map.
        entry: What was written.
    """

    key: str
    entry: Entry

    def to_plain(self) -> tuple[Plain, ...]:
        """Return it as plain values, for CBOR."""
        return _plain_entry(self.key, self.entry)

    @classmethod
    def from_plain(cls, plain: object) -> Self:
        """Return the delta of what `to_plain` returned. Raises BadState, BadTime."""
        return cls(*_read_entry(plain))


class MapDigest(NamedTuple):
    """A map in 32 bytes and a number: two maps with equal digests hold equal values.

    Attributes:
        floor: Of the map.
        root: Hash over all entries with their timestamps.
    """

    floor: int
    root: bytes


@dataclass(frozen=True, slots=True)
class LWWMap:
    """A map of text to plain values in which the last write to a key wins.

    >>> a, b = ReplicaId("a", 1), ReplicaId("b", 1)
    >>> ours = LWWMap().put("colour", "red", 1, a)
    >>> theirs = LWWMap().put("colour", "blue", 2, b).put("size", 7, 3, b)
    >>> dict(ours.merge_state(theirs).items())
    {'colour': 'blue', 'size': 7}

    Attributes:
        entries: By key, tombstones included. Not to be changed.
        floor: What is older and not in `entries` is known to be gone; 0 when nothing was ever collected.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    floor: int = 0

    # --- writing --------------------------------------------------------------------------------

    def put(self, key: str, value: object, time: int, replica: ReplicaId) -> Self:
        """Return the map with the value under the key.

        Args:
            key: 1 to 256 characters.
            value: A plain value (`plain.py`), not None.
            time: A fresh tick of the writer's clock.
            replica: The writer.

        Raises:
            BadState: Key or value are not of this kind, or the map is full.
            ValueError: The map knows of a later write to that key: the clock was not told of this map.
        """
        if value is None:
            raise BadState(f"put({key!r}, None); use delete to say that there is no value")
        frozen = freeze(value)
        return self._write(key, Entry(Timestamp(time, replica, False, fingerprint(frozen)), frozen))

    def delete(self, key: str, time: int, replica: ReplicaId) -> Self:
        """Return the map without the key, and with a tombstone. The key need not be there.

        Raises:
            BadState: The map is full.
            ValueError: As in `put`.
        """
        return self._write(key, Entry(Timestamp(time, replica, True, b""), None))

    def _write(self, key: str, entry: Entry) -> Self:
        _check_key(key)
        mine = self.entries.get(key)
        stamp = entry.stamp
        if stamp.time < self.floor or (mine is not None and stamp <= mine.stamp):
            raise ValueError(
                f"a write to {key!r} at {stamp.time}, but the map knows of a later one; "
                "the writer's clock must observe what is merged"
            )
        if mine is None and len(self.entries) >= MAX_ENTRIES:
            raise BadState(
                f"a map of {MAX_ENTRIES:,} keys is full; collect() its tombstones, or use fewer keys"
            )
        return replace(self, entries={**self.entries, key: entry})

    def collect(self, floor: int) -> Self:
        """Return the map without the tombstones that are older than the floor, and with that floor.

        Args:
            floor: Every write older than this has reached this map; see the module's text.
        """
        if check_time(floor) <= self.floor:
            return self
        kept = {
            key: entry
            for key, entry in self.entries.items()
            if not (entry.stamp.deleted and entry.stamp.time < floor)
        }
        return replace(self, entries=kept, floor=floor)

    # --- reading --------------------------------------------------------------------------------

    def get(self, key: str, default: Plain = None) -> Plain:
        """Return the value under the key, or the default when there is none."""
        entry = self.entries.get(key)
        return default if entry is None or entry.stamp.deleted else entry.value

    def __getitem__(self, key: str) -> Plain:
        entry = self.entries.get(key)
        if entry is None or entry.stamp.deleted:
            raise KeyError(key)
        return entry.value

    def __contains__(self, key: object) -> bool:
        entry = self.entries.get(key) if isinstance(key, str) else None
        return entry is not None and not entry.stamp.deleted

    def __iter__(self) -> Iterator[str]:
        """Yield the keys that have a value, in their order."""
        return iter(sorted(key for key, entry in self.entries.items() if not entry.stamp.deleted))

    def __len__(self) -> int:
        return len(self.entries) - self.tombstones

    def items(self) -> Iterator[tuple[str, Plain]]:
        """Yield keys and values, in the order of the keys."""
        return ((key, self.entries[key].value) for key in self)

    @property
    def tombstones(self) -> int:
        """How many deleted keys are remembered."""
        return sum(entry.stamp.deleted for entry in self.entries.values())

    @property
    def latest(self) -> int:
        """The latest time that the map speaks of. Observe it before you merge the map."""
        return max([self.floor - 1, 0, *(entry.stamp.time for entry in self.entries.values())])

    def digest(self) -> MapDigest:
        """Return what is equal only for equal maps."""
        rows = [(key, *self.entries[key].stamp[1], *self.entries[key].stamp) for key in sorted(self.entries)]
        return MapDigest(self.floor, blake2b(dumps(rows, canonical=True), digest_size=32).digest())

    # --- merging --------------------------------------------------------------------------------

    def delta(self, key: str) -> Delta:
        """Return what is known of one key, to be merged elsewhere. Raises KeyError."""
        return Delta(key, self.entries[key])

    def merge(self, delta: Delta) -> Self:
        """Return the map that also knows of one put or delete; the same map when it did already."""
        key, theirs = delta
        mine = self.entries.get(key)
        if mine is not None and theirs.stamp <= mine.stamp:
            return self
        if theirs.stamp.time >= self.floor:
            return replace(self, entries={**self.entries, key: theirs})
        if mine is None:
            return self
        # Below the floor and not here, so it is gone; and what it replaced is gone with it.
        return replace(self, entries={k: entry for k, entry in self.entries.items() if k != key})

    def merge_state(self, other: Self) -> Self:
        """Return the map that knows all that both know: their least upper bound."""
        merged = {}
        for key in chain(self.entries, (key for key in other.entries if key not in self.entries)):
            mine, theirs = self.entries.get(key), other.entries.get(key)
            if mine is None or (theirs is not None and theirs.stamp > mine.stamp):
                newest, floor_without = theirs, self.floor
            else:
                newest, floor_without = mine, other.floor
            assert newest is not None
            if mine == theirs or newest.stamp.time >= floor_without:  # else it is gone, says who lacks it
                merged[key] = newest
        return replace(self, entries=merged, floor=max(self.floor, other.floor))

    # --- to CBOR and back -----------------------------------------------------------------------

    def to_plain(self) -> tuple[Plain, ...]:
        """Return the map as plain values: type, version, floor and entries in the order of their keys."""
        return (
            *_MAP_FORM,
            self.floor,
            tuple(_plain_entry(key, self.entries[key]) for key in sorted(self.entries)),
        )

    @classmethod
    def from_plain(cls, plain: object) -> Self:
        """Return the map of what `to_plain` returned, after any way through CBOR.

        Raises:
            BadState: It is no such thing, says a key twice, or passes a bound.
            BadTime: It holds a time that no honest clock shows.
        """
        floor, rows = _read_form(plain, _MAP_FORM, "an LWWMap")
        rows = _rows_of(rows, 6, "the entries of an LWWMap")
        read = cls(dict(map(_read_entry, rows)), check_time(floor))
        if len(read.entries) != len(rows):
            raise BadState("an LWWMap says a key twice")
        if any(entry.stamp.deleted and entry.stamp.time < read.floor for entry in read.entries.values()):
            raise BadState("an LWWMap holds a tombstone below its floor")
        return read


@dataclass(frozen=True, slots=True)
class PNCounter:
    """A number that replicas count up and down.

    >>> a, b = ReplicaId("a", 1), ReplicaId("b", 1)
    >>> PNCounter().increment(a, 5).merge(PNCounter().decrement(b, 2)).value
    3

    Attributes:
        rows: What each replica has counted up and down in all. Not to be changed.
        folded: By peer, the incarnation whose row holds what all earlier ones have counted.
    """

    rows: Mapping[ReplicaId, tuple[int, int]] = field(default_factory=dict)
    folded: Mapping[str, int] = field(default_factory=dict)

    @property
    def value(self) -> int:
        """What was counted up, less what was counted down."""
        return sum(up - down for up, down in self.rows.values())

    def increment(self, replica: ReplicaId, amount: int = 1) -> Self:
        """Return the counter with the amount, at least 0, added by a replica. Raises BadState."""
        return self._count(replica, amount, 0)

    def decrement(self, replica: ReplicaId, amount: int = 1) -> Self:
        """Return the counter with the amount, at least 0, taken off by a replica. Raises BadState."""
        return self._count(replica, 0, amount)

    def _count(self, replica: ReplicaId, up: int, down: int) -> Self:
        if self._is_folded(replica):
            raise BadState(f"{replica} has a later incarnation that counts on for it")
        if min(up, down) < 0:
            raise BadState(f"an amount of {min(up, down)}; count down with decrement")
        ups, downs = self.rows.get(replica, (0, 0))
        if max(ups + up, downs + down) >= MAX_COUNT:
            raise BadState("a replica counts to 2**62, and no further")
        if replica not in self.rows and len(self.rows) >= MAX_ENTRIES:
            raise BadState(f"a counter of {MAX_ENTRIES:,} replicas is full; fold() the earlier lives")
        return replace(self, rows={**self.rows, replica: (ups + up, downs + down)})

    def fold(self, replica: ReplicaId) -> Self:
        """Return the counter with what a peer's earlier lives have counted moved to its present one.

        For the peer itself only, and only when it holds all that its earlier lives have counted and told:
        what of theirs turns up later is not counted any more.
        """
        earlier = [
            count
            for (peer, incarnation), count in self.rows.items()
            if peer == replica.peer and incarnation < replica.incarnation
        ]
        ups, downs = self.rows.get(replica, (0, 0))
        total = ups + sum(up for up, _ in earlier), downs + sum(down for _, down in earlier)
        folded = {**self.folded, replica.peer: max(replica.incarnation, self.folded.get(replica.peer, 0))}
        return replace(self, rows={**self.rows, replica: total}, folded=folded)._without_folded()

    def delta(self, replica: ReplicaId) -> Self:
        """Return the row of one replica as a counter of its own, to be merged elsewhere."""
        folded = {peer: at for peer, at in self.folded.items() if peer == replica.peer}
        return replace(self, rows={replica: self.rows.get(replica, (0, 0))}, folded=folded)

    def merge(self, other: Self) -> Self:
        """Return the counter that has seen all that both have seen: the maxima, row by row."""
        rows = dict(self.rows)
        for replica, (up, down) in other.rows.items():
            ups, downs = rows.get(replica, (0, 0))
            rows[replica] = max(ups, up), max(downs, down)
        folded = dict(self.folded)
        for peer, incarnation in other.folded.items():
            folded[peer] = max(incarnation, folded.get(peer, 0))
        return replace(self, rows=rows, folded=folded)._without_folded()

    def _is_folded(self, replica: ReplicaId) -> bool:
        return replica.incarnation < self.folded.get(replica.peer, 0)

    def _without_folded(self) -> Self:
        rows = {replica: count for replica, count in self.rows.items() if not self._is_folded(replica)}
        return replace(self, rows=rows)

    def to_plain(self) -> tuple[Plain, ...]:
        """Return the counter as plain values: type, version, folded lives, rows."""
        return (
            *_COUNTER_FORM,
            tuple(sorted(self.folded.items())),
            tuple((*replica, *self.rows[replica]) for replica in sorted(self.rows)),
        )

    @classmethod
    def from_plain(cls, plain: object) -> Self:
        """Return the counter of what `to_plain` returned, after any way through CBOR. Raises BadState."""
        folded, rows = _read_form(plain, _COUNTER_FORM, "a PNCounter")
        folded = _rows_of(folded, 2, "the folded lives of a PNCounter")
        rows = _rows_of(rows, 4, "the rows of a PNCounter")
        lives = dict(_read_replica(peer, incarnation) for peer, incarnation in folded)
        counts = {
            _read_replica(peer, incarnation): (_read_count(up), _read_count(down))
            for peer, incarnation, up, down in rows
        }
        if len(lives) != len(folded) or len(counts) != len(rows):
            raise BadState("a PNCounter says a replica twice")
        read = cls(counts, lives)
        if any(map(read._is_folded, counts)):
            raise BadState("a PNCounter holds a row that is folded")
        return read


# --- reading what came from elsewhere -------------------------------------------------------------


def _check_key(key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise BadState(f"a key is text of 1 to {MAX_KEY_CHARACTERS} characters, found {type(key).__name__}")
    return key


def _plain_entry(key: str, entry: Entry) -> tuple[Plain, ...]:
    stamp = entry.stamp
    return (key, stamp.time, *stamp.replica, stamp.deleted, entry.value)


def _read_entry(plain: object) -> tuple[str, Entry]:
    if not isinstance(plain, list | tuple) or len(plain) != 6:
        raise BadState("an entry of an LWWMap is (key, time, peer, incarnation, deleted, value)")
    key, time, peer, incarnation, deleted, value = plain
    if type(deleted) is not bool or deleted != (value is None):
        raise BadState("an entry of an LWWMap has a value exactly when it is not deleted")
    frozen = freeze(value)
    content = b"" if deleted else fingerprint(frozen)
    stamp = Timestamp(check_time(time), _read_replica(peer, incarnation), deleted, content)
    return _check_key(key), Entry(stamp, frozen)


def _read_replica(peer: object, incarnation: object) -> ReplicaId:
    if not isinstance(peer, str) or not 0 < len(peer) <= MAX_PEER_CHARACTERS:
        raise BadState(f"a peer's name is text of 1 to {MAX_PEER_CHARACTERS} characters")
    if (
        not isinstance(incarnation, int)
        or isinstance(incarnation, bool)
        or not 0 <= incarnation < MAX_INCARNATION
    ):
        raise BadState("an incarnation is an int from 0 to 2**64")
    return ReplicaId(peer, incarnation)


def _read_count(plain: object) -> int:
    if not isinstance(plain, int) or isinstance(plain, bool) or not 0 <= plain < MAX_COUNT:
        raise BadState("a PNCounter counts in ints from 0 to 2**62")
    return plain


def _read_form(plain: object, form: tuple[str, int], what: str) -> tuple[object, object]:
    if not isinstance(plain, list | tuple) or len(plain) != 4 or tuple(plain[:2]) != form:
        raise BadState(f"the stored form of {what} begins with {form} and has four parts")
    return plain[2], plain[3]


def _rows_of(plain: object, width: int, what: str) -> Sequence[Sequence[object]]:
    if not isinstance(plain, list | tuple) or len(plain) > MAX_ENTRIES:
        raise BadState(f"{what} are an array of at most {MAX_ENTRIES:,}")
    if not all(isinstance(row, list | tuple) and len(row) == width for row in plain):
        raise BadState(f"{what} are arrays of {width}")
    return plain
