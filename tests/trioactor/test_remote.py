"""Links between systems: one connection per peer, how it comes and goes, and what becomes of messages.

On a virtual network, where time costs nothing and cables can be cut.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.trioactor.cast import Clerk, Fail, Hold, Note, Read
from tests.trioactor.strangers import Stranger, dial, said
from trioactor import (
    ActorRef,
    ActorSystem,
    CannotListen,
    DeliveryError,
    MailboxSettings,
    NotDelivered,
    OutcomeUnknown,
    PeerDown,
    Request,
)
from trioactor.errors import CannotEncode, MailboxFull, UnknownMessage
from trioactor.limits import Limits
from trioactor.link import Link
from trioactor.remote import KNOWN_LINKS
from trioactor.testing import Link as Cable
from trioactor.testing import Network
from trioactor.unfinished import Unfinished
from trioactor.unread import Unread

PORT = 7000
WORDS = (Note, Hold, Read, Fail)
LIMITS = Limits(window_messages=8, queued_messages=4)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as network:
        yield network


class Site:
    """A system on a host of its own, with a clerk."""

    def __init__(self, system: ActorSystem, clerk: Clerk, scope: trio.CancelScope) -> None:
        self.system = system
        self.clerk = clerk
        self.scope = scope
        self.leave = trio.Event()
        self.left = trio.Event()

    def link(self, host: str = "hub") -> Link:
        (found,) = [link for link in self.system.links if link.address == (host, PORT)]
        return found


async def _live(
    network: Network,
    name: str,
    settings: dict[str, Any],
    listens: bool,
    *,
    task_status: trio.TaskStatus[Site] = trio.TASK_STATUS_IGNORED,
) -> None:
    with network.at(name), trio.CancelScope() as scope:
        system = ActorSystem(name, vocabulary=WORDS, **{"limits": LIMITS, **settings})
        async with system:
            site = Site(system, Clerk(), scope)
            await system.actor_of(lambda: site.clerk, "clerk", mailbox=MailboxSettings(capacity=2))
            if listens:
                await system.listen(name, PORT)
            task_status.started(site)
            await site.leave.wait()
            site.clerk.gate.set()
    site.left.set()


@asynccontextmanager
async def site(network: Network, name: str, *, listens: bool = True, **settings: Any) -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        made: Site = await nursery.start(_live, network, name, settings, listens)
        yield made
        made.leave.set()


async def note_outcome(outcomes: list[Any], ref: ActorRef, question: Request[Any]) -> None:
    try:
        outcomes.append(await ref.ask(question))
    except DeliveryError as error:
        outcomes.append(error)


# --- one connection per peer ----------------------------------------------------------------------


async def test_all_refs_to_a_peer_share_one_connection(autojump_clock: MockClock, network: Network) -> None:
    async with site(network, "hub") as hub, site(network, "a", listens=False) as a:
        for actor_id in ("clerk", "nobody"):
            await a.system.ref("hub", PORT, actor_id).tell(Note(1))
        assert await a.system.ref("hub", PORT, "clerk").ask(Read()) == [1]

        assert len(hub.system.links) == 1
        assert len(a.system.links) == 1
        assert a.link().state == "up"


async def test_nothing_is_dialled_before_something_is_said(
    autojump_clock: MockClock, network: Network
) -> None:
    async with site(network, "hub") as hub, site(network, "a") as a:
        a.system.ref("hub", PORT, "clerk")
        await trio.sleep(10)

        assert a.link().state == "idle"
        assert hub.system.links == []


async def test_the_ref_of_ones_own_address_is_a_near_one(autojump_clock: MockClock, network: Network) -> None:
    async with site(network, "hub") as hub:
        ref = hub.system.ref("hub", PORT, "clerk")

        assert ref.address is None
        assert await ref.ask(Read()) == []


async def test_so_many_addresses_are_remembered_and_those_in_use_are_among_them(
    autojump_clock: MockClock, network: Network
) -> None:
    """A peer may say ever new addresses, its own or others', and each takes memory."""
    async with site(network, "hub") as hub, site(network, "a", listens=False) as a:
        await a.system.ref("hub", PORT, "clerk").ask(Read())
        early = a.system.ref("elsewhere", 1, "clerk")
        for port in range(2, KNOWN_LINKS + 100):
            a.system.ref("elsewhere", port, "clerk")

        assert len(a.system.links) == KNOWN_LINKS
        assert a.link().state == "up"
        await a.system.ref("hub", PORT, "clerk").ask(Read())
        assert len(hub.system.links) == 1
        with pytest.raises(NotDelivered, match="elsewhere:1 cannot be reached"):
            await early.ask(Read())


