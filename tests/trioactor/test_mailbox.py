"""A mailbox takes messages in order, within bounds, and gives each its end. No actor is needed for that."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.trioactor.cast import Note
from trioactor import ChildFailed, HealthPing, MailboxFull, MailboxSettings, Terminated
from trioactor.envelope import Envelope
from trioactor.errors import DeliveryError, Expired
from trioactor.ledger import Tally
from trioactor.mailbox import SIGNAL_CAPACITY, Mailbox, WhenFull


class Asker:
    """Takes the outcome of a question down."""

    def __init__(self) -> None:
        self.outcome: Any = None

    def succeed(self, value: Any) -> None:
        self.outcome = value

    def fail(self, error: DeliveryError) -> None:
        self.outcome = error


class Desk:
    """A mailbox with its accounts and its graveyard: all that it needs of a system."""

    def __init__(self, capacity: int = 2, when_full: WhenFull = "wait") -> None:
        self.tally = Tally()
        self.buried: list[Any] = []
        self.box = Mailbox("desk", MailboxSettings(capacity, when_full), self)

    def bury(self, actor_id: str, envelope: Envelope) -> None:
        assert actor_id == "desk"
        self.tally.dead += 1
        self.buried.append(envelope.message)

    def full_id(self, actor_id: str) -> str:
        return f"here/{actor_id}"

    def put(self, *numbers: int) -> None:
        for number in numbers:
            assert self.box.offer(Envelope(Note(number))), f"{number} finds no room"

    async def send(self, envelope: Envelope) -> None:
        """What a ref does."""
        if not self.box.offer(envelope):
            await self.box.put(envelope)

    @property
    def waiting(self) -> list[int]:
        """The numbers in the user lane."""
        return [envelope.message.number for envelope in self.box.queue]

    def take(self) -> int:
        """What a cell does."""
        number: int = self.box.queue.popleft().message.number
        self.box.admit()
        self.tally.handled += 1
        return number

    @property
    def balanced(self) -> bool:
        return self.tally.read(queued=self.box.queued, in_hand=0).balanced


@pytest.fixture
def desk() -> Desk:
    """A mailbox for two messages whose senders wait."""
    return Desk()


# --- settings -----------------------------------------------------------------------------------


def test_a_mailbox_holds_at_least_one_message() -> None:
    with pytest.raises(ValueError, match="capacity=0; a mailbox holds at least 1 message"):
        MailboxSettings(capacity=0)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'block'; choose one of wait, drop_oldest, drop_newest, reject"):
        MailboxSettings(when_full="block")  # type: ignore[arg-type]  # what the test is about


def test_mailboxes_are_bounded_by_default() -> None:
    assert MailboxSettings() == MailboxSettings(capacity=1024, when_full="wait")


# --- the policy "wait" --------------------------------------------------------------------------


def test_messages_wait_in_the_order_in_which_they_came(desk: Desk) -> None:
    desk.put(1, 2)

    assert desk.waiting == [1, 2]
    assert desk.balanced


def test_an_offer_to_a_full_mailbox_changes_nothing(desk: Desk) -> None:
    desk.put(1, 2)

    assert not desk.box.offer(Envelope(Note(3)))

    assert desk.waiting == [1, 2]
    assert desk.tally.accepted == 2, "what was not sent is not accounted for"


async def test_a_put_with_room_does_not_wait(desk: Desk) -> None:
    with trio.testing.assert_no_checkpoints():
        await desk.send(Envelope(Note(1)))

    assert desk.waiting == [1]


async def test_waiting_senders_are_served_in_the_order_in_which_they_came(
    desk: Desk, nursery: trio.Nursery
) -> None:
    desk.put(1, 2)
    for number in (3, 4, 5):
        nursery.start_soon(desk.send, Envelope(Note(number)))
        await wait_all_tasks_blocked()

    taken = []
    while desk.box.queue:
        taken.append(desk.take())
        assert desk.balanced

    assert taken == [1, 2, 3, 4, 5]


async def test_nobody_overtakes_a_waiting_sender(desk: Desk, nursery: trio.Nursery) -> None:
    """The room that is made goes to the one who waits, not to the one who comes at the right moment."""
    desk.put(1, 2)
    nursery.start_soon(desk.send, Envelope(Note(3)))
    await wait_all_tasks_blocked()

    desk.take()

    assert not desk.box.offer(Envelope(Note(4)))
    assert desk.waiting == [2, 3]


async def test_a_message_of_a_waiting_sender_is_accepted_only_with_room(
    desk: Desk, nursery: trio.Nursery
) -> None:
    desk.put(1, 2)
    nursery.start_soon(desk.send, Envelope(Note(3)))
    await wait_all_tasks_blocked()

    assert desk.tally.accepted == desk.box.queued == 2


async def test_a_cancelled_sender_leaves_nothing_behind(desk: Desk, nursery: trio.Nursery) -> None:
    desk.put(1, 2)
    nursery.start_soon(desk.send, Envelope(Note(3)))
    await wait_all_tasks_blocked()
    with trio.move_on_after(0) as scope:
        await desk.send(Envelope(Note(4)))
    nursery.start_soon(desk.send, Envelope(Note(5)))
    await wait_all_tasks_blocked()

    assert scope.cancelled_caught
    assert [desk.take() for _ in range(4)] == [1, 2, 3, 5]
    assert desk.balanced


async def test_a_sender_that_got_its_room_is_not_cancelled_any_more(desk: Desk) -> None:
    """Either the message is in the mailbox and the call returns, or it is not and the call raises."""
    desk.put(1, 2)
    returned: list[int] = []

    async def send() -> None:
        with scope:
            await desk.send(Envelope(Note(3)))
            returned.append(3)

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        desk.take()
        scope.cancel()

    assert returned == [3]
    assert desk.waiting == [2, 3]


# --- the policies that do not wait --------------------------------------------------------------


async def test_drop_oldest_makes_room_and_tells_the_asker_of_the_old_one() -> None:
    desk = Desk(2, "drop_oldest")
    asker = Asker()
    desk.box.offer(Envelope(Note(1), reply_to=asker))

    desk.put(2, 3)
    await desk.send(Envelope(Note(4)))

    assert desk.waiting == [3, 4]
    assert desk.tally.dropped == 2
    assert isinstance(asker.outcome, MailboxFull)
    assert "newer messages push older ones out" in str(asker.outcome)
    assert desk.balanced


async def test_drop_newest_drops_what_comes_and_tells_its_asker() -> None:
    desk = Desk(2, "drop_newest")
    asker = Asker()

    desk.put(1, 2, 3)
    await desk.send(Envelope(Note(4), reply_to=asker))

    assert desk.waiting == [1, 2]
    assert desk.tally.dropped == 2
    assert isinstance(asker.outcome, MailboxFull)
    assert desk.balanced


async def test_reject_tells_the_sender() -> None:
    desk = Desk(2, "reject")
    desk.put(1, 2)

    with pytest.raises(MailboxFull):
        desk.put(3)
    with pytest.raises(MailboxFull):
        await desk.send(Envelope(Note(4)))

    assert desk.waiting == [1, 2]
    assert desk.tally.rejected == 2
    assert desk.balanced


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest", "reject"])
async def test_a_policy_that_does_not_wait_never_suspends(when_full: WhenFull) -> None:
    desk = Desk(1, when_full)
    desk.put(1)

    with trio.testing.assert_no_checkpoints():
        try:
            await desk.send(Envelope(Note(2)))
        except MailboxFull:
            assert when_full == "reject"


def test_drop_oldest_drops_one_message_for_one_also_above_the_bound() -> None:
    """What comes back from the stash may fill the mailbox beyond its capacity for a while."""
    desk = Desk(1000, "drop_oldest")
    desk.put(*range(1000))
    while desk.box.queue:
        desk.box.put_aside(desk.box.queue.popleft())
    desk.put(*range(1000, 2000))
    desk.box.unstash_all()

    desk.put(2000)

    assert desk.waiting == list(range(1, 2001))
    assert desk.tally.dropped == 1
    assert desk.balanced


# --- lanes --------------------------------------------------------------------------------------

SIGNALS: list[Callable[[], Any]] = [
    HealthPing,
    lambda: Terminated("a", "stopped"),
    lambda: ChildFailed("a", "why", 1, "restarted"),
]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_has_a_lane_of_its_own_and_takes_no_room(desk: Desk, signal: Callable[[], Any]) -> None:
    desk.put(1, 2)

    desk.box.offer(Envelope(signal()))

    assert desk.waiting == [1, 2]
    assert desk.box.urgent
    assert desk.box.take_signal().message == signal()
    assert not desk.box.urgent


def test_signals_keep_their_order(desk: Desk) -> None:
    for name in "abc":
        desk.box.offer(Envelope(Terminated(name, "stopped")))

    assert [desk.box.take_signal().message.actor_id for _ in range(3)] == ["a", "b", "c"]


def test_the_order_to_stop_comes_before_signals(desk: Desk) -> None:
    desk.box.offer(Envelope(HealthPing()))
    desk.box.request_stop()
    desk.box.take_signal()

    assert desk.box.urgent, "the order to stop still stands"
    desk.box.clear_stop()
    assert not desk.box.urgent


def test_a_flood_of_pings_is_refused(desk: Desk) -> None:
    """A hostile peer may send pings without end; memory has one."""
    asker = Asker()
    for _ in range(SIGNAL_CAPACITY):
        desk.box.offer(Envelope(HealthPing()))

    desk.box.offer(Envelope(HealthPing(), reply_to=asker))

    assert len(desk.box.signals) == SIGNAL_CAPACITY
    assert isinstance(asker.outcome, MailboxFull)
    assert desk.tally.rejected == 1
    assert desk.balanced


# --- waking the taker ---------------------------------------------------------------------------


def _put_note(desk: Desk) -> None:
    desk.put(1)


def _put_signal(desk: Desk) -> None:
    desk.box.offer(Envelope(HealthPing()))


def _order_stop(desk: Desk) -> None:
    desk.box.request_stop()


def _unstash(desk: Desk) -> None:
    desk.tally.accepted += 1
    desk.box.put_aside(Envelope(Note(1)))
    desk.box.unstash_all()


@pytest.mark.parametrize("event", [_put_note, _put_signal, _order_stop, _unstash])
async def test_a_sleeping_taker_is_woken(
    desk: Desk, nursery: trio.Nursery, event: Callable[[Desk], None]
) -> None:
    woken = trio.Event()

    async def taker() -> None:
        await desk.box.wait()
        woken.set()

    nursery.start_soon(taker)
    await wait_all_tasks_blocked()
    assert not woken.is_set()

    event(desk)
    await wait_all_tasks_blocked()

    assert woken.is_set()


@pytest.mark.parametrize("event", [_put_note, _put_signal, _order_stop, _unstash])
async def test_a_taker_does_not_sleep_when_there_is_something(
    desk: Desk, event: Callable[[Desk], None]
) -> None:
    event(desk)

    with trio.testing.assert_checkpoints():
        await desk.box.wait()


async def test_a_cancelled_taker_is_not_woken_later(desk: Desk) -> None:
    with trio.move_on_after(0):
        await desk.box.wait()

    desk.put(1)  # would reschedule a task that does not sleep here any more

    assert desk.waiting == [1]


# --- giving up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["queue", "stash", "signals"])
async def test_a_question_is_withdrawn_from_every_lane(desk: Desk, lane: str) -> None:
    message = HealthPing() if lane == "signals" else Note(1)
    question = Envelope(message, reply_to=Asker())
    desk.box.offer(question)
    if lane == "stash":
        desk.box.put_aside(desk.box.queue.popleft())

    desk.box.withdraw(question)

    assert desk.box.queued == 0
    assert desk.tally.cancelled == 1
    assert not desk.box.urgent, "nothing is left that could be urgent"
    assert desk.balanced


async def test_a_question_is_withdrawn_by_identity_not_by_value(desk: Desk) -> None:
    first, second = Envelope(Note(1), reply_to=Asker()), Envelope(Note(1), reply_to=Asker())
    desk.box.offer(first)
    desk.box.offer(second)

    desk.box.withdraw(second)

    assert list(desk.box.queue) == [first]


async def test_withdrawing_what_is_not_there_does_nothing(desk: Desk) -> None:
    desk.put(1)

    desk.box.withdraw(Envelope(Note(1)))

    assert desk.waiting == [1]
    assert desk.tally.cancelled == 0


async def test_the_room_of_a_withdrawn_question_goes_to_a_waiting_sender(
    desk: Desk, nursery: trio.Nursery
) -> None:
    question = Envelope(Note(1), reply_to=Asker())
    desk.box.offer(question)
    desk.put(2)
    nursery.start_soon(desk.send, Envelope(Note(3)))
    await wait_all_tasks_blocked()

    desk.box.withdraw(question)

    assert desk.waiting == [2, 3]
    assert desk.balanced


async def test_a_withdrawn_question_has_expired_when_its_time_was_over(
    desk: Desk, mock_clock: MockClock
) -> None:
    question = Envelope(Note(1), reply_to=Asker(), expires_at=trio.current_time() + 5)
    desk.box.offer(question)
    mock_clock.jump(5)

    desk.box.withdraw(question)

    assert (desk.tally.expired, desk.tally.cancelled) == (1, 0)


async def test_a_taken_question_whose_time_is_over_is_answered_so(desk: Desk, mock_clock: MockClock) -> None:
    asker = Asker()
    question = Envelope(Note(1), reply_to=asker, expires_at=trio.current_time() + 5)
    assert not desk.box.expire(question)
    assert not desk.box.expire(Envelope(Note(1), reply_to=asker)), "most have all the time in the world"

    mock_clock.jump(5)

    assert desk.box.expire(question)
    assert isinstance(asker.outcome, Expired)
    assert "it never ran" in str(asker.outcome)
    assert desk.tally.expired == 1


async def test_a_closed_mailbox_buries_all_that_waits_and_all_that_comes(nursery: trio.Nursery) -> None:
    desk = Desk(2)
    desk.put(1, 2)
    desk.box.put_aside(desk.box.queue.popleft())
    desk.put(3)
    desk.box.offer(Envelope(HealthPing()))
    nursery.start_soon(desk.send, Envelope(Note(4)))
    await wait_all_tasks_blocked()

    desk.box.close()
    await wait_all_tasks_blocked()
    desk.put(5)
    await desk.send(Envelope(Note(6)))

    assert desk.buried == [HealthPing(), Note(1), Note(2), Note(3), Note(4), Note(5), Note(6)]
    assert desk.box.queued == 0
    assert not nursery.child_tasks, "the sender that waited for room has returned"
    assert desk.balanced


async def test_a_mailbox_that_was_emptied_by_force_goes_on(desk: Desk) -> None:
    desk.put(1)
    desk.box.offer(Envelope(HealthPing()))

    desk.box.give_back()
    desk.put(2)

    assert desk.buried == [HealthPing(), Note(1)]
    assert not desk.box.urgent
    assert desk.waiting == [2]
    assert desk.balanced


def test_unstashed_messages_come_first_and_in_their_old_order(desk: Desk) -> None:
    desk.put(1, 2)
    while desk.box.queue:
        desk.box.put_aside(desk.box.queue.popleft())
    desk.put(3)

    desk.box.unstash_all()

    assert desk.waiting == [1, 2, 3]
    assert not desk.box.stash
