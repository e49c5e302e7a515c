"""The report as files: `benchmarks.json` with every figure, `benchmarks.png` with the curves, BENCHMARKS.md.

Each section keeps when, where and by which command it was measured, so that one may be measured anew
without the others: the JSON file is read, the section replaced, and the page written from all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.curve import Curve
from tests.benchmarks.measure import as_json
from tests.benchmarks.sections import SECTIONS, Findings

# How the names of other projects begin; all else that ours stands beside is a limit, or ourselves.
PEERS = ("pykka", "Thespian", "xoscar", "pyzmq", "pickle", "msgspec", "Flower", "cbor2")

# An axis of fewer decades has a tick at each size instead of at powers of ten: of those it would have one or
# two, and matplotlib would label between them until the labels overlap.
DECADES_OF_POWERS = 2

Found = dict[str, Any]
"""A section as it stands in the JSON file."""


def as_found(findings: Findings, *, date: str, command: str, machine: Mapping[str, Any]) -> Found:
    """Return what is kept of a section."""
    return {
        "date": date,
        "command": command,
        "machine": dict(machine),
        "rows": as_json(findings.rows),
        "curves": [asdict(one) for one in findings.curves],
        "said": findings.said,
    }


def read(folder: Path) -> dict[str, Found]:
    """Return the sections that have been measured before; none when there is no file."""
    file = folder / "benchmarks.json"
    if not file.exists():
        return {}
    sections: dict[str, Found] = json.loads(file.read_text())["sections"]
    return sections


def write(folder: Path, page: Path, sections: Mapping[str, Found]) -> None:
    """Write figures and picture into the folder, and the page."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {name: sections[name] for name in SECTIONS if name in sections}
    (folder / "benchmarks.json").write_text(json.dumps({"sections": there}, indent=1) + "\n")
    curves = [Curve(**curve) for one in there.values() for curve in one["curves"]]
    if curves:
        draw(curves, folder / "benchmarks.png")
    page.write_text("".join(f"{line}\n" for line in _page(there, page, folder)))


# --- the page ---------------------------------------------------------------------------------------


def _page(sections: Mapping[str, Found], page: Path, folder: Path) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield "Written by `bin/benchmark`; do not edit. Cases that are compared run in turn, round after round,"
    yield "in one run; each round gives a ratio, and what stands here is the median of the ratios, with the"
    yield "least and the most. **A ratio of 2 is twice as good as the peer, 0.5 half as good.** Absolute"
    yield "figures move with the machine, and by up to two with what else it does; ratios move little."
    yield ""
    yield from _where_we_are(sections)
    if any(one["curves"] for one in sections.values()):
        place = (folder / "benchmarks.png").relative_to(page.parent)
        yield f"![How costs grow, on logarithmic axes: the tables below as lines]({place})"
        yield ""
    for name, one in sections.items():
        yield from _section(name, one)


def _where_we_are(sections: Mapping[str, Found]) -> Iterator[str]:
    rows = [row for one in sections.values() for row in one["rows"]]
    behind = sorted(
        (row for row in rows if row["ratio"]["median"] < 1), key=lambda row: row["ratio"]["median"]
    )
    missed = [row for row in rows if row["met"] is False]
    yield "## Where a peer is ahead"
    yield ""
    yield from _list(_ahead(row) for row in behind if row["peer"].startswith(PEERS))
    yield "Beside limits, the same work with nothing around it (no supervision, no accounts, no checks, no"
    yield "disk), and beside ourselves under easier conditions:"
    yield ""
    yield from _list(_ahead(row) for row in behind if not row["peer"].startswith(PEERS))
    yield "Below the target that we set ourselves:"
    yield ""
    yield from _list(
        f"{row['what']}: {row['ratio']['median']:.3g} times as good as {row['peer']}, the target is"
        f" {row['target']:.3g}."
        for row in missed
    )


