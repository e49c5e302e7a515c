"""`python -m prep prepare` makes the data of a federation, `python -m prep certificates` certificates."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from federation.learning import LearningError

from .errors import MissingExtra, PrepError
from .prepare import DEFAULT_SAMPLES, MIN_SAMPLES, SOURCES, describe
from .prepare import prepare as prepare_data
from .terminal import progress_shown


class WrongData(click.ClickException):
    """One line for people, and the exit status of wrong usage or data."""

    exit_code = 2


class CannotWrite(click.ClickException):
    """One line for people, and the exit status of a run that failed."""

    exit_code = 1


class Names(click.ParamType[list[str]]):
    """Names with commas between them."""

    name = "names"

    def convert(
        self, value: str | list[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Split the text."""
        return (
            value if isinstance(value, list) else [name.strip() for name in value.split(",") if name.strip()]
        )


# Where a launcher is not called as its command.
LAUNCHERS = {"certificates": "generate-certs"}


class ByLauncher(click.Context):
    """Calls a command by the name of its launcher, which is what people type."""

    @property
    def command_path(self) -> str:
        """What a usage line begins with."""
        return f"bin/{LAUNCHERS.get(self.info_name or '', self.info_name)}"


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Prepare what a federation needs: data, and certificates."""


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


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("certificates"),
    help="The folder that they are written to; an authority that is there signs the new ones.",
)
@click.option(
    "--roles",
    type=Names(),
    default="provider,aggregator,evaluator,worker-A,worker-B,worker-C",
    metavar="NAME,...",
    help="Whom to make them for. The name says what one may do: worker-A trains region A, workers any.",
)
@click.option(
    "--hosts",
    type=Names(),
    default="localhost,127.0.0.1,::1",
    metavar="HOST,...",
    help="Names and IP addresses under which these roles are reached.",
)
@click.option("--days", type=click.IntRange(1, 36_500), default=365, help="How long they are valid.")
@click.option("--force", is_flag=True, help="Replace certificates that are there; the authority stays.")
def certificates(out: Path, roles: list[str], hosts: list[str], days: int, force: bool) -> None:
    """Make certificates for mutual TLS: an authority, and one certificate per role that it signs.

    Run it again with another name in --roles, and the same authority signs one more.
    Example: bin/generate-certs --roles worker-D --hosts site-4.example
    """
    try:
        try:
            from .certificates import make_certificates
            from .usage import how_to_use
        except ImportError as error:
            raise MissingExtra(
                "certificates are made with the package cryptography, which is not installed here; get it "
                "with pip install 'trioactor[tls]', or use bin/generate-certs, which does"
            ) from error
        made = make_certificates(out, roles, hosts, days=days, now=datetime.now(UTC), force=force)
    except PrepError as error:
        raise WrongData(str(error)) from error
    for line in how_to_use(made):
        click.echo(line)


for _command in main.commands.values():
    _command.context_class = ByLauncher

if __name__ == "__main__":
    main()
