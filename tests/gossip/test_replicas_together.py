"""Several replicas at once, by a state machine: hypothesis looks for a story that ends badly."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.gossip.world import KEYS, PEERS, World

peers = st.integers(0, len(PEERS) - 1)


class Replicas(RuleBasedStateMachine):
    """Reordered, doubled, lost and late deltas; restarts with intact, old and lost disks; liars."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World("state machine")

    @rule(peer=peers, key=st.sampled_from(KEYS), value=st.integers(0, 3))
    def put(self, peer: int, key: str, value: Any) -> None:
        self.world.put(peer, key, value)

    @rule(peer=peers, key=st.sampled_from(KEYS))
    def delete(self, peer: int, key: str) -> None:
        self.world.delete(peer, key)

    @rule(peer=peers, amount=st.integers(-3, 3))
    def count(self, peer: int, amount: int) -> None:
        self.world.count(peer, amount)

    @rule(peer=peers)
    def fold(self, peer: int) -> None:
        self.world.fold(peer)

    @rule(peer=peers, number=st.integers(0, 100))
    def deliver(self, peer: int, number: int) -> None:
        self.world.deliver(peer, number)

    @rule(one=peers, other=peers)
    def sync(self, one: int, other: int) -> None:
        self.world.sync(one, other)

    @rule(peer=peers, ahead=st.sampled_from([0, 2**40, 2**62]))
    def poison(self, peer: int, ahead: int) -> None:
        self.world.poison(peer, ahead)

    @rule(peer=peers, value=st.integers(0, 3))
    def put_own(self, peer: int, value: int) -> None:
        self.world.put_own(peer, value)

    @rule(number=st.integers(0, 100), value=st.sampled_from([None, 0, 1, 2, 3]))
    def equivocate(self, number: int, value: int | None) -> None:
        self.world.equivocate(number, value)

    @rule(peer=peers, below=st.integers(0, 100))
    def collect(self, peer: int, below: int) -> None:
        self.world.collect(peer, below)

    @rule(peer=peers)
    def collect_rashly(self, peer: int) -> None:
        self.world.collect_rashly(peer)

    @rule(peer=peers)
    def save(self, peer: int) -> None:
        self.world.save(peer)

    @rule(peer=peers)
    def back_up(self, peer: int) -> None:
        self.world.back_up(peer)

    @rule(peer=peers, disk=st.sampled_from(["intact", "old", "lost"]), alone=st.booleans())
    def restart(self, peer: int, disk: str, alone: bool) -> None:
        self.world.restart(peer, disk, alone=alone)

    @invariant()
    def nothing_collected_comes_back(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.converge()


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
