"""What changed lately, passed on with pings and their answers."""

from __future__ import annotations

import math

from gossip.messages import PeerInfo
from gossip.roster import Roster

NEWS_PER_MESSAGE = 8
NEWS_FACTOR = 4
"""A piece of news is passed on so many times log10 of the number of peers; the exchange does the rest."""


class News:
    """The peers about whom there is something to tell.

    Args:
        roster: What is known of them.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._told: dict[str, int] = {}  # about whom, and how often

    def add(self, peer: str) -> None:
        """There is something new about a peer."""
        self._told[peer] = 0

    def take(self, receiver: str) -> tuple[PeerInfo, ...]:
        """Return what to tell: first what is held against the receiver, then what was told least often."""
        held = self._roster.get(receiver)
        news = [held] if held is not None and held.status != "alive" else []
        limit = NEWS_FACTOR * math.ceil(math.log10(len(self._roster) + 1))
        for peer in sorted(self._told, key=self._told.__getitem__)[:NEWS_PER_MESSAGE]:
            info = self._roster.get(peer)
            self._told[peer] += 1
            if info is None or self._told[peer] >= limit:
                del self._told[peer]
            if info is not None and peer != receiver:
                news.append(info)
        return tuple(news)
