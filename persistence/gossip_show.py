"""What `bin/report` shows of a gossip.db."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group

from persistence.delivery import (
    OF_ROWS,
    CannotShow,
    deliver_json,
    deliver_rows,
    deliver_shown,
    write_csv,
    write_picture,
)
from persistence.gossip_history import (
    GossipHistory,
    load_gossip_run,
    load_gossip_runs,
    table_of_peers,
)
from persistence.gossip_plot import draw_gossip
from persistence.gossip_report import (
    gossip_as_json,
    gossip_as_table,
    gossip_runs_as_table,
    gossip_summary_as_json,
)
from persistence.selection import Wish


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
            deliver_json([gossip_summary_as_json(one) for one in everything], wish)
        else:
            deliver_shown(gossip_runs_as_table(everything), wish)
        return
    chosen = [load_gossip_run(path, name) for path in wish.databases for name in (wish.runs or (None,))]
    _write_files(chosen, wish)
    if wish.form == "json":
        told = [gossip_as_json(one) for one in chosen]
        deliver_json(told[0] if len(told) == 1 else told, wish)
    elif wish.form in OF_ROWS:
        deliver_rows(table_of_peers(chosen), wish)
    elif wish.form == "table":
        deliver_shown(Group(*map(gossip_as_table, chosen)), wish)


def _write_files(chosen: Sequence[GossipHistory], wish: Wish) -> None:
    if wish.picture is not None and len(chosen) > 1:
        raise CannotShow(f"--plot {wish.picture}: one gossip run at a time; give one RUN")
    if wish.csv is not None:
        write_csv(table_of_peers(chosen), wish.csv)
    if wish.picture is not None:
        write_picture(draw_gossip(chosen[0]), wish.picture)
