"""What a soak has seen, and what must come of it. Plain values: no process, no clock."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

MEASURES = ("memory_mib", "handles", "tasks", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """All processes of a mode at one moment.

    Attributes:
        seconds: Since the soak began.
        mode: "coordinated" or "gossip".
        memory_mib: PSS of all of them.
        handles: Open files, sockets and pipes.
        tasks: Of trio.
        threads: Of the operating system.
        processes: How many there are.
        database_mib: Of its record, with what is still in the write-ahead log.
        rounds: Committed, or for gossip the least that a peer has trained.
    """

    seconds: float
    mode: str
    memory_mib: float
    handles: int
    tasks: int
    threads: int
    processes: int
    database_mib: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far apart the beginning and the end of the calm half may lie: a share, and so much besides.

    Attributes:
        share: Of what there was.
        memory_mib: Allocators round up, caches fill.
        handles: Connections come and go with 32 hostile peers.
        tasks: The same, some tasks for each.
        threads: The pool of worker threads grows to what was once needed at a time.
        database_factor: A round late in the calm half may write so many times as much as an early one.
    """

    share: float = 0.05
    memory_mib: float = 16.0
    handles: float = 24.0
    tasks: float = 64.0
    threads: float = 8.0
    database_factor: float = 1.5


@dataclass(slots=True)
class Soaked:
    """How it went.

    Attributes:
        samples: In the order in which they were taken.
        calm_from: When killing ended: what is judged for leaks comes after it, since a new process is small.
        said: Sentences about slow links, hostile peers and the end.
        losses: What was lost, in sentences.
    """

    calm_from: float
    samples: list[Sample] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def of(self, mode: str) -> list[Sample]:
        """Return the samples of a mode."""
        return [one for one in self.samples if one.mode == mode]

    def calm(self, mode: str) -> tuple[list[Sample], list[Sample]]:
        """Return the first and the last third of what came after killing ended."""
        after = [one for one in self.of(mode) if one.seconds >= self.calm_from]
        third = max(len(after) // 3, 1)
        return after[:third], after[-third:]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def leaks(soaked: Soaked, bounds: Bounds) -> Iterator[str]:
    """Yield a sentence for each measure that has grown through the calm half."""
    for mode in sorted({one.mode for one in soaked.samples}):
        early, late = soaked.calm(mode)
        if not early:
            yield f"{mode}: there is no sample after killing ended"
            continue
        for measure in MEASURES:
            before, after = _middle(early, measure), _middle(late, measure)
            allowed = before * (1 + bounds.share) + getattr(bounds, measure)
            if after > allowed:
                yield f"{mode}: {measure} rose from {before:.1f} to {after:.1f} ({allowed:.1f} is allowed)"
        yield from _database(mode, early, late, bounds)


def _database(mode: str, early: Sequence[Sample], late: Sequence[Sample], bounds: Bounds) -> Iterator[str]:
    first, second = bytes_a_round(early), bytes_a_round(late)
    if first is not None and second is not None and second > first * bounds.database_factor:
        yield f"{mode}: a round wrote {first:,.0f} bytes at first, and {second:,.0f} at last"


def bytes_a_round(samples: Sequence[Sample]) -> float | None:
    """Return what the record grew by for each round; None where there are too few to say it.

    The write-ahead log is emptied in steps of 4 MiB, so fewer rounds than fill some of them say nothing.
    """
    rounds = samples[-1].rounds - samples[0].rounds
    grown = (samples[-1].database_mib - samples[0].database_mib) * 2**20
    return grown / rounds if rounds > 0 and grown > 16 * 2**20 else None


def stuck_seconds(samples: Sequence[Sample]) -> float:
    """Return the longest time without a new round."""
    longest, since = 0.0, samples[0].seconds if samples else 0.0
    for before, after in pairwise(samples):
        longest = max(longest, after.seconds - since)
        if after.rounds > before.rounds:
            since = after.seconds
    return longest


def table(soaked: Soaked, lines: int = 10) -> Iterator[list[str]]:
    """Yield a head and then samples of each mode, evenly spread over the time."""
    yield ["mode", "s", "processes", "memory MiB", "handles", "tasks", "threads", "database MiB", "rounds"]
    for mode in sorted({one.mode for one in soaked.samples}):
        samples = soaked.of(mode)
        for place in _spread(len(samples), lines):
            one = samples[place]
            yield [
                mode,
                f"{one.seconds:.0f}",
                f"{one.processes}",
                f"{one.memory_mib:.0f}",
                f"{one.handles}",
                f"{one.tasks}",
                f"{one.threads}",
                f"{one.database_mib:.1f}",
                f"{one.rounds}",
            ]


def settled(soaked: Soaked) -> Mapping[str, str]:
    """Return, for each mode, how its measures stood early and late in the calm half."""
    said = {}
    for mode in sorted({one.mode for one in soaked.samples}):
        early, late = soaked.calm(mode)
        if early:
            said[mode] = ", ".join(
                f"{measure.replace('_mib', ' MiB')} {before:.0f} to {after:.0f}"
                for measure in MEASURES
                for before, after in [(_middle(early, measure), _middle(late, measure))]
            )
    return said


def _middle(samples: Sequence[Sample], measure: str) -> float:
    return float(statistics.median(getattr(one, measure) for one in samples))


def _spread(length: int, most: int) -> list[int]:
    if length <= most:
        return list(range(length))
    return [round(place * (length - 1) / (most - 1)) for place in range(most)]
