"""How a peer stands: how many rounds it has trained, what its average is; for the reporter and the disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from federation.learning import Params
from gossip.identity import life_of
from gossip.learner import Average, distance
from gossip.membership import Membership
from gossip.messages import GossipState
from persistence import PeerMetricsRow, PeerStateRow


@dataclass(frozen=True, slots=True)
class LastRound:
    """How the training of a round went.

    Attributes:
        at_unix: When it ended.
        seconds: How long it took.
        loss: Mean of the last epoch, on the peer's own region.
        accuracy: On its own region, 0 to 1.
    """

    at_unix: float
    seconds: float
    loss: float | None
    accuracy: float | None


@dataclass(slots=True)
class Standing:
    """What a peer has come to. Its owner keeps it up to date.

    Attributes:
        peer: Its name.
        samples: How many samples it trains on.
        round: How many rounds it has trained.
        finished: Whether these were all.
        last: How the last of them went, as long as its row in the record follows the average: until the
            others have had their time, and for the last of all until the end.
        own: The model that it trained last in this life; None before.
        average: The average of all models that it knows; None while it knows none.
    """

    peer: str
    samples: int
    round: int = 0
    finished: bool = False
    last: LastRound | None = None
    own: Params | None = None
    average: Average | None = None
    _measured: tuple[Params, Average, float] | None = field(default=None, init=False, repr=False)

    def take_up(self, round_number: int, metrics: PeerMetricsRow | None, rounds: int) -> None:
        """Go on where an earlier life has ended.

        Args:
            round_number: So many rounds are trained.
            metrics: How the last of them went, as far as that is kept.
            rounds: How many there are to train.
        """
        self.round = round_number
        if metrics is not None and metrics.round == round_number >= rounds:  # the last of all
            self.last = LastRound(
                metrics.at_unix, metrics.seconds, metrics.train_loss, metrics.train_accuracy
            )

    @property
    def delta(self) -> float:
        """The distance of its own model to the average; 0 where there is only one of them."""
        own, average = self.own, self.average
        if own is None or average is None:
            return 0.0
        measured = self._measured
        if measured is None or measured[0] is not own or measured[1] is not average:
            # Once for each: it is told every second and to all who ask, and 10 million weights take 0.16 s.
            measured = self._measured = own, average, distance(own, average.params)
        return measured[2]

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

    def to_metrics(self, row: PeerStateRow) -> PeerMetricsRow | None:
        """Return what is saved of the last round, in one piece with this row: so no death loses a round."""
        if self.last is None:
            return None
        return PeerMetricsRow(
            peer=self.peer,
            round=self.round,
            at_unix=self.last.at_unix,
            seconds=self.last.seconds,
            train_loss=self.last.loss,
            train_accuracy=self.last.accuracy,
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
