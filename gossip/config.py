"""Settings of the roles of a gossip network: as in `federation.settings`, a field is a flag and its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federation.config import (
    DEFAULT_REGIONS,
    EVALUATION_REGION,
    EVERYWHERE,
    SOURCES,
    Address,
    InWorkspace,
    Listening,
    OfModel,
    ReadingRegions,
    Secured,
    worker_name,
)
from federation.errors import SettingsError
from federation.learning import Budget
from federation.settings import A_DAY_SECONDS, MANY, Settings, setting
from gossip.learner import STRATEGIES
from gossip.messages import MAX_NAME_CHARACTERS


@dataclass(frozen=True, kw_only=True)
class Learning(OfModel):
    """How much a peer learns, and how. The same at all peers."""

    SECTION = "Training"

    rounds: int = setting(20, "How many rounds each peer trains.", least=0, most=MANY)
    epochs: int = setting(5, "Passes of a peer over its region in a round.", least=1, most=MANY)
    batch_size: int = setting(32, "Samples in a step of SGD.", least=1, most=MANY)
    learning_rate: float = setting(0.1, "Length of a step of SGD.", above=0.0)
    mu: float = setting(0.0, "Pull of FedProx towards the average; 0 is none.", least=0.0)
    strategy: str = setting("fedavg", "How the models of all peers become one.", choices=STRATEGIES)
    seed: int = setting(
        0,
        "What each peer draws in training comes from it. When it trains it decides itself, so another run of "
        "the same seed gives another model; within a run all agree.",
        least=0,
    )
    patience_seconds: float = setting(
        2.0,
        "How long a peer waits between its rounds for the models of the others.",
        least=0.0,
        most=A_DAY_SECONDS,
    )

    @property
    def budget(self) -> Budget:
        """What the learner is told."""
        return Budget(
            rounds=max(self.rounds, 1),
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            mu=self.mu,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class InNetwork(InWorkspace, Listening, Secured):
    """Whoever is part of a gossip network."""

    places: Path | None = setting(
        None, "Folder where all say where they are [default: WORKSPACE/peers].", metavar="DIR"
    )

    @property
    def places_folder(self) -> Path:
        """Where all say where they are."""
        return self.places or self.workspace / "peers"


@dataclass(frozen=True, kw_only=True)
class PeerConfig(InNetwork, ReadingRegions, Learning):
    """One peer."""

    LOCAL = Settings.LOCAL | {
        "advertise",
        "dataset",
        "db",
        "join",
        "join_seconds",
        "min_peers",
        "name",
        "places",
        "region",
        "reporter",
        "run",
        "until_converged",
    }

    region: str = setting("A", "Region to train on: a name in the dataset, or a file.")
    name: str = setting("", "Its name in the network, for good [default: that of its region].")
    evaluate: str = setting(
        EVALUATION_REGION, "Region to score averages on, which nobody trains on; '' to score nothing."
    )
    run: str = setting(
        "gossip",
        "Name of the run, the same at all its peers: they do not hear those of another. A peer goes on where "
        "it was in the run of that name.",
    )
    db: Path | None = setting(
        None, "Where the peer keeps what it knows [default: WORKSPACE/gossip.db].", metavar="FILE"
    )
    advertise: str = setting("", "Host under which others reach it [default: that of --listen].")
    join: tuple[str, ...] = setting(
        (), "Where another peer is, beside those in --places. Give it once for each.", metavar="HOST:PORT"
    )
    reporter: tuple[str, ...] = setting(
        (), "Where a reporter is, beside those in --places. Give it once for each.", metavar="HOST:PORT"
    )
    min_peers: int = setting(1, "Begin to train when so many are there, itself included.", least=1, most=4096)
    join_seconds: float = setting(
        30.0,
        "But wait for them no longer than so many seconds; a peer that comes back, some seconds at most.",
        least=0.0,
        most=A_DAY_SECONDS,
    )
    until_converged: bool = setting(
        False, "End when all live peers hold the same average; otherwise serve until told to stop."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        name = self.peer_name
        if not name.isprintable() or "/" in name or not 0 < len(name) <= MAX_NAME_CHARACTERS:
            raise SettingsError(f"--name {name!r}: use 1 to 100 printable characters without a slash")
        if self.listen_address.host in EVERYWHERE and not self.advertise:
            raise SettingsError(
                f"--listen {self.listen}: others cannot dial {self.listen_address.host}; say under which "
                "host they reach this one, with --advertise HOST"
            )
        for flag, given in (("--join", self.join), ("--reporter", self.reporter)):
            for text in given:
                _dialled(text, flag)

    @property
    def peer_name(self) -> str:
        """Its name in the network."""
        return self.name or worker_name(self.region)

    @property
    def gossip_database(self) -> Path:
        """Where the peer keeps what it knows."""
        return self.db or self.workspace / "gossip.db"

    @property
    def join_addresses(self) -> list[Address]:
        """Where other peers are, as far as flags say."""
        return [_dialled(text, "--join") for text in self.join]

    @property
    def reporter_addresses(self) -> list[Address]:
        """Where reporters are, as far as flags say."""
        return [_dialled(text, "--reporter") for text in self.reporter]


@dataclass(frozen=True, kw_only=True)
class ReporterConfig(InNetwork):
    """A reporter: watches, and has no part in anything."""

    name: str = setting("reporter", "What its file in --places is called by.")
    output: Path | None = setting(None, "Write every report there as well, as lines of JSON.", metavar="FILE")
    every_seconds: float = setting(
        2.0, "Print a table once in so many seconds.", least=0.1, most=A_DAY_SECONDS
    )
    plain: bool = setting(False, "Print lines instead of a live table.")


@dataclass(frozen=True, kw_only=True)
class StartGossipConfig(InWorkspace, Learning):
    """The whole gossip mode on this machine: every peer, and a reporter, its own process."""

    rounds: int = setting(20, "How many rounds each peer trains.", least=1, most=MANY)
    peers: str = setting(
        ",".join(DEFAULT_REGIONS),
        "Which peers, each named for the region that it trains on.",
        metavar="A,B,...",
    )
    source: str = setting(
        "synthetic", "Which built-in data; it is prepared when it is not there.", choices=SOURCES
    )
    samples: int | None = setting(
        None, "How many tiles the synthetic data has [default: what is there, or 2,000].", least=50, most=MANY
    )
    join_seconds: float = setting(
        30.0, "How long the peers may take to find each other.", least=0.1, most=A_DAY_SECONDS
    )
    name: str = setting("", "What the name of the run says after its time [default: gossip].")
    resume: str = setting("", "Go on with a run that was stopped: its name, or 'last'.", metavar="RUN")
    alone: bool = setting(True, "Let each peer train alone as well at the end, for comparison.")
    picture: bool = setting(True, "Draw the run into its folder when it has finished.")
    tls: bool = setting(False, "Have the peers speak mutual TLS, with certificates made for this run.")
    in_process: bool = setting(False, "Run all peers in this process, for breakpoints and tests.")
    plain: bool = setting(False, "Print lines instead of a live table.")

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.peer_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"--peers {self.peers}: {twice[0]} is there twice; each peer has a region")
        if not all(name.isascii() and name.replace("-", "").replace("_", "").isalnum() for name in names):
            raise SettingsError(
                f"--peers {self.peers}: give names of regions with commas between, like A,B,C"
            )
        if EVALUATION_REGION in names:
            raise SettingsError(
                f"--peers {self.peers}: nobody trains on {EVALUATION_REGION}, the models are scored on it"
            )

    @property
    def peer_names(self) -> list[str]:
        """The names of the peers."""
        return self.peers.split(",")

    @property
    def gossip_database(self) -> Path:
        """The record of all gossip runs."""
        return self.workspace / "gossip.db"

    @property
    def dataset(self) -> Path:
        """Where the region files of the source lie."""
        return (
            self.workspace / "digits" / "dataset" if self.source == "digits" else self.workspace / "dataset"
        )


def _dialled(text: str, flag: str) -> Address:
    address = Address.parse(text, flag)
    if address.port == 0:
        raise SettingsError(f"{flag} {text}: port 0 cannot be reached; give the port it listens on")
    return address
