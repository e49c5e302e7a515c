"""`NetworkView`: what is known of a gossip network from outside, reduced from what its peers say. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gossip.messages import GossipState

MAX_PEERS_SHOWN = 4096
MAX_NOTICES = 200


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer, as far as it is known from outside.

    Attributes:
        name: Of the peer.
        state: What it said last; None before its first word, or since its process ended.
        heard_seconds: When it said so, in seconds of the viewer's clock.
        process: What its process does: "", "starting", "running", "restarting" or "ended". Empty where the
            viewer has not started it.
    """

    name: str
    state: GossipState | None = None
    heard_seconds: float = 0.0
    process: str = ""

    @property
    def doing(self) -> str:
        """What it is doing, in a word."""
        if self.process in ("starting", "restarting", "ended"):
            return self.process
        if self.state is None:
            return "unknown"
        return "finished" if self.state.finished else "training"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth a line.

    Attributes:
        at_seconds: When, in seconds of the viewer's clock.
        text: What.
    """

    at_seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network at one moment.

    Attributes:
        run: Its name.
        rounds: How many rounds each peer trains; None where the viewer does not know.
        source: What its data is, in words; empty where the viewer does not know.
        began_seconds: When the viewer began to look.
        peers: By name, in the order of names.
        notices: What happened, the last ones.
        notice_count: How many notices there were in all.
    """

    run: str = ""
    rounds: int | None = None
    source: str = ""
    began_seconds: float = 0.0
    peers: Mapping[str, PeerView] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    notice_count: int = 0

    # --- what happens ---------------------------------------------------------------------------

    def hear(self, state: GossipState, now: float) -> NetworkView:
        """Return the view after a peer has said how it is doing."""
        known = self.peers.get(state.peer)
        if known is None and len(self.peers) >= MAX_PEERS_SHOWN:
            return self
        process = "running" if known is not None and known.process else ""
        return self._with(PeerView(state.peer, state, now, process))

    def process_changed(self, peer: str, process: str, now: float, text: str = "") -> NetworkView:
        """Return the view after the process of a peer has changed. What it said before counts no more."""
        view = self._with(PeerView(peer, None, now, process))
        return view.notice(text, now) if text else view

    def notice(self, text: str, now: float) -> NetworkView:
        """Return the view with one more notice."""
        notices = (*self.notices, Notice(now, text))[-MAX_NOTICES:]
        return replace(self, notices=notices, notice_count=self.notice_count + 1)

    def _with(self, peer: PeerView) -> NetworkView:
        return replace(self, peers=dict(sorted({**self.peers, peer.name: peer}.items())))

    # --- what it looks like ---------------------------------------------------------------------

    @property
    def states(self) -> Sequence[GossipState]:
        """What those have said that have said something."""
        return [peer.state for peer in self.peers.values() if peer.state is not None]

    @property
    def present(self) -> Sequence[PeerView]:
        """The peers that have not ended for good."""
        return [peer for peer in self.peers.values() if peer.process != "ended"]

    @property
    def least_round(self) -> int:
        """The round that all peers have trained that are there and have said something."""
        return min((peer.state.round for peer in self.present if peer.state is not None), default=0)

    @property
    def common_average(self) -> str:
        """The average that most peers hold; empty when there is none yet."""
        held = Counter(state.average for state in self.states if state.average)
        return min(held, key=lambda sha: (-held[sha], sha), default="")

    @property
    def converged(self) -> bool:
        """Whether all peers that are there have finished, and hold the same average of the same models."""
        present = self.present
        states = [peer.state for peer in present if peer.state is not None]
        if not states or len(states) < len(present):
            return False
        return all(state.finished and state.average for state in states) and (
            len({(state.average, state.models) for state in states}) == 1
        )

    @property
    def accuracies(self) -> list[float]:
        """The accuracy of each peer's average, as far as peers score theirs."""
        return [state.accuracy for state in self.states if state.accuracy is not None]

    @property
    def bytes(self) -> int:
        """All that peers have sent."""
        return sum(state.bytes_out for state in self.states)
