"""Whole peers on a virtual network: real systems, frames and gossip.db files, toy models, virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from gossip import ReplicaId
from gossip.identity import life_of
from gossip.peer import GossipPeer, Handled
from gossip.store import Changes, PeerStore
from persistence import FileMoved, GossipPersistence, PeerMetricsRow
from tests.gossip.site import PORT, Network, Site, with_plan
from trioactor import Health
from trioactor.testing import Link, Simulation, simulate
from trioactor.testing import Network as VirtualNetwork
from trioactor.testing.pytest_plugin import RunSeeds, simulation

__all__ = ["simulation"]

T = TypeVar("T")


def life(site: Site) -> int:
    """Return which life the peer says it is in."""
    assert site.peer is not None
    assert site.peer._view is not None
    return life_of(site.peer._view.membership.me.incarnation)


def models(site: Site) -> dict[str, tuple[int, ReplicaId]]:
    """Return by owner when each model that a peer knows was written."""
    assert site.peer is not None
    assert site.peer._view is not None
    infos = site.peer._view.models.infos()
    return {info.owner: (info.version, ReplicaId(info.owner, info.incarnation)) for info in infos}


def live(site: Site) -> list[str]:
    assert site.peer is not None
    return [] if site.peer._view is None else sorted(site.peer._view.membership.live)


def rounds(sites: Iterable[Site]) -> list[int]:
    return [site.state.round for site in sites]


def metrics(site: Site) -> tuple[PeerMetricsRow, ...]:
    """Return the rounds that are on its disk."""
    with closing(GossipPersistence(site.database, read_only=True)) as record:
        return record.metrics(1).get(site.plan.peer, ())


def recorded(site: Site) -> list[int]:
    return [row.round for row in metrics(site)]


# --- all is well ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "seeds"), [("abc", 3), ("abcdefgh", 1)])
def test_peers_that_have_trained_hold_the_same_bytes(
    names: str, seeds: int, simulation: RunSeeds, tmp_path: Path
) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, names)
        await net.start()
        await net.until_converged()
        assert rounds(net.running()) == [3] * len(names)
        assert len({tuple(sorted(models(site).items())) for site in net.running()}) == 1

    simulation(main, seeds=seeds)


def test_what_converged_is_on_every_disk(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc")
        await net.start()
        sha = await net.until_converged()
        await trio.sleep(1)
        for site in net.running():
            saved = site.saved()
            assert saved.state.average_sha256 == sha
            assert saved.state.finished
            keys = [entry.key for entry in saved.entries]
            assert keys == ["model/a", "model/b", "model/c", "peer/a", "peer/b", "peer/c"]
            assert len(saved.contents) == 3

    simulate(main)


def test_the_same_seed_gives_the_same_story(tmp_path: Path) -> None:
    folders = iter(["one", "two", "other"])

    async def main(sim: Simulation) -> str:
        net = Network(sim, tmp_path / next(folders), "abcd")
        await net.start()
        return await net.until_converged()

    one, two, other = simulate(main, seed=1), simulate(main, seed=1), simulate(main, seed=2)

    assert (one.digest, one.value) == (two.digest, two.value)
    assert one.digest != other.digest


def test_peers_that_keep_up_learn_in_step(tmp_path: Path) -> None:
    """No peer begins a round before all have shown the one before, as in a coordinated run."""

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abcd", rounds=8)
        await net.start()
        while not net.converged(4):
            numbers = rounds(net.running())
            assert max(numbers) - min(numbers) <= 1, numbers
            await trio.sleep(0.002)

    simulate(main)


def test_a_network_that_has_converged_sends_no_models(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc")
        await net.start()
        sha = await net.until_converged()
        before = {site.name: site.peer._view.transfers._asks for site in net.running() if site.peer}  # type: ignore[union-attr]
        await trio.sleep(100)
        after = {site.name: site.peer._view.transfers._asks for site in net.running() if site.peer}  # type: ignore[union-attr]
        assert before == after
        assert {site.state.average for site in net.running()} == {sha}

    simulate(main)


# --- joining and leaving ----------------------------------------------------------------------------


def test_a_peer_whose_seed_is_down_joins_when_it_comes_up(simulation: RunSeeds, tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", min_peers=1)
        await net.start("b", "c")
        await trio.sleep(20)
        assert [live(net.sites[name]) for name in "bc"] == [[], []]
        await net.start("a")
        await net.until_converged()

    simulation(main, seeds=2)


def test_a_peer_that_leaves_is_known_to_have_left_and_its_model_stays(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc")
        await net.start()
        sha = await net.until_converged()
        await net.sites["c"].leave()
        await net.until(lambda: not sim.is_running("c"), 5, "ended")
        assert net.sites["c"].over[0].kind == "left"
        left = await net.until(lambda: [live(site) for site in net.running()] == [["b"], ["a"]], 10, "gone")
        assert left < 3  # said, not found out
        assert {(site.state.average, site.state.models) for site in net.running()} == {(sha, 3)}

    simulate(main)


def test_a_peer_that_left_comes_back_in_a_newer_life(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc")
        await net.start()
        sha = await net.until_converged()
        await net.sites["c"].leave()
        await net.until(lambda: not sim.is_running("c"), 5, "ended")
        await trio.sleep(5)
        await net.start("c")
        await net.until(lambda: live(net.sites["a"]) == ["b", "c"], 20, "back")
        assert life(net.sites["c"]) == 2
        assert await net.until_converged() == sha

    simulate(main)


def test_peers_that_wait_for_all_to_agree_end_by_themselves(simulation: RunSeeds, tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abcd", until_converged=True)
        await net.start()
        await net.until(lambda: not net.running(), 60, "ended")
        assert [site.over[0].kind for site in net.sites.values()] == ["converged"] * 4
        assert len({site.saved().state.average_sha256 for site in net.sites.values()}) == 1

    simulation(main, seeds=2)


def test_a_peer_whose_own_address_is_among_its_seeds_by_another_name_is_no_second_one(tmp_path: Path) -> None:
    """All peers may be given one list, in which each stands as others call it."""

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc")
        by_number = [(sim.network.host(name).ip, PORT) for name in "abc"]
        for site in net.sites.values():
            site.seeds = by_number
        await net.start()
        await net.until_converged()
        assert [site.over for site in net.sites.values()] == [[], [], []]

    simulate(main)


def test_a_newcomer_takes_what_is_there_and_does_not_pull_the_others_back(tmp_path: Path) -> None:
    """It shows the average of the others before it has trained, not a model that knows nothing."""

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", rounds=6)
        await net.start()
        await net.until_converged()
        before = net.sites["a"].state.accuracy
        net.add("d", tmp_path, [("a", PORT)], rounds=0, min_peers=1)
        await net.start("d")
        await net.until(lambda: net.converged(3), 30, "known")
        net.add("e", tmp_path, [("a", PORT)], rounds=1, min_peers=1)
        await net.start("e")
        await net.until(lambda: net.sites["e"].state.round == 1, 30, "trained")
        await net.until(lambda: net.converged(4), 30, "converged")
        after = net.sites["a"].state.accuracy
        assert before is not None
        assert after is not None
        assert after > before - 0.1

    simulate(main)


# --- crashes, with every kind of disk ---------------------------------------------------------------


def test_a_peer_that_crashes_goes_on_where_its_disk_is(simulation: RunSeeds, tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", rounds=12)
        await net.start()
        await net.until(lambda: net.sites["b"].state.round >= 4, 60, "in the middle")
        sim.crash("b", silently=sim.rng.random() < 0.5)
        saved = net.sites["b"].saved().state.round
        assert saved >= 3
        await trio.sleep(sim.rng.uniform(0, 15))
        await net.start("b")
        await net.until_converged(120)
        assert life(net.sites["b"]) == 2
        assert rounds(net.running()) == [12] * 3

    simulation(main, seeds=2)


def test_a_peer_that_dies_right_after_a_snapshot_has_every_round_on_its_disk(tmp_path: Path) -> None:
    """Whichever snapshot it is: the round that it says is trained has its row, and no other has."""

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", rounds=6, patience_seconds=1.0)
        site = net.sites["b"]
        site.wrap_store = lambda store: DiesAfterASave(store, sim)  # type: ignore[assignment, return-value]
        await net.start()
        lives = 0
        while not net.converged(3):
            await net.until(lambda: not sim.is_running("b") or net.converged(3), 60, "killed or done")
            saved = site.saved().state
            assert recorded(site) == list(range(1, (saved.round if saved else 0) + 1))
            if not sim.is_running("b"):
                lives += 1
                await net.start("b")
        assert lives >= 5
        assert recorded(site) == [1, 2, 3, 4, 5, 6]
        (row,) = [row for row in metrics(site) if row.round == 6]
        assert row.average_sha256 == site.state.average  # the last row follows the average to the end

    class DiesAfterASave:
        """A disk whose machine dies after each snapshot that says that one more round is trained."""

        def __init__(self, store: PeerStore, sim: Simulation) -> None:
            self.store = store
            self.sim = sim

        def __getattr__(self, name: str) -> object:
            return getattr(self.store, name)

        def save(self, changes: Changes) -> None:
            self.store.save(changes)
            if changes.state.round > max(died, default=0):
                died.append(changes.state.round)
                self.sim.crash("b")

    died: list[int] = []
    simulate(main)


def test_a_peer_that_comes_back_does_not_wait_for_those_who_have_gone_meanwhile(tmp_path: Path) -> None:
    """It trains what is left, as far as it knows alone; and it is found by one that comes later."""

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", rounds=3, join_seconds=1000.0)
        await net.start()
        await net.until_converged()
        for name in "ab":
            await net.sites[name].leave()
        await net.until(lambda: live(net.sites["c"]) == [], 10, "alone")
        sim.crash("c")
        with_plan(net.sites["c"], rounds=5)
        await net.start("c")
        took = await net.until(lambda: net.sites["c"].state.finished, 60, "trained")
        assert took < 10
        await net.start("a")
        await net.until(lambda: live(net.sites["c"]) == ["a"], 30, "found")
        took = await net.until(lambda: net.sites["a"].state.finished, 60, "trained")
        assert took < 10
        await net.until(lambda: net.converged(3), 60, "converged")

    simulate(main)


def test_a_network_that_returns_as_a_whole_waits_a_moment_and_learns_in_step(tmp_path: Path) -> None:
    """They have said goodbye one by one, so the last begins with a snapshot by which it is alone."""

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", rounds=2)
        await net.start()
        await net.until_converged()
        for site in net.sites.values():
            await site.leave()
            await trio.sleep(3)
        await net.until(lambda: not net.running(), 10, "ended")
        for name in net.sites:
            with_plan(net.sites[name], rounds=8)
        for name in reversed(net.sites):
            await net.start(name)
            await trio.sleep(1.5)
        while not net.converged(3):
            numbers = rounds(net.running())
            assert max(numbers) - min(numbers) <= 1, numbers
            await trio.sleep(0.002)
        assert rounds(net.running()) == [8, 8, 8]

    simulate(main)


def test_a_peer_that_has_never_trained_waits_for_the_others(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", join_seconds=100.0)
        await net.start("a", "b")
        await trio.sleep(95)
        assert rounds(net.running()) == [0, 0]
        await net.start("c")
        await net.until_converged(4)

    simulate(main)


def test_a_peer_that_lost_its_disk_begins_a_life_that_nobody_knows(
    simulation: RunSeeds, tmp_path: Path
) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc")
        await net.start()
        await net.until_converged()
        before = models(net.sites["a"])["b"]
        sim.crash("b")
        net.sites["b"].lose_disk()
        await trio.sleep(sim.rng.uniform(0, 15))
        await net.start("b")
        await net.until_converged(120)
        assert life(net.sites["b"]) == 2  # it has asked
        after = models(net.sites["a"])["b"]
        assert after > before  # its new model, not its own ghost
        assert after[1].incarnation > before[1].incarnation

    simulation(main, seeds=2)


def test_a_peer_with_an_old_copy_of_its_disk_uses_no_timestamp_twice(
    simulation: RunSeeds, tmp_path: Path
) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", rounds=2)
        await net.start()
        await net.until_converged()
        backup = net.sites["b"].back_up()
        seen = {models(net.sites["a"])["b"]}
        sim.crash("b")
        with_plan(net.sites["b"], rounds=4, min_peers=1)  # so it writes more, which the copy knows nothing of
        await net.start("b")
        await net.until(lambda: net.sites["b"].state.round == 4, 60, "trained")
        await net.until(lambda: net.converged(3), 60, "converged")
        seen.add(models(net.sites["a"])["b"])
        sim.crash("b")
        net.sites["b"].put_back(backup)
        await net.start("b")
        await net.until(lambda: net.sites["b"].state.round == 4, 60, "trained again")
        await net.until(lambda: net.converged(3), 60, "converged")
        last = models(net.sites["a"])["b"]
        assert last not in seen
        assert last == max({*seen, last})
        assert life(net.sites["b"]) == 3  # not 2 again: it has asked

    simulation(main, seeds=2)


def test_a_peer_whose_file_is_damaged_recovers_from_the_others(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc")
        await net.start()
        await net.until_converged()
        sim.crash("b")
        await trio.sleep(1)
        site = net.sites["b"]
        site.lose_disk()
        site.database.write_bytes(b"this was a database once" * 1000)
        await net.start("b")
        await net.until_converged(120)
        assert (site.folder / "gossip.db.aside-1").read_bytes().startswith(b"this was")
        assert len(site.saved().contents) == 3

    simulate(main)


def test_all_may_crash_at_once(simulation: RunSeeds, tmp_path: Path) -> None:
    """Peers that start together ask each other, and none of them waits for ever."""

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abcd", rounds=6)
        await net.start()
        await net.until(lambda: min(rounds(net.running())) >= 2, 60, "in the middle")
        for name in net.sites:
            sim.crash(name)
        await trio.sleep(3)
        await net.start()
        await net.until_converged(120)
        assert rounds(net.running()) == [6] * 4

    simulation(main, seeds=1)


def test_an_actor_that_fails_begins_another_life_in_the_same_process(tmp_path: Path) -> None:
    class FailsOnce:
        """A disk whose third snapshot finds the file gone."""

        def __init__(self, store: PeerStore) -> None:
            self.store = store
            self.saves = 0

        def __getattr__(self, name: str) -> object:
            return getattr(self.store, name)

        def save(self, changes: Changes) -> None:
            self.saves += 1
            if self.saves == 3 and not failed:
                failed.append(self)
                raise FileMoved(Path("gossip.db"), "moved")
            self.store.save(changes)

    failed: list[FailsOnce] = []

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc")
        net.sites["b"].wrap_store = FailsOnce  # type: ignore[assignment]
        await net.start()
        await net.until_converged(120)
        assert failed
        assert life(net.sites["b"]) == 2

    simulate(main)


def test_a_peer_in_a_long_round_answers_its_supervisor(tmp_path: Path) -> None:
    """A round that takes long is no illness: it is trained beside the mailbox."""

    takes_seconds = 10.0

    async def slowly(work: Callable[[Callable[[], bool]], T]) -> T:
        await trio.sleep(takes_seconds)
        return work(lambda: False)

    async def main(sim: Simulation) -> None:
        nonlocal takes_seconds
        net = Network(sim, tmp_path, "ab", rounds=2, patience_seconds=300.0)
        site = net.sites["b"]
        site.health = Health(interval_seconds=1.0, timeout_seconds=1.0, max_missed=2)
        site.offload = slowly
        await net.start()
        await net.until_converged(3600)
        assert life(site) == 1
        takes_seconds = 0.0  # so that it can end

    simulate(main)


def test_a_peer_that_is_stuck_begins_another_life(tmp_path: Path) -> None:
    class GetsStuck(GossipPeer):
        async def receive(self, message: Handled) -> Any:
            if self._standing.round == 2 and not stuck:
                stuck.append(trio.current_time())
                await trio.sleep_forever()
            return await super().receive(message)

    stuck: list[float] = []

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", rounds=5)
        site = net.sites["b"]
        site.health = Health(interval_seconds=1.0, timeout_seconds=1.0, max_missed=2)
        site.make_peer = GetsStuck
        await net.start()
        await net.until_converged(120)
        assert stuck
        assert life(site) == 2
        assert recorded(site) == [1, 2, 3, 4, 5]

    simulate(main)


# --- names ------------------------------------------------------------------------------------------


def test_of_two_processes_of_one_name_one_ends_and_says_why(simulation: RunSeeds, tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", min_peers=1)
        await net.start()
        await net.until_converged()
        double = net.add("z", tmp_path, [("a", PORT)], rounds=3, peer="b", address=("z", PORT))
        await net.start("z")
        await net.until(lambda: bool(double.over or net.sites["b"].over), 60, "one of them ended")
        over = [*double.over, *net.sites["b"].over]
        assert [one.kind for one in over] == ["name lost"]
        assert "'b'" in over[0].reason
        assert "another name" in over[0].reason
        del net.sites["z" if double.over else "b"]
        await net.until(lambda: net.converged(3), 60, "converged")

    simulation(main, seeds=2)


def test_two_networks_do_not_mix_although_one_has_an_address_of_the_other(tmp_path: Path) -> None:
    """Nor is a name lost to its namesake in another run."""

    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "ab")
        await net.start()
        sha = await net.until_converged()
        stranger = net.add("z", tmp_path, [("a", PORT), ("b", PORT)], rounds=3, peer="b", address=("z", PORT))
        stranger.run = "another"
        await net.start("z")
        await net.until(lambda: stranger.state.finished, 60, "trained")
        await trio.sleep(30)
        assert (live(stranger), stranger.over) == ([], [])
        assert [live(net.sites[name]) for name in "ab"] == [["b"], ["a"]]
        assert {net.sites[name].state.average for name in "ab"} == {sha}

    simulate(main)


# --- bad networks -----------------------------------------------------------------------------------


def test_a_partition_heals_and_both_halves_agree(simulation: RunSeeds, tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abcde", rounds=40, patience_seconds=0.5)
        await net.start()
        await net.until(lambda: min(rounds(net.running())) >= 2, 60, "in the middle")
        sim.partition(["a", "b"], ["c", "d", "e"])
        await trio.sleep(40)
        assert live(net.sites["a"]) == ["b"]
        assert live(net.sites["c"]) == ["d", "e"]
        assert len({site.state.average for site in net.running()}) > 1
        sim.heal()
        await net.until_converged(120)
        await net.until(lambda: all(len(live(site)) == 4 for site in net.running()), 30, "all known")

    simulation(main, seeds=2)


def test_lossy_links_only_make_it_slower(simulation: RunSeeds, tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abcd")
        await net.start()
        await net.until_converged(120)

    link = Link(latency_seconds=0.02, jitter_seconds=0.02, loss=0.1, resets=0.01)
    simulation(main, seeds=2, network=lambda **how: VirtualNetwork(link=link, **how))


def test_a_peer_that_stands_still_holds_up_nobody(tmp_path: Path) -> None:
    async def main(sim: Simulation) -> None:
        net = Network(sim, tmp_path, "abc", rounds=10, patience_seconds=2.0)
        await net.start()
        await net.until(lambda: min(rounds(net.running())) >= 2, 60, "in the middle")
        sim.stall("c")
        others = [net.sites["a"], net.sites["b"]]
        took = await net.until(lambda: rounds(others) == [10, 10], 60, "trained")
        assert took < 4  # they have waited for it once
        sim.resume("c")
        await net.until_converged(120)

    simulate(main)
