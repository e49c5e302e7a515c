"""`RunState`: what the Provider knows of its run, and how to wait until it knows more."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from federation.buffer import Buffer
from federation.config import ProviderConfig
from federation.errors import FederationError
from federation.events import Event, Journal
from federation.learning import Params
from federation.messages import ModelUpdate
from federation.roster import Roster
from federation.round import Round

logger = logging.getLogger(__name__)


class RunState:
    """One run as it stands. The Provider's handlers change it, the course of the run waits for changes.

    trio runs one task at a time and switches only where one waits, so nothing here needs a lock.

    Args:
        config: How much is learnt, and how long to wait.
        run: The name of the run.

    Attributes:
        roster: Who takes part now.
        journal: What has happened.
        round: The last round that was opened, or the buffer; None before and after the rounds.
        outgoing: The accepted updates of the round that is being committed, until it is on disk.
        first: The model before the first round; empty until everyone is there.
        alone: What each worker that was asked has trained alone, None while it trains.
        committed: The last round that is on disk, 0 before the first.
        scored: The last round whose model is scored.
        region_scores: The last round whose model each worker has scored on its own region.
        scoring_failure: Why one could not be, which ends the run.
        model_sha256: The fingerprint of the last model that is on disk, empty before there is one.
        changed: Set when any of this changes, and then replaced by a fresh one.
    """

    def __init__(self, config: ProviderConfig, run: str) -> None:
        self.config = config
        self.run = run
        self.roster = Roster()
        self.journal = Journal()
        self.round: Round | Buffer | None = None
        self.outgoing: tuple[ModelUpdate, ...] = ()
        self.first: Params = {}
        self.alone: dict[str, Params | None] = {}
        self.committed = 0
        self.scored = 0
        self.region_scores: dict[str, int] = {}
        self.scoring_failure: FederationError | None = None
        self.model_sha256 = ""
        self._started_at = trio.current_time()
        self.changed = trio.Event()

    def now(self) -> float:
        """Return the seconds since the Provider started."""
        return trio.current_time() - self._started_at

    def note(self, kind: Callable[..., Event], *values: object) -> None:
        """Write an event of this moment into the journal."""
        event = kind(self.now(), *values)
        logger.info("%s", event)
        self.journal.add(event)
        self.stir()

    def stir(self) -> None:
        """Have everyone who waits look again."""
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, ready: Callable[[], bool], at: Callable[[], float] | None = None) -> None:
        """Wait until `ready()` is true.

        Args:
            ready: It is asked now, after every change, and at the time `at()`.
            at: When time alone may make it so; asked anew after every change. None for never.
        """
        while not ready():
            with trio.move_on_at(math.inf if at is None else self._started_at + at()):
                await self.changed.wait()

    @property
    def kept(self) -> str:
        """What of the run is on disk, in words."""
        return f"committed up to round {self.committed} of {self.config.rounds}"
