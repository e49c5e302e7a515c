"""The parts of the report, each with its rows, its curves and what is said about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol

from federation.learning import one_blas_thread
from tests.benchmarks import (
    codec,
    extraction,
    flower,
    gossip,
    growth,
    persistence,
    pool,
    remote,
    runtime,
    simulation,
    sizes,
    straggler,
)
from tests.benchmarks import round as coordinated_round
from tests.benchmarks.curve import Curve
from tests.benchmarks.measure import Row

Progress = Callable[[str], None]

NO_FLOWER = "Flower is not there and its rows are left out; `bin/benchmark peers` installs it."
NOT_WHEN_QUICK = "Flower takes minutes, so its rows are left out with --quick."


@dataclass(slots=True)
class Findings:
    """What a section has measured.

    Attributes:
        rows: Ours beside peers and limits.
        curves: How costs grow.
        said: Sentences: figures that have no peer, and peers that are missing.
    """

    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


class Measure(Protocol):
    """Measures a section."""

    def __call__(self, *, quick: bool, progress: Progress) -> Findings: ...


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report.

    Attributes:
        title: Its headline.
        scope: For which workloads its figures hold, in a sentence or two.
        measure: What measures it.
    """

    title: str
    scope: str
    measure: Measure


def _runtime(*, quick: bool, progress: Progress) -> Findings:
    rows = runtime.rows(quick=quick, progress=progress)
    count = 10_000 if quick else 100_000
    progress(f"{count:,} actors at once")
    said = [f"{count:,} actors at once: {_figures(runtime.crowd(count))}.", *_missing("pykka", "thespian")]
    return Findings(rows, growth.actors(quick=quick, progress=progress), said)


def _remote(*, quick: bool, progress: Progress) -> Findings:
    rows = remote.rows(quick=quick, progress=progress)
    if find_spec("zmq"):
        from tests.benchmarks import zeromq

        rows += zeromq.rows(quick=quick, progress=progress)
    return Findings(rows, sizes.curves(quick=quick, progress=progress), _missing("xoscar", "zmq"))


def _codec(*, quick: bool, progress: Progress) -> Findings:
    return Findings(codec.rows(quick=quick, progress=progress), said=_missing("msgspec"))


def _persistence(*, quick: bool, progress: Progress) -> Findings:
    return Findings(persistence.rows(quick=quick, progress=progress))


def _round(*, quick: bool, progress: Progress) -> Findings:
    with one_blas_thread():
        rows = coordinated_round.rows(quick=quick, progress=progress)
        rows += pool.rows(quick=quick, progress=progress)
        rows += straggler.rows(quick=quick, progress=progress)
        curves = growth.workers(quick=quick, progress=progress)
        if not quick:
            curves += growth.parameters(progress=progress)
    progress("from a warm start to the first round")
    start = coordinated_round.warm_start(quick=quick)
    said = [f"From a warm start to the first finished round: {_figures(start)}."]
    return Findings(rows, curves, [*said, *_without_flower(quick)])


def _simulation(*, quick: bool, progress: Progress) -> Findings:
    rows = simulation.rows(quick=quick, progress=progress)
    said = simulation.said(quick=quick, progress=progress)
    return Findings(rows, said=[*said, *_without_flower(quick)])


def _without_flower(quick: bool) -> list[str]:
    """Say why Flower's rows are not there, when they are not."""
    if quick:
        return [NOT_WHEN_QUICK]
    return [] if flower.python() is not None else [NO_FLOWER]


def _gossip(*, quick: bool, progress: Progress) -> Findings:
    rows = gossip.rows(quick=quick, progress=progress)
    return Findings(rows, gossip.curves(quick=quick, progress=progress))


def _extraction(*, quick: bool, progress: Progress) -> Findings:
    if _missing("torch", "torchvision"):
        said = ["PyTorch is not there and its rows are left out; `bin/benchmark extraction` installs it."]
        return Findings(said=said)
    return Findings(extraction.rows(quick=quick, progress=progress))


def _figures(figures: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {value:,.0f}" if "MiB" in name else f"{name} {value:,.2f} s"
        for name, value in figures.items()
    )


def _missing(*modules: str) -> list[str]:
    """Say which libraries are not there."""
    return [f"{name} is not installed; its rows are left out." for name in modules if not find_spec(name)]


SECTIONS: Mapping[str, Section] = {
    "runtime": Section(
        "The actor runtime inside one process",
        "Holds for actors that do little with each message: the more a handler does, the less it matters who"
        " brings the message. The bare deque has no supervision, no accounts and no lanes; Thespian's simple"
        " system has no concurrency at all, its asks are function calls.",
        _runtime,
    ),
    "remote": Section(
        "Between two processes on one machine",
        "Both ends share this machine's cores, so a network's latency is not in it. The bare stream sends the"
        " same CBOR without credit, accounts, supervision or fair shares. ZeroMQ is a transport in C++ with"
        " threads of its own, and what it carries here is pickled.",
        _remote,
    ),
    "codec": Section(
        "The codec",
        "CPU time of one core. Ours checks each field, length and tag, both ways; the others take what"
        " comes, and pickle runs it.",
        _codec,
    ),
    "persistence": Section(
        "The record on disk",
        "On the disk of the working folder: how long a sync takes is the disk's doing.",
        _persistence,
    ),
    "round": Section(
        "A federated round",
        "Holds where training takes tens of milliseconds and more. The built-in job trains so briefly that"
        " processes, disk and messages are most of it; a plain loop in one process has none of them.",
        _round,
    ),
    "simulation": Section(
        "A federation simulated",
        "Holds for many small workers with the linear model, which ours trains many at a time; Flower's"
        " simulation is for any model, and gives each training to a process of Ray.",
        _simulation,
    ),
    "gossip": Section(
        "Gossip",
        "Deployed: three peers on one machine, who wait for each other's models up to `--patience-seconds`."
        " In virtual time: the rules as they are deployed, without sockets and without training.",
        _gossip,
    ),
    "extraction": Section(
        "Features of images",
        "ResNet18 in float32 on the CPU, at 64 pixels, where the network is quickest beside the rest. The"
        " bare network has its batches in memory, decoded and normalised; ours reads JPEG files and writes"
        " features.",
        _extraction,
    ),
}
