"""The roles as programs: what they print, and what they tell the shell."""

from __future__ import annotations

import os
import sys

import click

from federation.errors import ExitStatus
from federation.learning import one_blas_thread
from federation.programs import log_to_stderr, run_program, say_error
from federation.stopping import Stop
from federation.terminal import Screen
from gossip.config import PeerConfig, ReporterConfig
from gossip.network import NetworkView
from gossip.plan import Over
from gossip.roles import check_network, run_peer, run_reporter
from gossip.terminal import LiveNetwork, PlainTables


def peer_program(config: PeerConfig) -> ExitStatus:
    """Run a peer; what it does it writes to stderr, how it ended the shell is told."""
    log_to_stderr()
    over: Over | None = None

    async def work(stop: Stop) -> ExitStatus:
        nonlocal over
        check_network(config)
        over = await run_peer(config, stop)
        return stop.status if over.kind == "left" else _status_of(over)

    with one_blas_thread():
        status = run_program("peer", config.workspace, work, patient=True)
    if over is not None and over.kind in ("name lost", "failed"):
        say_error(over.reason)
    if over is not None and over.kind == "converged":
        click.echo(f"Converged: {over.reason}.")
    return status


def _status_of(over: Over) -> ExitStatus:
    return ExitStatus.FINISHED if over.kind == "converged" else ExitStatus.FAILED


def reporter_program(config: ReporterConfig) -> ExitStatus:
    """Run a reporter until it is asked to end, and return how that was."""
    screen = reporter_screen(config)

    async def work(stop: Stop) -> ExitStatus:
        check_network(config)
        with screen:
            await run_reporter(config, stop, screen)
        return stop.status

    return run_program("reporter", config.workspace, work, patient=True)


def reporter_screen(config: ReporterConfig) -> Screen[NetworkView]:
    """Return a live table where somebody looks at a terminal, plain tables elsewhere: both on stdout."""
    if config.plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return PlainTables(sys.stdout)
    from rich.console import Console

    return LiveNetwork(Console())
