"""`python -m prep prepare`: make the data of a federation."""

from __future__ import annotations

import signal
from pathlib import Path

import click
from rich.console import Console

from federation.learning import LearningError

from .errors import PrepError
from .prepare import DEFAULT_SAMPLES, MIN_SAMPLES, SOURCES, describe
from .prepare import prepare as prepare_data
from .terminal import progress_shown


class WrongData(click.ClickException):
    """One line for people, and the exit status of wrong usage or data."""

    exit_code = 2


class CannotWrite(click.ClickException):
    """One line for people, and the exit status of a run that failed."""

    exit_code = 1


class ByLauncher(click.Context):
    """Calls a command by the name of its launcher, which is what people type."""

    @property
    def command_path(self) -> str:
        """What a usage line begins with."""
        return f"bin/{self.info_name}"


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Prepare the data of a federation."""


@main.command()
@click.option(
    "--source",
    envvar="FEDERATION_SOURCE",
    type=click.Choice(SOURCES),
    default="synthetic",
    help="Tiles drawn by a program, or real handwritten digits (needs scikit-learn).",
)
@click.option(
    "--samples",
    envvar="FEDERATION_SAMPLES",
    type=click.IntRange(min=MIN_SAMPLES),
    help=f"How many synthetic tiles.  [default: {DEFAULT_SAMPLES}]",
)
@click.option("--seed", envvar="FEDERATION_SEED", type=int, default=0, help="Same seed, same data.")
@click.option(
    "--workspace",
    envvar="FEDERATION_WORKSPACE",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("workspace"),
    help="The folder that everything is written to.",
)
def prepare(source: str, samples: int | None, seed: int, workspace: Path) -> None:
    """Make features and the regions A, B, C and D; what is there with these settings is kept.

    Every flag can also be set in the environment, as FEDERATION_SOURCE and so on.
    """
    if source == "digits" and samples is not None:
        raise click.UsageError("--samples is for --source synthetic; the digits are 1,797, as they are")
    try:
        with progress_shown("drawing synthetic tiles", Console(stderr=True)) as progress:
            prepared = prepare_data(
                source, workspace, samples=samples or DEFAULT_SAMPLES, seed=seed, progress=progress
            )
    except (PrepError, LearningError) as error:
        raise WrongData(str(error)) from error
    except OSError as error:
        raise CannotWrite(f"cannot write to {error.filename or workspace}: {error.strerror}") from error
    except KeyboardInterrupt:
        click.echo("stopped; the data is as it was, run the same command again to make it", err=True)
        raise SystemExit(128 + signal.SIGINT) from None
    click.echo("made:" if prepared.made else "already there, with these settings:")
    for line in describe(prepared):
        click.echo(line)


for _command in main.commands.values():
    _command.context_class = ByLauncher

if __name__ == "__main__":
    main()
