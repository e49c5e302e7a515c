"""What becomes of a network without the guards of identity, and what with them: the same story told twice.

Without: `naive` lets a peer be who it thinks it was, as a program would that counts nothing and asks nobody.
Riak (riak_kv#679, #1865), yrs and others have shipped such.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import trio

from gossip import Identity, ReplicaId
from gossip.identity import SALT_BITS
from gossip.models import Models
from gossip.namesake import OwnName
from gossip.weights import to_bytes
from tests.gossip.site import PORT, Network, Site, with_plan
from trioactor.testing import Simulation, simulate


@contextmanager
def naive() -> Iterator[None]:
    """Take all guards of identity away for a while."""

    def go_on_as_before(self: Identity, _above: int) -> ReplicaId:
        self._save(replace(self._saved, incarnation=self._saved.incarnation or 1 << SALT_BITS))
        return self.replica

    async def ask_nobody(*_arguments: Any, **_settings: Any) -> list[Any]:
        return []

    with ExitStack() as stack:
        stack.enter_context(patch.object(Identity, "renew", go_on_as_before))
        stack.enter_context(patch.object(Models, "_outbid", lambda self, ghost: None))
        stack.enter_context(patch.object(OwnName, "meet", lambda self, info: None))
        stack.enter_context(patch.object(OwnName, "hear", lambda self, info, me, now: (me, None)))
        stack.enter_context(patch("gossip.peer.ask_around", ask_nobody))
        yield


def own_content(site: Site) -> bytes:
    """Return the hash of the model that a peer has trained last."""
    assert site.peer is not None
    assert site.peer._standing.own is not None
    return sha256(to_bytes(site.peer._standing.own)).digest()


def content_at(site: Site, owner: str) -> bytes:
    """Return the hash of the model that a peer knows of an owner."""
    assert site.peer is not None
    assert site.peer._view is not None
    return site.peer._view.models[owner].content


def equivocations(net: Network) -> int:
    """Return how often peers saw one timestamp on two models."""
    return sum(
        site.peer._view.models.equivocations
        for site in net.running()
        if site.peer is not None and site.peer._view is not None
    )


@pytest.mark.parametrize("guarded", [False, True])
def test_a_lost_disk(guarded: bool, tmp_path: Path) -> None:
    """Reborn where nobody can be asked, it trains. Is that in the network in the end, or its own ghost?"""

    async def main(sim: Simulation) -> bool:
        net = Network(sim, tmp_path, "abc", rounds=6)
        await net.start()
        await net.until_converged()
        b = net.sites["b"]
        sim.crash("b")
        b.lose_disk()
        sim.partition(["b"], ["a", "c"])
        with_plan(b, rounds=2, min_peers=1)
        await net.start("b")
        await net.until(lambda: b.state.finished, 60, "trained alone")
        sim.heal()
        await trio.sleep(60)
        return content_at(net.sites["a"], "b") == own_content(b)

    with nullcontext() if guarded else naive():
        assert simulate(main).value is guarded


@pytest.mark.parametrize("guarded", [False, True])
def test_an_old_copy_of_the_disk(guarded: bool, tmp_path: Path) -> None:
    """Put back twice, and cut off each time: are timestamps used for two models?"""

    async def main(sim: Simulation) -> int:
        net = Network(sim, tmp_path, "abc", rounds=2)
        await net.start()
        await net.until_converged()
        b = net.sites["b"]
        backup = b.back_up()
        for rounds, seen in ((5, True), (6, False)):
            sim.crash("b")
            b.put_back(backup)
            sim.partition(["b"], ["a", "c"])
            with_plan(b, rounds=rounds, min_peers=1)
            b.samples = 20 + rounds  # so that it trains another model
            await net.start("b")
            await net.until(lambda rounds=rounds: b.state.round == rounds, 60, "trained alone")  # type: ignore[misc]
            if seen:
                await trio.sleep(2)
                sim.heal()
                await trio.sleep(60)
        with_plan(b, rounds=5)
        sim.crash("b")
        b.put_back(backup)
        b.samples = 30
        await net.start("b")
        await net.until(lambda: b.state.round == 5, 60, "trained once more")
        sim.heal()
        await trio.sleep(60)
        return equivocations(net)

    with nullcontext() if guarded else naive():
        found = simulate(main).value
    assert (found == 0) is guarded


@pytest.mark.parametrize("guarded", [False, True])
def test_two_processes_of_one_name(guarded: bool, tmp_path: Path) -> None:
    """Is the work of one of them lost, and does it go on all the same?"""

    async def main(sim: Simulation) -> tuple[int, bool]:
        net = Network(sim, tmp_path, "abc", min_peers=1)
        await net.start()
        await net.until_converged()
        double = net.add("z", tmp_path, [("a", PORT)], rounds=3, min_peers=1, peer="b", address=("z", PORT))
        await net.start("z")
        await trio.sleep(60)
        both = [net.sites["b"], double]
        ended = [site for site in both if site.over]
        trained = [site for site in both if site.state.round]
        lost = {own_content(site) for site in trained} - {content_at(net.sites["a"], "b")}
        return len(ended), bool(lost)

    with nullcontext() if guarded else naive():
        ended, lost = simulate(main).value
    assert ended == guarded
    assert lost is not guarded  # the second one ends before it has done anything in vain
