"""`python -m prep COMMAND` makes what a federation needs: features, regions, certificates."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from federation.learning import PARTITIONS, LearningError, MissingExtra, Region

from .backbones import DEFAULT_BACKBONE, PRECISIONS
from .errors import PrepError
from .eurosat import PLAIN_EXTRACTORS, Extraction, describe_extraction, extract_images
from .plans import DEFAULT_NAMES, SplitPlan, plan_for, read_plan
from .prepare import DEFAULT_SAMPLES, MIN_SAMPLES, SOURCES, describe, features_file
from .prepare import prepare as prepare_data
from .regions import EVALUATION, HELD_OUT_SHARE, RegionPlan
from .split import load_any_features, save_split, split_features, summary
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

# What stands before a launcher's name: its folder, or the project's name where a wheel is installed.
INSTALLED = "trioactor-"
PREFIX = INSTALLED if Path(sys.argv[0]).name.startswith(INSTALLED) else "bin/"


class ByLauncher(click.Context):
    """Calls a command by the name of its launcher, which is what people type."""

    @property
    def command_path(self) -> str:
        """What a usage line begins with."""
        return f"{PREFIX}{LAUNCHERS.get(self.info_name or '', self.info_name)}"


@contextmanager
def told_in_one_line(workspace: Path, stopped: str) -> Iterator[None]:
    """Turn what can go wrong into a line and an exit status.

    Args:
        workspace: What cannot be written, when an error does not say it.
        stopped: What Ctrl-C says of the data.
    """
    try:
        yield
    except (PrepError, LearningError) as error:
        raise WrongData(str(error)) from error
    except OSError as error:
        verb = "read" if isinstance(error, FileNotFoundError) else "write to"
        raise CannotWrite(f"cannot {verb} {error.filename or workspace}: {error.strerror}") from error
    except KeyboardInterrupt:
        click.echo(stopped, err=True)
        raise SystemExit(128 + signal.SIGINT) from None


def tell(text: str) -> None:
    """Say what is going on; results go to stdout."""
    click.echo(text, err=True)


FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)

workspace_option = click.option(
    "--workspace",
    envvar="FEDERATION_WORKSPACE",
    type=FOLDER,
    default=Path("workspace"),
    help="The folder that everything is written to.",
)
seed_option = click.option(
    "--seed", envvar="FEDERATION_SEED", type=int, default=0, help="Same seed, same data."
)


def extraction_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags of an extraction; their names are the fields of `Extraction`."""
    options = (
        click.option(
            "--images",
            type=FOLDER,
            help="A folder of images for each class  [default: WORKSPACE/eurosat/2750]",
        ),
        click.option(
            "--weights",
            type=FILE,
            help="The network's file, like resnet18-f37072fd.pth  [default: WORKSPACE/weights]",
        ),
        click.option("--download", is_flag=True, help="Download what is missing: EuroSAT, the weights."),
        click.option(
            "--extractor",
            default=DEFAULT_BACKBONE,
            help="A network of torchvision; or, without torch and weights, 'patches', a bank of them, or "
            "'pixels', the images as they are: 0 to 1, in the order channels, rows, columns.",
        ),
        click.option(
            "--image-size",
            type=click.IntRange(16, 1024),
            help="In pixels; smaller is faster, 64 is EuroSAT's own.  [default: 224 for most; 64 for patches "
            "and pixels]",
        ),
        click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1."),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="auto",
            help="float32 on the CPU, half of it on a GPU, unless it is said here.",
        ),
        click.option("--batch-size", type=click.IntRange(min=1), help="How many images at once."),
        click.option(
            "--threads", type=click.IntRange(min=1), help="Of torch on the CPU  [default: a thread a core]"
        ),
        click.option(
            "--skip-broken", is_flag=True, help="Leave out images that cannot be decoded, and count them."
        ),
        click.option("--any-counts", is_flag=True, help="Take a copy of EuroSAT that is not whole."),
        click.option("--restart", is_flag=True, help="Begin anew, and write over features that are there."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def extraction_of(flags: Mapping[str, Any]) -> Extraction:
    """Return the settings of an extraction from the flags."""
    return Extraction(**{field.name: flags[field.name] for field in fields(Extraction)})


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Prepare what a federation needs: data, and certificates."""


@main.command()
@click.option(
    "--source",
    envvar="FEDERATION_SOURCE",
    type=click.Choice(SOURCES),
    default="synthetic",
    help="Tiles drawn by a program; real handwritten digits (needs scikit-learn); EuroSAT (needs torch).",
)
@click.option(
    "--samples",
    envvar="FEDERATION_SAMPLES",
    type=click.IntRange(min=MIN_SAMPLES),
    help=f"How many synthetic tiles.  [default: {DEFAULT_SAMPLES}]",
)
@seed_option
@workspace_option
@click.option(
    "--preview", type=FILE, help="Only draw a sheet of examples of each class there: .png, .svg, .pdf."
)
@extraction_options
def prepare(
    source: str, samples: int | None, seed: int, workspace: Path, preview: Path | None, **flags: Any
) -> None:
    """Make features and the regions A, B, C and D; what is there with these settings is kept.

    Every flag can also be set in the environment, as FEDERATION_SOURCE and so on.

    \b
    Examples:
      bin/prepare --samples 5000
      bin/prepare --source eurosat --download --image-size 64
      bin/prepare --extractor pixels --image-size 32
      bin/prepare --preview tiles.png
    """  # noqa: D301  # \b is for click: what follows keeps its lines
    _check_flags_of_prepare(source, samples, flags)
    with told_in_one_line(workspace, "stopped; the data is as it was, run the same command again to make it"):
        if preview is not None:
            from .preview import save_sheet

            save_sheet(source, workspace, flags["images"], preview, seed=seed)
            click.echo(f"picture {preview}")
            return
        what, unit = (
            ("extracting features", "images") if source == "eurosat" else ("drawing synthetic tiles", "")
        )
        with progress_shown(what, Console(stderr=True), unit) as progress:
            prepared = prepare_data(
                source,
                workspace,
                samples=samples or DEFAULT_SAMPLES,
                seed=seed,
                extraction=extraction_of(flags),
                progress=progress,
                say=tell,
            )
    click.echo("made:" if prepared.made else "already there, with these settings:")
    for line in describe(prepared):
        click.echo(line)


def _check_flags_of_prepare(source: str, samples: int | None, flags: Mapping[str, Any]) -> None:
    if source == "digits" and samples is not None:
        raise click.UsageError("--samples is for --source synthetic; the digits are 1,797, as they are")
    if source == "eurosat" and samples is not None:
        raise click.UsageError("--samples is for --source synthetic; EuroSAT has 27,000 images, as they are")
    given = extraction_of(flags)
    if source == "synthetic" and given.extractor in PLAIN_EXTRACTORS:
        given = replace(given, extractor=Extraction().extractor, image_size=None)
    if source != "eurosat" and given != Extraction():
        names = [field.name for field in fields(Extraction) if getattr(given, field.name) != field.default]
        name = names[0].replace("_", "-")
        hint = "; synthetic tiles have --extractor patches and pixels" if source == "synthetic" else ""
        raise click.UsageError(f"--{name} is for --source eurosat, not for {source}{hint}")


@main.command("extract-features")
@workspace_option
@click.option("--output", type=FILE, help="The features file  [default: WORKSPACE/eurosat_features.npz]")
@extraction_options
def extract_features(workspace: Path, output: Path | None, **flags: Any) -> None:
    """Make features of images: EuroSAT, or any folder that holds a folder for each class.

    Interrupted, it goes on where it was when it is called again; the file is the same, byte for byte.

    \b
    Examples:
      bin/extract-features --download --image-size 64
      bin/extract-features --images photos --weights resnet18-f37072fd.pth --output photos.npz
      bin/extract-features --images photos --extractor patches --output photos.npz
    """  # noqa: D301  # \b is for click: what follows keeps its lines
    output = output or features_file(workspace)
    with (
        told_in_one_line(workspace, "stopped; what is done is kept, run the same command again to go on"),
        progress_shown("extracting features", Console(stderr=True), "images") as progress,
    ):
        tree, extracted = extract_images(workspace, extraction_of(flags), output, progress=progress, say=tell)
    click.echo("made:" if extracted.made else "already there, with these settings:")
    for line in describe_extraction(tree, extracted, output):
        click.echo(line)


@main.command("split-regions")
@workspace_option
@click.option("--features", type=FILE, help="A features file  [default: WORKSPACE/eurosat_features.npz]")
@click.option("--dataset", type=FOLDER, help="Where the region files go  [default: WORKSPACE/dataset]")
@click.option("--config", type=FILE, help="A TOML file: which region has which classes, fractions and shift.")
@click.option(
    "--partition", type=click.Choice(PARTITIONS), help="Deal the samples out, whatever the classes."
)
@click.option("--alpha", type=float, help="Of dirichlet and by-size: the smaller, the more skewed.")
@click.option(
    "--shards", type=click.IntRange(min=1), help="Of by-class: about how many classes a region has."
)
@click.option(
    "--regions",
    type=Names(),
    metavar="NAME,...",
    help=f"Of a partition  [default: {','.join(DEFAULT_NAMES)}]",
)
@click.option("--held-out", type=float, help=f"The share of each class for D.  [default: {HELD_OUT_SHARE:g}]")
@seed_option
@click.option("--plot", type=FILE, help="Draw class counts and shifts there: .png, .svg, .pdf.")
def split_regions(
    workspace: Path,
    features: Path | None,
    dataset: Path | None,
    seed: int,
    plot: Path | None,
    **flags: Any,
) -> None:
    """Split features into regions with classes and shifts of their own, and D for evaluation.

    EuroSAT's classes have built-in regions: A rural with haze, B urban with colour, C water and
    agriculture with contrast. Any .npz file with arrays `features` and `labels` can be split:
    say which region has which classes with --config, or deal them out with --partition.

    \b
    Examples:
      bin/split-regions --plot regions.png
      bin/split-regions --features photos.npz --config regions.toml
      bin/split-regions --partition dirichlet --alpha 0.3 --regions A,B,C

    \b
    regions.toml:
      [regions.A]
      classes = ["cat", "dog"]
      fraction = 0.5
      shift = "haze"
      strength = 0.4
    """  # noqa: D301  # \b is for click: what follows keeps its lines
    folder = dataset or workspace / "dataset"
    with told_in_one_line(workspace, "stopped; run the same command again to make the regions"):
        data = load_any_features(features or features_file(workspace))
        split = split_features(data, _plan_of(data, flags), seed)
        save_split(split.regions, folder)
        for line in summary(split):
            click.echo(line)
        click.echo(f"in {folder}")
        if (names := [name for name in split.regions if name != EVALUATION]) != list(DEFAULT_NAMES):
            named = " ".join(f"--region {name}" for name in names)
            click.echo(f"workers of these regions: bin/workers --dataset {folder} {named}")
        if plot is not None:
            from .picture import draw_split, save

            save(
                draw_split(split, f"{data.meta.source} data in {len(split.regions)} regions, seed {seed}"),
                plot,
            )
            click.echo(f"picture {plot}")


def _plan_of(data: Region, flags: Mapping[str, Any]) -> SplitPlan:
    """Return the plan that flags, file and data ask for; a flag goes before the file."""
    config, partition, regions = flags["config"], flags["partition"], flags["regions"]
    if config is not None:
        plan = read_plan(config)
        if regions is not None:
            raise click.UsageError("--regions: the regions are those of --config; name them there")
    elif partition is not None:
        plan = SplitPlan(tuple(RegionPlan(name) for name in regions or DEFAULT_NAMES))
    else:
        plan = plan_for(data)
        if regions is not None:
            raise click.UsageError("--regions is for a --partition; add --partition iid, say")
    return plan.changed(partition, flags["alpha"], flags["shards"], flags["held_out"])


@main.command()
@click.option(
    "--out",
    type=FOLDER,
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
                "cryptography",
                extra="tls",
                what="making certificates",
                otherwise="use bin/generate-certs, which brings it",
            ) from error
        made = make_certificates(out, roles, hosts, days=days, now=datetime.now(UTC), force=force)
    except (PrepError, LearningError) as error:
        raise WrongData(str(error)) from error
    for line in how_to_use(made):
        click.echo(line)


for _command in main.commands.values():
    _command.context_class = ByLauncher


def console() -> None:
    """Run the command that an installed launcher is named for: `trioactor-prepare` is `prepare`."""
    name = Path(sys.argv[0]).name.removeprefix(INSTALLED)
    command = next((one for one, launcher in LAUNCHERS.items() if launcher == name), name)
    main([command, *sys.argv[1:]])


if __name__ == "__main__":
    main()
