"""A short form of `bin/simulate --peers --whole`: real peers under every fault, then a core must agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gossip import ModelInfo, Models
from tests.simulation.__main__ import main
from tests.simulation.gossip_seasons import Seasons
from tests.simulation.gossip_whole import play_whole


@pytest.mark.parametrize(("peers", "seeds"), [(3, range(2)), (5, range(1))])
def test_whole_peers_that_are_mended_agree_and_nothing_wrong_happens_before(peers: int, seeds: range) -> None:
    reports = Seasons(peers, whole=True).play_part(seeds)
    assert [report for report in reports if report.violation] == []
    assert all(report.fired and report.rounds for report in reports)


def test_the_same_seed_is_the_same_season_of_whole_peers() -> None:
    one, two, other = play_whole(1, 3), play_whole(1, 3), play_whole(2, 3)
    assert one == two
    assert one.digest != other.digest


def test_a_peer_that_publishes_other_bytes_than_it_was_told_to_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish = Models.publish

    def publish_reversed(self: Models, data: bytes, samples: int) -> ModelInfo:
        return publish(self, data[::-1], samples)

    monkeypatch.setattr(Models, "publish", publish_reversed)
    assert "never wrote" in play_whole(0, 3).violation


def test_seasons_add_up_over_several_calls(tmp_path: Path) -> None:
    command = ["--peers", "--seeds", "3", "--jobs", "1", "--keep", str(tmp_path / "kept.jsonl")]
    left = CliRunner().invoke(main, [*command, "--slice", "0.000000001"])
    assert left.exit_code == 3, left.output
    first = CliRunner().invoke(main, command)
    again = CliRunner().invoke(main, command)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "0 seeds in 0 s" in again.output
    assert first.output.splitlines()[:-1] == again.output.splitlines()[:-1]
