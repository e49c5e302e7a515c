"""A round with one worker that is ten times slower, beside the same round without it being slow.

Three workers as processes of their own; the third has ten times the samples, and so takes ten times as long.
With `--quorum 2` a round waits for two of them and a quarter longer. The peer is a run in which all three
are as fast as the two: as many processes share the cores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.measure import Row, compare
from tests.benchmarks.pool import make_regions
from tests.benchmarks.processes import ends_of, federated, median_gap

# With a quorum a round takes at most 1.3 times as long.
TARGET = 1 / 1.3

SAMPLES, SLOWER = 4_000, 10
ROUNDS = 10
FEW_ROUNDS = 4  # for a look


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Return the seconds of a median round: with a straggler and a quorum, and without a straggler."""
    with tempfile.TemporaryDirectory() as folder:
        fast, slow = Path(folder) / "fast", Path(folder) / "slow"
        make_regions(fast / "dataset", dict.fromkeys("ABC", SAMPLES))
        make_regions(slow / "dataset", {"A": SAMPLES, "B": SAMPLES, "C": SLOWER * SAMPLES})
        rounds = FEW_ROUNDS if quick else ROUNDS
        return compare(
            f"a round of which one worker of three is {SLOWER} times slower, with --quorum 2",
            {
                "with a straggler": lambda: _median_round(slow, rounds, "--quorum", "2"),
                "all three are fast": lambda: _median_round(fast, rounds),
                "it is waited for": lambda: _median_round(slow, rounds),
            },
            {"all three are fast": TARGET},
            rounds=1 if quick else 7,
            warm_up=not quick,
            unit="s",
            more_is_better=False,
            progress=progress,
        )


def _median_round(workspace: Path, rounds: int, *flags: str) -> float:
    return median_gap(ends_of(federated(workspace, rounds, *flags)))
