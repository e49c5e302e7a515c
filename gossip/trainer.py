"""`Trainer`: the rounds of one peer: trains from the average, publishes, waits for the others a while."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from gossip.keeper import Keeper
from gossip.learner import Learner
from gossip.messages import ModelInfo
from gossip.outgoing import Outgoing
from gossip.pace import Pace
from gossip.plan import Plan, World
from gossip.signals import Signal
from gossip.standing import LastRound, Standing
from gossip.view import View
from gossip.weights import to_bytes

logger = logging.getLogger(__name__)

LOOK_ROUNDS = 3.0
"""A newcomer looks what the others have before it shows anything itself; so many rounds of gossip at most."""

RETURN_ROUNDS = 3.0
"""One that has shown a model before waits for the others no longer than so many rounds of gossip.

The network has come together once, so nothing is to be waited for that was not there; and where all return
at once, they find each other in that time, and learn in step.
"""


class Trainer:
    """Trains as many rounds as the plan says.

    Args:
        plan: What to do.
        learner: Trains.
        view: What the peer knows.
        keeper: Averages what it knows.
        standing: How far the peer has come.
        world: The peer's surroundings.
        send: Sends what the view wants to be sent.
    """

    def __init__(
        self,
        plan: Plan,
        learner: Learner,
        view: View,
        keeper: Keeper,
        standing: Standing,
        world: World,
        send: Callable[[list[Outgoing]], None],
    ) -> None:
        self._plan = plan
        self._learner = learner
        self._view = view
        self._keeper = keeper
        self._standing = standing
        self._world = world
        self._send = send
        self._pace = Pace(plan.patience_seconds)
        self._moved = Signal()
        self._compared = False
        self._returns = view.models.get(plan.peer) is not None  # by the snapshot: nobody has spoken yet

    # --- what it is told ------------------------------------------------------------------------

    def hear(self, infos: list[ModelInfo]) -> None:
        """There are new models."""
        for info in infos:
            if info.owner != self._plan.peer:
                self._pace.hear(info.owner)
        self._moved.fire()

    def see_change(self) -> None:
        """Peers have come or gone."""
        self._moved.fire()

    def see_comparison(self) -> None:
        """We have compared what we know with another peer."""
        if not self._compared:
            self._compared = True
            self._moved.fire()

    # --- its rounds -----------------------------------------------------------------------------

    async def train(self) -> None:
        """Train all rounds that are left.

        Raises:
            TrainingDiverged: The learning rate is too large for the features.
        """
        left = range(self._standing.round + 1, self._plan.rounds + 1)
        await self._join()
        if left and self._view.models.get(self._plan.peer) is None:
            average = self._standing.average
            self._publish(to_bytes(self._learner.initial if average is None else average.params))
            await self._keeper.until_settled()
        for number in left:
            await self._train_round(number)
            if number < self._plan.rounds:
                await self._wait_for_others()
            await self._keeper.until_settled()
            if number < self._plan.rounds:
                self._standing.last = None  # its row is what it is: what comes now belongs to the next round
        self._standing.finished = True
        self._keeper.touch()

    async def _join(self) -> None:
        """Wait until the others are there, and until it is known what they have; but not for ever.

        Whom the snapshot knows is there, unless it is known to be gone.
        """
        plan = self._plan
        membership = self._view.membership
        patience = plan.join_seconds
        if self._returns:
            patience = min(patience, RETURN_ROUNDS * plan.timing.round_seconds)
        until = trio.current_time() + patience
        while len(membership.live) + 1 < plan.min_peers and trio.current_time() < until:
            await self._moved.wait_until(until)
        until = trio.current_time() + LOOK_ROUNDS * plan.timing.round_seconds
        while membership.live and not self._is_informed() and trio.current_time() < until:
            await self._moved.wait_until(until)
        await self._keeper.until_settled()

    def _is_informed(self) -> bool:
        return self._compared and not self._view.transfers.pending

    async def _train_round(self, number: int) -> None:
        average = self._standing.average
        start = self._learner.initial if average is None else average.params
        self._pace.begin_round()
        began = trio.current_time()
        trained = await self._world.offload(
            lambda should_stop: self._learner.train(start, number, should_stop)
        )
        seconds = trio.current_time() - began
        self._standing.round, self._standing.own = number, trained.params
        self._standing.last = LastRound(self._world.now_unix(), seconds, trained.loss, trained.accuracy)
        self._publish(to_bytes(trained.params))
        self._pace.show(trio.current_time())
        logger.info("round %d: trained in %.3f s, loss %.4f", number, seconds, trained.loss)

    async def _wait_for_others(self) -> None:
        live = self._view.membership.live
        while (until := self._pace.wait_until(live, trio.current_time())) is not None:
            await self._moved.wait_until(until)
            live = self._view.membership.live

    def _publish(self, data: bytes) -> None:
        self._send(self._view.publish(data, self._learner.samples))
