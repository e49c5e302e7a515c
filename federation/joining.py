"""`Member`: an actor that works for the Provider. It finds it, finds it again, and ends with the run."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import trio

from federation.credentials import in_flags
from federation.errors import Refused, Unreachable
from federation.messages import Join, Register, RunOver
from trioactor import Actor, ActorRef
from trioactor.errors import DeliveryError, PeerDown, Rejected

logger = logging.getLogger(__name__)

# Quick enough to be there for the first round of a run that has just been started, slow enough to be no
# load on a machine that is down for an hour.
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 2.0

# How the text of a link begins that has reached its peer and could not agree with it, over certificates say.
# That does not pass by waiting, unless the peer was about to end or to begin.
_DISAGREED = "the handshake with "
REFUSED_SECONDS = 1.0


class Ties(TypedDict, total=False):
    """What every member may be given beside its own work.

    Attributes:
        connect_seconds: How long to look for a Provider that is gone, before giving up; by default 60.
        look_again: Returns where the Provider is now: one that was started again may have another address.
            By default it stays where it is.
        on_over: Told how the run ended.
        on_unreachable: Told that the Provider is gone for good; then the member ends. Without it, it fails.
    """

    connect_seconds: float
    look_again: Callable[[], ActorRef]
    on_over: Callable[[RunOver], None]
    on_unreachable: Callable[[Unreachable], None]


class Member(Actor):
    """Base of the Aggregator, the Evaluator and the Workers.

    Args:
        provider: Whom it works for.
        ties: See `Ties`.
    """

    def __init__(self, provider: ActorRef, **ties: Unpack[Ties]) -> None:
        self._provider = provider
        self._connect_seconds = ties.get("connect_seconds", 60.0)
        self._look_again = ties.get("look_again")
        self._on_over = ties.get("on_over")
        self._on_unreachable = ties.get("on_unreachable")

    @abstractmethod
    def offer(self) -> Join | Register:
        """Return what it offers the Provider."""

    async def pre_start(self) -> None:
        """Begin to offer it."""
        self.context.start_soon(self._stay)

    async def receive(self, message: Any) -> Any:
        """Handle what every member hears: that the run is over."""
        if isinstance(message, RunOver):
            if self._on_over is not None:
                self._on_over(message)
            self.context.stop()

    async def _stay(self) -> None:
        try:
            await stay_joined(self._look, self.offer(), self._connect_seconds)
        except Unreachable as error:
            if self._on_unreachable is None:
                raise
            self._on_unreachable(error)
            self.context.stop()

    def _look(self) -> ActorRef:
        if self._look_again is not None:
            self._provider = self._look_again()
        return self._provider


async def stay_joined(look: Callable[[], ActorRef], offer: Join | Register, connect_seconds: float) -> None:
    """Offer to take part, and offer it anew whenever the Provider was gone. Never returns.

    Args:
        look: Returns where the Provider is; called before each try.
        offer: What to ask it.
        connect_seconds: How long to try, each time.

    Raises:
        Unreachable: The Provider did not answer in all that time, or declined.
        Refused: It was reached, and the two cannot speak with each other.
    """
    while True:
        provider = await _join(look, offer, connect_seconds)
        try:
            async with provider.watch():
                await trio.sleep_forever()
        except PeerDown as down:
            logger.warning("the Provider is gone (%s); looking for it", down.reason)


async def _join(look: Callable[[], ActorRef], offer: Join | Register, connect_seconds: float) -> ActorRef:
    provider = look()
    last: Exception | None = None
    refused_since: float | None = None
    pause = FIRST_RETRY_SECONDS
    with trio.move_on_after(connect_seconds):
        while True:
            try:
                welcome = await provider.ask(offer)
            except Rejected as declined:
                raise Unreachable(f"the Provider {_at(provider)}declined: {declined}") from declined
            except DeliveryError as error:
                last = error
                now = trio.current_time()
                if _DISAGREED not in str(error):
                    refused_since = None
                elif refused_since is None:
                    refused_since = now
                elif now - refused_since >= REFUSED_SECONDS:
                    _, _, why = str(error).partition(" failed: ")
                    raise Refused(f"the Provider {_at(provider)}was reached, but {in_flags(why)}") from error
            else:
                logger.info("takes part in run %s", welcome.run)
                return provider
            await trio.sleep(pause)
            provider = look()
            pause = min(2 * pause, LAST_RETRY_SECONDS)
    why = f": {in_flags(str(last))}" if last is not None else ""
    raise Unreachable(
        f"the Provider {_at(provider)}did not answer for {connect_seconds:g} s{why}; start it, or correct "
        "--provider or --provider-file"
    )


def _at(provider: ActorRef) -> str:
    return f"at {provider.address[0]}:{provider.address[1]} " if provider.address else ""
