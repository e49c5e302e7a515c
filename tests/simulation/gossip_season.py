"""What happens to some peers of gossip, drawn from a seed: writes and faults, and then who is to agree.

A season has two parts, as TigerBeetle's simulator has: first faults, in which nothing wrong may happen; then
a core of the peers is mended, everything else stays broken for good, and the core must come to agree.

| fault | what happens |
| --- | --- |
| loss | up to 30 % of all messages do not arrive, for the whole of the first part |
| doubled | some messages arrive a second time, up to 20 s later |
| slow | some messages take up to 3 s, so others overtake them |
| cut | a partition, for some seconds |
| one-way cut | what one side says does not reach the other, for some seconds |
| crash | a peer is gone for some seconds, and comes back with its disk, an old copy of it, or none |
| stall | a peer stands still for some seconds |
| jump | the clock of a peer jumps ahead |
| twin | a second process starts under the name of a live one, with a copy of its disk, asking nobody |
| poison | somebody lies: about its time, and where peers seal what they say, about others as well |
| storm | all peers restart at almost the same time |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

DISKS = ("intact", "intact", "old", "lost")
FAULTS = ("cut", "one-way cut", "crash", "stall", "jump", "twin", "poison", "storm")
WEATHER = ("loss", "doubled", "slow")
KINDS = (*WEATHER, "cut", "one-way cut", *(f"crash, disk {disk}" for disk in ("intact", "old", "lost")))
KINDS += ("stall", "jump", "twin", "poison", "storm")
"""What must have fired in some of many seeds."""

LEAST_STEPS, MOST_STEPS = 10, 24
LEAST_CORE = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens; if it cannot, as with a peer that is down, it does not.

    Attributes:
        pause: How many seconds later.
        kind: "publish", "withdraw", "save", "back up", or one of `FAULTS`.
        peer: To whom.
        seconds: How long it takes.
        disk: What a peer finds when it comes back.
        side: Who is on that peer's side of a cut.
        number: Draws what is left to draw.
    """

    pause: float
    kind: str
    peer: int
    seconds: float
    disk: str
    side: frozenset[int]
    number: int


@dataclass(frozen=True, slots=True)
class Season:
    """All that happens.

    Attributes:
        seed: What it is drawn from.
        peers: How many there are.
        sealed: Whether peers seal what they say of themselves, and connections tell who speaks.
        loss: What share of messages does not arrive.
        doubled: What share arrives twice.
        slow: What share takes long.
        steps: One after the other.
        core: Who is to agree in the end.
    """

    seed: int
    peers: int
    sealed: bool
    loss: float
    doubled: float
    slow: float
    steps: tuple[Step, ...]
    core: frozenset[int]

    @property
    def weather(self) -> Iterator[str]:
        """The faults that last for the whole of the first part."""
        for kind, share in zip(WEATHER, (self.loss, self.doubled, self.slow), strict=True):
            if share:
                yield kind


def draw_season(seed: int, peers: int = 5) -> Season:
    """Return the season of a seed.

    Args:
        seed: Any number.
        peers: How many there are, at least 3.
    """
    rng = Random(f"season/{peers}/{seed}")
    everybody = range(peers)
    steps = tuple(_draw_step(rng, peers) for _ in range(rng.randint(LEAST_STEPS, MOST_STEPS)))
    return Season(
        seed,
        peers,
        sealed=rng.random() < 0.5,
        loss=rng.choice([0.0, 0.1, 0.3]),
        doubled=rng.choice([0.0, 0.0, 0.2]),
        slow=rng.choice([0.0, 0.0, 0.1]),
        steps=steps,
        core=frozenset(rng.sample(everybody, rng.randint(min(LEAST_CORE, peers), peers))),
    )


def _draw_step(rng: Random, peers: int) -> Step:
    chance = rng.random()
    if chance < 0.40:
        kind = "publish"
    elif chance < 0.45:
        kind = "withdraw"
    elif chance < 0.52:
        kind = "save"
    elif chance < 0.57:
        kind = "back up"
    else:
        kind = rng.choice(FAULTS)
    peer = rng.randrange(peers)
    others = [other for other in range(peers) if other != peer]
    side = frozenset({peer, *rng.sample(others, rng.randint(0, max(peers // 2 - 1, 0)))})
    return Step(
        rng.choice([rng.uniform(0.0, 0.5), rng.uniform(0.2, 4.0)]),
        kind,
        peer,
        rng.choice([rng.uniform(0.1, 3.0), rng.uniform(1.0, 40.0)]),
        rng.choice(DISKS),
        side,
        rng.getrandbits(32),
    )
