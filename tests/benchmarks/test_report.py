"""What a benchmark makes of figures: ratios, the page, the picture. Nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import written
from tests.benchmarks.curve import Curve
from tests.benchmarks.measure import Row, Spread, compare
from tests.benchmarks.sections import SECTIONS, Findings
from tests.benchmarks.tree import Tree

MACHINE = {
    "cores": 2,
    "processor": "a processor",
    "system": "Linux",
    "load": [0.5, 0.5, 0.5],
    "python": "3.11",
    "versions": {"trio": "0.35"},
}


def figures(*values: float) -> Iterator[float]:
    yield from values


def row(peer: str, ratio: float, target: float | None = None) -> Row:
    spread = Spread(ratio, ratio, ratio)
    return Row("a tell", "messages/s", Spread(100.0, 90.0, 110.0), peer, spread, spread, target)


def page_of(folder: Path, *rows: Row, section: str = "runtime", curves: tuple[Curve, ...] = ()) -> str:
    sections = written.read(folder)
    findings = Findings(list(rows), list(curves), ["A sentence."])
    sections[section] = written.as_found(findings, date="today", command="bin/benchmark", machine=MACHINE)
    written.write(folder, folder / "BENCHMARKS.md", sections)
    return (folder / "BENCHMARKS.md").read_text()


def test_a_ratio_is_of_one_round_and_the_first_round_does_not_count() -> None:
    ours, theirs = figures(0.0, 10.0, 40.0), figures(1.0, 5.0, 10.0)

    (found,) = compare("x", {"ours": lambda: next(ours), "peer": lambda: next(theirs)}, {}, rounds=2)

    assert found.ratio == Spread(3.0, 2.0, 4.0)


def test_less_is_better_where_it_is_said() -> None:
    ours, theirs = figures(1.0, 2.0), figures(1.0, 6.0)
    cases = {"ours": lambda: next(ours), "peer": lambda: next(theirs)}

    (found,) = compare("x", cases, {"peer": 4.0}, rounds=1, more_is_better=False)

    assert found.ratio.median == 3.0
    assert found.met is False


def test_a_peer_that_takes_long_is_compared_with_our_figures_of_its_rounds() -> None:
    ours, theirs = figures(0.0, 10.0, 20.0, 90.0), figures(5.0, 5.0)
    cases = {"ours": lambda: next(ours), "slow peer": lambda: next(theirs)}

    (found,) = compare("x", cases, {}, rounds=3, seldom={"slow peer": 2})

    assert found.ratio == Spread(3.0, 2.0, 4.0)
    assert found.ours.most == 90.0


def test_the_page_begins_with_where_a_peer_is_ahead(tmp_path: Path) -> None:
    page = page_of(tmp_path, row("pyzmq, pickle", 0.25), row("bare task", 0.5), row("pykka", 3.0))
    peers, _, limits = page.partition("Beside limits")

    assert "pyzmq, pickle is 4 times as good" in peers
    assert "bare task is 2 times as good" in limits
    assert "pykka is" not in page


def test_the_page_says_which_target_is_missed(tmp_path: Path) -> None:
    page = page_of(tmp_path, row("pykka", 2.0, target=3.0), row("xoscar", 30.0, target=20.0))

    assert "- a tell: 2 times as good as pykka, the target is 3." in page
    assert "as good as xoscar" not in page


def test_a_section_that_is_measured_anew_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    page_of(tmp_path, row("pykka", 2.0), section="runtime")
    page_of(tmp_path, row("msgspec msgpack", 0.5), section="codec")
    page = page_of(tmp_path, row("pykka", 8.0), section="runtime")

    assert "**8**" in page
    assert "**2**" not in page
    assert "msgspec msgpack is 2 times as good" in page
    assert page.index(SECTIONS["runtime"].title) < page.index(SECTIONS["codec"].title)


def test_a_curve_is_a_table_and_a_line_in_the_picture(tmp_path: Path) -> None:
    curve = Curve("memory", "actors", "KiB", {"ours": [(10, 5.0), (1000, 5.5)], "theirs": [(10, 7.0)]})

    page = page_of(tmp_path, curves=(curve,))

    assert "| actors | 10 | 1,000 |" in page
    assert "| theirs | 7 |  |" in page
    assert (tmp_path / "benchmarks.png").stat().st_size > 1000
    assert "](benchmarks.png)" in page
    assert json.loads((tmp_path / "benchmarks.json").read_text())["sections"]["runtime"]["curves"]


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.07215, "0.0722"), (12.34, "12.3"), (1234.5, "1,234"), (2.5e6, "2.5 M"), (3e9, "3 G")],
)
def test_figures_are_short(value: float, said: str) -> None:
    assert written.short(value) == said


def test_a_process_that_is_gone_counts_nothing() -> None:
    there = Tree([2**22 + 1])  # beyond the largest number that Linux gives a process

    assert there.look().processes == 0
    assert there.peak_bytes == 0
