"""What `bin/report` shows of a gossip.db."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from rich.console import Console

from persistence.canvas import save
from persistence.gossip_history import GossipHistory, load_gossip_run, load_gossip_runs
from persistence.gossip_plot import draw_gossip
from persistence.gossip_report import (
    gossip_as_csv,
    gossip_as_json,
    gossip_as_table,
    gossip_runs_as_table,
    gossip_summary_as_json,
)
from persistence.selection import Wish


class CannotShow(ValueError):
    """What is wished cannot be shown of a gossip run. The text says why, and the fix."""


def show_gossip(wish: Wish) -> None:
    """Show what is wished of the records of gossip runs.

    Raises:
        CannotShow: A gossip run has no such side, or a file cannot be written.
        UnknownRun: There is no such run.
        DatabaseError: A record cannot be read.
    """
    if wish.by not in ("", "round"):
        raise CannotShow(f"--by {wish.by}: a gossip run is shown by round; leave out --by")
    if wish.list_runs:
        everything = [one for path in wish.databases for one in load_gossip_runs(path)]
        if wish.form == "json":
            _print_json([gossip_summary_as_json(one) for one in everything])
        else:
            Console(highlight=False).print(gossip_runs_as_table(everything))
        return
    chosen = [load_gossip_run(path, name) for path in wish.databases for name in (wish.runs or (None,))]
    _write_files(chosen, wish)
    if wish.form == "json":
        told = [gossip_as_json(one) for one in chosen]
        _print_json(told[0] if len(told) == 1 else told)
    elif wish.form == "csv":
        click.echo(gossip_as_csv(chosen), nl=False)
    elif wish.form == "table":
        for one in chosen:
            Console(highlight=False).print(gossip_as_table(one))


def _write_files(chosen: Sequence[GossipHistory], wish: Wish) -> None:
    if wish.picture is not None and len(chosen) > 1:
        raise CannotShow(f"--plot {wish.picture}: one gossip run at a time; give one RUN")
    try:
        if wish.csv is not None:
            wish.csv.write_text(gossip_as_csv(chosen))
            click.echo(f"the CSV is in {wish.csv}", err=True)
        if wish.picture is not None:
            save(draw_gossip(chosen[0]), wish.picture)
            click.echo(f"the picture is in {wish.picture}", err=True)
    except OSError as error:
        raise CannotShow(
            f"{error.filename}: cannot be written: {error.strerror}; give another path"
        ) from error


def _print_json(told: object) -> None:
    click.echo(json.dumps(told, indent=2, allow_nan=False))