async def test_a_peer_that_listens_is_answered_over_the_connection_that_it_made(
    autojump_clock: MockClock, network: Network
) -> None:
    """It listens where it comes from, so what goes to that address takes the same way."""
    async with trio.open_nursery() as nursery:
        with network.at("a"):
            ip = network.host("a").ip
        hub: Site = await nursery.start(_live, network, "hub", {}, True)
        with network.at("a"):
            a_nursery_done = trio.Event()

        async def live_on_ip(*, task_status: trio.TaskStatus[ActorSystem] = trio.TASK_STATUS_IGNORED) -> None:
            with network.at("a"):
                async with ActorSystem("a", vocabulary=WORDS) as system:
                    await system.actor_of(Clerk, "clerk")
                    await system.listen(ip, PORT)
                    task_status.started(system)
                    await a_nursery_done.wait()

        a: ActorSystem = await nursery.start(live_on_ip)
        await a.ref("hub", PORT, "clerk").ask(Read())

        assert await hub.system.ref(ip, PORT, "clerk").ask(Read()) == []

        assert [link.state for link in hub.system.links] == ["up"]
        assert [link.state for link in a.links] == ["up"]
        hub.leave.set()
        a_nursery_done.set()


# --- down, and up again ---------------------------------------------------------------------------


async def test_who_cannot_be_reached_is_not_delivered_to_and_says_why(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("hub")
    async with site(network, "a") as a:
        with a.system.dead_letters() as letters:
            await a.system.ref("hub", PORT, "clerk").tell(Note(1))
            with pytest.raises(NotDelivered, match="hub:7000 cannot be reached: connection refused"):
                await a.system.ref("hub", PORT, "clerk").ask(Read())
            letter = await letters.__anext__()

        assert letter.message == Note(1)
        assert "connection refused" in letter.reason
        assert a.link().state == "down"
        assert a.system.ledger().dead == 2


async def test_an_unknown_name_is_said_to_be_one(autojump_clock: MockClock, network: Network) -> None:
    async with site(network, "a") as a:
        with pytest.raises(NotDelivered, match="nowhere:7000 cannot be reached"):
            await a.system.ref("nowhere", PORT, "clerk").ask(Read())


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\u2028"])
async def test_an_address_that_no_machine_can_have_cannot_be_reached_and_ends_nobody(
    autojump_clock: MockClock, network: Network, host: str
) -> None:
    """Addresses come from peers as well: in a hello, in a ref, in gossip. trio has a ValueError for these."""
    async with site(network, "a") as a:
        with pytest.raises(NotDelivered, match="cannot be reached: no machine can have that address"):
            await a.system.ref(host, PORT, "clerk").ask(Read())

        assert await a.system.ref("a", PORT, "clerk").ask(Read()) == []


async def test_an_address_that_no_machine_can_have_cannot_be_listened_on(
    autojump_clock: MockClock, network: Network
) -> None:
    async with ActorSystem("a") as system:
        with pytest.raises(CannotListen, match=r"cannot listen on a\.\.b:7000: no machine can have that"):
            await system.listen("a..b", PORT)


async def test_pauses_between_attempts_double_and_are_drawn(
    autojump_clock: MockClock, network: Network
) -> None:
    """Who asks again at once is held up; the bound is 0.2 s at first and 5 s at last."""
    network.host("hub")
    pauses = []
    async with site(network, "a", rng=random.Random(7), limits=Limits()) as a:
        for _ in range(40):
            began = trio.current_time()
            with pytest.raises(NotDelivered):
                await a.system.ref("hub", PORT, "clerk").ask(Read())
            pauses.append(trio.current_time() - began)

    for number, pause in enumerate(pauses[1:]):
        assert pause <= min(5.0, 0.2 * 2**number) + 0.01
    late = pauses[10:]
    assert max(late) > 3
    assert min(late) < 2
    assert len({round(pause, 3) for pause in late}) > 20, "jitter"


async def test_a_peer_that_comes_late_is_reached_without_a_word_from_the_asker(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("hub")
    async with site(network, "a") as a, trio.open_nursery() as nursery:
        far = a.system.ref("hub", PORT, "clerk")
        with pytest.raises(NotDelivered):
            await far.ask(Read())
        hub: Site = await nursery.start(_live, network, "hub", {}, True)

        assert await far.ask(Read()) == []
        hub.leave.set()


async def test_a_cut_cable_is_noticed_and_mended(autojump_clock: MockClock, network: Network) -> None:
    async with site(network, "hub"), site(network, "a", listens=False) as a:
        far = a.system.ref("hub", PORT, "clerk")
        await far.ask(Read())
        cut = network.partition(["hub"], ["a"])
        began = trio.current_time()
        with pytest.raises(OutcomeUnknown, match="not one byte came from the peer for"):
            await far.ask(Read())
        assert trio.current_time() - began < 20

        cut.heal()
        with trio.fail_after(30):
            while True:
                try:
                    assert await far.ask(Read()) == []
                    break
                except NotDelivered:
                    continue
        assert a.link().state == "up"


async def test_a_link_to_a_restarted_peer_works_again_and_old_watches_have_ended(
    autojump_clock: MockClock, network: Network
) -> None:
    async with site(network, "a", listens=False) as a, trio.open_nursery() as nursery:
        hub: Site = await nursery.start(_live, network, "hub", {}, True)
        far = a.system.ref("hub", PORT, "clerk")
        await far.ask(Read())
        with pytest.raises(PeerDown, match="actor 'clerk' is down: link down: connection reset by peer"):
            async with far.watch():
                await trio.sleep(1)
                network.crash("hub")
                hub.scope.cancel()
                await trio.sleep_forever()
        network.switch_on("hub")
        again: Site = await nursery.start(_live, network, "hub", {}, True)

        assert await far.ask(Read()) == []
        assert again.system.incarnation != hub.system.incarnation
        again.leave.set()


async def test_a_system_that_was_started_again_ends_the_watches_of_its_former_life_when_it_calls(
    autojump_clock: MockClock, network: Network
) -> None:
    """Its machine lost its power without a word, so nobody has heard of its end."""
    with network.at("a"):
        ip = network.host("a").ip
    calls: list[float] = []
    downs: list[tuple[float, str]] = []

    async def live_and_call(system: ActorSystem, scope: trio.CancelScope) -> None:
        with network.at("a"), scope:
            async with system:
                await system.actor_of(Clerk, "clerk")
                await system.listen(ip, PORT)
                await system.ref("hub", PORT, "clerk").ask(Read())
                calls.append(trio.current_time())
                await trio.sleep_forever()

    async with site(network, "hub") as hub, trio.open_nursery() as nursery:
        first, second = trio.CancelScope(), trio.CancelScope()
        nursery.start_soon(live_and_call, ActorSystem("a", vocabulary=WORDS), first)
        await trio.sleep(1)
        hub.system.ref(ip, PORT, "clerk").on_down(lambda reason: downs.append((trio.current_time(), reason)))
        await trio.sleep(1)
        network.crash("a", silently=True)
        first.cancel()
        await trio.sleep(0.5)
        network.switch_on("a")
        nursery.start_soon(live_and_call, ActorSystem("a", vocabulary=WORDS), second)
        await trio.sleep(2)
        second.cancel()

    ((at, reason),) = downs
    assert at - calls[1] < 0.5
    assert reason == "link down: connection reset by peer"


# --- what is known of a question ------------------------------------------------------------------


async def test_a_question_that_was_sent_when_the_link_broke_has_an_unknown_outcome(
    autojump_clock: MockClock, network: Network
) -> None:
    """One that still waited for credit was not delivered, for certain."""
    outcomes: list[Any] = []
    async with site(network, "hub") as hub, site(network, "a", listens=False) as a:
        far = a.system.ref("hub", PORT, "clerk")
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(note_outcome, outcomes, far, Hold(number))
            await trio.sleep(1)
            assert (a.system.ledger().sent, a.system.ledger().queued) == (8, 4)
            network.reset("a", "hub")
        assert hub.system.ledger().accepted <= 8

    kinds = [type(outcome) for outcome in outcomes]
    assert kinds.count(OutcomeUnknown) == 8
    assert kinds.count(NotDelivered) == 4
    assert a.system.ledger().lost == 4


async def test_a_goodbye_says_what_was_read(autojump_clock: MockClock, network: Network) -> None:
    """What is on its way to a system that stops was not delivered, and its asker knows."""
    network.set_link("a", "hub", Cable(latency_seconds=0.5))
    outcomes: list[Any] = []
    async with site(network, "a", listens=False) as a, trio.open_nursery() as nursery:
        hub: Site = await nursery.start(_live, network, "hub", {}, True)
        far = a.system.ref("hub", PORT, "clerk")
        await far.ask(Read())
        async with trio.open_nursery() as asking:
            asking.start_soon(note_outcome, outcomes, far, Read())
            await trio.sleep(0.25)
            hub.leave.set()

    (outcome,) = outcomes
    assert type(outcome) is NotDelivered
    assert "was not read: the peer said goodbye" in str(outcome)
    assert hub.system.ledger().accepted == 1


async def test_a_goodbye_says_what_is_in_doubt(autojump_clock: MockClock, network: Network) -> None:
    async with site(network, "a", listens=False) as a, dial_back(network, a) as (stranger, far):
        outcomes: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note_outcome, outcomes, far, Hold(1))
            first = (await stranger.hear_until_message())[2]["ask"]
            nursery.start_soon(note_outcome, outcomes, far, Hold(2))
            await stranger.hear_until_message()
            await stranger.say(13, "I must go", [first])

    assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown, NotDelivered}


