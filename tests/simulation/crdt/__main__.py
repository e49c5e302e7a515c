"""`bin/fuzz-crdt`: millions of small worlds of replicas, by plain seeds."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import click

from tests.simulation.crdt.bugs import BUGS
from tests.simulation.crdt.story import first_violation, run

RUNS_PER_TASK = 2_000
PLANTED_RUNS = 20_000
"""A planted bug must be found within so many seeds; most are found within a hundred."""


def find_planted() -> int:
    """Plant each bug in turn and look for it; return how many were not found."""
    missed = 0
    for bug in BUGS:
        with bug.planted():
            found = first_violation(range(PLANTED_RUNS))
        if found is None:
            missed += 1
            click.echo(f"NOT FOUND in {PLANTED_RUNS:,} runs: {bug.name}")
        else:
            click.echo(f"found in run {found[0] + 1:>6,}: {bug.name}\n{'':22}{found[1][:150]}")
    click.echo(f"{len(BUGS) - missed} of {len(BUGS)} planted bugs found")
    return missed


def replay(seed: int) -> bool:
    """Tell the story of one seed; return whether it ended well."""
    try:
        run(seed, click.echo)
    except Exception as error:  # a bug may end in any
        click.echo(f"{type(error).__name__}: {error}")
        return False
    click.echo("no violation")
    return True


def fuzz(seeds: range, jobs: int) -> bool:
    """Go through seeds, and say what came of it; return whether all ended well."""
    began = time.perf_counter()
    tasks = [seeds[start : start + RUNS_PER_TASK] for start in range(0, len(seeds), RUNS_PER_TASK)]
    with ProcessPoolExecutor(jobs) as pool:
        done = 0
        for task, found in zip(tasks, pool.map(first_violation, tasks), strict=True):
            if found is not None:
                pool.shutdown(cancel_futures=True)
                click.echo(f"seed {found[0]}: {found[1]}\nto see it: bin/fuzz-crdt --replay {found[0]}")
                return False
            done += len(task)
            if done % 100_000 < RUNS_PER_TASK:
                speed = done / (time.perf_counter() - began)
                click.echo(f"{done:,} of {len(seeds):,} runs, {speed:,.0f} a second", err=True)
    seconds = time.perf_counter() - began
    speed = len(seeds) / seconds
    click.echo(f"{len(seeds):,} runs without a violation in {seconds:,.0f} s, {speed:,.0f} a second")
    return True


@click.command(context_settings={"show_default": True})
@click.option("--runs", type=click.IntRange(1), default=100_000, help="How many seeds to run.")
@click.option("--first", type=click.IntRange(0), default=0, help="The first seed.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes to use.")
@click.option("--replay", "replayed", type=click.IntRange(0), metavar="SEED", help="Tell the story of one.")
@click.option("--planted", is_flag=True, help="Plant bugs instead, one by one: each must be found.")
def main(runs: int, first: int, jobs: int, replayed: int | None, planted: bool) -> None:
    """Play small worlds of replicas whose messages and disks go every wrong way, one world per seed.

    Deltas come late, doubled, out of order or never; replicas restart with their disk, an old copy of it, or
    none; liars and twins write. In the end all must hold the same, and the right thing. The status is 1 at a
    violation.
    """
    if planted:
        sys.exit(bool(find_planted()))
    if replayed is not None:
        sys.exit(not replay(replayed))
    sys.exit(not fuzz(range(first, first + runs), jobs))


if __name__ == "__main__":
    main(prog_name="bin/fuzz-crdt")
