"""The story of one seed, and whether it ends well.

hypothesis looks for odd shapes and shrinks them (`tests/gossip/test_replicas_together.py`); this looks at
many. The same seed is the same story, in any process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.gossip.world import KEYS, PEERS, World

Step = tuple[str, tuple[Any, ...]]

LEAST_STEPS, MOST_STEPS = 8, 28


def story(seed: int) -> Iterator[Step]:
    """Yield what happens in the world of a seed: names of `World`'s methods, and their arguments."""
    rng = Random(f"story/{seed}")
    for _ in range(rng.randint(LEAST_STEPS, MOST_STEPS)):
        peer = rng.randrange(len(PEERS))
        chance = rng.random()
        if chance < 0.22:
            yield "put", (peer, rng.choice(KEYS), rng.randrange(4))
        elif chance < 0.32:
            yield "delete", (peer, rng.choice(KEYS))
        elif chance < 0.40:
            yield "put_own", (peer, rng.randrange(100))
        elif chance < 0.46:
            yield "count", (peer, rng.randint(-3, 3))
        elif chance < 0.64:
            yield "deliver", (peer, rng.randrange(100))
        elif chance < 0.74:
            yield "sync", (peer, (peer + 1 + rng.randrange(2)) % 3)
        elif chance < 0.78:
            yield "equivocate", (rng.randrange(100), rng.choice([None, 0, 1, 2, 3]))
        elif chance < 0.80:
            yield "poison", (peer, rng.choice([0, 2**40, 2**62]))
        elif chance < 0.84:
            yield "collect", (peer, rng.randrange(100))
        elif chance < 0.85:
            yield "collect_rashly", (peer,)
        elif chance < 0.87:
            yield "fold", (peer,)
        elif chance < 0.90:
            yield "save", (peer,)
        elif chance < 0.93:
            yield "back_up", (peer,)
        else:
            yield "restart", (peer, rng.choice(["intact", "intact", "old", "lost"]), rng.random() < 0.3)


def run(seed: int, told: Callable[[str], None] | None = None) -> Counter[str]:
    """Live through the world of a seed; return how often each kind of step was taken.

    Raises:
        Violation: Something happened that must not.
    """
    world = World(seed)
    taken: Counter[str] = Counter()
    for name, args in story(seed):
        if told is not None:
            told(f"  {name}{args}")
        if name == "restart":
            world.restart(args[0], args[1], alone=args[2])
        else:
            getattr(world, name)(*args)
        taken[name] += 1
        world.check()
    world.converge()
    return taken


def first_violation(seeds: range) -> tuple[int, str] | None:
    """Return the first seed that ends badly and how, None when all end well."""
    for seed in seeds:
        try:
            run(seed)
        except Exception as error:  # whatever a planted or a real bug makes of it
            return seed, f"{type(error).__name__}: {error}"
    return None
