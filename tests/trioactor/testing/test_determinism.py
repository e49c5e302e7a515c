"""trio made to repeat itself; and the alarm, should a release of trio move what that needs."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import pytest
import trio
import trio._core._run as run
from trio.lowlevel import Abort, RaiseCancelT, wait_task_rescheduled
from trio.testing import MockClock

from trioactor.testing import SimulationError, determinism
from trioactor.testing.determinism import check_trio, repeatable

TASKS = 30


def order_of_tasks(seed: object) -> list[int]:
    """Return the order in which tasks run that are ready at the same instant."""
    order: list[int] = []

    async def write(number: int) -> None:
        for _ in range(3):
            await trio.sleep(1)
            order.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(TASKS):
                nursery.start_soon(write, number)

    with repeatable(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    return order


def order_of_ends(in_one_scope: bool) -> list[int]:
    """Return the order in which waiting tasks are told that their time is over."""
    order: list[int] = []

    async def wait(number: int) -> None:
        def told(_raise_cancel: RaiseCancelT) -> Abort:
            order.append(number)
            return Abort.SUCCEEDED

        with trio.CancelScope(deadline=inf if in_one_scope else 5):
            await wait_task_rescheduled(told)

    async def main() -> None:
        with trio.CancelScope(deadline=5 if in_one_scope else inf):
            async with trio.open_nursery() as nursery:
                for number in range(TASKS):
                    nursery.start_soon(wait, number)

    with repeatable(0):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    return order


def test_trio_is_built_as_we_know_it() -> None:
    """If this fails, a new release of trio has moved its switch: see `determinism.PARTS`."""
    check_trio()


def test_the_same_seed_gives_the_same_order_of_tasks() -> None:
    assert order_of_tasks(7) == order_of_tasks(7)


def test_other_seeds_give_other_orders() -> None:
    orders = {tuple(order_of_tasks(seed)) for seed in range(5)}

    assert len(orders) == 5
    assert all(sorted(order[:TASKS]) == list(range(TASKS)) for order in orders)


def test_tasks_of_one_scope_are_told_of_its_end_in_one_order() -> None:
    assert order_of_ends(in_one_scope=True) == order_of_ends(in_one_scope=True)


def test_scopes_with_one_deadline_end_in_one_order() -> None:
    assert order_of_ends(in_one_scope=False) == order_of_ends(in_one_scope=False)


@pytest.mark.parametrize("in_one_scope", [True, False])
def test_without_our_doing_these_orders_go_by_memory_addresses(
    in_one_scope: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else there would be no reason to touch them."""
    ours = order_of_ends(in_one_scope)
    monkeypatch.setattr(determinism, "_OrderedStatus", run.CancelStatus)
    monkeypatch.setattr(determinism, "_add_by_age", lambda _ages: run.Deadlines.add)

    kept: list[Any] = []  # so that memory is handed out in another way each time
    orders = set()
    for _ in range(20):
        kept.append([object() for _ in range(random.Random(len(kept)).randrange(5000))])
        orders.add(tuple(order_of_ends(in_one_scope)))

    assert orders != {tuple(ours)}


def test_everything_is_as_before_when_the_block_ends() -> None:
    before = [getattr(owner, name) for owner, name, _ in determinism.PARTS]
    with pytest.raises(ZeroDivisionError), repeatable(0):
        assert getattr(run, determinism.SWITCH) is True
        raise ZeroDivisionError

    assert [getattr(owner, name) for owner, name, _ in determinism.PARTS] == before


@pytest.mark.parametrize(("owner", "name"), [part[:2] for part in determinism.PARTS])
def test_a_trio_that_has_moved_a_part_is_refused_by_name(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)

    with pytest.raises(SimulationError, match=rf"trio {trio.__version__} has no .*{name}"), repeatable(0):
        raise AssertionError("it went on")


def test_one_simulation_at_a_time() -> None:
    with repeatable(0), pytest.raises(SimulationError, match="one at a time"), repeatable(0):
        raise AssertionError("it went on")


# --- threads ----------------------------------------------------------------------------------------


def use_thread() -> int:
    return 7


async def ask_for_a_thread() -> object:
    return await trio.to_thread.run_sync(use_thread)


async def ask_for_a_process() -> object:
    return await trio.run_process(["true"])


@pytest.mark.parametrize("ask", [ask_for_a_thread, ask_for_a_process])
def test_threads_and_processes_are_refused_with_the_name_of_the_seam(
    ask: Callable[[], Awaitable[object]],
) -> None:
    async def main() -> None:
        determinism.mark_as_simulated()
        await ask()

    with repeatable(0), pytest.raises(SimulationError, match="a seam"):
        trio.run(main)


def test_outside_of_simulations_threads_run_also_meanwhile() -> None:
    with repeatable(0):
        assert trio.run(ask_for_a_thread) == 7
