"""`bin/simulate`: the cluster of `cluster.py` on very many seeds, or with `--gossip` what gossip reaches."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import click
from click.core import ParameterSource

from tests.simulation.cluster import SeedReport, run_seed
from tests.simulation.cluster_report import Summary
from tests.simulation.cluster_runs import run_seeds
from tests.simulation.gossip_measure import QUICK, Plan, measure, tasks_of
from tests.simulation.gossip_seasons import Seasons, play_seasons, tell_season
from tests.simulation.gossip_table import as_plain, lines, rows
from tests.simulation.slices import Kept

SOMETHING_LEFT = 3

# What is played, and the flags that say something of that alone.
CLUSTER, GOSSIP, PEERS = "the cluster", "--gossip", "--peers"
SAYS_SOMETHING_OF = {
    "--only": {GOSSIP},
    "--quick": {GOSSIP},
    "--json": {GOSSIP},
    "--whole": {PEERS},
    "--size": {PEERS},
    "--keep": {GOSSIP, PEERS},
    "--slice": {GOSSIP, PEERS},
    "--trace": {CLUSTER},
}


@click.command(context_settings={"show_default": True})
@click.option(
    "--seeds", type=click.IntRange(1), default=200, help="How many seeds to run; with --gossip, a cell."
)
@click.option("--first", type=click.IntRange(0), default=0, help="The first seed.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes to use.")
@click.option("--trace", type=click.Path(path_type=Path), help="Write every event of a single seed there.")
@click.option("--gossip", is_flag=True, help="Measure the views of gossip beside their targets instead.")
@click.option(
    "--peers", is_flag=True, help="Play seasons of peers of gossip instead: every fault, seed by seed."
)
@click.option(
    "--whole",
    is_flag=True,
    help="With --peers: whole peers, with actors, frames, virtual TCP and a gossip.db each.",
)
@click.option("--size", type=click.IntRange(3, 64), default=5, help="With --peers: how many there are.")
@click.option("--quick", is_flag=True, help="With --gossip: small networks and few seeds, in some seconds.")
@click.option("--json", "as_json", is_flag=True, help="With --gossip: write the table as JSON.")
@click.option(
    "--only",
    metavar="TEXT",
    multiple=True,
    help='With --gossip: measure only what is called so, as "idle 1024" or "detection 256"; may be repeated.',
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --gossip or --peers: keep what is done there, and do not do again what is there already.",
)
@click.option(
    "--slice",
    "slice_seconds",
    type=click.FloatRange(0, min_open=True),
    help="With --keep: begin nothing more after so many seconds; the next call goes on.",
)
@click.pass_context
def main(
    context: click.Context,
    /,
    seeds: int,
    first: int,
    jobs: int,
    trace: Path | None,
    gossip: bool,
    peers: bool,
    whole: bool,
    size: int,
    quick: bool,
    as_json: bool,
    only: tuple[str, ...],
    keep: Path | None,
    slice_seconds: float | None,
) -> None:
    """Run a cluster of five actor systems through seasons of faults, one season per seed.

    Hosts crash and come back, links are cut, slow and lossy, connections vanish. Whatever happens, the
    order of messages, at-most-once delivery, the certainty of outcomes and the accounts must hold, and the
    cluster must work again when it is healed. The status is 1 when a law was broken.

    With --gossip, up to 1,024 peers without I/O, in virtual time: rounds to convergence, failure detection,
    false deaths and bytes, each beside its target. The status is 1 when a target is missed.

    With --peers, some peers through seasons of every fault; then a core of them is mended, which must come
    to agree. Without I/O, or with --whole as they are. With --seeds 1 the season is told step by step.

    A measurement is called by its kind and its arguments, as in the file of --keep: "convergence 1024 0.3
    True 0 20" is that of 1,024 peers, 30 % loss, with announcements, seeds 0 to 19.

    With --keep, what is done adds up over several calls. The status is 3 when a slice is over and something
    is left.
    """
    if gossip and peers:
        raise click.UsageError("--gossip measures, --peers plays: one at a time")
    _check_flags(context, GOSSIP if gossip else PEERS if peers else CLUSTER)
    if slice_seconds is not None and keep is None:
        raise click.UsageError("--slice leaves something for the next call: say where, with --keep FILE")
    slice_seconds = float("inf") if slice_seconds is None else slice_seconds
    kept = None if keep is None else Kept(keep)
    if peers:
        _play_seasons(Seasons(size, whole), range(first, first + seeds), jobs, kept, slice_seconds)
    if gossip:
        plan = replace(QUICK, only=only) if quick else Plan(seeds=seeds, only=only)
        _measure_gossip(plan, jobs, as_json, kept, slice_seconds)
    if trace is not None:
        if seeds != 1:
            raise click.UsageError("--trace is for one seed: add --seeds 1, and --first to say which")
        _run_one(first, trace)
        return
    summary = Summary()
    progress = Progress(seeds)
    interrupted = False
    try:
        for report in run_seeds(range(first, first + seeds), jobs):
            progress.clear()
            summary.add(report)
            if report.violations:
                _tell(report)
            progress.show(summary)
    except KeyboardInterrupt:
        interrupted = True
    progress.clear()
    for line in summary.lines():
        click.echo(line)
    click.echo(
        f"{summary.seeds:,} seeds in {progress.elapsed:,.0f} s, {progress.per_hour(summary):,.0f} an hour"
        f" with --jobs {jobs}; {len(summary.failed):,} with violations"
    )
    for kind in summary.never:
        click.echo(f"error: in {summary.seeds:,} seeds there was not one {kind}: the test does not test it")
    if interrupted:
        click.echo("Stopped before all seeds were run.")
    if summary.failed:
        click.echo("To see the first again: " + _command(summary.failed[0].seed))
    sys.exit(130 if interrupted else bool(summary.failed or summary.never))


def _check_flags(context: click.Context, played: str) -> None:
    """Refuse a flag that would say nothing here. Raises click.UsageError."""
    for option in context.command.params:
        flag = option.opts[0]
        given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        about = SAYS_SOMETHING_OF.get(flag, {played})
        if given and played not in about:
            raise click.UsageError(f"{flag} is for {' and '.join(sorted(about))}, and this plays {played}")


def _run_one(seed: int, trace: Path) -> None:
    with trace.open("w") as file:
        report = run_seed(seed, copy_trace_to=file)
    _tell(report)
    click.echo(f"seed {seed}: digest {report.digest}, {report.events:,} events, written to {trace}")
    sys.exit(bool(report.violations))


def _play_seasons(
    seasons: Seasons, seeds: range, jobs: int, kept: Kept | None, slice_seconds: float
) -> NoReturn:
    if len(seeds) == 1:
        sys.exit(not tell_season(seasons, seeds[0]))
    well, left = play_seasons(seasons, seeds, jobs, kept, slice_seconds)
    _exit(well, left, "seeds")


def _exit(well: bool, left: int, what: str) -> NoReturn:
    if left:
        click.echo(f"{left:,} {what} are left; the same command goes on with them", err=True)
    sys.exit(1 if not well else SOMETHING_LEFT if left else 0)


def _measure_gossip(
    plan: Plan, jobs: int, as_json: bool, kept: Kept | None, slice_seconds: float
) -> NoReturn:
    began = time.monotonic()
    if not tasks_of(plan):
        names = ", ".join(dict.fromkeys(task.kind for task in tasks_of(replace(plan, only=()))))
        raise click.BadParameter(
            f"nothing that is measured is called so; names begin with {names}", param_hint="--only"
        )

    def tell(done: int, planned: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{done} of {planned} measurements", err=True, nl=False)

    found, left = measure(plan, jobs, tell, kept=kept, slice_seconds=slice_seconds)
    table = rows(found)
    missed = sum(not row.met for row in table)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    if as_json:
        click.echo(json.dumps(as_plain(table), indent=2))
    else:
        for line in lines(table):
            click.echo(line)
        seconds = time.monotonic() - began
        click.echo(f"\n{missed or 'no'} targets missed; measured in {seconds:,.0f} s with --jobs {jobs}")
    _exit(not missed, left, "measurements")


def _tell(report: SeedReport) -> None:
    if report.violations:
        click.echo(f"seed {report.seed} breaks the law:")
        for text in report.violations:
            click.echo(f"  {text}")
        click.echo(f"  again: {_command(report.seed)}")


def _command(seed: int) -> str:
    return f"bin/simulate --first {seed} --seeds 1 --trace trace-{seed}.txt"


@dataclass
class Progress:
    """A line that says how far it is: on a terminal written over, else one now and then.

    Attributes:
        seeds: How many there are to run.
    """

    seeds: int
    _began: float = field(default_factory=time.monotonic)
    _next_line: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def per_hour(self, summary: Summary) -> float:
        """How many seeds an hour has, at this speed."""
        return summary.seeds / max(self.elapsed, 1e-9) * 3600

    def show(self, summary: Summary) -> None:
        """Say how far it is."""
        if not sys.stderr.isatty() and self.elapsed < self._next_line:
            return
        self._next_line = self.elapsed + 10
        left = (self.seeds - summary.seeds) / max(self.per_hour(summary) / 3600, 1e-9)
        text = (
            f"{summary.seeds:,} of {self.seeds:,} seeds, {len(summary.failed):,} with violations,"
            f" {self.per_hour(summary):,.0f} seeds per hour, {left:,.0f} s left"
        )
        click.echo(text, err=True, nl=not sys.stderr.isatty())

    def clear(self) -> None:
        """Take the line away, before something else is written."""
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", err=True, nl=False)


if __name__ == "__main__":
    main(prog_name="bin/simulate")
