"""What will happen in a simulation, in the order of virtual time. No trio, no clock."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["answers", "is lost", "is back", "joins"]


class Happening(NamedTuple):
    """Something that happens to a worker. They compare by when, then by which was planned first.

    Attributes:
        at: When, in virtual seconds.
        order: Which was planned first, where two happen at one time.
        kind: What.
        place: To whom.
        number: For which round or version it was asked; 0 where that does not matter.
        seconds: How long it has worked by then, or for how long it is away.
    """

    at: float
    order: int
    kind: Kind
    place: int
    number: int = 0
    seconds: float = 0.0


class Agenda:
    """All that is planned."""

    def __init__(self) -> None:
        self._heap: list[Happening] = []
        self._planned = 0

    def plan(self, at: float, kind: Kind, place: int, number: int = 0, seconds: float = 0.0) -> None:
        """Add something."""
        heapq.heappush(self._heap, Happening(at, self._planned, kind, place, number, seconds))
        self._planned += 1

    def first(self, until: float) -> Happening | None:
        """Return what happens first, if it does until then."""
        return self._heap[0] if self._heap and self._heap[0].at <= until else None

    def pop(self) -> Happening:
        """Take out what happens first."""
        return heapq.heappop(self._heap)

    def answers(self, until: float) -> Iterator[Happening]:
        """Yield the answers that come until then, in their order."""
        yield from (one for one in sorted(self._heap) if one.kind == "answers" and one.at <= until)

    def clear(self) -> None:
        """Forget all of it."""
        self._heap.clear()
