"""The probe, and the accounts: each says what is wrong, and only that."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.trioactor.cast import Clerk, Note, Read
from trioactor import ActorSystem, NotDelivered, Terminated
from trioactor.testing import Auditor, Probe, assert_accounted, audited


async def test_a_probe_hands_out_what_it_was_told_in_order(system: ActorSystem) -> None:
    probe = await Probe.start(system)
    for number in range(4):
        await probe.ref.tell(Note(number))

    assert await probe.expect(Note) == Note(0)
    assert await probe.expect(Note(1)) == Note(1)
    assert await probe.expect(lambda message: message.number == 2) == Note(2)
    assert await probe.next() == Note(3)
    assert probe.received == [Note(number) for number in range(4)]


async def test_a_probe_waits_for_what_is_still_to_come(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    probe = await Probe.start(system, "ear")
    assert probe.ref.actor_id == "ear"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe.expect, Note(7))
        await trio.sleep(3)
        await probe.ref.tell(Note(7))


@pytest.mark.parametrize("wanted", [Read, Note(2), lambda message: False])
async def test_a_probe_says_what_came_instead(system: ActorSystem, wanted: object) -> None:
    probe = await Probe.start(system, "ear")
    await probe.ref.tell(Note(1))

    with pytest.raises(AssertionError, match=r"ear> expected .* and got Note\(number=1\)"):
        await probe.expect(wanted)


async def test_a_probe_hears_silence(system: ActorSystem, autojump_clock: MockClock) -> None:
    probe = await Probe.start(system)
    began = trio.current_time()
    await probe.expect_nothing(10)
    assert trio.current_time() - began == pytest.approx(10)

    await probe.ref.tell(Note(1))
    with pytest.raises(AssertionError, match=r"expected nothing and got Note\(number=1\)"):
        await probe.expect_nothing(10)


async def test_a_probe_answers_as_it_was_told_to(system: ActorSystem) -> None:
    probe = await Probe.start(system, answer=lambda message: [1, 2])

    assert await probe.ref.ask(Read()) == [1, 2]


async def test_a_probe_sees_the_end_of_what_it_watches(system: ActorSystem) -> None:
    probe = await Probe.start(system)
    clerk = await system.actor_of(Clerk, "clerk")
    probe.context.watch(clerk)
    await clerk.stop()

    assert (await probe.expect(Terminated)).actor_id == "clerk"


# --- accounts ---------------------------------------------------------------------------------------


@pytest.fixture
def auditor() -> None:
    """Instead of the audit of all tests, which would fail with these on purpose."""


async def test_accounts_that_balance_raise_nothing() -> None:
    with audited() as audit:
        async with ActorSystem() as system:
            audit.systems.append(system)
            clerk = await system.actor_of(Clerk)
            for number in range(10):
                await clerk.tell(Note(number))
            assert await clerk.ask(Read()) == list(range(10))
        with pytest.raises(NotDelivered):
            await clerk.ask(Read())

    assert_accounted(system, ended=True)


async def test_a_message_that_is_lost_in_the_books_is_found_at_the_step_that_lost_it() -> None:
    with pytest.raises(AssertionError, match=r"after a step of the task .*shop.* has accepted 1 messages"):
        async with ActorSystem("shop") as system:
            with audited(system):
                system.tally.accepted += 1
                await trio.lowlevel.checkpoint()
                system.tally.accepted -= 1
                await trio.lowlevel.checkpoint()


async def test_what_is_queued_when_all_has_ended_is_found() -> None:
    async with ActorSystem("shop") as system:
        clerk = await system.actor_of(Clerk)
        clerk.tell_nowait(Note(1))
        assert_accounted(system)
        with pytest.raises(AssertionError, match="has ended, its messages have not"):
            assert_accounted(system, ended=True)
        assert await clerk.ask(Read()) == [1]


async def test_an_auditor_keeps_the_first_finding() -> None:
    async with ActorSystem("shop") as system:
        audit = Auditor(system)
        system.tally.accepted += 1
        audit.after_task_step(trio.lowlevel.current_task())
        first = audit.finding
        system.tally.accepted += 1
        audit.after_task_step(trio.lowlevel.current_task())
        system.tally.accepted -= 2

    assert audit.finding == first
    with pytest.raises(AssertionError, match="accepted 1 messages"):
        audit.check()
