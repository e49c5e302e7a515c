"""Who reads from a connection: a task that asks one question after the other, else the reader."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
import trio
from cbor2 import dumps
from trio.testing import wait_all_tasks_blocked

from tests.trioactor.cast import Clerk, Hold, Note, Read
from tests.trioactor.certificates import Files
from tests.trioactor.pairs import open_pair, until
from tests.trioactor.strangers import Stranger, said
from trioactor import ActorRef, ActorSystem, DeliveryError, OutcomeUnknown
from trioactor.framing import encode_frame
from trioactor.lead import Lead
from trioactor.testing import Network

# Of two tasks that can run trio takes either first. That it takes the reader first so often does not happen.
TRIES = 200


class Meeting:
    """A system, a stranger that it has called, and a task of the system's that asks the stranger.

    Attributes:
        stranger: Answers by hand.
        clerk: An actor of the system's.
        outcomes: What came of the questions, in their order.
        scope: Of the task that asks and leads.
    """

    def __init__(self, system: ActorSystem, stranger: Stranger, far: ActorRef, clerk: Clerk) -> None:
        self.stranger = stranger
        self.clerk = clerk
        self.outcomes: list[Any] = []
        self.scope = trio.CancelScope()
        self._far = far
        (self.link,) = system.links
        assert self.link.connection is not None
        self.lead = self.link.connection.lead

    async def ask(self, number: int) -> None:
        try:
            self.outcomes.append(await self._far.ask(Hold(number)))
        except DeliveryError as error:
            self.outcomes.append(error)

    async def begin(self, nursery: trio.Nursery) -> int:
        """Have a task take the lead and ask; return the number of its question, which was heard."""
        nursery.start_soon(self._ask_and_lead)
        while True:
            target, item, headers = await self.stranger.hear_until_message()
            assert target == "clerk"
            if item.value[0] == "tests.hold":
                await until(lambda: self.lead.taken)
                number: int = headers["ask"]
                return number
            await self.stranger.say(1, headers["ask"], [])

    async def _ask_and_lead(self) -> None:
        with self.scope:
            for _ in range(TRIES):
                await self._far.ask(Read())
                if self.lead.is_free:
                    break
            await self.ask(0)

    async def hear_question(self) -> int:
        """Return the number of the next question that the stranger hears."""
        number: int = (await self.stranger.hear_until_message())[2]["ask"]
        return number


@pytest.fixture(params=["kernel", "virtual"])
async def network(request: pytest.FixtureRequest) -> AsyncIterator[Network | None]:
    if request.param == "kernel":
        yield None
        return
    async with Network() as network:
        yield network


@asynccontextmanager
async def meet(network: Network | None) -> AsyncIterator[Meeting]:
    host = "there" if network else "127.0.0.1"
    with network.at("there") if network else nullcontext():
        (listener,) = await trio.open_tcp_listeners(0, host=host)
    port = listener.socket.getsockname()[1]
    with network.at("here") if network else nullcontext():
        async with ActorSystem("here", vocabulary=[Note, Hold, Read]) as system:
            clerk = Clerk()
            await system.actor_of(lambda: clerk, "clerk")
            far = system.ref(host, port, "clerk")
            far.on_down(lambda reason: None)  # so it is called
            stranger = Stranger(await listener.accept())
            await stranger.shake_hands()
            await stranger.hear_until(9)
            yield Meeting(system, stranger, far, clerk)
    await trio.aclose_forcefully(stranger.stream)
    await listener.aclose()


# --- who asks again at once reads the answer ----------------------------------------------------------


async def test_who_asks_again_at_once_reads_the_answer_and_gives_the_lead_back(
    network: Network | None,
) -> None:
    async with meet(network) as met, trio.open_nursery() as nursery:
        question = await met.begin(nursery)
        await met.stranger.say(1, question, 7)
        await until(lambda: met.outcomes == [7])

        await wait_all_tasks_blocked()
        assert not met.lead.taken
        assert not met.lead.is_free, "the reader reads again"


async def test_what_comes_before_the_answer_is_taken_in_by_the_reader(network: Network | None) -> None:
    async with meet(network) as met, trio.open_nursery() as nursery:
        question = await met.begin(nursery)
        await met.stranger.say("clerk", said("tests.note", 5))
        await until(lambda: met.clerk.diary == [5])
        assert not met.lead.taken

        await met.stranger.say(1, question, 7)
    assert met.outcomes == [7]


async def test_what_comes_with_the_answer_is_taken_in_by_the_reader(network: Network | None) -> None:
    async with meet(network) as met, trio.open_nursery() as nursery:
        question = await met.begin(nursery)
        together = [[1, question, 7], ["clerk", said("tests.note", 5)], ["clerk", said("tests.note", 6)]]
        await met.stranger.stream.send_all(b"".join(encode_frame(dumps(frame)) for frame in together))
        await until(lambda: met.outcomes == [7])
        await until(lambda: met.clerk.diary == [5, 6])


async def test_an_answer_that_comes_in_two_parts_is_put_together_by_the_reader(
    network: Network | None,
) -> None:
    async with meet(network) as met, trio.open_nursery() as nursery:
        question = await met.begin(nursery)
        frame = encode_frame(dumps([1, question, 7]))
        await met.stranger.stream.send_all(frame[:6])
        await until(lambda: not met.lead.taken)

        await met.stranger.stream.send_all(frame[6:])
    assert met.outcomes == [7]


async def test_who_leads_takes_in_the_answer_to_somebody_elses_question(network: Network | None) -> None:
    async with meet(network) as met, trio.open_nursery() as nursery:
        question = await met.begin(nursery)
        nursery.start_soon(met.ask, 1)
        other = await met.hear_question()
        await met.stranger.say(1, other, 8)
        await until(lambda: met.outcomes == [8])

        await met.stranger.say(1, question, 7)
    assert met.outcomes == [8, 7]


# --- the end of the lead ------------------------------------------------------------------------------


async def test_who_gives_up_gives_the_lead_back(network: Network | None) -> None:
    async with meet(network) as met, trio.open_nursery() as nursery:
        question = await met.begin(nursery)
        met.scope.cancel()
        assert (await met.stranger.hear_until(3))[1] == question, "the peer is told"
        assert not met.lead.taken

        await met.stranger.say(2, question, "cancelled", "", "")
        nursery.start_soon(met.ask, 1)
        await met.stranger.say(1, await met.hear_question(), 8)
    assert met.outcomes == [8]


async def test_a_connection_that_breaks_tells_who_leads(network: Network | None) -> None:
    async with meet(network) as met, trio.open_nursery() as nursery:
        await met.begin(nursery)
        await met.stranger.stream.aclose()
    assert type(met.outcomes[0]) is OutcomeUnknown
    assert met.link.state == "down"


async def test_a_peer_that_breaks_the_protocol_towards_who_leads_is_cut_off(
    network: Network | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with meet(network) as met, trio.open_nursery() as nursery:
        await met.begin(nursery)
        await met.stranger.say(1, 4711, None)
        assert await met.stranger.is_cut_off()
    assert "an answer came to a question that was not asked" in met.link.reason
    assert type(met.outcomes[0]) is OutcomeUnknown


async def test_a_system_that_stops_tells_who_leads(network: Network | None) -> None:
    async with trio.open_nursery() as nursery, meet(network) as met:
        await met.begin(nursery)
    assert type(met.outcomes[0]) is OutcomeUnknown


# --- where nobody else reads --------------------------------------------------------------------------


async def test_over_tls_only_the_reader_reads(good: Files) -> None:
    """To receive can mean to send there, and a send that is cancelled breaks the connection."""
    async with open_pair("tls", good) as pair:
        clerk = await pair.start(Clerk, "clerk")
        for _ in range(20):
            assert await clerk.ask(Read()) == []
            (link,) = pair.here.links
            assert link.connection is not None
            assert not link.connection.lead.is_free


# --- the lead itself ----------------------------------------------------------------------------------


async def test_a_reader_that_nobody_relieves_goes_on_after_a_turn() -> None:
    lead = Lead()
    await lead.stand_back()
    assert not lead.is_free


class Reader:
    """A reader that stands back until it was relieved once.

    Attributes:
        goes_on: Whether it has the lead again.
        scope: Of its task.
    """

    def __init__(self) -> None:
        self.lead = Lead()
        self.scope = trio.CancelScope()
        self.goes_on = False
        self._was_relieved = False

    async def run(self) -> None:
        with self.scope:
            while not self._was_relieved:
                await self.lead.stand_back()
            self.goes_on = True

    async def relieve(self) -> None:
        """Take the lead, which is free for a turn at a time."""
        while not self.lead.is_free:
            await trio.lowlevel.checkpoint()
        self.lead.take()
        self._was_relieved = True
        await wait_all_tasks_blocked()


@asynccontextmanager
async def relieved_reader() -> AsyncIterator[Reader]:
    """One that rests while another has the lead."""
    reader = Reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await reader.relieve()
        yield reader


async def test_a_reader_goes_on_when_the_lead_is_given_back_and_not_taken_again() -> None:
    async with relieved_reader() as reader:
        for _ in range(3):
            reader.lead.give_back(done=True)
            reader.lead.take()
            await wait_all_tasks_blocked()
            assert not reader.goes_on
        reader.lead.give_back(done=True)
    assert reader.goes_on
    assert not reader.lead.is_free


async def test_nobody_takes_the_lead_while_the_reader_has_something_to_do() -> None:
    async with relieved_reader() as reader:
        reader.lead.give_back(done=False)
        assert not reader.lead.is_free


async def test_a_reader_that_is_cancelled_while_another_leads_is_not_woken_by_it() -> None:
    async with relieved_reader() as reader:
        reader.scope.cancel()
    reader.lead.give_back(done=True)
    assert not reader.goes_on
    assert not reader.lead.is_free
