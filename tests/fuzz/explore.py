"""Inputs that go where none has been: atheris steers by the lines that they reach. A process of its own.

    python -m tests.fuzz.explore TARGET FRAMES SEED FINDINGS BOX NEW [FOLDER ...]

What reaches something new is written to the folder NEW.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[f"trioactor.{name}" for name in ("framing", "frames", "codec", "arrays", "shapes", "vocabulary")]
    + [f"trioactor.{name}" for name in ("connection", "intake", "outbox", "link", "writer")]
):
    from tests.fuzz.mutate import mutated
    from tests.fuzz.targets import TARGETS

from tests.fuzz.corpus import inputs_in
from tests.fuzz.watch import BlackBox, Finding, Trial

OUR_SHARE = 0.5  # of the mutations; the others are libFuzzer's


def main() -> None:
    """See above."""
    name, frames, seed, findings, box, new, *folders = sys.argv[1:]
    trial = Trial(
        TARGETS[name],
        int(frames),
        Path(findings),
        judges_cost=False,  # the steering costs too
        box=BlackBox(Path(box)),
    )
    inputs = list(inputs_in(map(Path, folders)).values())

    def attempt(data: bytes) -> None:
        try:
            trial.attempt(data)
        except Finding as finding:
            print(finding, flush=True)
            os._exit(0)  # libFuzzer would keep and report it a second time
        if trial.done:
            trial.finish()
            os._exit(0)  # it knows no other end than a number of inputs

    def mutate(data: bytes, longest: int, chance_seed: int) -> bytes:
        chance = random.Random(chance_seed)
        if chance.random() < OUR_SHARE:
            return mutated(chance, [data, *inputs], longest)
        made: bytes = atheris.Mutate(data, longest)
        return made

    flags = [f"-seed={int(seed) % 2**32 or 1}", f"-max_len={trial.target.longest}", "-timeout=30", "-runs=-1"]
    flags += [f"-artifact_prefix={findings}/{name}-", "-rss_limit_mb=2048"]
    atheris.Setup([sys.argv[0], *flags, new, *folders], attempt, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
