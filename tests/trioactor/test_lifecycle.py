"""From start to end: what an actor may rely on, and what those around it may."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.trioactor.cast import Clerk, Fail, Hold, Note, Read
from trioactor import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Backoff,
    ChildSpec,
    HandlerStuck,
    MailboxSettings,
    NameTaken,
    NotDelivered,
    Supervisor,
    message,
)


@message("tests.go")
class Go:
    """Do the one thing that the actor of the test does."""


class Acts(Actor):
    """Does on `Go` what it was made for. The function gets the actor."""

    def __init__(self, act: Callable[[Acts], Any] | None = None) -> None:
        self.act = act

    async def receive(self, message: Go) -> Any:
        assert self.act is not None
        return await self.act(self)


class Story(Actor):
    """Writes its life into a list, and starts children that do the same."""

    def __init__(self, lines: list[str], name: str, children: tuple[str, ...] = ()) -> None:
        self.lines = lines
        self.name = name
        self.names = children

    async def pre_start(self) -> None:
        for name in self.names:
            await self.context.actor_of(partial(Story, self.lines, name), name)
        self.lines.append(f"+{self.name}")

    async def receive(self, message: Fail | Note) -> None:
        match message:
            case Fail(text=text):
                raise ZeroDivisionError(text)
            case Note(number=number):
                self.lines.append(f"{self.name} {number}")

    async def post_stop(self) -> None:
        await trio.lowlevel.checkpoint()  # it may wait, also when everything around is cancelled
        self.lines.append(f"-{self.name}")


# --- start --------------------------------------------------------------------------------------


async def test_actor_of_returns_when_pre_start_has_run(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    class Slow(Clerk):
        async def pre_start(self) -> None:
            await trio.sleep(5)
            await super().pre_start()

    clerk = Slow()
    before = trio.current_time()

    await system.actor_of(lambda: clerk, "slow")

    assert clerk.life == ["pre_start"]
    assert trio.current_time() - before == 5


async def test_messages_told_during_pre_start_are_handled_after_it(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    begin = trio.Event()

    class Slow(Clerk):
        async def pre_start(self) -> None:
            await begin.wait()
            self.diary.append(0)

    clerk = Slow()
    nursery.start_soon(system.actor_of, lambda: clerk, "slow")
    await wait_all_tasks_blocked()
    ref = system.find("slow")
    assert ref is not None

    await ref.tell(Note(1))
    begin.set()

    assert await ref.ask(Read()) == [0, 1]


async def test_an_actor_is_not_told_its_context_before_pre_start() -> None:
    with pytest.raises(AttributeError, match="context"):
        Clerk().context  # noqa: B018  # reading it is the test


@pytest.mark.parametrize("failure", [ValueError("bad key"), KeyboardInterrupt(), SystemExit(3)])
async def test_a_failing_pre_start_raises_bare_at_the_caller(
    system: ActorSystem, failure: BaseException
) -> None:
    class Broken(Clerk):
        async def pre_start(self) -> None:
            raise failure

    with pytest.raises(type(failure)) as caught:
        await system.actor_of(Broken, "broken")

    assert caught.value is failure
    assert caught.value.__notes__ == ["in actor 'broken'"]


async def test_a_failing_factory_raises_bare_at_the_caller(system: ActorSystem) -> None:
    def factory() -> Actor:
        raise FileNotFoundError("no such model")

    with pytest.raises(FileNotFoundError, match="no such model"):
        await system.actor_of(factory, "broken")

    assert system.find("broken") is None


async def test_two_failures_in_pre_start_come_out_together(system: ActorSystem) -> None:
    class Broken(Clerk):
        async def pre_start(self) -> None:
            async def background() -> None:
                raise KeyError("background")

            self.context.start_soon(background)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("foreground")

    with pytest.raises(ExceptionGroup) as caught:
        await system.actor_of(Broken, "broken")

    assert {type(error) for error in caught.value.exceptions} == {KeyError, ValueError}


async def test_post_stop_does_not_run_after_a_failed_pre_start(system: ActorSystem) -> None:
    class Broken(Clerk):
        async def pre_start(self) -> None:
            raise ValueError("no")

    clerk = Broken()
    with pytest.raises(ValueError, match="no"):
        await system.actor_of(lambda: clerk, "broken")

    assert clerk.life == []


async def test_the_children_of_a_failed_pre_start_end(system: ActorSystem) -> None:
    lines: list[str] = []

    class Broken(Story):
        async def pre_start(self) -> None:
            await super().pre_start()
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        await system.actor_of(lambda: Broken(lines, "parent", ("one", "two")), "parent")

    assert lines == ["+one", "+two", "+parent", "-two", "-one"]
    assert system.tree().actors == ()


async def test_the_name_of_a_failed_start_is_free_at_once(system: ActorSystem) -> None:
    class Broken(Clerk):
        async def pre_start(self) -> None:
            await trio.lowlevel.checkpoint()
            raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await system.actor_of(Broken, "x")

    await system.actor_of(Clerk, "x")


async def test_a_cancelled_actor_of_leaves_no_actor(system: ActorSystem) -> None:
    class Slow(Clerk):
        async def pre_start(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.life.append("pre_start cancelled")

    clerk = Slow()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.actor_of, lambda: clerk, "slow")
            await wait_all_tasks_blocked()
            scope.cancel()
    await wait_all_tasks_blocked()

    assert scope.cancelled_caught
    assert clerk.life == ["pre_start cancelled"]
    assert system.find("slow") is None


async def test_what_fails_in_a_cancelled_start_is_not_lost_with_its_starter() -> None:
    class Broken(Clerk):
        async def pre_start(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("cannot give the lock back")

    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("test") as system:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(system.actor_of, Broken, "broken")
                    await wait_all_tasks_blocked()
                    scope.cancel()
            await trio.sleep_forever()

    assert caught.group_contains(OSError, match="cannot give the lock back")


async def test_an_actor_of_that_is_cancelled_already_starts_nothing(system: ActorSystem) -> None:
    made: list[Clerk] = []

    def factory() -> Clerk:
        made.append(Clerk())
        return made[-1]

    with trio.move_on_after(0) as scope:
        await system.actor_of(factory, "x")
    await wait_all_tasks_blocked()

    assert scope.cancelled_caught
    assert made == []
    assert system.find("x") is None


async def test_an_actor_stopped_during_its_start_stops_when_it_has_started(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    begin = trio.Event()

    class Slow(Clerk):
        async def pre_start(self) -> None:
            await begin.wait()
            await super().pre_start()

    clerk = Slow()
    nursery.start_soon(system.actor_of, lambda: clerk, "slow")
    await wait_all_tasks_blocked()
    ref = system.find("slow")
    assert ref is not None
    nursery.start_soon(ref.stop)
    await wait_all_tasks_blocked()
    begin.set()
    await wait_all_tasks_blocked()

    assert clerk.life == ["pre_start", "post_stop"]
    assert system.find("slow") is None


async def test_an_actor_killed_during_its_start_says_so_to_its_starter(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    class Slow(Clerk):
        async def pre_start(self) -> None:
            await trio.sleep_forever()

    async def kill() -> None:
        await wait_all_tasks_blocked()
        ref = system.find("slow")
        assert ref is not None
        await ref.kill()

    nursery.start_soon(kill)
    with pytest.raises(ActorStopped, match="actor 'slow' was ended before it had started"):
        await system.actor_of(Slow, "slow")


async def test_an_actor_killed_before_its_task_runs_handles_nothing(system: ActorSystem) -> None:
    actor = Acts()
    ref = await system.actor_of(lambda: actor, "x")  # without a pre_start there is nothing to wait for
    ref.tell_nowait(Go())

    await ref.kill()

    assert system.find("x") is None
    assert system.ledger().dead == 1


# --- names --------------------------------------------------------------------------------------


async def test_a_name_in_use_is_refused_with_what_to_do(system: ActorSystem) -> None:
    await system.actor_of(Clerk, "clerk")

    with pytest.raises(NameTaken, match="an actor named 'clerk' is alive in system 'test'; stop it first"):
        await system.actor_of(Clerk, "clerk")


async def test_a_name_is_free_again_when_its_actor_has_ended(system: ActorSystem) -> None:
    first = await system.actor_of(Clerk, "clerk")
    await first.stop()

    second = await system.actor_of(Clerk, "clerk")

    assert system.find("clerk") == second
    assert first != second, "it is another actor"


@pytest.mark.parametrize("name", ["", "a/b", "/", "x" * 201])
async def test_a_name_that_cannot_be_one_is_refused(system: ActorSystem, name: str) -> None:
    with pytest.raises(ValueError, match="use 1 to 200 characters, without '/'"):
        await system.actor_of(Clerk, name)


async def test_an_actor_without_a_name_is_named_after_its_factory(system: ActorSystem) -> None:
    refs = [
        await system.actor_of(Clerk),
        await system.actor_of(Clerk),
        await system.actor_of(lambda: Clerk()),
        await system.actor_of(partial(Story, [], "x")),
    ]

    assert [ref.actor_id for ref in refs] == ["clerk-1", "clerk-2", "lambda-3", "partial-4"]


async def test_a_fresh_name_is_never_taken(system: ActorSystem) -> None:
    await system.actor_of(Clerk, "clerk-1")
    await system.actor_of(Clerk, "clerk-2")

    ref = await system.actor_of(Clerk)

    assert ref.actor_id == "clerk-3"


async def test_names_count_under_one_parent(system: ActorSystem) -> None:
    lines: list[str] = []
    for parent in "ab":
        await system.actor_of(partial(Story, lines, parent, ("child",)), parent)

    assert system.find("a/child") is not None
    assert system.find("b/child") is not None
    assert system.find("child") is None


# --- the tree -----------------------------------------------------------------------------------


async def test_an_actor_knows_its_ref_its_parent_and_its_children(system: ActorSystem) -> None:
    lines: list[str] = []
    parent = Story(lines, "parent", ("one", "two"))
    ref = await system.actor_of(lambda: parent, "parent")

    assert parent.context.ref == ref
    assert parent.context.parent is None
    assert list(parent.context.children) == ["one", "two"]
    child = parent.context.children["one"]
    assert child.actor_id == "parent/one"
    await child.stop()
    assert list(parent.context.children) == ["two"]


async def test_a_child_knows_its_parent(system: ActorSystem) -> None:
    seen: list[ActorRef | None] = []

    class Child(Clerk):
        async def pre_start(self) -> None:
            seen.append(self.context.parent)

    async def have_child(actor: Acts) -> None:
        await actor.context.actor_of(Child, "child")

    ref = await system.actor_of(lambda: Acts(have_child), "parent")
    await ref.ask(Go())  # type: ignore[arg-type]  # a plain message may be asked too; it has no type then

    assert seen == [ref]


async def test_children_end_before_their_parent_the_youngest_first() -> None:
    lines: list[str] = []
    async with ActorSystem("test") as system:
        await system.actor_of(lambda: Story(lines, "parent", ("one", "two", "three")), "parent")

    assert lines == ["+one", "+two", "+three", "+parent", "-three", "-two", "-one", "-parent"]


async def test_actors_of_a_system_end_the_youngest_first() -> None:
    lines: list[str] = []
    async with ActorSystem("test") as system:
        for name in "abc":
            await system.actor_of(partial(Story, lines, name, (f"{name}1",)), name)

    assert lines[6:] == ["-c1", "-c", "-b1", "-b", "-a1", "-a"]


async def test_a_failing_parent_takes_its_children_with_it_the_youngest_first() -> None:
    lines: list[str] = []
    with pytest.raises(ExceptionGroup):
        async with ActorSystem("test") as system:
            ref = await system.actor_of(lambda: Story(lines, "parent", ("one", "two")), "parent")
            await ref.tell(Fail())
            await trio.sleep_forever()

    assert lines[3:] == ["-two", "-one", "-parent"]


# --- stop ---------------------------------------------------------------------------------------


async def test_stop_lets_the_handler_in_hand_finish_and_handles_nothing_else(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.tell(Hold(1))
    await ref.tell(Note(2))
    await wait_all_tasks_blocked()

    nursery.start_soon(ref.stop)
    await wait_all_tasks_blocked()
    assert system.find("clerk") == ref, "it has a message in hand"
    clerk.gate.set()
    await wait_all_tasks_blocked()

    assert clerk.diary == [1]
    assert clerk.life == ["pre_start", "post_stop"]
    assert system.find("clerk") is None
    assert system.ledger().dead == 1


async def test_an_idle_actor_stops_at_once(system: ActorSystem) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await wait_all_tasks_blocked()

    await ref.stop()

    assert clerk.life == ["pre_start", "post_stop"]


async def test_a_busy_actor_stops_before_its_next_message(system: ActorSystem) -> None:
    """However much is queued: the order to stop has a lane of its own."""
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    for number in range(1000):
        ref.tell_nowait(Note(number))

    await ref.stop()

    assert clerk.diary == []
    assert system.ledger().dead == 1000


async def test_stopping_twice_and_stopping_what_has_ended_is_fine(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.stop)
        nursery.start_soon(ref.stop)
        nursery.start_soon(ref.kill)

    await ref.stop()
    await ref.kill()

    assert system.find("clerk") is None


async def test_a_cancelled_stop_has_given_the_order_all_the_same(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.tell(Hold())
    await wait_all_tasks_blocked()
    with trio.CancelScope() as scope:
        nursery.start_soon(_cancel_when_all_wait, scope)
        await ref.stop()

    clerk.gate.set()
    await wait_all_tasks_blocked()

    assert scope.cancelled_caught
    assert system.find("clerk") is None


async def _cancel_when_all_wait(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_an_actor_stops_itself_after_the_message_in_hand(system: ActorSystem) -> None:
    done: list[str] = []

    async def stop(actor: Acts) -> None:
        actor.context.stop()
        await trio.lowlevel.checkpoint()
        done.append("finished")

    ref = await system.actor_of(lambda: Acts(stop), "x")
    await ref.tell(Go())
    await ref.tell(Go())
    await wait_all_tasks_blocked()

    assert done == ["finished"]
    assert system.find("x") is None


@pytest.mark.parametrize("from_background", [False, True])
async def test_an_actor_that_stops_its_own_ref_does_not_wait_for_itself(
    system: ActorSystem, from_background: bool
) -> None:
    async def stop(actor: Acts) -> None:
        if from_background:
            actor.context.start_soon(actor.context.ref.stop)
        else:
            await actor.context.ref.stop()

    ref = await system.actor_of(lambda: Acts(stop), "x")
    await ref.tell(Go())
    await wait_all_tasks_blocked()

    assert system.find("x") is None


async def test_a_child_that_stops_its_parent_does_not_wait_for_it(system: ActorSystem) -> None:
    async def stop_parent(actor: Acts) -> None:
        assert actor.context.parent is not None
        await actor.context.parent.stop()

    async def have_child(actor: Acts) -> ActorRef:
        return await actor.context.actor_of(lambda: Acts(stop_parent), "child")

    parent = await system.actor_of(lambda: Acts(have_child), "parent")
    child: ActorRef = await parent.ask(Go())  # type: ignore[arg-type]  # see above
    await child.tell(Go())
    await wait_all_tasks_blocked()

    assert system.find("parent") is None
    assert system.find("parent/child") is None


async def test_a_child_that_asks_its_stopping_parent_does_not_hold_it_up(autojump_clock: MockClock) -> None:
    """The parent waits for its child, so the child must not wait for the parent."""
    answers: list[Any] = []

    async def ask_parent(actor: Acts) -> None:
        await trio.sleep(1)
        assert actor.context.parent is not None
        try:
            answers.append(await actor.context.parent.ask(Read()))
        except NotDelivered as error:
            answers.append(error)

    class Parent(Clerk):
        async def pre_start(self) -> None:
            child = await self.context.actor_of(lambda: Acts(ask_parent), "child")
            await child.tell(Go())

    with trio.fail_after(10):
        async with ActorSystem("test") as system:
            await system.actor_of(Parent, "parent")
            await wait_all_tasks_blocked()

    assert [type(answer) for answer in answers] == [NotDelivered]


async def test_a_child_that_waits_for_room_in_its_stopping_parent_does_not_hold_it_up(
    autojump_clock: MockClock,
) -> None:
    async def report(actor: Acts) -> None:
        assert actor.context.parent is not None
        for number in range(5):
            await actor.context.parent.tell(Note(number))

    class Parent(Clerk):
        async def pre_start(self) -> None:
            child = await self.context.actor_of(lambda: Acts(report), "child")
            await self.context.ref.tell(Hold())
            await child.tell(Go())

    parent = Parent()
    with trio.fail_after(10):
        async with ActorSystem("test") as system, trio.open_nursery() as nursery:
            ref = await system.actor_of(lambda: parent, "parent", mailbox=MailboxSettings(capacity=1))
            await wait_all_tasks_blocked()
            nursery.start_soon(ref.stop)
            await wait_all_tasks_blocked()
            parent.gate.set()

    assert system.ledger().handled == 2, "Hold and Go"
    assert system.ledger().dead == 5


# --- kill ---------------------------------------------------------------------------------------


async def test_kill_cancels_the_handler_in_hand(system: ActorSystem) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.tell(Hold(1))
    await ref.tell(Note(2))
    await wait_all_tasks_blocked()

    await ref.kill()

    assert clerk.diary == []
    assert clerk.life == ["pre_start", "post_stop"]
    assert (system.ledger().cancelled, system.ledger().dead) == (1, 1)


async def test_a_killed_actor_handles_nothing_more(system: ActorSystem) -> None:
    """Also when its task is about to run: kill is no slower than stop."""
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await wait_all_tasks_blocked()
    ref.tell_nowait(Note(1))  # wakes it

    await ref.kill()

    assert clerk.diary == []
    assert system.ledger().dead == 1


async def test_a_handler_that_survives_its_cancellation_gets_no_other_message(system: ActorSystem) -> None:
    class Stubborn(Clerk):
        async def receive(self, message: Any) -> Any:
            try:
                return await super().receive(message)
            except trio.Cancelled:
                self.diary.append(-1)  # and goes on, which it should not
            return None

    clerk = Stubborn()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.tell(Hold(1))
    await ref.tell(Note(2))
    await wait_all_tasks_blocked()

    await ref.kill()

    assert clerk.diary == [-1]
    assert clerk.life == ["pre_start", "post_stop"]
    assert (system.ledger().handled, system.ledger().dead) == (1, 1)


async def test_kill_ends_the_children_too(system: ActorSystem) -> None:
    lines: list[str] = []
    ref = await system.actor_of(lambda: Story(lines, "parent", ("one", "two")), "parent")

    await ref.kill()

    assert sorted(lines[3:5]) == ["-one", "-two"]
    assert lines[5] == "-parent"


async def test_kill_cuts_a_graceful_stop_short(system: ActorSystem, nursery: trio.Nursery) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.tell(Hold())
    nursery.start_soon(ref.stop)
    await wait_all_tasks_blocked()

    await ref.kill()

    assert clerk.life == ["pre_start", "post_stop"]


async def test_an_actor_may_kill_itself(system: ActorSystem) -> None:
    async def kill(actor: Acts) -> None:
        await actor.context.ref.kill()
        raise AssertionError("it was cancelled here")

    ref = await system.actor_of(lambda: Acts(kill), "x")
    await ref.tell(Go())
    await wait_all_tasks_blocked()

    assert system.find("x") is None
    assert system.ledger().cancelled == 1


async def test_killing_an_actor_that_rests_between_two_lives_changes_nothing(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    """There is nothing to cancel, so the call returns at once, and the rest is not cut short."""
    spec = ChildSpec(Clerk, "clerk")
    backoff = Backoff(first_seconds=10, most_seconds=10, jitter=0)
    await system.actor_of(lambda: Supervisor([spec], backoff=backoff), "supervisor")
    ref = system.find("supervisor/clerk")
    assert ref is not None
    await ref.kill()
    before = trio.current_time()

    await ref.tell(Note(1))
    await ref.kill()
    await wait_all_tasks_blocked()
    await ref.kill()
    assert trio.current_time() == before

    assert await ref.ask(Read()) == [1]
    assert trio.current_time() - before == 10


async def test_stop_of_a_supervised_actor_returns_when_there_is_no_life_to_come(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    """Also when its own life is over already, and the group that it belongs to rests."""
    specs = [ChildSpec(Clerk, name) for name in ("one", "two")]
    backoff = Backoff(first_seconds=10, most_seconds=10, jitter=0)
    await system.actor_of(lambda: Supervisor(specs, strategy="one_for_all", backoff=backoff), "supervisor")
    one, two = system.find("supervisor/one"), system.find("supervisor/two")
    assert one is not None
    assert two is not None
    await two.tell(Hold())
    await wait_all_tasks_blocked()
    await one.kill()

    await two.stop()

    assert system.find("supervisor/two") is None


# --- post_stop ----------------------------------------------------------------------------------


async def test_post_stop_is_shielded_from_cancellation(autojump_clock: MockClock) -> None:
    class Tidy(Clerk):
        async def post_stop(self) -> None:
            await trio.sleep(2)
            await super().post_stop()

    clerk = Tidy()
    with trio.CancelScope() as scope:
        async with ActorSystem("test") as system:
            await system.actor_of(lambda: clerk, "clerk")
            scope.cancel()

    assert scope.cancelled_caught
    assert clerk.life == ["pre_start", "post_stop"]


async def test_post_stop_has_a_deadline_and_its_breach_is_reported_by_name(autojump_clock: MockClock) -> None:
    class Slow(Clerk):
        async def post_stop(self) -> None:
            await trio.sleep(60)

    before = trio.current_time()
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("test", post_stop_seconds=3) as system:
            await system.actor_of(Slow, "slow")

    assert trio.current_time() - before == 3
    (failure,) = caught.value.exceptions
    assert isinstance(failure, HandlerStuck)
    assert str(failure) == "post_stop of actor 'slow' was cancelled: it took longer than 3 s"


async def test_post_stop_runs_after_a_failure_and_its_own_failure_is_kept() -> None:
    class Broken(Clerk):
        async def post_stop(self) -> None:
            await super().post_stop()
            raise OSError("disk full")

    clerk = Broken()
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("test") as system:
            ref = await system.actor_of(lambda: clerk, "clerk")
            await ref.tell(Fail())
            await trio.sleep_forever()

    assert clerk.life == ["pre_start", "post_stop"]
    (both,) = caught.value.exceptions
    assert isinstance(both, ExceptionGroup)
    assert "several things failed in actor 'clerk'" in str(both)
    assert [type(error) for error in both.exceptions] == [ZeroDivisionError, OSError]


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), BaseExceptionGroup("two", [OSError("one"), KeyboardInterrupt()])]
)
async def test_whatever_post_stop_raises_the_failure_before_it_is_kept(failure: BaseException) -> None:
    class Broken(Clerk):
        async def post_stop(self) -> None:
            raise failure

    with pytest.raises(BaseExceptionGroup) as caught:
        async with ActorSystem("test") as system:
            ref = await system.actor_of(Broken, "clerk")
            await ref.tell(Fail())
            await trio.sleep_forever()

    assert caught.group_contains(ZeroDivisionError)
    assert caught.group_contains(KeyboardInterrupt)


async def test_a_failure_in_a_post_stop_that_ran_out_of_time_is_kept(autojump_clock: MockClock) -> None:
    class Broken(Clerk):
        async def post_stop(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    await trio.sleep_forever()
                finally:
                    raise OSError("disk full")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with ActorSystem("test") as system:
            ref = await system.actor_of(Broken, "clerk")
            await ref.tell(Fail())
            await trio.sleep_forever()

    for kind in (ZeroDivisionError, OSError, HandlerStuck):
        assert caught.group_contains(kind), kind


async def test_a_context_is_of_no_use_after_the_end(system: ActorSystem) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.stop()

    context = clerk.context
    assert context.ref == ref, "who it was is still known"
    for use in (
        context.stop,
        context.unstash_all,
        context.stash,
        context.unbecome,
        context.reply_later,
        lambda: context.become(clerk.receive),
        lambda: context.start_soon(trio.sleep, 1),
        lambda: context.watch(ref),
        lambda: context.unwatch(ref),
        lambda: context.timers,
    ):
        with pytest.raises(ActorStopped, match="this instance of actor 'clerk' has ended"):
            use()
    with pytest.raises(ActorStopped):
        await context.actor_of(Clerk)


# --- background tasks ---------------------------------------------------------------------------


async def test_background_tasks_are_cancelled_when_the_actor_ends(system: ActorSystem) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("background")

    async def begin(actor: Acts) -> None:
        actor.context.start_soon(background)

    class Tidy(Acts):
        async def post_stop(self) -> None:
            ended.append("post_stop")

    ref = await system.actor_of(lambda: Tidy(begin), "x")
    await ref.tell(Go())
    await wait_all_tasks_blocked()
    await ref.stop()

    assert ended == ["background", "post_stop"]


async def test_tasks_have_sensible_names(system: ActorSystem) -> None:
    names: list[str] = []

    async def background() -> None:
        names.append(trio.lowlevel.current_task().name)

    async def begin(actor: Acts) -> None:
        names.append(trio.lowlevel.current_task().name)
        actor.context.start_soon(background)
        actor.context.start_soon(background, name="poll")
        actor.context.timers.once(9, Go())
        actor.context.start_soon(partial(background))

    ref = await system.actor_of(lambda: Acts(begin), "worker-A")
    await ref.tell(Go())
    await wait_all_tasks_blocked()

    assert names[0] == "worker-A"
    assert sorted(names[1:]) == [
        "worker-A: partial",
        "worker-A: poll",
        "worker-A: test_tasks_have_sensible_names.<locals>.background",
    ]


# --- the block ----------------------------------------------------------------------------------


async def test_leaving_the_block_waits_for_every_actor(autojump_clock: MockClock) -> None:
    class Slow(Clerk):
        async def receive(self, message: Any) -> None:
            await trio.sleep(7)
            self.diary.append(1)

    clerk = Slow()
    before = trio.current_time()
    async with ActorSystem("test") as system:
        ref = await system.actor_of(lambda: clerk, "slow")
        await ref.tell(Note(1))
        await wait_all_tasks_blocked()

    assert clerk.diary == [1]
    assert trio.current_time() - before == 7


async def test_a_system_is_entered_once() -> None:
    system = ActorSystem("test")
    async with system:
        pass

    with pytest.raises(RuntimeError, match="system 'test' was entered before; make another ActorSystem"):
        async with system:
            pass


@pytest.mark.parametrize("ended", [False, True])
async def test_an_actor_needs_an_open_system(ended: bool) -> None:
    system = ActorSystem("test")
    if ended:
        async with system:
            pass

    with pytest.raises(RuntimeError, match="system 'test' is not open; use `async with ActorSystem"):
        await system.actor_of(Clerk)


async def test_many_systems_live_beside_and_inside_each_other() -> None:
    async with ActorSystem("outer") as outer, ActorSystem("inner") as inner:
        clerks = [await system.actor_of(Clerk, "clerk") for system in (outer, inner)]
        await clerks[0].tell(Note(1))
        await clerks[1].tell(Note(2))

        assert await clerks[0].ask(Read()) == [1]
        assert await clerks[1].ask(Read()) == [2]
        assert outer.ledger().accepted == inner.ledger().accepted == 2


async def test_a_system_lives_in_any_nursery() -> None:
    ready = trio.Event()
    refs: list[ActorRef] = []

    async def host() -> None:
        async with ActorSystem("guest") as system:
            refs.append(await system.actor_of(Clerk, "clerk"))
            ready.set()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(host)
        await ready.wait()
        await refs[0].tell(Note(1))
        assert await refs[0].ask(Read()) == [1]
        nursery.cancel_scope.cancel()


async def test_a_ref_outlives_its_system() -> None:
    async with ActorSystem("test") as system:
        ref = await system.actor_of(Clerk, "clerk")

    await ref.tell(Note(1))
    ref.tell_nowait(Note(2))
    with pytest.raises(NotDelivered, match="actor 'clerk' did not get the message: it has ended"):
        await ref.ask(Read())
    await ref.stop()

    assert system.ledger().dead == 3


async def test_what_an_actor_and_its_system_are_called() -> None:
    async with ActorSystem("hub") as system:
        ref = await system.actor_of(Clerk, "clerk")

        assert repr(system) == "<ActorSystem 'hub': 1 actors>"
        assert repr(ref) == "<ActorRef clerk>"
        assert ref.address is None
        assert ref != "clerk"
        assert len({ref, system.find("clerk")}) == 1
