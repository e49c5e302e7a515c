"""A failure is never only logged: it leaves the block, whole, and nothing of trio's gets lost on the way."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.trioactor.cast import Clerk, Fail, Hold, Note
from trioactor import Actor, ActorSystem, HandlerFailed, Rejected


async def test_a_failed_handler_leaves_the_block_as_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(Clerk, "clerk")
            await ref.tell(Fail("oops"))
            await trio.sleep_forever()

    (failure,) = caught.value.exceptions
    assert isinstance(failure, ZeroDivisionError)
    assert failure.__notes__ == ["in actor 'clerk'"]
    assert caught.value.__notes__ == ["in the actor system 'hub'"]
    assert system.ledger().failed == 1


async def test_a_failure_says_through_which_actors_it_came() -> None:
    class Parent(Clerk):
        async def pre_start(self) -> None:
            child = await self.context.actor_of(Clerk, "child")
            await child.tell(Fail("oops"))

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            await system.actor_of(Parent, "parent")
            await trio.sleep_forever()

    (failure,) = caught.value.exceptions
    assert failure.__notes__ == ["in actor 'parent/child'", "in actor 'parent'"]


async def test_an_exception_of_the_body_comes_out_bare() -> None:
    clerk = Clerk()
    error = KeyError("body")
    with pytest.raises(KeyError) as caught:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(lambda: clerk, "clerk")
            await ref.tell(Hold())
            await wait_all_tasks_blocked()
            raise error

    assert caught.value is error
    assert clerk.life == ["pre_start", "post_stop"]
    assert system.ledger().cancelled == 1


async def test_a_group_raised_by_the_body_is_not_wrapped() -> None:
    group = ExceptionGroup("mine", [KeyError(), IndexError()])
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub"):
            raise group

    assert caught.value is group


async def test_a_failure_of_the_body_and_one_of_an_actor_come_out_together() -> None:
    class Broken(Clerk):
        async def post_stop(self) -> None:
            raise OSError("disk full")

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            await system.actor_of(Broken, "broken")
            raise KeyError("body")

    assert caught.group_contains(KeyError, depth=1)
    assert caught.group_contains(OSError)


async def test_the_failures_of_several_actors_come_out_together() -> None:
    class Sore(Clerk):
        async def post_stop(self) -> None:
            raise OSError("disk full")

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            for name in "ab":
                await system.actor_of(Sore, name)
            ref = await system.actor_of(Clerk, "clerk")
            await ref.tell(Fail("oops"))
            await trio.sleep_forever()

    assert len(caught.value.exceptions) == 3
    assert caught.group_contains(ZeroDivisionError, depth=1)
    assert caught.group_contains(OSError, depth=2), "below the actor that was being cancelled"


async def test_a_failure_while_the_block_is_being_left_comes_out() -> None:
    class Broken(Clerk):
        async def post_stop(self) -> None:
            raise OSError("disk full")

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            await system.actor_of(Broken, "broken")

    assert [type(error) for error in caught.value.exceptions] == [OSError]


async def test_a_failure_ends_the_other_actors_with_their_post_stop() -> None:
    clerk = Clerk()
    with pytest.raises(ExceptionGroup):
        async with ActorSystem("hub") as system:
            busy = await system.actor_of(lambda: clerk, "busy")
            await busy.tell(Hold())
            ref = await system.actor_of(Clerk, "clerk")
            await wait_all_tasks_blocked()
            await ref.tell(Fail())
            await trio.sleep_forever()

    assert clerk.life == ["pre_start", "post_stop"]
    assert system.ledger().cancelled == 1


async def test_an_asker_outside_the_block_is_told_when_the_system_falls(nursery: trio.Nursery) -> None:
    outcomes: list[Any] = []

    async def ask(ref: Any) -> None:
        with pytest.raises(HandlerFailed) as caught:
            await ref.ask(Hold())
        outcomes.append(str(caught.value))

    with pytest.raises(ExceptionGroup):
        async with ActorSystem("hub") as system:
            busy = await system.actor_of(Clerk, "busy")
            nursery.start_soon(ask, busy)
            await wait_all_tasks_blocked()
            ref = await system.actor_of(Clerk, "clerk")
            await ref.tell(Fail())
            await trio.sleep_forever()
    await wait_all_tasks_blocked()

    assert outcomes == ["actor 'busy' was ended while it handled the message"]


async def test_the_failure_of_a_background_task_is_the_actors() -> None:
    class Busy(Clerk):
        async def pre_start(self) -> None:
            await super().pre_start()
            self.context.start_soon(self.background)

        async def background(self) -> None:
            await trio.lowlevel.checkpoint()
            raise ZeroDivisionError("background")

    clerk = Busy()
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(lambda: clerk, "busy")
            await ref.tell(Hold())
            await trio.sleep_forever()

    (failure,) = caught.value.exceptions
    assert isinstance(failure, ZeroDivisionError)
    assert failure.__notes__ == ["in actor 'busy'"]
    assert clerk.life == ["pre_start", "post_stop"]


async def test_a_handler_and_a_background_task_fail_together() -> None:
    class Busy(Clerk):
        async def pre_start(self) -> None:
            self.context.start_soon(self.background)

        async def background(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("on the way out")

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(Busy, "busy")
            await ref.tell(Fail())
            await trio.sleep_forever()

    (both,) = caught.value.exceptions
    assert isinstance(both, ExceptionGroup)
    assert [type(error) for error in both.exceptions] == [ZeroDivisionError, OSError]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
async def test_what_is_no_exception_goes_the_same_way(error: BaseException) -> None:
    class Interrupted(Clerk):
        async def receive(self, message: Any) -> None:
            raise error

    clerk = Interrupted()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(lambda: clerk, "clerk")
            with pytest.raises(HandlerFailed):
                await ref.ask(Hold())
            await trio.sleep_forever()

    assert caught.value.exceptions == (error,)
    assert clerk.life == ["pre_start", "post_stop"]


async def test_a_handlers_own_nursery_fails_as_one_group() -> None:
    """Also when `Rejected` is in it: a group of failures is no answer."""

    class Parallel(Actor):
        async def receive(self, message: Note) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.decline)
                nursery.start_soon(trio.sleep_forever)

        async def decline(self) -> None:
            raise Rejected("in a task")

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(Parallel, "parallel")
            await ref.tell(Note(1))
            await trio.sleep_forever()

    assert caught.group_contains(Rejected)
    assert system.ledger().failed == 1


async def test_a_failure_during_a_kill_comes_out() -> None:
    class Sore(Clerk):
        async def receive(self, message: Any) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("while cancelled")

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(Sore, "sore")
            await ref.tell(Note(1))
            await wait_all_tasks_blocked()
            await ref.kill()
            await trio.sleep_forever()

    assert caught.group_contains(OSError)


async def test_a_handler_whose_nursery_is_killed_keeps_its_other_failures() -> None:
    class Sore(Clerk):
        async def receive(self, message: Any) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sore)
                nursery.start_soon(trio.sleep_forever)

        async def sore(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("while cancelled")

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(Sore, "sore")
            await ref.tell(Note(1))
            await wait_all_tasks_blocked()
            await ref.kill()
            await trio.sleep_forever()

    assert caught.group_contains(OSError)
    assert not caught.group_contains(trio.Cancelled)


# --- cancellation and Ctrl-C --------------------------------------------------------------------


async def test_a_cancelled_block_is_cancelled_and_nothing_else() -> None:
    clerk = Clerk()
    with trio.CancelScope() as scope:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(lambda: clerk, "clerk")
            await ref.tell(Hold())
            await wait_all_tasks_blocked()
            scope.cancel()
            await trio.lowlevel.checkpoint()

    assert scope.cancelled_caught
    assert clerk.life == ["pre_start", "post_stop"]


async def test_a_block_that_is_cancelled_while_it_waits_for_its_actors_is_cancelled(
    nursery: trio.Nursery,
) -> None:
    clerk = Clerk()

    async def cancel_later() -> None:
        await wait_all_tasks_blocked()
        scope.cancel()

    after = False
    with trio.CancelScope() as scope:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(lambda: clerk, "clerk")
            await ref.tell(Hold())
            await wait_all_tasks_blocked()
            nursery.start_soon(cancel_later)
        after = True

    assert scope.cancelled_caught
    assert not after, "the cancellation was swallowed"
    assert clerk.life == ["pre_start", "post_stop"]


async def test_a_block_that_is_cancelled_as_its_last_actor_ends_is_cancelled() -> None:
    """Then the cancellation is all that is left to come out."""

    class Last(Clerk):
        async def post_stop(self) -> None:
            scope.cancel()

    after = False
    with trio.CancelScope() as scope:
        async with ActorSystem("hub") as system:
            await system.actor_of(Last, "last")
        after = True

    assert scope.cancelled_caught
    assert not after, "the cancellation was swallowed"


async def test_a_cancelled_body_with_a_failure_in_its_group_keeps_the_failure() -> None:
    with pytest.raises(ExceptionGroup) as caught, trio.CancelScope() as scope:
        async with ActorSystem("hub"), trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            raise KeyError("body")

    assert [type(error) for error in caught.value.exceptions] == [KeyError]


def test_ctrl_c_while_a_block_waits_for_its_actors_comes_out() -> None:
    """It is raised in the main task, which waits for an actor that does not end."""

    async def main() -> None:
        async with ActorSystem("hub") as system:
            ref = await system.actor_of(Clerk, "clerk")
            await ref.tell(Hold())
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(interrupt_later)
        raise AssertionError("Ctrl-C was swallowed")

    async def interrupt_later() -> None:
        trio.lowlevel.spawn_system_task(interrupt)

    async def interrupt() -> None:
        await wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
