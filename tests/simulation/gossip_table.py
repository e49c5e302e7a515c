"""What was measured of gossip, beside its targets, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.simulation.gossip_cells import percentile
from tests.simulation.gossip_measure import HEALTH_PEERS, MODEL_PEERS, Findings

MOST_IDLE_BYTES = 250
MOST_ENTERED = 1.02
MOST_SUSPECTED_P50, MOST_SUSPECTED_P99 = 2.0, 6.0  # probe periods


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        part: Under which heading it stands.
        what: What was measured.
        seeds: Over how many seeds, rounds, node-hours or versions.
        values: By name.
        target: In words, empty where there is none.
        met: Whether it is reached.
    """

    part: str
    what: str
    seeds: str
    values: dict[str, float]
    target: str
    met: bool


def rows(found: Findings) -> list[Row]:
    """Return the table."""
    return [
        *_convergence_rows(found),
        *_detection_rows(found),
        *_health_rows(found),
        *_idle_rows(found),
        *_model_rows(found),
        *_whole_rows(found),
    ]


def _convergence_rows(found: Findings) -> Iterator[Row]:
    for cell, values in sorted(found.rounds.items(), key=lambda pair: (pair[0].announcing, pair[0].peers)):
        part = "rounds to convergence, " + (
            "as in use: with announcements" if cell.announcing else "by exchanges alone, fan-out 1"
        )
        most = cell.most_rounds
        p99 = percentile(values, 0.99)
        figures = {"p50": percentile(values, 0.5), "p99": p99, "most": max(values)}
        target = "" if most is None else f"p99 <= {most:g}"
        what = f"{cell.peers:,} peers, {cell.loss:.0%} loss"
        yield Row(part, what, f"{len(values):,} seeds", figures, target, most is None or p99 <= most)


def _detection_rows(found: Findings) -> Iterator[Row]:
    for cell, values in sorted(found.detected.items(), key=lambda pair: (pair[0].peers, pair[0].loss)):
        suspected = [value.suspected for value in values]
        p50, p99 = percentile(suspected, 0.5), percentile(suspected, 0.99)
        figures = {
            "suspect p50": p50,
            "suspect p99": p99,
            "dead p50": percentile([value.dead for value in values], 0.5),
            "everywhere p99": percentile([value.everywhere for value in values], 0.99),
        }
        met = cell.loss > 0 or (p50 <= MOST_SUSPECTED_P50 and p99 <= MOST_SUSPECTED_P99)
        target = f"suspect p50 <= {MOST_SUSPECTED_P50:g}, p99 <= {MOST_SUSPECTED_P99:g}"
        target = "" if cell.loss else target
        what = f"{cell.peers:,} peers, {cell.loss:.0%} loss"
        part = "a crash is noticed, in probe periods"
        yield Row(part, what, f"{len(values):,} seeds", figures, target, met)


def _health_rows(found: Findings) -> Iterator[Row]:
    for loss, values in sorted(found.healthy.items()):
        hours = sum(value.node_hours for value in values)
        deaths = sum(value.deaths for value in values)
        figures = {"suspicions": float(sum(value.suspicions for value in values)), "deaths": float(deaths)}
        part = "nobody crashes: who is held for dead all the same"
        yield Row(
            part,
            f"{HEALTH_PEERS} peers, {loss:.0%} loss",
            f"{hours:,.1f} node-hours",
            figures,
            "" if loss else "0 deaths",  # of a healthy network, as with the crashes
            loss > 0 or not deaths,
        )


def _idle_rows(found: Findings) -> Iterator[Row]:
    for peers, value in sorted(found.idle.items()):
        figures = {
            "exchange": float(value.exchange_bytes),
            "per peer and second": value.bytes_per_second,
            "about models": float(value.model_bytes),
        }
        met = value.exchange_bytes <= MOST_IDLE_BYTES and value.model_bytes == 0
        target = f"exchange <= {MOST_IDLE_BYTES}, models 0"
        part = "bytes where nothing changes, exchanges and probes"
        yield Row(part, f"{peers:,} peers", f"{value.rounds:,} rounds", figures, target, met)


def _model_rows(found: Findings) -> Iterator[Row]:
    for (loss, size), value in sorted(found.models.items()):
        figures = {"entered, in its sizes": value.entered, "other bytes a peer": value.overhead_bytes}
        met = loss > 0.1 or value.entered <= MOST_ENTERED
        target = f"entered <= {MOST_ENTERED}" if loss <= 0.1 else ""
        part = "bytes of one version of a model, in the peer that got most"
        what = f"{MODEL_PEERS} peers, {loss:.0%} loss, {size / 1e6:g} MB"
        yield Row(part, what, f"{value.versions:,} versions", figures, target, met)


def _whole_rows(found: Findings) -> Iterator[Row]:
    for (peers, loss), value in sorted(found.whole.items()):
        figures = {
            "entered, in its sizes": value.entered,
            "all bytes": value.in_all,
            "idle: per peer and second": value.idle_bytes_per_second,
            "about models": float(value.idle_model_bytes),
        }
        yield Row(
            "whole peers with actors and frames over TCP, models of 20 kB, in the peer that got most",
            f"{peers} peers, {loss:.0%} of segments lost",
            f"{value.versions} versions, {value.idle_rounds:,} rounds",
            figures,
            f"entered <= {MOST_ENTERED}, models 0",
            value.entered <= MOST_ENTERED and value.idle_model_bytes == 0,
        )


def lines(table: Sequence[Row]) -> Iterator[str]:
    """Yield the table for people."""
    part = ""
    for row in table:
        if row.part != part:
            part = row.part
            yield ""
            yield part
        values = "  ".join(f"{name} {value:,.4g}" for name, value in row.values.items())
        verdict = f"{row.target}: {'met' if row.met else 'MISSED'}" if row.target else ""
        yield f"  {row.what:<28} {row.seeds:>16}   {values:<70} {verdict}".rstrip()


def as_plain(table: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the table for JSON."""
    return [asdict(row) for row in table]
