"""Suspects and how long each has left: a longer time as long as few suspect it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossip.timing import Timing


@dataclass(slots=True)
class _Suspicion:
    since: float
    accusers: set[str] = field(default_factory=set)


class Suspicions:
    """The peers that may be dead, as one peer sees it.

    Args:
        timing: Its pace.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._suspects: dict[str, _Suspicion] = {}

    def doubt(self, peer: str, accuser: str, now: float) -> bool:
        """Somebody suspects a peer.

        Returns:
            Whether that is new, and counts: no more accusers are counted than can shorten its time.
        """
        suspicion = self._suspects.setdefault(peer, _Suspicion(now))
        if accuser in suspicion.accusers or len(suspicion.accusers) > self._timing.confirmations:
            return False
        suspicion.accusers.add(accuser)
        return True

    def clear(self, peer: str) -> None:
        """A peer is a suspect no more."""
        self._suspects.pop(peer, None)

    def next_at(self, peers: int) -> float | None:
        """Return when the next suspect has run out of time, among so many peers; None without suspects."""
        return min((self._expires_at(each, peers) for each in self._suspects.values()), default=None)

    def expired(self, now: float, peers: int) -> list[str]:
        """Return the suspects that have run out of time."""
        return [peer for peer, each in self._suspects.items() if self._expires_at(each, peers) <= now]

    def postpone(self, seconds: float, now: float) -> None:
        """Give all suspects so much longer; those that are suspected since just now have all their time."""
        for suspicion in self._suspects.values():
            suspicion.since = min(suspicion.since + seconds, now)

    def _expires_at(self, suspicion: _Suspicion, peers: int) -> float:
        confirmations = len(suspicion.accusers) - 1
        return suspicion.since + self._timing.suspicion_seconds(peers, confirmations)
