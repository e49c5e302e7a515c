from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.learning import Region, RegionMeta
from prep import (
    CLASS_NAMES,
    DIGIT_REGIONS,
    EUROSAT_REGIONS,
    PrepError,
    RegionPlan,
    Shift,
    split_regions,
    split_rows,
)

CLASSES = ("a", "b", "c", "d")
PLANS = (RegionPlan("A", ("a", "b")), RegionPlan("B", ("c", "b")), RegionPlan("C", ("d",)))


@given(st.lists(st.integers(0, 3), max_size=200), st.integers())
def test_no_sample_is_dealt_twice_and_none_is_lost(some: list[int], seed: int) -> None:
    labels = np.array([*some, *[0, 1, 2, 3] * 3])

    dealt = split_rows(labels, CLASSES, PLANS, seed)

    rows = np.concatenate(list(dealt.values()))
    assert sorted(rows.tolist()) == list(range(len(labels)))
    for plan in PLANS:
        assert {CLASSES[label] for label in labels[dealt[plan.name]]} == set(plan.class_names)
    assert set(labels[dealt["D"]].tolist()) == {0, 1, 2, 3}


def test_a_fifth_of_every_class_is_held_out() -> None:
    labels = np.repeat(np.arange(4), [100, 50, 20, 10])

    held_out = split_rows(labels, CLASSES, PLANS, seed=0)["D"]

    assert np.bincount(labels[held_out]).tolist() == [20, 10, 4, 2]


def test_regions_that_share_a_class_share_its_samples() -> None:
    labels = np.repeat(np.arange(4), 100)

    dealt = split_rows(labels, CLASSES, PLANS, seed=0)

    assert np.bincount(labels[dealt["A"]]).tolist() == [80, 40]
    assert np.bincount(labels[dealt["B"]]).tolist() == [0, 40, 80]


def test_another_seed_deals_other_samples() -> None:
    labels = np.repeat(np.arange(4), 100)

    one, other = (split_rows(labels, CLASSES, PLANS, seed)["D"].tolist() for seed in (0, 1))

    assert one != other
    assert one == split_rows(labels, CLASSES, PLANS, 0)["D"].tolist()


@pytest.mark.parametrize(
    ("plans", "class_names"), [(EUROSAT_REGIONS, CLASS_NAMES), (DIGIT_REGIONS, tuple("0123456789"))]
)
def test_the_regions_of_the_house_know_every_class_between_them(
    plans: Sequence[RegionPlan], class_names: tuple[str, ...]
) -> None:
    taught = [name for plan in plans for name in plan.class_names]

    assert sorted(taught) == sorted(class_names)
    assert [plan.name for plan in plans] == ["A", "B", "C"]


def features(samples_per_class: int = 10) -> Region:
    y = np.repeat(np.arange(4), samples_per_class)
    X = (np.arange(y.size * 3).reshape(-1, 3) / 10).astype(np.float32)
    return Region(
        X, y, RegionMeta(class_names=CLASSES, source="synthetic", synthetic=True, digest="features")
    )


def test_only_the_region_of_a_shift_is_shifted() -> None:
    plans = (RegionPlan("A", ("a", "b"), Shift("colour", 1)), RegionPlan("B", ("c", "d")))
    whole = features()

    regions = split_regions(whole, plans, seed=3)

    rows = split_rows(whole.y, CLASSES, plans, seed=3)
    for name in "BD":
        assert (whole.X[rows[name]] == regions[name].X).all()
    assert (whole.X[rows["A"]] != regions["A"].X).any()
    assert [regions[name].meta.shift for name in "ABD"] == ["colour 1", "none", "none"]


def test_a_region_says_where_it_comes_from() -> None:
    regions = split_regions(features(), PLANS, seed=3)

    assert list(regions) == ["A", "B", "C", "D"]
    for name, region in regions.items():
        assert region.meta.region == name
        assert region.meta.class_names == CLASSES, "all of the federation's, not only its own"
        assert (region.meta.source, region.meta.synthetic, region.meta.seed) == ("synthetic", True, 3)
    assert len({region.meta.digest for region in regions.values()}) == 4


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        ((), "regions named nothing; at least one is needed"),
        ((RegionPlan("D", CLASSES),), "D is the one for evaluation"),
        ((RegionPlan("A", ("a", "b")), RegionPlan("A", ("c", "d"))), "regions named A, A"),
        ((RegionPlan("../A", CLASSES),), "use letters, digits, '-' and '_'"),
        ((RegionPlan("A", (*CLASSES, "x")),), "no class is named x; there are a, b, c, d"),
        ((RegionPlan("A", ("a", "b")),), "class c, d is in no region"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(plans: tuple[RegionPlan, ...], words: str) -> None:
    with pytest.raises(PrepError, match=words):
        split_regions(features(), plans)


def test_a_class_with_too_few_samples_is_named() -> None:
    with pytest.raises(
        PrepError, match="class b has 2 samples; at least 3 are needed, one for A and B and D"
    ):
        split_regions(features(2), PLANS)
