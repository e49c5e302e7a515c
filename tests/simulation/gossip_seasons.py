"""`bin/simulate --peers`: seasons of gossip on very many seeds, and which faults have fired."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import click

from tests.simulation.gossip_cells import percentile
from tests.simulation.gossip_play import SeasonReport, play
from tests.simulation.gossip_season import KINDS

SEEDS_PER_TASK = 20
ENOUGH_SEEDS = 500
"""From so many on, a kind of fault that has never fired is an error of the test."""


def play_seasons(seeds: range, jobs: int) -> bool:
    """Play seasons, and say what came of them; a single one is told. Return whether all ended well."""
    if len(seeds) == 1:
        report = play(seeds[0], told=click.echo)
        click.echo(report.violation or f"all well; the core agreed after {report.rounds} rounds")
        return not report.violation
    began = time.perf_counter()
    reports = []
    for report in _reports(seeds, jobs):
        reports.append(report)
        if report.violation:
            click.echo(f"seed {report.seed}: {report.violation}")
            click.echo(f"  again: bin/simulate --peers --first {report.seed} --seeds 1")
    lines, well = summary(reports)
    for line in lines:
        click.echo(line)
    seconds = time.perf_counter() - began
    speed = len(reports) / seconds * 3600
    click.echo(f"{len(reports):,} seeds in {seconds:,.0f} s, {speed:,.0f} an hour with --jobs {jobs}")
    return well


def _reports(seeds: range, jobs: int) -> Iterator[SeasonReport]:
    parts = [seeds[start : start + SEEDS_PER_TASK] for start in range(0, len(seeds), SEEDS_PER_TASK)]
    with ProcessPoolExecutor(jobs) as pool:
        for done in pool.map(_play_part, parts):
            yield from done


def _play_part(seeds: range) -> list[SeasonReport]:
    return [play(seed) for seed in seeds]


def summary(reports: list[SeasonReport]) -> tuple[list[str], bool]:
    """Return a table for people, and whether all is well with the seasons and with the test itself."""
    times: Counter[str] = Counter()
    seasons: Counter[str] = Counter()
    for report in reports:
        times.update(report.fired)
        seasons.update(report.fired.keys())
    lines = [f"{'':30}{'times':>10}  in seeds"]
    for kind in (*KINDS, "publish", "withdraw", "save", "back up"):
        lines.append(f"  {kind:28}{times[kind]:>10,}  {seasons[kind] / len(reports):>7.1%}")
    never = [kind for kind in KINDS if len(reports) >= ENOUGH_SEEDS and not times[kind]]
    lines += [f"error: there was not one {kind}: the test does not test it" for kind in never]
    rounds = [float(report.rounds) for report in reports if not report.violation] or [0.0]
    lines.append(
        f"rounds until the mended core agreed: median {percentile(rounds, 0.5):g},"
        f" 99 % within {percentile(rounds, 0.99):g}, most {max(rounds):g}"
    )
    failed = sum(bool(report.violation) for report in reports)
    lines.append(f"{failed:,} seeds with violations")
    return lines, not failed and not never
