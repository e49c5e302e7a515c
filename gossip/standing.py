"""How a peer stands: how many rounds it has trained, what its average is; for the reporter and the disk."""

from __future__ import annotations

from dataclasses import dataclass

from federation.learning import Params
from gossip.identity import life_of
from gossip.learner import Average, Trained, distance
from gossip.membership import Membership
from gossip.messages import GossipState
from persistence import PeerMetricsRow, PeerStateRow


@dataclass(slots=True)
class Standing:
    """What a peer has come to. Its owner keeps it up to date.

    Attributes:
        peer: Its name.
        samples: How many samples it trains on.
        round: How many rounds it has trained.
        finished: Whether these were all.
        own: The model that it trained last in this life; None before.
        average: The average of all models that it knows; None while it knows none.
    """

    peer: str
    samples: int
    round: int = 0
    finished: bool = False
    own: Params | None = None
    average: Average | None = None

    @property
    def delta(self) -> float:
        """The distance of its own model to the average; 0 where there is only one of them."""
        if self.own is None or self.average is None:
            return 0.0
        return distance(self.own, self.average.params)

    @property
    def sha256(self) -> str:
        """Of the average; empty while there is none."""
        return "" if self.average is None else self.average.sha256

    def to_state(self, membership: Membership | None, traffic: tuple[int, int]) -> GossipState:
        """Return what a reporter is told."""
        average = self.average
        return GossipState(
            peer=self.peer,
            round=self.round,
            delta=self.delta,
            accuracy=None if average is None else average.accuracy,
            known_peers=1 if membership is None else len(membership.roster),
            live_peers=1 if membership is None else len(membership.live) + 1,
            models=0 if average is None else len(average.owners),
            bytes_in=traffic[0],
            bytes_out=traffic[1],
            average=self.sha256,
            finished=self.finished,
        )

    def to_row(self, membership: Membership, traffic: tuple[int, int], now_unix: float) -> PeerStateRow:
        """Return what is saved together with the snapshot."""
        state = self.to_state(membership, traffic)
        return PeerStateRow(
            peer=self.peer,
            round=self.round,
            finished=self.finished,
            samples=self.samples,
            life=life_of(membership.me.incarnation),
            saved_unix=now_unix,
            accuracy=state.accuracy,
            loss=None if self.average is None else self.average.loss,
            delta=state.delta,
            known_peers=state.known_peers,
            live_peers=state.live_peers,
            models=state.models,
            bytes_in=state.bytes_in,
            bytes_out=state.bytes_out,
            average_sha256=self.sha256 or None,
        )

    def to_metrics(
        self,
        membership: Membership,
        traffic: tuple[int, int],
        now_unix: float,
        *,
        trained: Trained,
        seconds: float,
    ) -> PeerMetricsRow:
        """Return how the round went that has just been trained, and is part of the average."""
        row = self.to_row(membership, traffic, now_unix)
        return PeerMetricsRow(
            peer=self.peer,
            round=self.round,
            at_unix=now_unix,
            seconds=seconds,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            accuracy=row.accuracy,
            loss=row.loss,
            delta=row.delta,
            known_peers=row.known_peers,
            live_peers=row.live_peers,
            models=row.models,
            bytes_in=row.bytes_in,
            bytes_out=row.bytes_out,
            average_sha256=row.average_sha256,
        )
