"""How things are measured here: in turn, in one run, as ratios.

A machine that does other things besides moves every figure, by up to two; it moves neighbours alike. So
the cases of a comparison run one after the other, round after round, each round gives a ratio, and the
median of the ratios is what is quoted, with the spread beside it.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

Case = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of several measurements, and how far they lie apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.least)} to {_short(self.most)})"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report: our figure beside a peer's.

    Attributes:
        what: What was done.
        unit: Of the figures, "us" or "messages/s", say.
        ours: Our figure.
        peer: The peer's name.
        theirs: The peer's figure.
        ratio: How many times better ours is, per round: 2.0 means twice as fast, or half the time.
        target: What the ratio should be at least, None when nothing is promised.
    """

    what: str
    unit: str
    ours: Spread
    peer: str
    theirs: Spread
    ratio: Spread
    target: float | None

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.ratio.median >= self.target


def compare(
    what: str,
    cases: Mapping[str, Case],
    targets: Mapping[str, float],
    *,
    rounds: int,
    unit: str = "per second",
    more_is_better: bool = True,
    seldom: Mapping[str, int] | None = None,
    warm_up: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Measure the cases in turn; the first is ours.

    Args:
        what: What is done, for the report.
        cases: By name; each returns its figure.
        targets: By the name of a peer, the ratio that ours should reach.
        rounds: How often each case runs.
        unit: Of the figures.
        more_is_better: Whether a larger figure is a better one.
        seldom: Peers that take long, with the number of rounds they are part of: they have no round that
            does not count, and their ratios are to our figures of the same rounds.
        warm_up: Whether there is a round before that does not count.
        progress: Told what is being measured.
    """
    figures: dict[str, list[float]] = {name: [] for name in cases}
    most = seldom or {}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name, case in cases.items():
            if name in most and not 1 <= number <= most[name]:
                continue
            progress(f"{what}: {name} ({number} of {rounds})")
            gc.collect()
            figure = case()
            if number:
                figures[name].append(figure)
    (_, ours), *peers = figures.items()
    rows = []
    for peer, theirs in peers:
        pairs = zip(ours, theirs, strict=False)
        ratios = [a / b if more_is_better else b / a for a, b in pairs]
        rows.append(
            Row(what, unit, Spread.of(ours), peer, Spread.of(theirs), Spread.of(ratios), targets.get(peer))
        )
    return rows


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, load, versions."""
    versions = {}
    for name in ("trio", "cbor2", "numpy", "pykka", "thespian", "xoscar", "pyzmq", "flwr", "ray", "torch"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()],
        "versions": versions,
    }


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows as plain values."""
    return [{**asdict(row), "met": row.met} for row in rows]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
