"""Who is asked in a round: everyone, or a part that is drawn anew for each. Plain rules, no trio."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from federation.learning import generator_for


def draw_workers(
    members: Collection[str], *, fraction: float, least: int, seed: int, round_number: int
) -> tuple[str, ...]:
    """Return the workers of a round, in the order of their ids.

    The draw depends on nothing but its arguments: a round that begins again after a crash asks the same
    workers, and so ends with the same bytes.

    Args:
        members: The ids of all that could be asked.
        fraction: The part of them that is asked, above 0 and at most 1, rounded up.
        least: So many are asked at least, where there are so many.
        seed: Of the run.
        round_number: Which round.
    """
    ordered = sorted(members)
    places = draw_places(len(ordered), fraction=fraction, least=least, seed=seed, round_number=round_number)
    return tuple(ordered[place] for place in places)


def draw_places(count: int, *, fraction: float, least: int, seed: int, round_number: int) -> Sequence[int]:
    """Return the places of the workers of a round among `count` of them, ascending; see `draw_workers`.

    Whoever has a million workers in order need not list them.
    """
    # Rounded first: 0.07 * 100 is a little above 7 in binary, and means 7.
    wanted = max(least, math.ceil(round(fraction * count, 9)))
    if wanted >= count:
        return range(count)
    chosen = generator_for(seed, "sample", round_number).choice(count, wanted, replace=False)
    return sorted(chosen.tolist())
