"""`GossipReporter`: is told how peers are doing, and passes it on. Nobody depends on it."""

from __future__ import annotations

from collections.abc import Callable

from gossip.messages import GossipState
from gossip.ownership import certificate_name
from trioactor import Actor, Arrived


class GossipReporter(Actor):
    """Takes what peers say of themselves, and of nobody else.

    Args:
        on_state: Told each state that a peer sends.

    Attributes:
        refused: How many states were refused, since their sender's certificate has another name.
    """

    def __init__(self, on_state: Callable[[GossipState], None]) -> None:
        self._on_state = on_state
        self.refused = 0

    async def receive(self, message: GossipState) -> None:
        """Pass a state on."""
        envelope = self.context.in_hand
        names = envelope.peer.identity if isinstance(envelope, Arrived) else ()
        if names and certificate_name(message.peer) not in names:
            self.refused += 1
            return
        self._on_state(message)
