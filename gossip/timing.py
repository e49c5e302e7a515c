"""How long things take and wait, how many are asked. One frozen object, handed to what needs it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The pace of one peer. All peers of a network should have the same.

    The defaults are those of memberlist's LAN profile, where it has them.

    Attributes:
        round_seconds: Once in so long a peer compares what it knows with one other.
        retry_seconds: A question of the exchange that was not answered is asked again after so long.
        attempts: How often one exchange is begun, with the same partner, before the next round.
        forward_peers: The least number of peers that an announcement is passed on to.
        probe_seconds: Once in so long a peer looks after one other.
        ack_seconds: It asks others to look, too, when no answer came for so long.
        helpers: How many others are asked to look.
        suspicion_factor: A suspect has at least so many probes' time, times log10 of the number of peers.
        suspicion_most: With nobody else suspecting it, it has so many times that.
        confirmations: So many others that suspect it as well bring it down to the least.
        health_most: How much slower a peer becomes that finds itself the slow one.
        join_first_seconds: The longest pause before a peer that has found nobody tries again. It doubles,
            and is drawn evenly from 0 to it.
        join_most_seconds: The longest it becomes.
        heal_rounds: Once in so many rounds a peer that is gone, or a seed, is tried; so partitions heal.
    """

    round_seconds: float = 1.0
    retry_seconds: float = 0.25
    attempts: int = 4
    forward_peers: int = 6
    probe_seconds: float = 1.0
    ack_seconds: float = 0.5
    helpers: int = 3
    suspicion_factor: float = 4.0
    suspicion_most: float = 6.0
    confirmations: int = 2
    health_most: int = 8
    join_first_seconds: float = 1.0
    join_most_seconds: float = 10.0
    heal_rounds: int = 8

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field.name}={value}; it must be a number above 0")
        if self.ack_seconds >= self.probe_seconds:
            raise ValueError(
                f"ack_seconds={self.ack_seconds} must be less than probe_seconds={self.probe_seconds}, "
                "or there is no time left to ask others"
            )
        if self.retry_seconds * self.attempts > self.round_seconds * (1 + 1e-9):
            raise ValueError(
                f"attempts={self.attempts} of retry_seconds={self.retry_seconds} do not fit into "
                f"round_seconds={self.round_seconds}"
            )

    def suspicion_seconds(self, peers: int, confirmations: int) -> float:
        """Return how long a suspect has to say that it is alive (Lifeguard; Dadgar et al., 2017).

        It begins with the longest time, for it may be us who are ill, and each other peer that comes to
        the same suspicion by itself shortens it, by the logarithm.

        Args:
            peers: How many peers there are.
            confirmations: How many others suspect it.
        """
        least = self.suspicion_factor * max(1.0, math.log10(max(peers, 1))) * self.probe_seconds
        if peers - 2 < self.confirmations:  # there are not enough others to confirm it
            return least
        most = self.suspicion_most * least
        share = math.log(confirmations + 1) / math.log(self.confirmations + 1)
        return max(least, most - (most - least) * share)

    def forwards(self, peers: int) -> int:
        """Return to how many peers an announcement is passed on, among so many: ln N + 1, or more."""
        return max(self.forward_peers, math.ceil(math.log(max(peers, 1))) + 1)
