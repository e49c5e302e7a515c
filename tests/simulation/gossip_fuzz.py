"""Go through millions of small worlds of replicas by plain seeds, and plant bugs to see that they are found.

    python -m tests.simulation.gossip_fuzz --runs 1000000       every seed a world; exit 1 at a violation
    python -m tests.simulation.gossip_fuzz --replay 4711        one seed, step by step
    python -m tests.simulation.gossip_fuzz --planted            each planted bug must be found

hypothesis looks for odd shapes and shrinks them; this looks at many. The same seed is the same story, in
any process.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from unittest.mock import patch

from gossip import LWWMap, PNCounter, Replica, clock, crdt, identity
from tests.gossip.world import KEYS, PEERS, Violation, World

Step = tuple[str, tuple[Any, ...]]

LEAST_STEPS, MOST_STEPS = 8, 28


def story(seed: int) -> Iterator[Step]:
    """Yield what happens in the world of a seed: names of `World`'s methods, and their arguments."""
    rng = Random(f"story/{seed}")
    for _ in range(rng.randint(LEAST_STEPS, MOST_STEPS)):
        peer = rng.randrange(len(PEERS))
        chance = rng.random()
        if chance < 0.22:
            yield "put", (peer, rng.choice(KEYS), rng.randrange(4))
        elif chance < 0.32:
            yield "delete", (peer, rng.choice(KEYS))
        elif chance < 0.40:
            yield "put_own", (peer, rng.randrange(100))
        elif chance < 0.46:
            yield "count", (peer, rng.randint(-3, 3))
        elif chance < 0.64:
            yield "deliver", (peer, rng.randrange(100))
        elif chance < 0.74:
            yield "sync", (peer, (peer + 1 + rng.randrange(2)) % 3)
        elif chance < 0.78:
            yield "equivocate", (rng.randrange(100), rng.choice([None, 0, 1, 2, 3]))
        elif chance < 0.80:
            yield "poison", (peer, rng.choice([0, 2**40, 2**62]))
        elif chance < 0.84:
            yield "collect", (peer, rng.randrange(100))
        elif chance < 0.85:
            yield "collect_rashly", (peer,)
        elif chance < 0.90:
            yield "save", (peer,)
        elif chance < 0.93:
            yield "back_up", (peer,)
        else:
            yield "restart", (peer, rng.choice(["intact", "intact", "old", "lost"]), rng.random() < 0.3)


def run(seed: int, told: Callable[[str], None] | None = None) -> Counter[str]:
    """Live through the world of a seed; return how often each kind of step was taken.

    Raises:
        Violation: Something happened that must not.
    """
    world = World(seed)
    taken: Counter[str] = Counter()
    for name, args in story(seed):
        if told is not None:
            told(f"  {name}{args}")
        if name == "restart":
            world.restart(args[0], args[1], alone=args[2])
        else:
            getattr(world, name)(*args)
        taken[name] += 1
        world.check()
    world.converge()
    return taken


def first_violation(seeds: range) -> tuple[int, str] | None:
    """Return the first seed that ends badly and how, None when all end well."""
    for seed in seeds:
        try:
            run(seed)
        except Exception as error:  # whatever a planted or a real bug makes of it
            return seed, f"{type(error).__name__}: {error}"
    return None


# --- planted bugs -----------------------------------------------------------------------------------


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


def _decode_without_the_floor(plain: Any) -> LWWMap:
    return _true_decode(("lww-map", 1, 0, plain[3]))


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
    Bug("a restart begins no newer life", [(identity.Identity, "renew", _renew_in_memory_of_nothing)]),
    Bug("lives of one number are the same life", [(identity, "SALT_BITS", 1)]),
    Bug("counters add what they hear", [(PNCounter, "merge", _counters_add)]),
    Bug("of two rows of a counter the larger wins whole", [(PNCounter, "merge", _the_larger_row_wins)]),
)


def find_planted(most_runs: int) -> int:
    """Plant each bug in turn and look for it; return how many were not found."""
    missed = 0
    for bug in BUGS:
        with bug.planted():
            found = first_violation(range(most_runs))
        if found is None:
            missed += 1
            print(f"NOT FOUND in {most_runs:,} runs: {bug.name}")
        else:
            print(f"found in run {found[0] + 1:>6,}: {bug.name}\n{'':22}{found[1][:150]}")
    print(f"{len(BUGS) - missed} of {len(BUGS)} planted bugs found")
    return missed


# --- the launcher -----------------------------------------------------------------------------------


def fuzz(first: int, runs: int, jobs: int) -> int:
    """Go through seeds, and say what came of it; return the exit status."""
    began = time.perf_counter()
    size = 5000
    blocks = [range(start, min(start + size, first + runs)) for start in range(first, first + runs, size)]
    done = 0
    with ProcessPoolExecutor(jobs) as pool:
        for block, found in zip(blocks, pool.map(first_violation, blocks), strict=True):
            if found is not None:
                print(f"seed {found[0]}: {found[1]}\nreplay it with --replay {found[0]}", flush=True)
                pool.shutdown(cancel_futures=True)
                return 1
            done += len(block)
            if done % 100_000 < size:
                print(f"{done:>10,} runs, {done / (time.perf_counter() - began):,.0f} a second", flush=True)
    seconds = time.perf_counter() - began
    print(f"{runs:,} runs without a violation in {seconds:,.0f} s, {runs / seconds:,.0f} a second")
    return 0


def replay(seed: int) -> int:
    """Tell the story of one seed; return the exit status."""
    try:
        run(seed, told=print)
    except Violation as violation:
        print(f"violation: {violation}")
        return 1
    print("no violation")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; return the exit status."""
    parser = argparse.ArgumentParser(description="Fuzz the CRDTs by plain seeds.")
    parser.add_argument("--runs", type=int, default=100_000, help="how many seeds (default 100,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes")
    parser.add_argument("--replay", type=int, metavar="SEED", help="tell the story of one seed")
    parser.add_argument("--planted", action="store_true", help="plant bugs, and look whether they are found")
    chosen = parser.parse_args(arguments)
    if chosen.planted:
        return 1 if find_planted(chosen.runs) else 0
    if chosen.replay is not None:
        return replay(chosen.replay)
    return fuzz(chosen.first, chosen.runs, chosen.jobs)


if __name__ == "__main__":
    sys.exit(main())
