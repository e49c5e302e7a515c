"""`Keeper`: follows what a peer knows: averages it anew whenever it changes, and has it saved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from gossip.learner import Learner
from gossip.messages import ModelInfo, PeerInfo
from gossip.plan import World
from gossip.signals import Signal
from gossip.standing import Standing
from gossip.store import Changes, PeerStore, Remembered
from gossip.view import View

logger = logging.getLogger(__name__)


class Keeper:
    """Keeps the average, and the snapshot on the disk, up to what the view knows.

    Args:
        view: What the peer knows.
        learner: Averages.
        standing: Where the average goes.
        store: Where the snapshot goes.
        world: The peer's surroundings.
        remembered: What is on the disk already.

    Attributes:
        settled: Fires when the average has followed a change.
    """

    def __init__(
        self,
        view: View,
        learner: Learner,
        standing: Standing,
        store: PeerStore,
        world: World,
        remembered: Remembered,
    ) -> None:
        self._view = view
        self._learner = learner
        self._standing = standing
        self._store = store
        self._world = world
        self._saved_peers: dict[str, PeerInfo] = {info.peer: info for info in remembered.peers}
        self._saved_contents = {info.content for info, _ in remembered.models}
        self._unsaved: dict[str, ModelInfo] = {}
        self._changes = 1 if remembered.models else 0
        self._followed = 0
        self._changed = Signal()
        self._refused: dict[str, str] = {}
        self.settled = Signal()
        self._writing = trio.Lock()

    def note(self, models: Sequence[ModelInfo]) -> None:
        """These models are known anew."""
        self._unsaved.update((info.owner, info) for info in models)
        self._changes += 1
        self._changed.fire()

    def touch(self) -> None:
        """How the peer stands has changed; there is no new model."""
        self._changes += 1
        self._changed.fire()

    async def until_settled(self) -> None:
        """Return when the average is made of all that is known now."""
        wanted = self._changes
        while self._followed < wanted:
            await self.settled.wait()

    async def follow(self) -> None:
        """Average and save whenever something changes. Never returns."""
        while True:
            while self._followed == self._changes:
                await self._changed.wait()
            changes = self._changes
            await self._average()
            await self.save()
            self._followed = changes
            self.settled.fire()

    async def _average(self) -> None:
        models = self._view.all_models()
        average = await self._world.offload(lambda _should_stop: self._learner.average(models))
        if average is None:
            return
        self._standing.average = average
        for owner, reason in average.refused.items():
            if self._refused.get(owner) != reason:
                logger.warning("the model of %s is left out: %s", owner, reason)
        self._refused = average.refused

    async def save(self) -> None:
        """Save what has changed since the last time."""
        models, self._unsaved = tuple(self._unsaved.values()), {}
        peers = {info.peer: info for info in self._view.membership.roster.infos()}
        known = {info.content for info in self._view.models.infos()}  # as of now: more may come meanwhile
        contents = {}
        for info in models:
            data = self._view.transfers.held(info.content)
            if data is not None and info.content not in self._saved_contents:
                contents[info.content] = data
        state = self._standing.to_row(self._view.membership, self._world.traffic(), self._world.now_unix())
        changes = Changes(
            state=state,
            models=models,
            contents=tuple(contents.items()),
            peers=tuple(info for info in peers.values() if self._saved_peers.get(info.peer) != info),
            forgotten=tuple(peer for peer in self._saved_peers if peer not in peers),
            metrics=self._standing.to_metrics(state),
        )
        await self.write(lambda store: store.save(changes))
        self._saved_peers, self._saved_contents = peers, known

    async def write(self, what: Callable[[PeerStore], None]) -> None:
        """Write to the disk, in a thread; one at a time, for the store is one, and tasks are several."""
        async with self._writing:
            await self._world.offload(lambda _should_stop: what(self._store))
