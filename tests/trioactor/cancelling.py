"""Run a scenario once for every point at which it can be cancelled.

A scenario is a coroutine function that gets a `Stage`. What it does inside `with stage.act():` is
cancelled: in the first run as it begins, in the next one after the first step that any task has taken since,
then after the second, and so on; in the last one it comes to its end. trio's scheduler draws from a seed, so
all runs are the same up to the step that matters.

After each run the accounts must balance, no task may be left over, and the system must be as good as new;
or, when its whole block was cancelled, have ended cleanly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.trioactor.cast import Clerk, Note, Read
from trioactor import Actor, ActorRef, ActorSystem, MailboxSettings
from trioactor.testing import Auditor, assert_accounted
from trioactor.testing.determinism import repeatable

# No scenario is longer. It bounds a loop that ends when a run was not cancelled any more.
MAX_STEPS = 1000


class CancelAfter(trio.abc.Instrument):
    """Cancels a scope when so many steps have been taken since the scope was entered."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.taken = 0
        self.scope: trio.CancelScope | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count, between two steps: the task has either come to its next checkpoint or ended."""
        if self.scope is not None:
            self.taken += 1
            if self.taken == self.steps:
                self.scope.cancel()

    @contextmanager
    def during(self, scope: trio.CancelScope) -> Iterator[None]:
        """Count the steps of a block."""
        self.scope = scope
        if self.steps == 0:
            scope.cancel()
        try:
            yield
        finally:
            self.scope = None


class Stage:
    """What a scenario plays on: a system, a nursery for helpers, and the block that is cancelled.

    Attributes:
        system: The system; new in every run.
        nursery: For what happens beside the act. It is cancelled when the scenario is over.
        clerks: All that were started with `clerk`. Their gates are opened when the scenario is over.
        acted: Whether the act came to its end.
    """

    def __init__(self, system: ActorSystem, nursery: trio.Nursery, cancel: CancelAfter | None) -> None:
        self.system = system
        self.nursery = nursery
        self.clerks: list[Clerk] = []
        self.acted = False
        self._cancel = cancel

    @contextmanager
    def act(self) -> Iterator[None]:
        """What is cancelled."""
        if self._cancel is None:  # the whole block is
            yield
            self.acted = True
            return
        with trio.CancelScope() as scope, self._cancel.during(scope):
            yield
            self.acted = True

    async def clerk(self, name: str, mailbox: MailboxSettings | None = None) -> tuple[Clerk, ActorRef]:
        """Start a clerk."""
        clerk = Clerk()
        self.clerks.append(clerk)
        return clerk, await self.system.actor_of(lambda: clerk, name, mailbox=mailbox)

    def soon(self, function: Callable[[], object]) -> None:
        """Call the function a few steps after the act has begun."""

        async def wait_and_call() -> None:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            function()

        self.nursery.start_soon(wait_and_call)

    async def settle(self) -> None:
        """Let everything go on that can."""
        for clerk in self.clerks:
            clerk.gate.set()
        await wait_all_tasks_blocked()


Scenario = Callable[[Stage], Awaitable[None]]
MakeSystem = Callable[[], ActorSystem]


def cancel_everywhere(
    scenario: Scenario,
    seed: int,
    make_system: MakeSystem,
    *,
    whole_block: bool,
    may_raise: tuple[type[Exception], ...] = (),
) -> int:
    """Run the scenario, cancelled at every point. Returns how many points there are.

    Args:
        scenario: What happens.
        seed: Of trio's scheduler.
        make_system: Makes the system.
        whole_block: Whether the block of the system is cancelled, and not only the act.
        may_raise: What may come out of the block.
    """
    play = _play_and_cancel_all if whole_block else _play_and_cancel_the_act
    for steps in range(MAX_STEPS):
        cancel = CancelAfter(steps)
        auditor = Auditor()
        clock = MockClock(autojump_threshold=0)
        try:
            with repeatable(seed):
                trio.run(
                    play, scenario, make_system, cancel, auditor, clock=clock, instruments=[cancel, auditor]
                )
        except* may_raise:
            pass
        auditor.check()
        if cancel.taken < steps:
            return steps
    raise AssertionError(f"the scenario takes more than {MAX_STEPS} steps")


async def _play_and_cancel_the_act(
    scenario: Scenario, make_system: MakeSystem, cancel: CancelAfter, auditor: Auditor
) -> None:
    with trio.fail_after(1000):
        async with make_system() as system, trio.open_nursery() as nursery:
            auditor.systems.append(system)
            stage = Stage(system, nursery, cancel)
            await scenario(stage)
            await stage.settle()
            nursery.cancel_scope.cancel()
            await _is_as_good_as_new(system)
    _has_ended(system, stage)


async def _play_and_cancel_all(
    scenario: Scenario, make_system: MakeSystem, cancel: CancelAfter, auditor: Auditor
) -> None:
    stage: Stage | None = None
    system = make_system()
    auditor.systems.append(system)
    with trio.fail_after(1000), trio.CancelScope() as scope, cancel.during(scope):
        async with system, trio.open_nursery() as nursery:
            stage = Stage(system, nursery, None)
            await scenario(stage)
            await stage.settle()
            nursery.cancel_scope.cancel()
    if stage is not None:
        _has_ended(system, stage)


async def _is_as_good_as_new(system: ActorSystem) -> None:
    """Each task belongs to a living actor, a new actor can be started, and it answers."""
    assert_accounted(system)
    assert system._nursery is not None
    tasks = sorted(task.name for task in system._nursery.child_tasks)
    actors = sorted(actor.actor_id for actor in system.tree().actors)
    assert tasks == actors, "a task is left over, or an actor has none"
    if not system._draining:
        ref = await system.actor_of(Clerk, "afterwards")
        await ref.tell(Note(1))
        assert await ref.ask(Read()) == [1]


def _has_ended(system: ActorSystem, stage: Stage) -> None:
    assert_accounted(system, ended=True)
    assert system.tree().actors == ()
    for clerk in stage.clerks:
        assert clerk.life in ([], ["pre_start", "post_stop"]), "post_stop runs after every pre_start"


class Quiet(Actor):
    """An actor without a `pre_start`, so that nobody waits for it."""

    async def receive(self, message: object) -> None:
        """Take it."""
