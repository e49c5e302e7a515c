"""When a peer trains its next round: not before the others have shown theirs, but never held up by anyone.

A peer that trained round after round on its own would drift away from the others, and what they average
then is worth less. So it waits, after each round, for a new model of every live peer. It waits for a while
only, and for one who did not keep up not again until that one is heard of. So peers that keep up learn in
step, as the workers of a coordinated round do; one that is slow, dead or done costs the others one wait.
(A stale-synchronous pace, as in Ho et al., 2013, with patience in place of a bound on rounds.)

Nobody waits in a circle: who waits for me has begun a round since I showed my last model, and I have begun
mine since that one showed its last.
"""

from __future__ import annotations

from collections.abc import Iterable


class Pace:
    """Whom a peer waits for between its rounds. It is told the time.

    Args:
        patience_seconds: How long it waits at most.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._heard: set[str] = set()  # since the present round began
        self._silent: set[str] = set()
        self._shown_at: float | None = None

    def begin_round(self) -> None:
        """Training begins."""
        self._heard.clear()
        self._shown_at = None

    def show(self, now: float) -> None:
        """The round's model is published."""
        self._shown_at = now

    def hear(self, owner: str) -> None:
        """A new model of another peer is there."""
        self._heard.add(owner)
        self._silent.discard(owner)

    def awaited(self, live: Iterable[str]) -> list[str]:
        """Return who has not shown a new model, of those that keep up."""
        return [peer for peer in live if peer not in self._heard and peer not in self._silent]

    def wait_until(self, live: Iterable[str], now: float) -> float | None:
        """Return until when to wait, if nothing comes before; None when the next round may begin.

        Args:
            live: The other live peers.
            now: The time.
        """
        awaited = self.awaited(live)
        if self._shown_at is None or not awaited:
            return None
        until = self._shown_at + self._patience_seconds
        if now < until:
            return until
        self._silent.update(awaited)
        return None
