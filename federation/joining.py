"""How a role finds the Provider, and finds it again."""

from __future__ import annotations

import logging

import trio

from federation.credentials import in_flags
from federation.errors import Refused, Unreachable
from federation.messages import Join, Register
from trioactor import ActorRef
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


async def stay_joined(provider: ActorRef, offer: Join | Register, connect_seconds: float) -> None:
    """Offer to take part, and offer it anew whenever the Provider was gone. Never returns.

    Args:
        provider: Where the Provider is.
        offer: What to ask it.
        connect_seconds: How long to try, each time.

    Raises:
        Unreachable: The Provider did not answer in all that time, or declined.
        Refused: It was reached, and the two cannot speak with each other.
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
                return
            await trio.sleep(pause)
            pause = min(2 * pause, LAST_RETRY_SECONDS)
    why = f": {in_flags(str(last))}" if last is not None else ""
    raise Unreachable(
        f"the Provider {_at(provider)}did not answer for {connect_seconds:g} s{why}; start it, or correct "
        "--provider or --provider-file"
    )


def _at(provider: ActorRef) -> str:
    return f"at {provider.address[0]}:{provider.address[1]} " if provider.address else ""