@asynccontextmanager
async def dial_back(network: Network, a: Site) -> AsyncIterator[tuple[Stranger, ActorRef]]:
    """Have the system dial a stranger."""
    async with trio.open_nursery() as nursery:

        async def listen(*, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
            with network.at("stranger"):
                (listener,) = await trio.open_tcp_listeners(PORT, host="stranger")
                task_status.started(listener)
                await trio.sleep_forever()

        listener = await nursery.start(listen)
        far = a.system.ref("stranger", PORT, "clerk")
        far.on_down(lambda reason: None)
        stranger = Stranger(await listener.accept())
        await stranger.shake_hands()
        await stranger.hear_until(9)
        yield stranger, far
        await trio.aclose_forcefully(stranger.stream)
        await listener.aclose()
        nursery.cancel_scope.cancel()


async def test_a_peer_that_answers_what_was_not_asked_is_hung_up_on(
    autojump_clock: MockClock, network: Network
) -> None:
    async with site(network, "a", listens=False) as a, dial_back(network, a) as (stranger, _):
        await stranger.say(1, 4711, None)
        assert await stranger.is_cut_off()
        assert "an answer came to a question that was not asked" in a.link("stranger").reason


async def test_an_answer_that_makes_no_sense_is_a_failure_of_the_handler(
    autojump_clock: MockClock, network: Network
) -> None:
    async with site(network, "a", listens=False) as a, dial_back(network, a) as (stranger, far):
        outcomes: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note_outcome, outcomes, far, Read())
            ask = (await stranger.hear_until_message())[2]["ask"]
            await stranger.say(1, ask, said("stranger.things"))

        assert "the handler has answered, but the answer is refused" in str(outcomes[0])
        assert a.link("stranger").state == "up"


