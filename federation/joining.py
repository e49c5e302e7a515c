"""How a role finds the Provider, and finds it again."""

from __future__ import annotations

import logging

import trio

from federation.errors import Unreachable
from federation.messages import Join, Register
from trioactor import ActorRef
from trioactor.errors import DeliveryError, PeerDown, Rejected

logger = logging.getLogger(__name__)

# Quick enough to be there for the first round of a run that has just been started, slow enough to be no
# load on a machine that is down for an hour.
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 2.0


async def stay_joined(provider: ActorRef, offer: Join | Register, connect_seconds: float) -> None:
    """Offer to take part, and offer it anew whenever the Provider was gone. Never returns.

    Args:
        provider: Where the Provider is.
        offer: What to ask it.
        connect_seconds: How long to try, each time.

    Raises:
        Unreachable: The Provider did not answer in all that time, or declined.
    """
    while True:
        await _join(provider, offer, connect_seconds)
        try:
            async with provider.watch():
                await trio.sleep_forever()
        except PeerDown as down:
            logger.warning("the Provider is gone (%s); looking for it", down.reason)


async def _join(provider: ActorRef, offer: Join | Register, connect_seconds: float) -> None:
    last: Exception | None = None
    pause = FIRST_RETRY_SECONDS
    with trio.move_on_after(connect_seconds):
        while True:
            try:
                welcome = await provider.ask(offer)
            except Rejected as declined:
                raise Unreachable(f"the Provider {_at(provider)}declined: {declined}") from declined
            except DeliveryError as error:
                last = error
            else:
                logger.info("takes part in run %s", welcome.run)
                return
            await trio.sleep(pause)
            pause = min(2 * pause, LAST_RETRY_SECONDS)
    why = f": {last}" if last is not None else ""
    raise Unreachable(
        f"the Provider {_at(provider)}did not answer for {connect_seconds:g} s{why}; start it, or correct "
        "--provider or --provider-file"
    )


def _at(provider: ActorRef) -> str:
    return f"at {provider.address[0]}:{provider.address[1]} " if provider.address else ""
