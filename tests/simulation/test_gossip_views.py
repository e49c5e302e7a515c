"""A short form of `bin/simulate --gossip`: the targets hold on small networks, and a miss is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gossip import Timing
from tests.simulation import gossip_measure
from tests.simulation.__main__ import main
from tests.simulation.gossip_bytes import whole_bytes
from tests.simulation.gossip_cells import (
    Cell,
    convergence,
    detection,
    health,
    idle_traffic,
    model_traffic,
    percentile,
)
from tests.simulation.gossip_measure import Findings, Plan, measure, tasks_of
from tests.simulation.gossip_table import as_plain, lines, rows
from tests.simulation.slices import Kept


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("peers", [16, 64])
def test_all_peers_have_the_last_write_within_rounds_by_the_logarithm(peers: int, loss: float) -> None:
    cell = Cell(peers, loss)
    assert cell.most_rounds is not None
    assert percentile(convergence(cell, range(20)), 0.99) <= cell.most_rounds


def test_the_rounds_that_are_allowed_are_those_of_the_design() -> None:
    assert [Cell(peers, 0.1).most_rounds for peers in (16, 64, 256, 1024)] == [8, 11, 14, 17]
    assert [Cell(peers, 0.3).most_rounds for peers in (16, 64, 256, 1024)] == [10, 14, 18, 22]


def test_announcements_reach_most_peers_long_before_exchanges_do() -> None:
    alone = convergence(Cell(64, 0.0), range(5))
    announced = convergence(Cell(64, 0.0, announcing=True), range(5))
    assert max(announced) <= 1 < min(alone)


def test_a_cell_of_the_same_seeds_is_the_same() -> None:
    assert convergence(Cell(16, 0.3), range(3)) == convergence(Cell(16, 0.3), range(3))


def test_a_crash_is_suspected_within_some_probes_and_held_for_dead_by_all() -> None:
    for found in detection(Cell(16, 0.0), range(10)):
        assert found.suspected <= 6
        assert found.suspected < found.dead <= found.everywhere <= 30


def test_nobody_alive_is_held_for_dead_although_many_are_suspected() -> None:
    said = health(Cell(64, 0.1), seed=0, hours=1 / 60)
    assert said.suspicions > 10
    assert said.deaths == 0


def test_suspects_without_time_to_rebut_would_be_held_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same measure finds deaths where there are any, so zero means something."""
    monkeypatch.setattr(Timing, "suspicion_seconds", lambda self, peers, confirmations: 0.1)
    assert health(Cell(64, 0.1), seed=0, hours=1 / 60).deaths > 0


@pytest.mark.parametrize("peers", [16, 64])
def test_where_nothing_changes_no_byte_is_about_models(peers: int) -> None:
    traffic = idle_traffic(peers, rounds=40)
    assert traffic.exchange_bytes <= 250
    assert traffic.model_bytes == 0


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_version_of_a_model_enters_a_peer_once(loss: float) -> None:
    assert 1.0 <= model_traffic(8, loss, 200_000, versions=3).entered <= 1.02


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_so_it_does_with_whole_peers_and_at_rest_they_say_nothing_of_models(loss: float) -> None:
    """A line that loses segments is late, and what is late is not asked for again."""
    found = whole_bytes(3, loss, rounds=12, idle_rounds=60)
    assert found.versions >= 24
    assert 1.0 <= found.entered <= 1.02
    assert found.idle_model_bytes == 0
    assert found.idle_bytes_per_second < 600


def test_percentiles_are_values_that_were_seen() -> None:
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.01, 0.5, 0.99)] == [1.0, 2.0, 3.0]


# --- the table ------------------------------------------------------------------------------------


def test_a_target_that_is_missed_is_told() -> None:
    found = Findings(rounds={Cell(16, 0.0): [2.0, 9.0], Cell(16, 0.1): [2.0, 8.0]})
    table = rows(found)
    assert [row.met for row in table] == [False, True]
    text = "\n".join(lines(table))
    assert "p99 <= 8: MISSED" in text
    assert "p99 <= 8: met" in text
    assert as_plain(table)[0]["values"] == {"p50": 2.0, "p99": 9.0, "most": 9.0}


TINY = Plan((16,), (0.0,), seeds=4, detection_peers=(), health_runs=0, idle_rounds=20, versions=1, whole=())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--quick` measures next to nothing: two cells, and two kinds of bytes."""
    monkeypatch.setattr("tests.simulation.__main__.QUICK", TINY)
    monkeypatch.setattr(gossip_measure, "MODEL_SIZES", (20_000,))


def test_the_launcher_writes_json_and_its_status_tells_of_misses(tiny: None) -> None:
    shown = CliRunner().invoke(main, ["--gossip", "--quick", "--json", "--jobs", "1"])
    assert shown.exit_code == 0, shown.output
    assert all(row["met"] for row in json.loads(shown.output))


def test_slices_of_a_measurement_add_up_to_the_whole(tiny: None, tmp_path: Path) -> None:
    """A slice of no time does nothing; what was kept is not measured again, and a torn line is."""
    whole, left = measure(TINY, 1)
    assert left == 0
    path = tmp_path / "kept.jsonl"
    command = ["--gossip", "--quick", "--jobs", "1", "--keep", str(path)]
    shown = CliRunner().invoke(main, [*command, "--slice", "0.000000001"])
    assert shown.exit_code == 3
    assert "4 measurements are left" in shown.stderr
    assert not path.exists()
    assert CliRunner().invoke(main, command).exit_code == 0
    written = path.read_text().splitlines()
    assert len(written) == 4
    path.write_text("\n".join([*written[:-1], written[-1][:20]]))
    assert [task.name for task in tasks_of(TINY) if task.name not in Kept(path).results] == [
        "models 0.0 20000 1"
    ]
    again, left = measure(TINY, 1, kept=Kept(path))
    assert (again, left) == (whole, 0)
    assert path.read_text().splitlines()[-1] == written[-1]


def test_a_slice_says_where_its_findings_go() -> None:
    shown = CliRunner().invoke(main, ["--gossip", "--slice", "10"])
    assert shown.exit_code == 2
    assert "--keep FILE" in shown.output


def test_only_what_is_called_so_is_measured(tiny: None) -> None:
    shown = CliRunner().invoke(main, ["--gossip", "--quick", "--json", "--jobs", "1", "--only", "models 0.0"])
    assert shown.exit_code == 0, shown.output
    assert [row["what"] for row in json.loads(shown.output)] == ["16 peers, 0% loss, 0.02 MB"]


@pytest.mark.parametrize(
    "flags", [["--gossip", "--quick", "--only", "model"], ["--peers", "--only", "models"]]
)
def test_a_choice_of_nothing_is_told(flags: list[str], tiny: None) -> None:
    """Words are whole: `idle 10` is not `idle 1024`."""
    shown = CliRunner().invoke(main, flags)
    assert shown.exit_code == 2
    assert "--only" in shown.stderr
