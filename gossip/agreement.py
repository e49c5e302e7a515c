"""When a peer may go: all live peers have trained all they want to, and hold the same average as we do.

A peer that waits for that asks the others, those first that have not said so yet. It asks; the others tell
nobody of their own accord, so a network in which nobody waits says nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from gossip.messages import GossipState

MAX_ASKED = 16
"""So many are asked at a time, however large the network is."""


class Agreement:
    """What the others said of themselves, and whether all agree.

    Args:
        rng: Chooses whom to ask.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._agreed: dict[str, str] = {}  # who has finished, and with which average

    def hear(self, asked: str, state: GossipState) -> None:
        """The peer that was asked has said how it is doing.

        What another says in its place counts for neither: its address may have passed on, and nobody speaks
        for others.
        """
        if state.peer == asked and state.finished:
            self._agreed[asked] = state.average
        else:
            self._agreed.pop(asked, None)

    def missing(self, live: Iterable[str], average: str) -> list[str]:
        """Return the live peers that have not said that they finished with that average."""
        return [peer for peer in live if self._agreed.get(peer) != average]

    def to_ask(self, live: Iterable[str], average: str) -> list[str]:
        """Return whom to ask now; nobody when all agree."""
        missing = self.missing(live, average)
        return self._rng.sample(missing, min(MAX_ASKED, len(missing)))