def _ahead(row: Mapping[str, Any]) -> str:
    return f"{row['what']} ({row['unit']}): {row['peer']} is {1 / row['ratio']['median']:.3g} times as good."


def _list(sentences: Iterable[str]) -> Iterator[str]:
    found = list(sentences)
    yield from [f"- {sentence}" for sentence in found] if found else ["- Nowhere, in what is measured here."]
    yield ""


def _section(name: str, one: Found) -> Iterator[str]:
    about, section = one["machine"], SECTIONS[name]
    yield f"## {section.title}"
    yield ""
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    yield f"`{one['command']}`, {one['date']}, {about['cores']} cores of {about['processor']},"
    yield f"{about['system']}, load {about['load'][0]} before; Python {about['python']}, {versions}."
    yield ""
    yield section.scope
    yield ""
    if one["rows"]:
        yield from _table(
            ["what", "ours", "beside", "theirs", "ratio (least to most)", "target"], map(_cells, one["rows"])
        )
    for curve in one["curves"]:
        yield from _curve(Curve(**curve))
    for sentence in one["said"]:
        yield sentence
        yield ""


def _cells(row: Mapping[str, Any]) -> list[str]:
    ratio, target = row["ratio"], row["target"]
    return [
        f"{row['what']} ({row['unit']})",
        short(row["ours"]["median"]),
        row["peer"],
        short(row["theirs"]["median"]),
        f"**{short(ratio['median'])}** ({short(ratio['least'])} to {short(ratio['most'])})",
        "" if target is None else f"{target:.2g}, {'met' if row['met'] else 'missed'}",
    ]


def _curve(curve: Curve) -> Iterator[str]:
    yield f"**{curve.what[:1].upper()}{curve.what[1:]}**, in {curve.unit}:"
    yield ""
    sizes = curve.sizes()
    rows = []
    for line in curve.lines:
        costs = [curve.cost(line, size) for size in sizes]
        rows.append([line, *("" if cost is None else short(cost) for cost in costs)])
    yield from _table([curve.size, *(f"{size:,.0f}" for size in sizes)], rows)
    if curve.said:
        yield curve.said
        yield ""


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def short(value: float) -> str:
    """Return a figure with three digits that count, or whole thousands."""
    if abs(value) >= 1e9:
        return f"{value / 1e9:.3g} G"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


# --- the picture ------------------------------------------------------------------------------------


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw a panel for each curve, on logarithmic axes: a straight line is a power of the size."""
    from persistence.canvas import FAINT, WORKER_COLOURS, WORKER_MARKERS, new_figure, save

    across = 2
    down = -(-len(curves) // across)
    figure = new_figure()
    figure.set_size_inches(10, 2.9 * down)
    panels = figure.subplots(down, across, squeeze=False).flat
    for panel, curve in zip(panels, curves, strict=False):
        for place, (line, points) in enumerate(curve.lines.items()):
            sizes, costs = zip(*points, strict=True)
            panel.plot(
                sizes,
                costs,
                color=WORKER_COLOURS[place],
                marker=WORKER_MARKERS[place % len(WORKER_MARKERS)],
                label=line,
            )
        panel.set(xscale="log", yscale="log", xlabel=curve.size, ylabel=curve.unit)
        measured = curve.sizes()
        if measured[-1] < 10**DECADES_OF_POWERS * measured[0]:
            panel.set_xticks(measured, [f"{size:,.0f}" for size in measured])
            panel.set_xticks([], minor=True)
        drawn = [cost for points in curve.lines.values() for _, cost in points]
        middle = (min(drawn) * max(drawn)) ** 0.5
        panel.set_ylim(min(min(drawn) / 1.5, middle / 10), max(max(drawn) * 1.5, middle * 10))  # two decades
        panel.set_title(curve.what, loc="left", fontsize=9, color=FAINT)
        panel.grid(alpha=0.3)
        if len(curve.lines) > 1:
            panel.legend(fontsize=8)
    for panel in list(panels):
        panel.set_visible(False)
    save(figure, path)
