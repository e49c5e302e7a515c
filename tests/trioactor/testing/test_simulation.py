"""A cluster from a seed: programs, crashes and restarts; what repeats, and what an error says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
import trio

from tests.trioactor.certificates import Files
from tests.trioactor.testing import echoes
from trioactor.testing import (
    Deadlock,
    Link,
    Network,
    Node,
    Simulation,
    SimulationError,
    Trace,
    run_inline,
    simulate,
)

ROOT = Path(__file__).resolve().parents[3]
HASH_SEEDS = ("0", "1", "random")

Status = trio.TaskStatus[object]


async def serve(node: Node, *, task_status: Status) -> None:
    """Say to everybody who comes which life of the host it is."""

    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(f"life {node.life}".encode())
        await stream.aclose()

    await trio.serve_tcp(answer, 7000, host=node.name, task_status=task_status)


async def call(name: str) -> str:
    async with await trio.open_tcp_stream(name, 7000) as stream:
        return (await stream.receive_some()).decode()


# --- repeating --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digests(ed25519: Files) -> list[list[str]]:
    """The digests without and with TLS, from fresh processes under three PYTHONHASHSEEDs, run at once."""
    files = ed25519.certfile, ed25519.keyfile, ed25519.ca_cert
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.trioactor.testing.echoes", "7", *files],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for hash_seed in HASH_SEEDS
    ]
    outputs = [process.communicate() for process in started]
    assert all(process.returncode == 0 for process in started), outputs
    return [output.split() for output, _ in outputs]


def test_the_same_seed_gives_the_same_digest_in_every_process(digests: list[list[str]]) -> None:
    assert {plain for plain, _ in digests} == {echoes.run(7).digest}


def test_so_it_does_over_tls(digests: list[list[str]], ed25519: Files) -> None:
    """With Ed25519 certificates, whose signatures all have the same length."""
    here = echoes.run(7, ed25519.certfile, ed25519.keyfile, ed25519.ca_cert).digest

    assert {encrypted for _, encrypted in digests} == {here}


def test_other_seeds_give_other_digests() -> None:
    assert len({echoes.run(seed).digest for seed in range(3)}) == 3


def test_fifty_clients_and_their_echo_take_well_under_a_second() -> None:
    began = time.process_time()
    report = echoes.run(0)

    assert report.value == echoes.CLIENTS * echoes.ROUNDS
    assert report.seconds > 10
    assert time.process_time() - began < 1.5  # 0.3 s on an idle machine


def test_what_the_digest_vouches_for_can_be_told_to_it() -> None:
    async def main(sim: Simulation, word: str) -> None:
        sim.note("said", word)

    one, again, other = (simulate(partial(main, word=word)).digest for word in ("a", "a", "b"))

    assert one == again != other


def test_a_trace_can_be_copied_to_a_file() -> None:
    async def main(sim: Simulation) -> str:
        await sim.start("a", serve)
        return await call("a")

    copy = StringIO()
    trace = Trace(keep=3, copy_to=copy)
    report = simulate(main, trace=trace)

    lines = copy.getvalue().splitlines(keepends=True)
    assert len(lines) == report.events == sum(report.counts.values())
    assert lines[-3:] == list(trace.last)
    assert lines[0] == "0.000000000 start a 1\n"


# --- programs, crashes, restarts --------------------------------------------------------------------


def test_a_program_is_started_like_by_a_nursery() -> None:
    async def tell(node: Node, word: str, *, task_status: Status) -> None:
        await trio.sleep(3)
        task_status.started(f"{node.name} says {word}")
        await trio.sleep_forever()

    async def main(sim: Simulation) -> tuple[object, float]:
        return await sim.start("a", tell, "hello"), trio.current_time()

    assert simulate(main).value == ("a says hello", 3)


def test_each_node_has_chance_of_its_own_in_each_life() -> None:
    drawn: dict[tuple[str, int], float] = {}

    async def draw(node: Node, *, task_status: Status) -> None:
        drawn[node.name, node.life] = node.rng.random()

    async def main(sim: Simulation) -> None:
        for name in ("a", "b"):
            await sim.start_soon(name, draw).ended.wait()
        await sim.restart_soon("a").ended.wait()

    simulate(main, seed=1)
    first = dict(drawn)
    simulate(main, seed=1)

    assert list(first) == [("a", 1), ("b", 1), ("a", 2)]
    assert len(set(first.values())) == 3
    assert drawn == first


def test_a_crashed_host_comes_back_with_the_same_program_and_another_life() -> None:
    async def main(sim: Simulation) -> list[str]:
        await sim.start("a", serve)
        heard = [await call("a")]
        sim.crash("a")
        with pytest.raises(OSError, match="all attempts"):
            await call("a")
        await sim.restart("a")
        heard.append(await call("a"))
        await sim.restart("a")  # while it runs: it crashes first
        return [*heard, await call("a")]

    assert simulate(main).value == ["life 1", "life 2", "life 3"]


def test_a_host_without_power_comes_back_by_a_restart() -> None:
    async def main(sim: Simulation) -> str:
        await sim.start("a", serve)
        sim.crash("a", silently=True)
        with trio.move_on_after(10):
            await call("a")
            raise AssertionError("it answers without power")
        await sim.restart("a")
        return await call("a")

    assert simulate(main).value == "life 2"


def test_what_a_dead_program_still_does_reaches_nobody_and_is_no_error() -> None:
    """It may clean up for a while, shielded; the host may live again meanwhile."""
    ghosts: list[str] = []

    async def cling(node: Node, *, task_status: Status) -> None:
        try:
            await serve(node, task_status=task_status)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
                try:
                    await trio.socket.socket().connect(("b", 7000))
                except OSError as error:
                    ghosts.append(str(error))
                raise ZeroDivisionError

    async def main(sim: Simulation) -> str:
        await sim.start("b", serve)
        await sim.start("a", cling)
        sim.crash("a")
        await sim.restart("a")
        heard = await call("a")
        await trio.sleep(10)
        sim.crash("a")
        return heard

    report = simulate(main)

    assert report.value == "life 2"
    assert report.counts["ghost"] == 2  # the second at the end
    assert "host 'a' has crashed" in ghosts[0]


def test_a_program_that_ends_gives_its_ports_back() -> None:
    async def end(node: Node, *, task_status: Status) -> None:
        await trio.open_tcp_listeners(7000, host=node.name)
        task_status.started()
        await trio.sleep(1)

    async def main(sim: Simulation) -> str:
        await sim.start("a", end)
        assert sim.is_running("a")
        await sim.nodes["a"].ended.wait()
        assert not sim.is_running("a")
        await sim.start("a", serve)
        return await call("a")

    assert simulate(main).value == "life 2"


def test_what_a_program_raises_comes_out_of_the_simulation() -> None:
    async def fail(node: Node, *, task_status: Status) -> None:
        await trio.sleep(2)
        raise ZeroDivisionError("on purpose")

    async def main(sim: Simulation) -> None:
        sim.start_soon("a", fail)
        await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError, match="on purpose") as caught:
        simulate(main, seed="abc")

    (note,) = caught.value.__notes__
    assert "seed 'abc'" in note
    assert "2.000000 virtual seconds" in note
    assert "start a 1" in note


def test_several_errors_come_out_together() -> None:
    async def fail(node: Node, *, task_status: Status) -> None:
        raise ZeroDivisionError(node.name)

    async def main(sim: Simulation) -> None:
        sim.start_soon("a", fail)
        sim.start_soon("b", fail)
        await trio.sleep_forever()

    with pytest.RaisesGroup(ZeroDivisionError, ZeroDivisionError):
        simulate(main)


# --- mistakes ---------------------------------------------------------------------------------------


def test_tasks_that_wait_for_each_other_are_found_at_once() -> None:
    async def main(sim: Simulation) -> None:
        await sim.start("a", serve)
        await trio.Event().wait()  # nobody has it

    with pytest.raises(Deadlock, match=r"test_simulation\.py:\d+ in main") as caught:
        simulate(main)

    assert "host a" in str(caught.value)


def test_waiting_for_a_long_time_is_no_deadlock() -> None:
    async def main(sim: Simulation) -> None:
        for _ in range(1000):
            await trio.sleep(3600)

    assert simulate(main).seconds == 3_600_000


async def start_twice(sim: Simulation) -> None:
    await sim.start("a", serve)
    await sim.start("a", serve)


async def restart_nothing(sim: Simulation) -> None:
    await sim.restart("a")


async def crash_while_it_starts(sim: Simulation) -> None:
    async def start_slowly(node: Node, *, task_status: Status) -> None:
        await trio.sleep(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sim.start, "a", start_slowly)
        await trio.sleep(1)
        sim.crash("a")


async def start_without_a_word(sim: Simulation) -> None:
    async def say_nothing(node: Node, *, task_status: Status) -> None:
        await trio.sleep(1)

    with pytest.raises(RuntimeError, match="started"):  # as of a nursery
        await sim.start("a", say_nothing)
    await Simulation(0, sim.network).start("b", serve)


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (start_without_a_word, "use `simulate`"),
        (start_twice, "crash it first"),
        (restart_nothing, "no program has run on host 'a'"),
        (crash_while_it_starts, "crashed before its program was ready"),
    ],
)
def test_what_cannot_be_done_is_said(main: object, words: str) -> None:
    with pytest.raises((SimulationError, ExceptionGroup)) as caught:
        simulate(main)  # type: ignore[arg-type]
    error: BaseException = caught.value
    while isinstance(error, ExceptionGroup):
        (error,) = error.exceptions

    assert isinstance(error, SimulationError)
    assert words in str(error)


async def test_a_simulation_is_not_started_inside_of_trio() -> None:
    async def main(sim: Simulation) -> None:
        raise AssertionError("it was started")

    with pytest.raises(SimulationError, match="a plain function"):
        simulate(main)


def test_blocking_work_can_be_done_inline_and_takes_virtual_time() -> None:
    async def main(sim: Simulation) -> tuple[int, float]:
        return await run_inline(sum, [1, 2], seconds=3600), trio.current_time()

    assert simulate(main).value == (3, 3600)


def test_a_network_can_be_made_to_measure() -> None:
    async def main(sim: Simulation) -> float:
        await sim.start("a", serve)
        await call("a")
        return trio.current_time()

    link = Link(latency_seconds=10, jitter_seconds=0)

    assert simulate(main, network=partial(Network, link=link)).value == 40  # two round trips, almost
