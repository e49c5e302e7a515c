"""Bad luck from a seed: every kind of it occurs, is written down, and can be mended."""

from __future__ import annotations

import random
from functools import partial

import pytest
import trio

from trioactor.testing import KINDS, Faults, Node, Report, Simulation, simulate

HOSTS = ("a", "b", "c")
SEASON_SECONDS = 60


async def chatter(node: Node, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Listen, and keep a connection to every other host for as long as it holds."""

    async def listen(stream: trio.SocketStream) -> None:
        await talk(stream)

    async def talk(stream: trio.SocketStream) -> None:
        try:
            with trio.move_on_after(5):
                while True:
                    await stream.send_all(b"hello")
                    await stream.receive_some()
                    await trio.sleep(1)
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def keep(name: str) -> None:
        while True:
            await trio.sleep(node.rng.uniform(0.1, 1))
            with trio.move_on_after(3):
                try:
                    stream = await trio.open_tcp_stream(name, 7000)
                except OSError:
                    continue
                await talk(stream)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_tcp, listen, 7000)
        task_status.started()
        for name in HOSTS:
            if name != node.name:
                nursery.start_soon(keep, name)


async def start_all(sim: Simulation) -> None:
    for name in HOSTS:
        await sim.start(name, chatter)


def season(*kinds: str, seed: int = 0) -> Report[None]:
    async def main(sim: Simulation) -> None:
        await start_all(sim)
        await Faults(sim, HOSTS, kinds=kinds or KINDS).rage(SEASON_SECONDS)

    return simulate(main, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_strikes_alone(kind: str) -> None:
    counts = season(kind).counts
    struck = {name for name in counts if name.startswith("fault: ")}

    assert struck == {f"fault: {kind}"}
    assert counts[f"fault: {kind}"] >= 10


def test_a_season_is_repeated_by_its_seed() -> None:
    assert season(seed=3).digest == season(seed=3).digest != season(seed=4).digest


def test_a_season_without_faults_is_a_calm_one() -> None:
    async def main(sim: Simulation) -> None:
        await start_all(sim)
        await Faults(sim, HOSTS, kinds=[]).rage(10)

    report = simulate(main)

    assert report.seconds >= 10
    assert not [kind for kind in report.counts if kind.startswith("fault")]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_mended_is_whole_again(seed: int) -> None:
    async def main(sim: Simulation) -> None:
        await start_all(sim)
        faults = Faults(sim, HOSTS, lasting_seconds=(100, 200))
        await faults.rage(SEASON_SECONDS)
        faults.mend()
        await trio.sleep(70)  # TCP's retransmissions have become rare

        for one in HOSTS:
            assert sim.is_running(one)
            for other in HOSTS:
                with sim.network.at("main"), trio.fail_after(5):
                    await trio.aclose_forcefully(await trio.open_tcp_stream(other, 7000))
                assert one == other or sim.network.connections(one, other)

    simulate(main, seed=seed)


def test_what_is_not_in_the_core_stays_as_it_is() -> None:
    async def main(sim: Simulation) -> list[bool]:
        await start_all(sim)
        for name in HOSTS:
            sim.crash(name)
        Faults(sim, HOSTS).mend(["a", "b"])
        return [sim.is_running(name) for name in HOSTS]

    assert simulate(main).value == [True, True, False]


def test_chance_may_come_from_elsewhere() -> None:
    async def main(sim: Simulation, fault_seed: int) -> None:
        await start_all(sim)
        await Faults(sim, HOSTS, rng=random.Random(fault_seed)).rage(20)

    one, other = (simulate(partial(main, fault_seed=seed)).digest for seed in (1, 2))

    assert one != other


def test_what_cannot_be_is_said() -> None:
    async def main(sim: Simulation) -> None:
        with pytest.raises(ValueError, match=r"no faults are called \['flood'\]; there are reset, "):
            Faults(sim, HOSTS, kinds=["flood"])
        with pytest.raises(ValueError, match="two hosts at least"):
            Faults(sim, ["a"])

    simulate(main)
