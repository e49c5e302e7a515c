"""How samples are dealt out to parts: all of them, each once, and as skewed as was asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.learning import (
    PARTITIONS,
    Partition,
    PartitionError,
    by_class,
    by_size,
    dirichlet,
    generator_for,
    iid,
    make_partition,
)

BALANCED = np.repeat(np.arange(10), 600)

partitions = st.one_of(
    st.just(iid),
    st.floats(1e-6, 1e6).map(lambda alpha: make_partition("dirichlet", alpha=alpha)),
    st.just(make_partition("by-class", shards=1)),
    st.floats(1e-6, 1e6).map(lambda alpha: make_partition("by-size", alpha=alpha)),
)


@given(partitions, st.lists(st.integers(0, 7), min_size=1, max_size=80), st.data())
def test_every_sample_is_dealt_out_once_and_no_part_is_empty(
    partition: Partition, labels: list[int], data: st.DataObject
) -> None:
    parts = data.draw(st.integers(1, len(labels)))

    dealt = partition(np.array(labels), parts, generator_for(data.draw(st.integers(0, 9)), "partition"))

    assert len(dealt) == parts
    assert all(len(rows) and rows.dtype == np.int64 and np.all(np.diff(rows) > 0) for rows in dealt)
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(labels)))


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_same_generator_deals_the_same_rows(name: str) -> None:
    def deal(seed: int) -> list[list[int]]:
        dealt = make_partition(name)(BALANCED, 20, generator_for(seed, "partition"))
        return [rows.tolist() for rows in dealt]

    assert deal(1) == deal(1)
    assert deal(1) != deal(2)


@pytest.mark.parametrize(
    ("partition", "spread"),
    [(iid, 1), (dirichlet, 1), (by_class, 2)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_sizes_are_even_where_only_classes_are_skewed(partition: Partition, spread: int) -> None:
    sizes = [len(rows) for rows in partition(BALANCED[:-7], 36, generator_for(0, "partition"))]

    assert max(sizes) - min(sizes) <= spread


def class_shares(dealt: list[np.ndarray]) -> np.ndarray:
    """Return the share of each class in each part: (parts, classes)."""
    return np.stack([np.bincount(BALANCED[rows], minlength=10) / len(rows) for rows in dealt])


def test_a_small_alpha_skews_the_classes_and_a_large_one_does_not() -> None:
    """The largest class of a part tends to all of it as alpha goes to 0, to its overall share as it grows."""
    largest = [
        class_shares(dirichlet(BALANCED, 60, generator_for(0, "partition"), alpha)).max(axis=1).mean()
        for alpha in (0.01, 1.0, 1000.0)
    ]

    assert largest[0] > 0.85
    assert 0.2 < largest[1] < 0.7
    assert largest[2] < 0.2


def test_the_shares_have_the_mean_and_the_spread_of_their_distribution() -> None:
    """Of q ~ Dir(alpha p) a share has the mean p and the variance p (1 - p) / (alpha + 1).

    Looked at in few parts of many samples, where no class is used up and little is left to chance.
    """
    labels = np.repeat([0, 1], [2_000, 6_000])
    shares = []
    for seed in range(300):
        rows = dirichlet(labels, 8, generator_for(seed, "partition"), alpha=4.0)[0]
        shares.append(np.mean(labels[rows] == 0))

    assert np.mean(shares) == pytest.approx(0.25, abs=0.03)
    assert np.var(shares) == pytest.approx(0.25 * 0.75 / 5, rel=0.25)


def test_shards_give_a_part_about_as_many_classes() -> None:
    """600 samples a class and shards of 300: no shard lies over a border."""
    classes = [len(set(BALANCED[rows].tolist())) for rows in by_class(BALANCED, 10, generator_for(0, "p"))]

    assert max(classes) == 2


def test_sizes_are_skewed_and_classes_are_not() -> None:
    dealt = by_size(BALANCED, 10, generator_for(3, "partition"), 0.5)
    sizes = [len(rows) for rows in dealt]
    large = class_shares([rows for rows in dealt if len(rows) > 500])

    assert max(sizes) > 4 * np.median(sizes)
    assert np.all((large > 0.05) & (large < 0.15))


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda: iid(BALANCED[:3], 4, generator_for(0)), r"4 parts of 3 samples; 1 to 3 are possible"),
        (lambda: dirichlet(BALANCED, 4, generator_for(0), 0.0), r"alpha=0.0; it must be above 0 and finite"),
        (lambda: by_size(BALANCED, 4, generator_for(0), float("nan")), r"alpha=nan; it must be above 0"),
        (lambda: by_class(BALANCED, 4, generator_for(0), 0), r"0 shards for each of 4 parts; 1 to 1,500 are"),
        (lambda: make_partition("dirichlet", alpha=-1), r"alpha=-1; it must be above 0"),
        (lambda: make_partition("evenly"), r"no partition is named 'evenly'; there are iid, dirichlet"),
    ],
)
def test_what_cannot_be_dealt_out_is_said(ask: Callable[[], object], text: str) -> None:
    with pytest.raises(PartitionError, match=text):
        ask()
