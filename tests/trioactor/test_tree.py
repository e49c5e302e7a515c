"""Introspection: what a system says of its actors."""

import trio
from trio.testing import MockClock

from trioactor import Actor, ActorSystem
from trioactor.supervision import Backoff, ChildSpec, Supervisor


class Worker(Actor):
    async def receive(self, message: object) -> None:
        if message == "fail":
            raise RuntimeError("as told")
        await trio.sleep(10)


async def test_the_tree_shows_every_actor_with_its_state(autojump_clock: MockClock) -> None:
    backoff = Backoff(first_seconds=100, most_seconds=100, jitter=0)
    async with ActorSystem("hub") as hub:
        solo = await hub.actor_of(Worker, "solo")
        specs = [ChildSpec(Worker, "busy"), ChildSpec(Worker, "resting"), ChildSpec(Worker, "idle")]
        await hub.actor_of(lambda: Supervisor(specs, backoff=backoff), "sup")
        busy, resting = hub.find("sup/busy"), hub.find("sup/resting")
        assert busy is not None
        assert resting is not None
        for said in range(3):
            await busy.tell(said)
        await resting.tell("fail")
        await trio.sleep(5)

        assert [(actor.actor_id, actor.kind, actor.state, actor.queued) for actor in hub.tree()] == [
            ("solo", "Worker", "idle", 0),
            ("sup", "Supervisor", "idle", 0),
            ("sup/busy", "Worker", "busy", 2),
            ("sup/resting", "-", "resting", 0),
            ("sup/idle", "Worker", "idle", 0),
        ]
        assert str(hub.tree()).splitlines() == [
            "hub",
            "├─ solo  Worker  idle  5.0 s",
            "└─ sup  Supervisor  idle  5.0 s",
            "   ├─ busy  Worker  busy  2 queued  5.0 s",
            "   ├─ resting  -  resting  5.0 s",
            "   └─ idle  Worker  idle  5.0 s",
        ]
        await trio.sleep(100)
        assert [actor.restarts for actor in hub.tree() if actor.actor_id == "sup/resting"] == [1]
        await solo.stop()
        assert "solo" not in str(hub.tree())


async def test_tasks_are_named_for_the_actors_that_they_run(autojump_clock: MockClock) -> None:
    """trio's own tools, such as its instruments, show whose task they look at."""
    names: list[str] = []

    class Named(Actor):
        async def pre_start(self) -> None:
            names.append(trio.lowlevel.current_task().name)
            self.context.start_soon(self.in_the_background)

        async def in_the_background(self) -> None:
            names.append(trio.lowlevel.current_task().name)

        async def receive(self, message: object) -> None:
            pass

    async with ActorSystem() as system:
        await system.actor_of(lambda: Supervisor([ChildSpec(Named, "a")]), "sup")
        await trio.testing.wait_all_tasks_blocked()

    assert names[0] == "sup/a"
    assert names[1].startswith("sup/a: ")
    assert names[1].endswith("in_the_background")
