"""Before a life begins: asking others, over the network, what they know of us. `survey.py` has the rules."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

from gossip.identity import Sighting
from gossip.messages import GossipSighting, GossipSurvey, ModelInfo, PeerInfo
from gossip.outgoing import Address
from gossip.ownership import Notary, namesake_claim
from gossip.survey import Survey
from gossip.timing import Timing
from trioactor.errors import DeliveryError, NotDelivered, Rejected

logger = logging.getLogger(__name__)

# A peer that remembers its last life cannot be wrong by much. One that does not asks for longer: what it
# does not hear now, others will have to outbid later.
REMEMBERED_ROUNDS = 2.0
FORGOTTEN_ROUNDS = 5.0

Ask = Callable[[Address, GossipSurvey], Awaitable[GossipSighting]]


async def ask_around(
    question: GossipSurvey,
    address: Address,
    seeds: Sequence[Address],
    ask: Ask,
    *,
    remembered: bool,
    timing: Timing,
    notary: Notary | None = None,
) -> list[Sighting]:
    """Ask others what they know of us, for a while; return what they said.

    Args:
        question: Who we are.
        address: Where we listen.
        seeds: Whom to ask to begin with; those they name are asked as well.
        ask: Asks one of them. Raises `DeliveryError` when it does not answer, and of these `Rejected` when it
            is we ourselves.
        remembered: Whether our disk knows of an earlier life.
        timing: Our pace.
        notary: Who checks seals; None where nothing is sealed, and everybody is believed.

    Raises:
        DuplicateIdentity: Another process answered under our name.
    """
    survey = Survey(question.peer, address, seeds)
    said: set[Address] = set()

    async def ask_aloud(one: Address, question: GossipSurvey) -> GossipSighting:
        try:
            answer = await ask(one, question)
            if _is_a_lie(answer, question, notary):
                raise NotDelivered(
                    f"it says that it lives under the name {question.peer!r}, without its seal"
                )
            return answer
        except Rejected:
            survey.on_ourselves(one)
            raise
        except DeliveryError as error:
            if one not in said:  # down, or of another run: somebody may wonder why we stay alone
                said.add(one)
                logger.info("nobody of this run answers at %s:%d: %s", *one, error)
            raise

    rounds = REMEMBERED_ROUNDS if remembered else FORGOTTEN_ROUNDS
    with trio.move_on_after(rounds * timing.round_seconds):
        while not survey.enough:
            answers = await _answers(survey.to_ask(), question, ask_aloud, timing.ack_seconds)
            for one, answer in answers.items():
                if answer is None:
                    survey.on_failure(one)
                else:
                    survey.on_answer(one, answer)
    return survey.sightings


def _is_a_lie(answer: GossipSighting, question: GossipSurvey, notary: Notary | None) -> bool:
    """Whether somebody wants to keep us out of our name who does not hold its key."""
    if notary is None or answer.sender != question.peer:
        return False
    return not notary.is_sealed(question.peer, namesake_claim(question), answer.proof)


async def _answers(
    addresses: Sequence[Address], question: GossipSurvey, ask: Ask, seconds: float
) -> dict[Address, GossipSighting | None]:
    """Ask all at once, and return what each answers in that time. It is over when all have answered."""
    answers: dict[Address, GossipSighting | None] = dict.fromkeys(addresses)

    async def ask_one(one: Address) -> None:
        try:
            answers[one] = await ask(one, question)
        except Rejected:
            return  # it is we: there is nothing to wait for
        except DeliveryError:
            await trio.sleep_forever()  # some fail at once; they are not asked again before the others

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for one in addresses:
                nursery.start_soon(ask_one, one)
    return answers


def sighting_before_life(
    me: str, survey: GossipSurvey, peers: Iterable[PeerInfo], models: Iterable[ModelInfo], time: int
) -> GossipSighting:
    """Answer, as one that has not begun its life itself, what its disk knows of another.

    Peers that start together ask each other; if each waited for the others, none would ever begin.

    Args:
        me: Our name.
        survey: The question.
        peers: What our disk knows of peers.
        models: What it knows of models.
        time: Logical times below may be in use, says our disk.
    """
    known = {info.peer: info for info in peers}
    info = known.get(survey.peer)
    lives = [model.incarnation for model in models if model.owner == survey.peer]
    lives += [info.incarnation] if info is not None else []
    last_address = None if info is None or info.gone else info.address
    return GossipSighting(me, max(lives, default=0), time, last_address, ())
