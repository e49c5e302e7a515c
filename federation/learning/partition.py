"""Dealing out the samples of one data set to many parts: evenly, or skewed in a way that papers agree on.

Every function takes labels, how many parts, and a generator, and returns the rows of each part: int64,
ascending, no row twice, none left over, and no part empty. The same generator deals the same rows.

>>> import numpy as np
>>> labels = np.array([0, 0, 0, 1, 1, 1])
>>> chance = np.random.default_rng(7)
>>> [sorted(set(labels[rows].tolist())) for rows in by_class(labels, 2, chance, shards=1)]
[[1], [0]]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .errors import PartitionError

Rows = NDArray[np.int64]  # (samples of one part,): places in the data set
Labels = NDArray[np.integer]  # (samples,)
Partition = Callable[[Labels, int, np.random.Generator], list[Rows]]

PARTITIONS = ("iid", "dirichlet", "by-class", "by-size")


def iid(labels: Labels, parts: int, generator: np.random.Generator) -> list[Rows]:
    """Deal the rows out by chance alone; sizes differ by one at most.

    Args:
        labels: Integers (samples,); only their number counts.
        parts: How many, 1 to the number of samples.
        generator: Shuffles the rows.

    Raises:
        PartitionError: There are fewer samples than parts.
    """
    _check_parts(labels, parts)
    return [np.sort(rows) for rows in np.array_split(generator.permutation(len(labels)), parts)]


def dirichlet(labels: Labels, parts: int, generator: np.random.Generator, alpha: float = 0.3) -> list[Rows]:
    """Skew which classes a part has (Hsu, Qi and Brown, 2019); sizes differ by one at most.

    Each part draws its own class shares q ~ Dir(alpha p), where p are the shares of the whole data set, and
    then its samples from q without putting any back. A class that is used up drops out of q; what the last
    parts get follows from what is left.

    Args:
        labels: Integers (samples,).
        parts: How many, 1 to the number of samples.
        generator: Draws everything.
        alpha: Above 0. A large one, like 100, is nearly iid; 0.1 leaves most parts one or two classes.

    Raises:
        PartitionError: alpha is not above 0 and finite, or there are fewer samples than parts.
    """
    _check_parts(labels, parts)
    _check_alpha(alpha)
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    # The rows of each class one after the other, shuffled; `taken` says how many of each are dealt out.
    rows = np.lexsort((generator.random(len(labels)), place))
    first = np.cumsum(counts) - counts
    prior = counts / len(labels)
    taken = np.zeros(len(counts), np.int64)
    dealt = []
    for size in _even_sizes(len(labels), parts):
        drawn = _drawn(size, generator.dirichlet(alpha * prior), counts - taken, generator)
        ranges = zip(first + taken, drawn, strict=True)
        dealt.append(np.sort(np.concatenate([rows[start : start + count] for start, count in ranges])))
        taken += drawn
    return dealt


def by_class(labels: Labels, parts: int, generator: np.random.Generator, shards: int = 2) -> list[Rows]:
    """Give each part a few classes (McMahan et al., 2017); sizes differ by `shards` at most.

    The samples, sorted by label, are cut into parts x shards shards, and each part gets `shards` of them by
    chance. So it has about so many classes; a shard that lies over a border has samples of two.

    Args:
        labels: Integers (samples,).
        parts: How many; parts x shards is at most the number of samples.
        generator: Shuffles the rows within each class, and deals the shards.
        shards: Of each part, at least 1.

    Raises:
        PartitionError: There are fewer samples than shards, or no shard for a part.
    """
    _check_parts(labels, parts)
    if shards < 1 or parts * shards > len(labels):
        raise PartitionError(
            f"{shards} shards for each of {parts:,} parts; 1 to {len(labels) // parts:,} are possible with "
            f"{len(labels):,} samples"
        )
    rows = np.lexsort((generator.random(len(labels)), labels))
    pieces = np.array_split(rows, parts * shards)
    mine = generator.permutation(parts * shards).reshape(parts, shards)
    return [np.sort(np.concatenate([pieces[piece] for piece in some])) for some in mine]


def by_size(labels: Labels, parts: int, generator: np.random.Generator, alpha: float = 1.0) -> list[Rows]:
    """Skew how many samples a part has, and nothing else (Li et al., 2022: quantity skew).

    The shares are drawn from Dir(alpha, ..., alpha); each part has one sample at least.

    Args:
        labels: Integers (samples,); only their number counts.
        parts: How many, 1 to the number of samples.
        generator: Draws the shares, and shuffles the rows.
        alpha: Above 0. A large one makes the parts nearly equal; 0.1 gives a few parts nearly all.

    Raises:
        PartitionError: alpha is not above 0 and finite, or there are fewer samples than parts.
    """
    _check_parts(labels, parts)
    _check_alpha(alpha)
    shares = generator.dirichlet(np.full(parts, alpha))
    spare = len(labels) - parts  # beside the one that everybody gets
    sizes = 1 + np.diff(np.rint(np.cumsum(shares) * spare).astype(np.int64), prepend=0)
    sizes[-1] += len(labels) - sizes.sum()  # the shares may miss 1 by a rounding error
    shuffled = generator.permutation(len(labels))
    return [np.sort(rows) for rows in np.split(shuffled, np.cumsum(sizes)[:-1])]


def make_partition(name: str, *, alpha: float | None = None, shards: int = 2) -> Partition:
    """Return a partition by its name, with its setting: a function of labels, parts and generator.

    Args:
        name: One of `PARTITIONS`.
        alpha: Of "dirichlet" and "by-size"; None for their defaults, 0.3 and 1.
        shards: Of "by-class".

    Raises:
        PartitionError: There is no such partition, or alpha is not allowed.
    """
    if name not in PARTITIONS:
        raise PartitionError(f"no partition is named {name!r}; there are {', '.join(PARTITIONS)}")
    if alpha is not None:
        _check_alpha(alpha)
    match name:
        case "iid":
            return iid
        case "dirichlet":
            return partial(dirichlet, alpha=0.3 if alpha is None else alpha)
        case "by-class":
            return partial(by_class, shards=shards)
        case _:
            return partial(by_size, alpha=1.0 if alpha is None else alpha)


def _check_parts(labels: Labels, parts: int) -> None:
    if not 1 <= parts <= len(labels):
        raise PartitionError(
            f"{parts:,} parts of {len(labels):,} samples; 1 to {len(labels):,} are possible, each with one "
            "sample at least"
        )


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < np.inf:
        raise PartitionError(f"alpha={alpha}; it must be above 0 and finite, like 0.3")


def _even_sizes(samples: int, parts: int) -> list[int]:
    return [samples // parts + (part < samples % parts) for part in range(parts)]


def _drawn(
    size: int, shares: NDArray[np.float64], left: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return how many samples of each class a part draws, `size` in all, never more than are left."""
    drawn = np.zeros_like(left)
    while (missing := size - int(drawn.sum())) > 0:
        # Either all that is missing is drawn, or a class is used up: there are no more turns than classes.
        open_shares = np.where(drawn < left, shares, 0.0)
        if open_shares.sum() <= 0:  # what it would rather have is gone: it takes of the rest as there is
            open_shares = (left - drawn).astype(np.float64)
        wanted = generator.multinomial(missing, open_shares / open_shares.sum())
        drawn += np.minimum(wanted, left - drawn)
    return drawn