async def test_cancelling_a_question_that_was_sent_tells_the_peer(
    autojump_clock: MockClock, network: Network
) -> None:
    async with site(network, "a", listens=False) as a, dial_back(network, a) as (stranger, far):
        with trio.move_on_after(1):
            await far.ask(Read())
        frame = await stranger.hear_until_message()
        assert 0.9 < frame[2]["ttl"] <= 1
        assert await stranger.hear_until(3) == [3, frame[2]["ask"]]
        await stranger.say(1, frame[2]["ask"], [])
        await trio.sleep(1)

        assert a.system.ledger().late_replies == 1


# --- room -----------------------------------------------------------------------------------------


async def test_when_credit_and_queue_are_spent_a_tell_waits_and_tell_nowait_raises(
    autojump_clock: MockClock, network: Network
) -> None:
    """In hand 1, in the mailbox 2, on the way 5 more, queued here 4."""
    async with site(network, "hub") as hub, site(network, "a", listens=False) as a:
        far = a.system.ref("hub", PORT, "clerk")
        await far.tell(Hold(0))
        told = 0
        async with trio.open_nursery() as nursery:

            async def go_on_telling() -> None:
                nonlocal told
                for number in range(1, 30):
                    await far.tell(Note(number))
                    told = number

            nursery.start_soon(go_on_telling)
            await trio.sleep(60)
            assert told < 20
            with pytest.raises(MailboxFull, match="no room"):
                far.tell_nowait(Note(99))
            hub.clerk.gate.set()

        assert await far.ask(Read()) == list(range(30))


async def test_a_message_longer_than_the_peer_takes_is_not_delivered(
    autojump_clock: MockClock, network: Network
) -> None:
    async with (
        site(network, "hub", limits=Limits(message_bytes=1000, unfinished_bytes=1000)),
        site(network, "a", listens=False) as a,
    ):
        far = a.system.ref("hub", PORT, "clerk")
        assert await far.ask(Read()) == []
        with pytest.raises(NotDelivered, match="takes 1,000; raise message_bytes there"):
            await far.ask(Fail("x" * 2000))


