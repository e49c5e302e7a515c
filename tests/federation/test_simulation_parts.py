"""The plain parts of a simulation: what becomes of workers, who is there when, and who has which samples."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.config import worker_name
from federation.errors import SettingsError
from federation.learning import PARTITIONS, Region, RegionMeta, save_features, save_region
from federation.sampling import draw_workers
from federation.simulation import EngineFailed, SimulationConfig, on_ray
from federation.simulation.agenda import Agenda
from federation.simulation.crowd import Crowd
from federation.simulation.data import DrawnShards, Kept, Numbered
from federation.simulation.on_ray import LOST_SECONDS, Head
from federation.simulation.scenario import Scenario
from federation.simulation.sources import read, source_of


def drawn(**changes: object) -> DrawnShards:
    fields = {"workers": 20, "samples": 12, "feature_count": 5, "class_count": 4, "seed": 3}
    return DrawnShards(**{**fields, **changes})  # type: ignore[arg-type]


# --- the agenda ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 5)))
def test_what_is_planned_happens_in_the_order_of_time_then_of_planning(times: list[int]) -> None:
    agenda = Agenda()
    for place, at in enumerate(times):
        agenda.plan(at, "answers", place)

    happened = [agenda.pop() for _ in times]

    assert [(one.at, one.place) for one in happened] == sorted((at, n) for n, at in enumerate(times))


def test_nothing_that_comes_later_than_asked_for_is_first() -> None:
    agenda = Agenda()
    agenda.plan(2.0, "answers", 7)
    agenda.plan(3.0, "is lost", 8)

    assert agenda.first(1.9) is None
    assert agenda.first(2.0) is not None
    assert [one.place for one in agenda.answers(9.0)] == [7]


# --- what becomes of workers --------------------------------------------------------------------


def test_without_a_scenario_everybody_takes_as_long() -> None:
    fates = Scenario(workers=3, worker_seconds=2.0).fates(1, 0, [0, 1, 2])

    assert {(one.seconds, one.away_seconds) for one in fates} == {(2.0, None)}


def test_stragglers_are_the_same_ones_in_every_round() -> None:
    scenario = Scenario(workers=400, stragglers=0.25, slowdown=8.0)

    first, second = (scenario.fates(number, 0, range(400)) for number in (1, 2))

    assert first == second
    slow = [one for one in first if one.seconds == 8.0]
    assert 60 <= len(slow) <= 140  # 100 are expected; seven deviations on either side
    assert all(one.seconds in (1.0, 8.0) for one in first)


def test_the_same_seed_has_the_same_losses_and_another_round_has_others() -> None:
    scenario = Scenario(workers=200, dropouts=0.3, jitter=0.2, seed=5)

    again = Scenario(workers=200, dropouts=0.3, jitter=0.2, seed=5)

    assert scenario.fates(1, 0, range(200)) == again.fates(1, 0, range(200))
    assert scenario.fates(1, 0, range(200)) != scenario.fates(2, 0, range(200))
    assert scenario.fates(1, 0, range(200)) != scenario.fates(1, 1, range(200))


def test_who_is_lost_is_lost_before_it_would_have_answered() -> None:
    fates = Scenario(workers=500, dropouts=0.5).fates(1, 0, range(500))

    lost = [one for one in fates if one.away_seconds is not None]
    assert 150 <= len(lost) <= 350
    assert all(0 <= one.seconds < 1.0 for one in lost)


def test_late_workers_join_one_after_the_other() -> None:
    scenario = Scenario(workers=10, late_joins=4, join_seconds=100.0)
    absent, now = [len(scenario.absent(0.0))], 0.0

    while (following := scenario.next_join(now)) is not None:
        now = following
        absent.append(len(scenario.absent(now)))

    assert absent == [4, 3, 2, 1, 0]
    assert 0 < now <= 100


# --- who is there -------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    workers=st.integers(1, 40),
    lost=st.sets(st.integers(0, 39)),
    fraction=st.floats(0.05, 1.0),
    seed=st.integers(0, 9),
)
def test_the_workers_of_a_round_are_those_that_the_provider_would_draw(
    workers: int, lost: set[int], fraction: float, seed: int
) -> None:
    """It lists who is there and draws; here only who is not there is kept."""
    crowd = Crowd(Scenario(workers=workers), return_seconds=0.0)
    gone = {place for place in lost if place < workers}
    for place in gone:
        crowd.lose(place, 0.0, 100.0)
    names = Numbered(workers)

    places = crowd.draw(1.0, fraction=fraction, least=1, seed=seed, number=4)

    members = [name for place, name in enumerate(names) if place not in gone]
    expected = draw_workers(members, fraction=fraction, least=1, seed=seed, round_number=4)
    assert tuple(names[place] for place in places) == expected
    assert crowd.count(1.0) == len(members)


def test_a_lost_worker_takes_part_as_long_as_it_is_expected_back() -> None:
    crowd = Crowd(Scenario(workers=3), return_seconds=10.0)

    crowd.lose(1, 5.0, 60.0)

    assert crowd.count(14.9) == 3
    assert crowd.count(15.0) == 2
    assert crowd.present(14.9) == [0, 2]
    assert crowd.next_change(20.0) == 65.0
    assert crowd.count(65.0) == 3
    assert crowd.next_change(65.0) is None


# --- samples ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 1001))
def test_numbered_names_are_in_the_order_of_their_numbers(workers: int) -> None:
    names = Numbered(workers)

    assert len(set(names)) == len(names) == workers
    assert list(names) == sorted(names)
    assert names[-1] == names[workers - 1]
    with pytest.raises(IndexError):
        names[workers]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_drawn_samples_are_the_same_whenever_and_wherever_they_are_drawn(partition: str) -> None:
    shards = drawn(partition=partition)
    elsewhere: DrawnShards = pickle.loads(pickle.dumps(drawn(partition=partition)))

    later = [elsewhere.samples_of(place) for place in reversed(range(20))]

    for place, other in enumerate(reversed(later)):
        mine = shards.samples_of(place)
        assert mine.X.tobytes() == other.X.tobytes()
        assert mine.y.tobytes() == other.y.tobytes()
        assert mine.X.dtype == np.float32
        assert len(mine.y) >= 1


def test_workers_differ_as_the_partition_has_it() -> None:
    few = [set(drawn(partition="by-class", shards=2, samples=50).samples_of(n).y.tolist()) for n in range(20)]
    skewed = [drawn(partition="dirichlet", alpha=0.05, samples=50).samples_of(n).y for n in range(20)]
    sizes = {len(drawn(partition="by-size", alpha=1.0, samples=50).samples_of(n).y) for n in range(20)}

    assert {len(classes) for classes in few} == {2}
    assert np.mean([np.bincount(y).max() / len(y) for y in skewed]) > 0.8
    assert len(sizes) > 5


def test_no_more_samples_are_kept_than_is_allowed() -> None:
    """And what was let go is drawn again, the same."""
    shards = drawn(samples=100)
    one_worker_bytes = 100 * (5 * 4 + 8)
    kept = Kept(shards, max_bytes=3 * one_worker_bytes)
    first = kept.samples_of(0)
    assert kept.samples_of(0) is first

    for place in range(1, 4):
        kept.samples_of(place)

    again = kept.samples_of(0)
    assert again is not first
    assert again.X.tobytes() == first.X.tobytes()


def region(name: str, samples: int, source: str = "test") -> Region:
    chance = np.random.default_rng(ord(name[0]))
    X = chance.normal(size=(samples, 4)).astype(np.float32)
    meta = RegionMeta(class_names=("field", "forest", "river"), source=source, region=name)
    return Region(X, chance.integers(0, 3, samples), meta)


def test_region_files_are_the_workers_that_they_would_be(tmp_path: Path) -> None:
    for name, samples in {"B": 7, "A": 5, "D": 9}.items():
        save_region(tmp_path / f"region_{name}.npz", region(name, samples))
    config = SimulationConfig(partition="regions", dataset=tmp_path, region=("B", "A"))

    data = read(source_of(config, 0))

    assert list(data.shards.names) == ["A", "B"] == sorted(map(worker_name, config.region))
    assert np.array_equal(data.shards.samples_of(1).X, region("B", 7).X)
    assert data.evaluation.sample_count == 9


@pytest.mark.parametrize("partition", PARTITIONS)
def test_a_features_file_is_dealt_out_without_losing_a_sample(tmp_path: Path, partition: str) -> None:
    file = tmp_path / "features.npz"
    save_features(file, region("E", 200))
    config = SimulationConfig(features=file, partition=partition, workers=15, holdout=0.25)

    data = read(source_of(config, 1))

    dealt = np.concatenate([data.shards.samples_of(place).X for place in range(15)])
    everything = np.concatenate([dealt, data.evaluation.X])
    assert len(data.evaluation.y) == 50
    assert sorted(map(bytes, everything)) == sorted(map(bytes, region("E", 200).X))


def test_what_cannot_be_dealt_out_is_said(tmp_path: Path) -> None:
    file = tmp_path / "features.npz"
    save_features(file, region("E", 20))

    with pytest.raises(SettingsError, match=r"^--partition: 50 parts of 16 samples"):
        read(source_of(SimulationConfig(features=file, workers=50), 0))
    with pytest.raises(SettingsError, match=r"^--features: .*none\.npz"):
        read(source_of(SimulationConfig(features=tmp_path / "none.npz"), 0))


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"min_workers": 2000}, "--min-workers 2,000: there are 1,000 workers"),
        ({"processes": 2}, "--processes: --engine inline has one"),
        ({"ray_address": "auto"}, "--ray-address: --engine inline has no cluster"),
        ({"device": "cpu", "vectorised": False}, "--device and --no-vectorised"),
        ({"device": "cpu", "model": "my.own:model"}, "--device and --model my.own:model"),
        ({"partition": "regions", "region": ("A", "x/region_A.npz")}, "--region A: given twice"),
        ({"partition": "by-class", "shards": 11}, "--shards 11: there are 10 classes"),
        ({"partition": "regions", "features": Path("x.npz")}, "--features and --partition regions"),
        ({"dropouts": 1.0}, "--dropouts 1.0: 0.0 or more, up to 0.99"),
    ],
)
def test_settings_that_cannot_work_are_said(settings: dict[str, object], text: str) -> None:
    with pytest.raises(SettingsError) as error:
        SimulationConfig(**settings)  # type: ignore[arg-type]

    assert str(error.value).startswith(text)


def test_a_run_begins_with_those_that_are_there() -> None:
    assert SimulationConfig(workers=1000, late_joins=0.07).min_workers == 930
    assert SimulationConfig(workers=10, late_joins=0.99).min_workers == 1
    assert SimulationConfig(partition="regions").min_workers == 3


# --- a cluster ----------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [LOST_SECONDS - 2, LOST_SECONDS + 5])
async def test_a_cluster_whose_head_is_gone_for_long_is_lost_and_one_that_comes_back_is_not(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, gone: float
) -> None:
    head, began = Head("10.0.0.1:6379"), trio.current_time()

    async def knock(_address: str) -> str:
        await trio.lowlevel.checkpoint()
        return "Connection refused" if 5 <= trio.current_time() - began < 5 + gone else ""

    monkeypatch.setattr(on_ray, "_why_unreachable", knock)
    text = r"head at 10\.0\.0\.1:6379 has not answered for 10 s \(Connection refused\); go on with --resume"
    with (
        trio.move_on_after(60) as scope,
        pytest.raises(EngineFailed, match=text) if gone > LOST_SECONDS else nullcontext(),
    ):
        await head.watch()

    assert head.is_lost == (gone > LOST_SECONDS) != scope.cancelled_caught
    assert trio.current_time() - began <= (5 + LOST_SECONDS + 2 if head.is_lost else 60)
