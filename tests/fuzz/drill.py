"""Inputs by chance alone, as many as one likes: the same ones for the same seed. A process of its own.

python -m tests.fuzz.drill TARGET FRAMES SEED FINDINGS BOX [FOLDER ...]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.corpus import inputs_in
from tests.fuzz.dear import DEAR
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS
from tests.fuzz.watch import BlackBox, Finding, Trial


def drill(trial: Trial, inputs: Sequence[bytes], seed: int) -> None:
    """Try the inputs, then mutations of them. Raises Finding."""
    chance = random.Random(f"{seed}/{trial.target.name}")
    for data in (*inputs, *(DEAR.values() if trial.target.name == "codec" else ())):
        trial.attempt(data)
    while not trial.done:
        trial.attempt(mutated(chance, inputs, trial.target.longest))
    trial.finish()


def main() -> None:
    """See above."""
    name, frames, seed, findings, box, *folders = sys.argv[1:]
    try:
        drill(
            Trial(TARGETS[name], int(frames), Path(findings), box=BlackBox(Path(box))),
            list(inputs_in(map(Path, folders)).values()),
            int(seed),
        )
    except Finding as finding:
        print(finding, flush=True)


if __name__ == "__main__":
    main()
