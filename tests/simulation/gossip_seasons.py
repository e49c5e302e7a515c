"""`bin/simulate --peers`: seasons of gossip on very many seeds, and which faults have fired."""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import click

from tests.simulation.gossip_cells import percentile
from tests.simulation.gossip_play import SeasonReport, play
from tests.simulation.gossip_season import KINDS
from tests.simulation.gossip_whole import WHOLE_KINDS, play_whole
from tests.simulation.slices import Kept, spread

SEEDS_PER_TASK = 20
ENOUGH_SEEDS = 500
"""From so many on, a kind of fault that has never fired is an error of the test."""

FEW_COLLECTIONS = 50_000
"""Garbage collection waits for so many objects: there are many small ones, and few go in circles."""


@dataclass(frozen=True, slots=True)
class Seasons:
    """Which seasons are to be played.

    Attributes:
        peers: How many there are in each.
        whole: Whether by whole peers; else by their views, without I/O.
    """

    peers: int = 5
    whole: bool = False

    @property
    def kinds(self) -> Sequence[str]:
        """The faults that must have fired in some of many seeds."""
        return WHOLE_KINDS if self.whole else KINDS

    @property
    def flags(self) -> str:
        """Of the command that plays them."""
        size = "" if self.peers == 5 else f" --size {self.peers}"
        return "--peers" + " --whole" * self.whole + size

    def name_of(self, seed: int) -> str:
        """Return what a season is called on paper."""
        return f"season {'whole' if self.whole else 'views'} {self.peers} {seed}"

    def play(self, seed: int) -> SeasonReport:
        """Play one of them. Whatever goes wrong in it is in its report."""
        try:
            return play_whole(seed, self.peers) if self.whole else play(seed, self.peers)
        except Exception as error:  # one that ends in any error tells of a bug as well, and others go on
            return SeasonReport(seed, violation=f"it ended in {type(error).__name__}: {error}")

    def play_part(self, seeds: Sequence[int]) -> list[SeasonReport]:
        """Play some of them, in a process of its own or not."""
        with playing():
            return [self.play(seed) for seed in seeds]


@contextmanager
def playing() -> Iterator[None]:
    """Set the process up for seasons, for the length of a block."""
    logging.disable(logging.WARNING)  # peers complain of the faults that are played to them
    before = gc.get_threshold()
    gc.set_threshold(FEW_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        logging.disable(logging.NOTSET)


def tell_season(seasons: Seasons, seed: int) -> bool:
    """Play one season and tell it step by step. Return whether it ended well."""
    player = play_whole if seasons.whole else play
    with playing():
        report = player(seed, seasons.peers, told=click.echo)
    size = f"; {report.events:,} events in {report.seconds:,.0f} virtual seconds" if report.events else ""
    click.echo(report.violation or f"all well; the core agreed after {report.rounds} rounds{size}")
    return not report.violation


def play_seasons(
    seasons: Seasons,
    seeds: range,
    jobs: int,
    kept: Kept | None = None,
    slice_seconds: float = float("inf"),
) -> tuple[bool, int]:
    """Play seasons, and say what came of them.

    Args:
        seasons: What kind of.
        seeds: Which.
        jobs: Processes to use.
        kept: What earlier calls have played; it is not played again, and counts.
        slice_seconds: Begin nothing more after so long.

    Returns:
        Whether all ended well, and how many are left.
    """
    began = time.perf_counter()
    before: dict[str, Any] = {} if kept is None else kept.results
    reports = [read(before[name]) for seed in seeds if (name := seasons.name_of(seed)) in before]
    missing = [seed for seed in seeds if seasons.name_of(seed) not in before]
    size = 1 if seasons.whole else SEEDS_PER_TASK
    parts = [missing[start : start + size] for start in range(0, len(missing), size)]
    begun = (part for part in parts if time.perf_counter() - began < slice_seconds)
    played = 0
    for _, done in spread(begun, seasons.play_part, jobs):
        reports += done
        played += len(done)
        for report in done:
            if kept is not None:
                kept.add(seasons.name_of(report.seed), write(report))
            if report.violation:
                click.echo(f"seed {report.seed}: {report.violation}")
                click.echo(f"  again: bin/simulate {seasons.flags} --first {report.seed} --seeds 1")
    lines, well = summary(reports, seasons.kinds)
    for line in lines:
        click.echo(line)
    seconds = time.perf_counter() - began
    speed = played / seconds * 3600
    click.echo(f"{played:,} seeds in {seconds:,.0f} s, {speed:,.0f} an hour with --jobs {jobs}")
    return well, len(missing) - played


def write(report: SeasonReport) -> dict[str, Any]:
    """Return a report in the words of JSON."""
    words = {each.name: getattr(report, each.name) for each in fields(report)}
    return {**words, "fired": dict(report.fired)}


def read(found: dict[str, Any]) -> SeasonReport:
    """Return a report out of the words of JSON."""
    return SeasonReport(**{**found, "fired": Counter(found["fired"])})


def summary(reports: Sequence[SeasonReport], kinds: Iterable[str] = KINDS) -> tuple[list[str], bool]:
    """Return a table for people, and whether all is well with the seasons and with the test itself."""
    times: Counter[str] = Counter()
    fired_in: Counter[str] = Counter()
    for report in reports:
        times.update(report.fired)
        fired_in.update(kind for kind, count in report.fired.items() if count)
    faults = list(kinds)
    lines = [f"{'':30}{'times':>10}  in seeds"]
    for kind in (*faults, *sorted(times.keys() - set(faults))):
        lines.append(f"  {kind:28}{times[kind]:>10,}  {fired_in[kind] / max(len(reports), 1):>7.1%}")
    never = [kind for kind in faults if len(reports) >= ENOUGH_SEEDS and not times[kind]]
    lines += [f"error: there was not one {kind}: the test does not test it" for kind in never]
    rounds = [float(report.rounds) for report in reports if not report.violation] or [0.0]
    lines.append(
        f"rounds until the mended core agreed: median {percentile(rounds, 0.5):g},"
        f" 99 % within {percentile(rounds, 0.99):g}, most {max(rounds):g}"
    )
    failed = sum(bool(report.violation) for report in reports)
    lines.append(f"{len(reports):,} seeds, {failed:,} of them with violations")
    return lines, not failed and not never
