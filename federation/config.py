"""Settings of every role: one frozen dataclass each, where a field is a flag and its line of help.

What all of them can do is told in `federation.settings`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from federation.errors import SettingsError
from federation.learning import (
    SCHEDULES,
    STRATEGIES,
    Schedule,
    StrategyError,
    make_schedule,
    make_strategy,
    strategy_parameters,
)
from federation.rules import Rules
from federation.settings import A_DAY_SECONDS, MANY, Settings, flag_of, setting
from federation.targets import Target

SOURCES = ("synthetic", "digits")
DEFAULT_REGIONS = ("A", "B", "C")
EVALUATION_REGION = "D"
BUILT_IN_REGIONS = (*DEFAULT_REGIONS, EVALUATION_REGION)

# The hosts that stand for every address of a machine: one can listen there, and nobody can dial them.
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared with, not bound


class Address(NamedTuple):
    """A host and a TCP port. Port 0 has the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, flag: str) -> Self:
        """Read "HOST:PORT"; an IPv6 host stands in brackets.

        Raises:
            SettingsError: It is not of that form, or the port is not 0 to 65535.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise SettingsError(
                f"{flag} {text}: give HOST:PORT, the port from 0 to 65535, like 127.0.0.1:7000"
            )
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# --- what several roles share ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InWorkspace(Settings):
    """Whoever reads or writes files."""

    SECTION = "Files"

    workspace: Path = setting(
        Path("workspace"), "Folder for everything that is read and written.", metavar="DIR"
    )

    @property
    def elsewhere(self) -> str:
        """The flag that leads other commands to this workspace, after a space; empty where none is needed."""
        there = InWorkspace().workspace
        return "" if self.workspace == there else f" --workspace {shlex.quote(str(self.workspace))}"

    @property
    def database(self) -> Path:
        """The record of all coordinated runs."""
        return self.workspace / "training.db"


@dataclass(frozen=True, kw_only=True)
class ReadingRegions(InWorkspace):
    """Whoever reads region files."""

    SECTION = "Files"

    dataset: Path | None = setting(
        None, "Folder of the region files [default: WORKSPACE/dataset].", metavar="DIR"
    )

    def region_file(self, region: str) -> Path:
        """Return the file of a region: a name like A lies in the dataset, anything else is a path."""
        if region.endswith(".npz") or "/" in region:
            return Path(region)
        return region_file_in(self.dataset or self.workspace / "dataset", region)


@dataclass(frozen=True, kw_only=True)
class Listening(Settings):
    """Whoever can be reached."""

    SECTION = "Network"

    listen: str = setting(
        "127.0.0.1:0", "Where to be reached; port 0 lets the system choose.", metavar="HOST:PORT"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        Address.parse(self.listen, "--listen")

    @property
    def listen_address(self) -> Address:
        """`listen` as host and port."""
        return Address.parse(self.listen, "--listen")


class TlsFiles(NamedTuple):
    """What a role needs to speak TLS, and to know who speaks to it. All are PEM.

    Attributes:
        cert: Its certificate, followed by those between it and the authority.
        key: Its private key, not encrypted.
        ca: The authority that must have signed everybody's certificate.
    """

    cert: Path
    key: Path
    ca: Path

    def as_flags(self) -> list[str]:
        """Return the flags that give a role these files."""
        return ["--tls-cert", str(self.cert), "--tls-key", str(self.key), "--tls-ca", str(self.ca)]


@dataclass(frozen=True, kw_only=True)
class Secured(Settings):
    """Whoever speaks mutual TLS when it is given certificates."""

    SECTION = "TLS"

    tls_cert: Path | None = setting(
        None,
        "Our certificate, PEM. With it, its key and the authority, all connections are TLS.",
        metavar="FILE",
    )
    tls_key: Path | None = setting(None, "The private key of our certificate, PEM.", metavar="FILE")
    tls_ca: Path | None = setting(
        None, "The authority that must have signed the certificates of all roles, PEM.", metavar="FILE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        files = {"tls_cert": self.tls_cert, "tls_key": self.tls_key, "tls_ca": self.tls_ca}
        missing = [flag_of(name) for name, path in files.items() if path is None]
        if missing and len(missing) < len(files):
            raise SettingsError(
                f"{' and '.join(missing)}: TLS needs a certificate, its key and the authority; give all "
                "three, or none. bin/generate-certs makes them"
            )

    @property
    def tls_files(self) -> TlsFiles | None:
        """The three files; None where plaintext is spoken."""
        if self.tls_cert is None or self.tls_key is None or self.tls_ca is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_ca)


@dataclass(frozen=True, kw_only=True)
class Joining(InWorkspace, Listening, Secured):
    """Whoever goes to the Provider."""

    SECTION = "Network"

    provider: str | None = setting(
        None, "Where the Provider is; default: what its file says.", metavar="HOST:PORT"
    )
    provider_file: Path | None = setting(
        None, "File in which the Provider says where it is [default: WORKSPACE/address.json].", metavar="FILE"
    )
    connect_seconds: float = setting(
        60.0,
        "How long to look for the Provider, at first and after a broken connection.",
        least=0.1,
        most=A_DAY_SECONDS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.provider is not None and self.provider_file is not None:
            raise SettingsError(
                "--provider and --provider-file: both say where the Provider is; give one of them"
            )
        if self.provider is not None and Address.parse(self.provider, "--provider").port == 0:
            raise SettingsError(
                f"--provider {self.provider}: port 0 cannot be reached; give the port it listens on"
            )

    @property
    def address_file(self) -> Path:
        """The file that the Provider writes."""
        return self.provider_file or self.workspace / "address.json"


_PARAMETERS = tuple(dict.fromkeys(name for one in STRATEGIES for name in strategy_parameters(one)))


def _of_strategies(parameter: str, help: str) -> Any:
    """Return the setting of a parameter that some strategies have."""
    takers = {name: strategy_parameters(name) for name in STRATEGIES}
    defaults = {name: taken[parameter] for name, taken in takers.items() if parameter in taken}
    listed = ", ".join(
        name if value is None else f"{name} (by default {value:g})" for name, value in defaults.items()
    )
    return setting(None, f"Of --strategy {listed}: {help}", section="Strategy")


@dataclass(frozen=True, kw_only=True)
class OfModel(Settings):
    """Whoever has a model."""

    SECTION = "Training"

    model: str = setting(
        "simple", "What is trained: 'simple', or package.module:name of what makes a model of yours."
    )


@dataclass(frozen=True, kw_only=True)
class Learning(OfModel):
    """How much is learnt in a run, and how."""

    SECTION = "Training"

    rounds: int = setting(20, "How many rounds.", least=1, most=MANY)
    epochs: int = setting(5, "Passes of a worker over its region in a round.", least=1, most=MANY)
    batch_size: int = setting(32, "Samples in a step of SGD.", least=1, most=MANY)
    learning_rate: float = setting(0.1, "Length of a step of SGD.", above=0.0)
    mu: float = setting(0.0, "Pull of FedProx towards the global model; 0 is plain FedAvg.", least=0.0)
    schedule: str = setting(
        "constant", "How the length of the steps changes from round to round.", choices=SCHEDULES
    )
    warm_up_rounds: int = setting(0, "Rounds in which it rises to its full length first.", least=0, most=MANY)
    decay: float = setting(0.5, "Of --schedule steps: what each step multiplies by.", above=0.0, most=1.0)
    decay_rounds: int = setting(10, "Of --schedule steps: rounds between two steps.", least=1, most=MANY)
    least_rate: float = setting(
        0.01, "Of --schedule cosine: the part that is left at the end.", above=0.0, most=1.0
    )
    seed: int = setting(
        0, "Everything random comes from it: same seed, same model, to the last bit.", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.rate_schedule  # noqa: B018
        except StrategyError as error:
            raise SettingsError(f"--schedule {self.schedule}: {error}") from error

    @property
    def schedule_parameters(self) -> dict[str, str | float | int]:
        """What `make_schedule` is told, but for the number of rounds."""
        return {
            "name": self.schedule,
            "warm_up_rounds": self.warm_up_rounds,
            "decay": self.decay,
            "decay_rounds": self.decay_rounds,
            "least": self.least_rate,
        }

    @property
    def rate_schedule(self) -> Schedule:
        """How the learning rate changes from round to round."""
        return make_schedule(rounds=self.rounds, **self.schedule_parameters)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Deciding(Settings):
    """Who takes part in a round, when it is over, and how updates become the next model."""

    SECTION = "Rounds"

    min_workers: int = setting(1, "How many workers the first round waits for.", least=1, most=MANY)
    fraction: float = setting(1.0, "Part of the workers that is asked in a round.", above=0.0, most=1.0)
    quorum: int | None = setting(
        None, "So many updates are enough for a round [default: all that were asked].", least=1, most=MANY
    )
    grace: float | None = setting(
        None,
        "Seconds for the others when the quorum is there [default: a quarter of what the quorum took].",
        least=0.0,
        most=A_DAY_SECONDS,
    )
    round_deadline: float = setting(
        600.0, "Seconds after which a round goes on without who is late.", above=0.0, most=A_DAY_SECONDS
    )
    return_seconds: float = setting(
        10.0, "How long a round waits for a lost worker to come back.", least=0.0, most=A_DAY_SECONDS
    )
    mode: str = setting(
        "rounds", "Wait for each round's updates, or for any few: FedBuff.", choices=("rounds", "buffered")
    )
    buffer_size: int = setting(
        2, "Of --mode buffered: how many updates make the next model.", least=1, most=MANY
    )
    staleness_exponent: float = setting(
        0.5,
        "Of --mode buffered: an update s models old counts for 1 / (1 + s) to this power.",
        least=0.0,
        most=100.0,
    )
    strategy: str = setting(
        "fedavg", "How updates become the next model.", choices=tuple(STRATEGIES), section="Strategy"
    )
    server_learning_rate: float | None = _of_strategies("server_learning_rate", "how far to move.")
    momentum: float | None = _of_strategies("momentum", "share of the last direction that is kept.")
    beta1: float | None = _of_strategies("beta1", "share of the last direction that is kept.")
    beta2: float | None = _of_strategies("beta2", "share of the last squares that is kept.")
    tau: float | None = _of_strategies("tau", "how adaptive; smaller is more.")
    trimmed_share: float | None = _of_strategies("trimmed_share", "part that is left out at either end.")
    byzantine: int | None = _of_strategies("byzantine", "how many workers may be faulty.")
    selected: int | None = _of_strategies("selected", "how many models to average.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_strategy_parameters()
        fewest = self._fewest_updates()
        if self.quorum is not None and self.quorum < fewest:
            raise SettingsError(
                f"--quorum {self.quorum}: --strategy {self.strategy} needs {fewest} updates; raise the quorum"
            )
        if self.quorum is not None and self.quorum > self.min_workers:
            raise SettingsError(
                f"--quorum {self.quorum}: the run begins with {self.min_workers} workers, so it could not be "
                "reached; lower it, or raise --min-workers"
            )
        if self.mode == "buffered" and self.quorum is not None and self.quorum > self.buffer_size:
            raise SettingsError(
                f"--quorum {self.quorum}: in --mode buffered {self.buffer_size} updates make a model, so it "
                "could not be reached; lower it, or raise --buffer-size"
            )
        if self.mode == "buffered" and self.fraction != 1.0:
            raise SettingsError(
                f"--fraction {self.fraction:g}: in --mode buffered every worker is asked; leave it out"
            )
        enough = self.buffer_size if self.mode == "buffered" else self.min_workers
        if enough < fewest:
            flag = "--buffer-size" if self.mode == "buffered" else "--min-workers"
            less = ", or expect fewer faulty ones with --byzantine 0" if fewest > 1 else ""
            raise SettingsError(
                f"--strategy {self.strategy}: it needs {fewest} updates, and {flag} is {enough}; "
                f"raise that{less}"
            )

    @property
    def strategy_parameters(self) -> dict[str, float | int]:
        """What the strategy is given, where that is not its default."""
        return {name: value for name in _PARAMETERS if (value := getattr(self, name)) is not None}

    @property
    def rules(self) -> Rules:
        """When a round is over."""
        return Rules(
            quorum=self.quorum,
            needed=max(self._fewest_updates(), self.quorum or 1),
            grace_seconds=self.grace,
            deadline_seconds=self.round_deadline,
            return_seconds=self.return_seconds,
        )

    def _check_strategy_parameters(self) -> None:
        allowed = strategy_parameters(self.strategy)
        for name in self.strategy_parameters:
            if name not in allowed:
                takes = ", ".join(flag_of(one) for one in allowed) or "none"
                raise SettingsError(
                    f"{flag_of(name)}: --strategy {self.strategy} has no such parameter; it takes {takes}"
                )

    def _fewest_updates(self) -> int:
        try:
            return make_strategy(self.strategy, **self.strategy_parameters).fewest
        except StrategyError as error:
            raise SettingsError(f"--strategy {self.strategy}: {error}") from error


# --- the roles ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ProviderConfig(Learning, Deciding, InWorkspace, Listening, Secured):
    """The Provider: runs the rounds."""

    run: str = setting("", "Name of the run; one that is in the record goes on [default: from the time].")
    register_seconds: float = setting(
        60.0, "How long to wait for the others before giving up.", least=0.1, most=A_DAY_SECONDS
    )
    alone: bool = setting(True, "Let each worker train alone as well at the end, for comparison.")
    provider_file: Path | None = setting(
        None, "File in which to say where it is [default: WORKSPACE/address.json].", metavar="FILE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_run_name(self.run)

    @property
    def address_file(self) -> Path:
        """The file that says where the Provider is."""
        return self.provider_file or self.workspace / "address.json"


@dataclass(frozen=True, kw_only=True)
class AggregatorConfig(Joining):
    """The Aggregator: averages, and keeps the record."""


@dataclass(frozen=True, kw_only=True)
class EvaluatorConfig(Joining, ReadingRegions, OfModel):
    """The Evaluator: scores the global model on a region that nobody trains on."""

    region: str = setting(EVALUATION_REGION, "Region to score on: a name in the dataset, or a file.")


@dataclass(frozen=True, kw_only=True)
class WorkersConfig(Joining, ReadingRegions, OfModel):
    """Workers, one for each region, in one process."""

    region: tuple[str, ...] = setting(
        DEFAULT_REGIONS,
        "Region to train on: a name in the dataset, or a file. Give it once for each worker.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.region:
            raise SettingsError("--region: give at least one, like --region A")
        names = [worker_name(region) for region in self.region]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"--region {twice[0]}: given twice; each region has one worker")


@dataclass(frozen=True, kw_only=True)
class StartConfig(Learning, Deciding, InWorkspace, Listening):
    """The whole coordinated mode on this machine, every role its own process."""

    source: str = setting(
        "synthetic", "Which built-in data; it is prepared when it is not there.", choices=SOURCES
    )
    samples: int | None = setting(
        None, "How many tiles the synthetic data has [default: what is there, or 2,000].", least=50, most=MANY
    )
    min_workers: int = setting(3, "How many workers the first round waits for.", least=1, most=3)
    register_seconds: float = setting(
        30.0, "How long the roles may take to find each other.", least=0.1, most=A_DAY_SECONDS
    )
    name: str = setting("", "What the name of the run says after its time [default: the source].")
    resume: str = setting("", "Go on with a run that was stopped: its name, or 'last'.", metavar="RUN")
    alone: bool = setting(True, "Let each worker train alone as well at the end, for comparison.")
    picture: bool = setting(True, "Draw the run into its folder when it has finished.")
    tls: bool = setting(False, "Have the roles speak mutual TLS, with certificates made for this run.")
    track: tuple[str, ...] = setting(
        (),
        "Tell an experiment tracker of each round, beside the run: tensorboard (in the workspace), "
        "tensorboard:DIR or mlflow:URI. Give it once for each.",
        metavar="TRACKER",
    )
    in_process: bool = setting(False, "Run all roles in this process, for breakpoints and tests.")
    plain: bool = setting(False, "Print lines instead of a live table.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_run_name(self.name, "--name")
        for text in self.track:
            try:
                Target.parse(text)
            except ValueError as error:
                raise SettingsError(f"--track {error}") from error
        if self.tls and self.in_process:
            raise SettingsError(
                "--tls and --in-process: in one process nothing crosses a network; leave one of them out"
            )

    @property
    def dataset(self) -> Path:
        """Where the region files of the source lie."""
        return (
            self.workspace / "digits" / "dataset" if self.source == "digits" else self.workspace / "dataset"
        )

    def run_label(self, source: str) -> str:
        """Return what the name of the run says after its time: the user's word, or what the data is of.

        Args:
            source: As the region files name it; it may be anything.
        """
        return self.name or re.sub(r"[^A-Za-z0-9_-]+", "-", source).strip("-")[:40] or self.source


@dataclass(frozen=True, kw_only=True)
class CheckConfig(Joining, ReadingRegions):
    """What is looked at before anything is started: the settings of the role that is to be started here."""

    region: tuple[str, ...] = setting(
        (), "Region to look at: a name in the dataset, or a file [default: A, B, C and D]."
    )
    connect_seconds: float = setting(
        5.0, "How long the Provider may take to answer.", least=0.1, most=A_DAY_SECONDS
    )
    json: bool = setting(False, "Print the findings as JSON.")


def region_file_in(folder: Path, name: str) -> Path:
    """Return where the region of a name lies in a folder of region files."""
    return folder / f"region_{name}.npz"


def worker_name(region: str) -> str:
    """Return the name of the worker of a region: "A" for A and for any/region_A.npz."""
    return Path(region).name.removesuffix(".npz").removeprefix("region_")


def check_run_name(name: str, flag: str = "--run") -> None:
    """Check that a name can be that of a run, and of a folder.

    Raises:
        SettingsError: It cannot; the text says what is allowed.
    """
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if name and (len(name) > 80 or name.startswith((".", "-")) or not (plain.isascii() and plain.isalnum())):
        raise SettingsError(
            f"{flag} {name!r}: use up to 80 letters, digits, '-', '_' and '.', not '.' or '-' first"
        )
