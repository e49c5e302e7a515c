"""A short form of `bin/simulate --peers`: every fault, then a core that must agree; and planted errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from gossip import Models
from gossip.clock import LamportClock
from gossip.transfer import Transfers
from tests.simulation.__main__ import main
from tests.simulation.gossip_play import play
from tests.simulation.gossip_season import KINDS
from tests.simulation.gossip_seasons import summary

SEEDS = 150


def test_whatever_happens_a_mended_core_agrees_and_nothing_wrong_happens_before() -> None:
    reports = [play(seed) for seed in range(SEEDS)]
    assert [report for report in reports if report.violation] == []
    fired: Counter[str] = sum((report.fired for report in reports), Counter())
    assert set(KINDS) <= fired.keys()


def test_the_same_seed_is_the_same_season() -> None:
    assert [play(seed).digest for seed in range(5)] == [play(seed).digest for seed in range(5)]


@pytest.mark.parametrize("peers", [3, 12])
def test_seasons_of_fewer_and_of_more_peers(peers: int) -> None:
    assert [report for seed in range(8) if (report := play(seed, peers)).violation] == []


def _no_bound(self: LamportClock, time: int) -> bool:
    """A time far ahead is obeyed."""
    return True


def _always_wanted(self: Transfers, content: bytes) -> bool:
    """A model that was given up keeps out what is older."""
    return True


def _ghosts_win(self: Models, ghost: Any) -> None:
    """A forgotten life's model is not outbid."""


@pytest.mark.parametrize(
    ("holder", "name", "error"),
    [
        (LamportClock, "reaches", _no_bound),
        (Transfers, "is_wanted", _always_wanted),
        (Models, "_outbid", _ghosts_win),
    ],
)
def test_a_planted_error_is_found(
    monkeypatch: pytest.MonkeyPatch, holder: type, name: str, error: Callable[..., Any]
) -> None:
    monkeypatch.setattr(holder, name, error)
    assert any(play(seed).violation for seed in range(2 * SEEDS))


def test_a_fault_that_never_fires_is_an_error_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    report = play(0)
    assert summary([report])[1]
    monkeypatch.setattr("tests.simulation.gossip_seasons.ENOUGH_SEEDS", 1)
    lines, well = summary([report])
    assert not well
    assert any("there was not one" in line for line in lines)


def test_the_launcher_tells_a_single_season() -> None:
    shown = CliRunner().invoke(main, ["--peers", "--seeds", "1", "--first", "34"])
    assert shown.exit_code == 0, shown.output
    assert "the core is mended" in shown.output
