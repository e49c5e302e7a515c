"""`python -m gossip ROLE`: one peer, one reporter, or a whole gossip network on this machine.

Nothing slow is imported before it is known what to do, so that a wrong flag is answered at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from federation.errors import ExitStatus, SettingsError
from federation.flags import SettingsCommand, flags_for
from federation.processes import check_starter
from federation.settings import Settings
from gossip.config import PeerConfig, ReporterConfig, StartGossipConfig

S = TypeVar("S", bound=Settings)

# Where a value comes from that the user has chosen for this call.
GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)

EPILOG = "Every flag is also a variable in the environment: --batch-size is FEDERATION_BATCH_SIZE."

LAUNCHERS = {"start": "start-gossip-mode", "peer": "gossip-peer", "reporter": "gossip-reporter"}

# What stands before a launcher's name: its folder, or the project's name where a wheel is installed.
INSTALLED = "trioactor-"
PREFIX = INSTALLED if Path(sys.argv[0]).name.startswith(INSTALLED) else "bin/"


class ByLauncher(click.Context):
    """Calls a command by the name of its launcher, which is what people type."""

    @property
    def command_path(self) -> str:
        """What a usage line begins with."""
        return f"{PREFIX}{LAUNCHERS.get(self.info_name or '', self.info_name)}"


@click.group(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
def main() -> None:
    """Learn together with nobody in charge: a whole network on this machine, or one peer of it."""
    check_starter()


@main.command(epilog=EPILOG, cls=SettingsCommand)
@flags_for(StartGossipConfig)
@click.pass_context
def start(context: click.Context, /, **flags: Any) -> None:
    """Run a whole gossip network on this machine: every peer, and a reporter, its own process.

    With no data yet it is prepared first. Example: bin/start-gossip-mode --rounds 5
    """
    config = settings_of(StartGossipConfig, flags)
    chosen = frozenset(name for name in flags if context.get_parameter_source(name) in GIVEN)
    from gossip.start import start_network

    sys.exit(start_network(config, chosen))


@main.command(epilog=EPILOG, cls=SettingsCommand)
@flags_for(PeerConfig)
def peer(**flags: Any) -> None:
    """Run one peer: it trains on its region, and gossips with all it can find.

    Peers of one workspace find each other. Example: bin/gossip-peer --region A --min-peers 3
    """
    config = settings_of(PeerConfig, flags)
    from gossip.programs import peer_program

    sys.exit(peer_program(config))


@main.command(epilog=EPILOG, cls=SettingsCommand)
@flags_for(ReporterConfig)
def reporter(**flags: Any) -> None:
    """Run a reporter: it shows how all peers are doing. It may come and go; nobody depends on it.

    Example: bin/gossip-reporter --output report.jsonl
    """
    config = settings_of(ReporterConfig, flags)
    from gossip.programs import reporter_program

    sys.exit(reporter_program(config))


def settings_of(kind: type[S], flags: dict[str, Any]) -> S:
    """Return the settings that flags make. What is wrong with them is said as click says it."""
    try:
        return kind(**flags)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


for _command in main.commands.values():
    _command.context_class = ByLauncher


def run(*arguments: str) -> None:
    """Run a command."""
    try:
        main(arguments or None, prog_name="python -m gossip")
    except KeyboardInterrupt:  # before there is anything to end
        sys.exit(ExitStatus.INTERRUPTED)


def console() -> None:
    """Run the command that an installed launcher is named for: `trioactor-gossip-peer` is `peer`."""
    name = Path(sys.argv[0]).name.removeprefix(INSTALLED)
    command = next((one for one, launcher in LAUNCHERS.items() if launcher == name), name)
    run(command, *sys.argv[1:])


if __name__ == "__main__":
    run()
