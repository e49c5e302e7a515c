"""`bin/soak`: both modes, with kills, slow links and hostile peers; nothing may leak or get lost."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
import trio
from rich.console import Console
from rich.table import Table

from tests.soak.picture import draw
from tests.soak.soak import Soak
from tests.soak.verdict import Bounds, Soaked, leaks, settled, table


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--minutes", type=click.FloatRange(0.5, 1440), default=10.0, help="How long.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Who is killed, and when.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("workspace/soak"),
    help="Folder for soak.json and soak.png.",
)
def main(minutes: float, seed: int, out: Path) -> None:
    """Run both modes at once on this machine, disturb them, and watch what they take.

    Coordinated: a run under its launcher, with a fourth worker behind a slow link. Gossip: four peers, one
    of them behind a slow link. In the first half of the time processes of either are killed at random;
    hostile peers of 32 kinds besiege both to the end. The second half, in which nobody is killed, is judged
    for leaks of memory, handles, tasks and threads, and for a record that grows faster than its rounds.

    Lost is what is missing then: a committed round, a worker in one, a byte of the model beside a run that
    nobody disturbed, a round of a peer, or the one average that all peers must reach; and so is a minute
    without a round, once nobody is killed. The status is 1 when
    something leaked or was lost.

    \b
    Example: bin/soak --minutes 2 --out /tmp/soak
    """
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder) / "both", 60 * minutes, seed, _told)
        soaked = trio.run(soak.run)
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps(soaked.as_json(), indent=1) + "\n")
    draw(soaked, out / "soak.png")
    sys.exit(_report(soaked, out))


def _report(soaked: Soaked, out: Path) -> bool:
    """Print it all; return whether something is wrong."""
    head, *lines = table(soaked)
    shown = Table(title="Both modes over time", title_justify="left")
    for name in head:
        shown.add_column(name, justify="left" if name == "mode" else "right")
    for line in lines:
        shown.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 120).print(shown)
    for sentence in soaked.said:
        click.echo(sentence)
    for mode, measures in settled(soaked).items():
        click.echo(f"{mode}, early and late in the half without kills: {measures}")
    click.echo(f"figures {out / 'soak.json'}, picture {out / 'soak.png'}")
    wrong = [*leaks(soaked, Bounds()), *soaked.losses]
    for sentence in wrong:
        click.echo(f"error: {sentence}")
    if not wrong:
        click.echo("Nothing leaked, and nothing was lost.")
    return bool(wrong)


def _told(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main(prog_name="bin/soak")
