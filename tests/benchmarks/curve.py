"""How a cost grows: figures over a size, for people as a table and as a line in the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """Some costs over one size.

    Attributes:
        what: The title.
        size: What grows, "actors" say.
        unit: Of the costs.
        lines: By the name of what is measured: pairs of size and cost, the smallest first.
        said: What a reader should see in it, in a sentence; may be empty.
    """

    what: str
    size: str
    unit: str
    lines: Mapping[str, Points]
    said: str = ""

    def sizes(self) -> list[float]:
        """Return all sizes, in order."""
        return sorted({size for points in self.lines.values() for size, _ in points})

    def cost(self, line: str, size: float) -> float | None:
        """Return a figure, None where it was not measured."""
        return dict(self.lines[line]).get(size)
