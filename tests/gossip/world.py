"""A small world of replicas whose messages and disks go every wrong way, and what must hold in it.

Two drive it: a hypothesis state machine, which shrinks what it finds, and a launcher with plain seeds, which
goes through millions. It knows the truth by other means than the code under test: it keeps every write
that was ever told, and computes from that list who must win.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any

import cbor2

from gossip import (
    Delta,
    Entry,
    Identity,
    LamportClock,
    LWWMap,
    PNCounter,
    Replica,
    ReplicaId,
    Sighting,
)
from gossip.clock import CEILING, MAX_ADVANCE
from tests.gossip.stores import MemoryStore

PEERS = ("a", "b", "c")
KEYS = ("k", "l")
OWN_KEYS = tuple(f"own/{peer}" for peer in PEERS)  # each is written by its peer alone


class Violation(AssertionError):
    """Something happened that must not."""


def require(holds: bool, text: str) -> None:
    """Raise Violation unless it holds."""
    if not holds:
        raise Violation(text)


@dataclass(slots=True)
class Disk:
    """What a peer has on disk: its identity always, its state as of the last snapshot."""

    store: MemoryStore
    state: Any = None
    counter: Any = None

    def copy(self) -> Disk:
        return Disk(MemoryStore(self.store.stored), self.state, self.counter)


@dataclass(slots=True)
class Peer:
    """One replica in its present life."""

    name: str
    disk: Disk
    identity: Identity
    clock: LamportClock
    replica: Replica
    counter: PNCounter
    collected_below: int = 0  # in this life
    forgot: bool = False  # whether it ever came back with a disk that was not the last one
    backups: list[Disk] = field(default_factory=list)

    @property
    def below(self) -> int:
        """The highest floor that this life knows of."""
        return max(self.replica.map.floor, self.collected_below)


class World:
    """Three peers.

    Args:
        seed: Of the chance in identities. The faults are chosen by whoever drives the world.
    """

    def __init__(self, seed: int | str) -> None:
        self._rng = Random(f"world/{seed}")
        self.told: list[Delta] = []  # every write, as it was told to others
        self.counted: list[PNCounter] = []  # every count, the same
        self.total = 0
        self._folded = False  # whether anybody has ever folded its earlier lives
        self._stamps: dict[tuple[int, ReplicaId], Delta] = {}
        self._highest_floor = 0
        self._rash = False  # whether a floor was ever raised without care
        self._own: dict[str, Any] = {}  # what each peer wrote last under its own key
        self._collected: list[tuple[str, Any, int]] = []  # key, stamp, floor: never to be seen again above it
        self.peers = [self._start(name, Disk(MemoryStore()), []) for name in PEERS]

    # --- writes ---------------------------------------------------------------------------------

    def put(self, peer: int, key: str, value: Any) -> None:
        """A peer writes."""
        self._tell(self.peers[peer], self.peers[peer].replica.put(key, value))

    def delete(self, peer: int, key: str) -> None:
        """A peer deletes."""
        self._tell(self.peers[peer], self.peers[peer].replica.delete(key))

    def put_own(self, peer: int, value: Any) -> None:
        """A peer writes under its own key."""
        self._own[OWN_KEYS[peer]] = value
        self.put(peer, OWN_KEYS[peer], value)

    def equivocate(self, number: int, value: Any) -> None:
        """Somebody who lives twice, or lies, says another thing under an old timestamp; None deletes."""
        if self.told:
            delta = self.told[number % len(self.told)]
            stamp = delta.entry.stamp
            row = (delta.key, stamp.time, *stamp.replica, value is None, value)
            if delta.key in KEYS:
                self.told.append(Delta.from_plain(row))

    def _tell(self, peer: Peer, delta: Delta) -> None:
        stamp = delta.entry.stamp
        require(
            (stamp.time, stamp.replica) not in self._stamps,
            f"{stamp.replica} has used the time {stamp.time} twice",
        )
        self._stamps[stamp.time, stamp.replica] = delta
        self.told.append(delta)

    def count(self, peer: int, amount: int) -> None:
        """A peer counts, and tells its row."""
        who = self.peers[peer]
        me = who.identity.replica
        change = who.counter.increment if amount >= 0 else who.counter.decrement
        who.counter = change(me, abs(amount))
        self.total += amount
        self.counted.append(who.counter.delta(me))

    def fold(self, peer: int) -> None:
        """A peer that holds all that it has ever counted folds its earlier lives, and all learn of it."""
        self._exchange_all()
        who = self.peers[peer]
        me = who.identity.replica
        if all(life <= me.incarnation for name, life in who.counter.rows if name == who.name):
            self._folded = True
            who.counter = who.counter.fold(me)
            self.counted.append(who.counter.delta(me))
            self._exchange_all()
            rows = [life for name, life in who.counter.rows if name == who.name]
            require(rows == [me.incarnation], f"{who.name} has folded its lives and has {len(rows)} rows")

    # --- the network ----------------------------------------------------------------------------

    def deliver(self, peer: int, number: int) -> None:
        """Any write of the past comes to a peer: late, again, before others."""
        if self.told:
            self.peers[peer].replica.merge(self.told[number % len(self.told)])
        if self.counted:
            who = self.peers[peer]
            who.counter = who.counter.merge(self.counted[number % len(self.counted)])

    def sync(self, one: int, other: int) -> None:
        """Two peers exchange their states, over the wire."""
        first, second = self.peers[one], self.peers[other]
        state = LWWMap.from_plain(_wire(first.replica.map.to_plain()))
        require(state == first.replica.map, "a state has changed on the wire")
        second.replica.merge_state(state)
        first.replica.merge_state(second.replica.map)
        second.counter = second.counter.merge(PNCounter.from_plain(_wire(first.counter.to_plain())))
        first.counter = first.counter.merge(second.counter)
        require(
            first.replica.map.digest() == second.replica.map.digest(),
            "two that have exchanged all still differ",
        )

    def poison(self, peer: int, ahead: int) -> None:
        """A liar shows a time that is far ahead."""
        who = self.peers[peer]
        before = who.clock.time
        time = min(before + MAX_ADVANCE + 1 + ahead, CEILING - 1)
        lie = Delta.from_plain(("k", time, "liar", 1, False, "poison"))
        who.replica.merge(lie)
        who.replica.merge_state(LWWMap().merge(lie))
        require(who.clock.time == before, "a clock follows a liar")
        require(who.replica.map.get("k") != "poison", "a time far ahead is obeyed")

    # --- tombstones -----------------------------------------------------------------------------

    def collect(self, peer: int, below: int) -> None:
        """All come to know the same, and one collects below a time that all clocks have passed."""
        self._exchange_all()
        who = self.peers[peer]
        floor = 1 + below % (min(each.clock.time for each in self.peers) + 1)
        if floor > self._highest_floor:  # so whoever knows that floor knows what was gone by then
            self._collected += [
                (delta.key, delta.entry.stamp, floor)
                for delta in self.told
                if delta.entry.stamp.time < floor and who.replica.map.entries.get(delta.key) != delta.entry
            ]
        self._collect(who, floor)

    def collect_rashly(self, peer: int) -> None:
        """One collects all that it knows, and does not ask whether it knows all: writes may be lost by it."""
        self._rash = True
        self._collect(self.peers[peer], self.peers[peer].clock.time + 1)

    def _collect(self, who: Peer, floor: int) -> None:
        who.replica.collect(floor)
        self._highest_floor = max(self._highest_floor, floor)
        who.collected_below = max(who.collected_below, floor)
        old = [entry for entry in who.replica.map.entries.values() if entry.stamp.time < floor]
        require(not any(entry.stamp.deleted for entry in old), "a tombstone below the floor is kept")

    # --- disks ----------------------------------------------------------------------------------

    def save(self, peer: int) -> None:
        """A snapshot."""
        who = self.peers[peer]
        who.disk.state, who.disk.counter = _wire(who.replica.map.to_plain()), _wire(who.counter.to_plain())

    def back_up(self, peer: int) -> None:
        """A copy of the disk is put aside."""
        self.peers[peer].backups.append(self.peers[peer].disk.copy())

    def restart(self, peer: int, disk: str, *, alone: bool = False) -> None:
        """A peer crashes and comes back.

        Args:
            peer: Which.
            disk: "intact", "old" (a copy of the past, if there is one) or "lost".
            alone: Whether there is nobody to ask. Where lives are folded, a peer waits for somebody: only
                the others' word keeps it from counting on in a life that is over.
        """
        who = self.peers[peer]
        alone = alone and not self._folded
        found = {"intact": who.disk, "lost": Disk(MemoryStore())}.get(disk)
        if found is None:
            found = who.backups[-1].copy() if who.backups else who.disk
        others = [other for other in self.peers if other is not who and not alone]
        back = self._start(who.name, found, [self._sighting(other, who.name) for other in others])
        if self._folded:
            for other in others:
                back.counter = back.counter.merge(other.counter)
        back.backups, back.forgot = who.backups, who.forgot or found is not who.disk
        self.peers[peer] = back
        known = max(each.below for each in self.peers)  # a floor that all have forgotten binds nobody
        self._collected = [(key, stamp, floor) for key, stamp, floor in self._collected if floor <= known]

    def _start(self, name: str, disk: Disk, sightings: list[Sighting]) -> Peer:
        identity = Identity(name, disk.store, self._rng)
        clock = identity.begin(sightings)
        state = LWWMap.from_plain(disk.state) if disk.state is not None else None
        counter = PNCounter.from_plain(disk.counter) if disk.counter is not None else PNCounter()
        return Peer(name, disk, identity, clock, Replica(identity, clock, state), counter)

    def _sighting(self, witness: Peer, name: str) -> Sighting:
        lives = [
            entry.stamp.replica.incarnation
            for entry in witness.replica.map.entries.values()
            if entry.stamp.replica.peer == name
        ]
        lives += [incarnation for peer, incarnation in witness.counter.rows if peer == name]
        return Sighting(witness.name, max(lives, default=0), witness.clock.time)

    # --- what must hold -------------------------------------------------------------------------

    def _exchange_all(self) -> None:
        """Everything that was ever told comes to everybody, then all states do."""
        for peer in self.peers:
            for delta in self.told:
                peer.replica.merge(delta)
            for row in self.counted:
                peer.counter = peer.counter.merge(row)
        self.sync(0, 1)
        self.sync(1, 2)
        self.sync(0, 1)

    def check(self) -> None:
        """What must hold at any time, unless somebody was rash: then, only in the end."""
        if not self._rash:
            self._check_collected()

    def _check_collected(self) -> None:
        for peer in self.peers:
            for key, stamp, floor in self._collected:
                entry = peer.replica.map.entries.get(key)
                require(
                    peer.below < floor or entry is None or entry.stamp != stamp,
                    f"{key} at {stamp[:2]} came back from below the floor {floor}",
                )

    def converge(self) -> None:
        """Whatever happened: once all have heard everything, all hold the same, and the right thing."""
        self._exchange_all()
        self._check_collected()
        states = [peer.replica.map for peer in self.peers]
        for state in states[1:]:
            require(state.digest() == states[0].digest(), "digests differ after a full exchange")
            require(dict(state.items()) == dict(states[0].items()), "equal digests, different values")
        for key in (*KEYS, *OWN_KEYS):
            self._check_winner(key, states[0])
        for peer, key in zip(self.peers, OWN_KEYS, strict=True):
            if not peer.forgot and key in self._own and not self._rash:
                require(
                    states[0].get(key) == self._own[key], f"{peer.name}'s last write is lost to an older one"
                )
        for peer in self.peers:
            require(peer.counter.value == self.total, f"counted {peer.counter.value}, it was {self.total}")

    def _check_winner(self, key: str, state: LWWMap) -> None:
        """The last write of all that were told wins; here by a sort of its own, not by the map's order."""
        written = [delta.entry for delta in self.told if delta.key == key]
        live = state.get(key)
        if not written:
            require(live is None, f"{key} has a value that nobody wrote")
            return
        last = max(written, key=_place)
        if last.value is None:
            require(live is None, f"{key} was deleted last and has the value {live!r}")
        elif live is not None or (last.stamp.time >= state.floor and not self._rash):
            require(live == last.value, f"{key} is {live!r}, the last write was {last.value!r}")


def _place(entry: Entry) -> tuple[Any, ...]:
    """Where a write stands among others, said once more and apart from the code under test."""
    peer, incarnation = entry.stamp.replica
    content = b"" if entry.value is None else blake2b(cbor2.dumps(entry.value), digest_size=32).digest()
    return entry.stamp.time, peer, incarnation, entry.value is None, content


def _wire(plain: Any) -> Any:
    return cbor2.loads(cbor2.dumps(plain))
