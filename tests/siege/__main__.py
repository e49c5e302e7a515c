"""`bin/siege`: a thousand hostile peers at one system, and honest ones who want to be served meanwhile."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import trio

from tests.siege.siege import Bounds, Siege, judged
from tests.trioactor.certificates import Authority, Files


@click.command(context_settings={"show_default": True})
@click.option("--connections", type=click.IntRange(1, 1000), default=1000, help="Hostile ones at a time.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=60.0, help="How long the siege lasts.")
@click.option("--tls", is_flag=True, help="Over mutual TLS, with certificates made for it.")
@click.option("--addresses", type=click.IntRange(1, 1000), default=20, help="Of the hostile ones.")
@click.option("--limits", type=click.Choice(["small", "default"]), default="small", help="Of the system.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of chance.")
def main(connections: int, seconds: float, tls: bool, addresses: int, limits: str, seed: int) -> None:
    """Besiege a system with hostile peers of every kind, and watch how it does.

    All on this machine, from many of its addresses: so the hostile ones take time of its processors too, and
    it is said how late they were themselves. Most stand at the door most of the time; of those that had
    to be turned away or cut off before, 50 a second come in.

    They never say hello, send a byte a second, announce huge frames, speak another version or none, stop in
    the middle, never read, flood, and send bombs; who is hung up on comes again. Meanwhile honest peers ask.
    The status is 1 when the system takes more than 64 MiB of memory for it, when the median of the honest
    answers takes more than 5 times as long as before, when one is missing, or when a slow peer is borne for
    more than 10 s.
    """
    with tempfile.TemporaryDirectory(prefix="siege-") as folder:
        files = _certificates(Path(folder)) if tls else None
        siege = Siege(connections, seconds, seed, files, addresses=addresses, limits=limits)
        trio.run(siege.run)
    for line in siege.lines():
        click.echo(line)
    complaints = judged(siege, Bounds())
    for complaint in complaints:
        click.echo(f"error: {complaint}")
    sys.exit(bool(complaints))


def _certificates(folder: Path) -> Files:
    return Authority(folder, "authority").issue("localhost", "127.0.0.1", file="siege")


if __name__ == "__main__":
    main(prog_name="bin/siege")