@pytest.mark.parametrize("actor_id", ["", "x" * 1001])
async def test_an_id_that_no_actor_can_have_is_refused_at_once(network: Network, actor_id: str) -> None:
    async with site(network, "a") as a:
        with pytest.raises(ValueError, match="use 1 to 1,000"):
            a.system.ref("hub", PORT, actor_id)


async def test_what_cannot_be_sent_is_the_senders_error_at_once(
    autojump_clock: MockClock, network: Network
) -> None:
    async with site(network, "a") as a:
        far = a.system.ref("hub", PORT, "clerk")
        with pytest.raises(CannotEncode, match="number: expected int, found str"):
            await far.tell(Note("one"))  # type: ignore[arg-type]
        with pytest.raises(UnknownMessage, match="not in the vocabulary"):
            await far.tell("hello")

        assert a.system.ledger().accepted == 0


async def test_a_drained_system_takes_no_more_from_afar(autojump_clock: MockClock, network: Network) -> None:
    async with site(network, "hub") as hub, site(network, "a", listens=False) as a:
        far = a.system.ref("hub", PORT, "clerk")
        await far.tell(Note(1))
        await far.ask(Read())
        report = await hub.system.drain()
        with pytest.raises(NotDelivered, match="is draining"):
            await far.ask(Read())

    assert report.handled == 2


# --- memory ---------------------------------------------------------------------------------------


async def test_when_incomplete_messages_fill_the_memory_the_slowest_is_cut_off(
    autojump_clock: MockClock, network: Network
) -> None:
    limits = Limits(message_bytes=100_000, unfinished_bytes=150_000, least_bytes_per_second=1)
    async with site(network, "hub", limits=limits) as hub:
        with network.at("strangers"):
            async with dial("hub", PORT) as slow, dial("hub", PORT) as quick:
                await slow.say(7, 90_000, 0)
                for _ in range(80):
                    await slow.say(8, bytes(1000))
                    await trio.sleep(0.1)
                await quick.say(7, 90_000, 0)
                for _ in range(80):
                    await quick.say(8, bytes(1000))
                assert await slow.is_cut_off()
                await quick.say(5, 99)
                assert await quick.hear_until(6) == [6, 99]

        assert hub.system.network_counts.cut_off == 1


def test_what_is_complete_leaves_the_books() -> None:
    cut_off: list[str] = []
    books = Unfinished(100)
    books.note(cut_off.append, 60, now=0.0)
    books.note(cut_off.append, 90, now=1.0)
    books.note(cut_off.append, 0, now=2.0)
    books.note(cut_off.append, 70, now=3.0)

    assert books.total_bytes == 70
    assert cut_off == []


# --- listening ------------------------------------------------------------------------------------


async def test_a_taken_port_names_its_holder(system: ActorSystem) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        with pytest.raises(
            CannotListen, match=rf"127.0.0.1:{port}: address already in use.*held by .*pid \d+"
        ):
            await system.listen("127.0.0.1", port)


async def test_a_foreign_address_cannot_be_listened_on(system: ActorSystem) -> None:
    with pytest.raises(CannotListen, match="cannot assign requested address"):
        await system.listen("192.0.2.1", 0)


async def test_a_system_listens_on_several_addresses(system: ActorSystem) -> None:
    await system.actor_of(Clerk, "clerk")
    first = await system.listen()
    second = await system.listen("localhost")
    async with ActorSystem("caller", vocabulary=WORDS) as caller:
        for address in (first, second):
            with pytest.raises(NotDelivered, match="no message is called"):
                await caller.ref(*address, "clerk").ask(Read())


def test_the_peer_that_leaves_the_most_answers_unread_is_cut_off_when_all_are_too_many() -> None:
    books = Unread(100)
    ended: list[str] = []

    def first(reason: str) -> None:
        ended.append(f"first: {reason}")

    def second(reason: str) -> None:
        ended.append(f"second: {reason}")

    books.note(first, 70)
    books.note(second, 30)
    assert (books.total_bytes, ended) == (100, [])

    books.note(second, 31)
    assert books.total_bytes == 31
    assert len(ended) == 1
    assert ended[0].startswith("first: answers that nobody reads take more than 100 bytes here")

    books.note(second, 0)
    assert books.total_bytes == 0
