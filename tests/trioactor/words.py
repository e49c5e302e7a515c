"""Messages with every kind of field, for the tests of the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NewType

import numpy as np
from numpy.typing import NDArray

from trioactor import ActorRef, Request, message

Metres = NewType("Metres", float)


@message("words.scalars")
class Scalars:
    whole: int
    real: float
    yes: bool
    text: str
    raw: bytes
    nothing: None


@message("words.collections")
class Collections:
    numbers: tuple[int, ...]
    pair: tuple[str, float]
    names: list[str]
    levels: Sequence[float]
    table: Mapping[str, tuple[int, ...]]
    plain: dict[str, bool]


@message("words.choices")
class Choices:
    maybe: int | None
    either: str | tuple[int, ...]
    mode: Literal["fast", "slow", 3]
    metres: Metres
    note: Annotated[str, "for people"]
    anything: Any


@message("words.leaf")
class Leaf:
    value: int


@message("words.tree")
class Tree(Request[tuple[int, ...]]):
    children: tuple[Tree | Leaf, ...]


@message("words.later")
class Later:
    first: int
    second: int = 2
    third: str = "three"


@message("words.picky")
class Picky:
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share={self.share}; it lies between 0 and 1")


@message("words.arrays", eq=False)
class Arrays(Request[NDArray[np.float64]]):
    any: NDArray[Any]
    single: NDArray[np.float32] | None = None
    named: Mapping[str, np.ndarray[Any, Any]] | None = None


@message("words.letter")
class Letter:
    sender: ActorRef


@message("words.unknown")
class Unknown:
    """In nobody's vocabulary."""


WORDS: list[type] = [Scalars, Collections, Choices, Tree, Later, Picky, Arrays, Letter]
