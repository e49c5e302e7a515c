"""With TLS only the owner's certificate writes its keys; a liar with a certificate of its own harms nobody.

Real certificates, real TLS over loopback.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import trio
import trustme

from federation.learning import Budget
from gossip import (
    MESSAGES,
    DuplicateIdentity,
    GossipSighting,
    GossipState,
    GossipSurvey,
    ModelInfo,
    PeerInfo,
    Timing,
)
from gossip.birth import ask_around
from gossip.clock import MAX_ADVANCE
from gossip.learner import Learner
from gossip.messages import GossipAnnounce, GossipDelta, GossipPing
from gossip.notary import CannotSeal, CertificateNotary
from gossip.ownership import certificate_name, model_claim, namesake_claim, peer_claim
from gossip.peer import GossipPeer, Leave
from gossip.plan import Plan, World
from gossip.reporter import GossipReporter
from gossip.roles import actor_of, may_gossip, supervisor_of
from gossip.store import GossipStore
from gossip.view import View
from tests.gossip.site import RUN, inline, toy_region
from trioactor import ActorRef, ActorSystem, ChildSpec, NotDelivered, Supervisor

DATA = b"anything"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority, and certificates for some peers."""
    made = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(made / "ca.pem"))
    for name in ("a", "b", "mallory"):
        write(made, name, authority.issue_cert(certificate_name(name), "127.0.0.1"))
    other = trustme.CA()
    other.cert_pem.write_to_path(str(made / "other.pem"))
    write(made, "stranger", other.issue_cert(certificate_name("a"), "127.0.0.1"))
    return made


def write(folder: Path, name: str, made: trustme.LeafCert) -> None:
    made.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
    made.private_key_pem.write_to_path(str(folder / f"{name}.key"))


def notary(folder: Path, name: str, ca: str = "ca") -> CertificateNotary:
    return CertificateNotary(name, folder / f"{name}.pem", folder / f"{name}.key", folder / f"{ca}.pem")


# --- seals --------------------------------------------------------------------------------------------


def test_a_seal_is_its_owners_and_for_one_claim(folder: Path) -> None:
    a, b = notary(folder, "a"), notary(folder, "b")
    seal = a.seal(b"claim")

    assert b.is_sealed("a", b"claim", seal)
    assert a.is_sealed("a", b"claim", seal)
    assert not b.is_sealed("b", b"claim", seal)
    assert not b.is_sealed("a", b"another", seal)
    assert len(seal) < 1200


def test_no_other_bytes_are_a_seal(folder: Path) -> None:
    a = notary(folder, "a")
    seal = a.seal(b"claim")
    rng = random.Random(3)
    for _ in range(300):
        bad = bytearray(seal)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        assert not a.is_sealed("a", b"another", bytes(bad))
        assert not a.is_sealed("b", b"claim", bytes(bad))
    end = 2 + int.from_bytes(seal[:2], "big")
    for place in range(end, len(seal)):  # of the signature
        bad = bytearray(seal)
        bad[place] ^= 1
        assert not a.is_sealed("a", b"claim", bytes(bad))
    for cut in (0, 1, 2, 3, 100, len(seal) - 1):
        assert not a.is_sealed("a", b"claim", seal[:cut])
    assert not a.is_sealed("a", b"claim", b"\xff" * 5000)


def test_the_seal_of_a_stranger_is_worth_nothing(folder: Path) -> None:
    """Its certificate has the right name, and another authority."""
    stranger = CertificateNotary("a", folder / "stranger.pem", folder / "stranger.key", folder / "other.pem")

    assert not notary(folder, "b").is_sealed("a", b"claim", stranger.seal(b"claim"))


def test_a_certificate_that_cannot_seal_is_told_with_the_fix(folder: Path) -> None:
    with pytest.raises(CannotSeal, match="--roles peer-b"):
        CertificateNotary("b", folder / "a.pem", folder / "a.key", folder / "ca.pem")
    with pytest.raises(CannotSeal, match="not signed by"):
        notary(folder, "a", ca="other")
    with pytest.raises(CannotSeal, match="no certificate in PEM"):
        notary(folder, "nobody")


# --- a liar in the network ------------------------------------------------------------------------------


class Cast:
    """Two honest peers and a liar, each in a system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.systems: dict[str, ActorSystem] = {}
        self.addresses: dict[str, tuple[str, int]] = {}
        self.peers: dict[str, GossipPeer] = {}
        self.notaries = {name: notary(folder, name) for name in ("a", "b", "mallory")}

    def view(self, name: str) -> View:
        view = self.peers[name]._view
        assert view is not None
        return view

    def lie(self, victim: str) -> ActorRef:
        return self.systems["mallory"].ref(*self.addresses[victim], actor_of("toy"))

    async def until(self, ready: Callable[[], bool]) -> None:
        with trio.fail_after(20):
            while not ready():  # noqa: ASYNC110  # what others do, seen from outside
                await trio.sleep(0.01)


@asynccontextmanager
async def cast(folder: Path, tmp_path: Path) -> AsyncIterator[Cast]:
    made = Cast(folder)
    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "mallory"):
            await nursery.start(live, made, name, tmp_path)
        await made.until(lambda: all(peer._standing.finished for peer in made.peers.values()))
        await made.until(
            lambda: (
                len({peer._standing.sha256 for peer in made.peers.values()}) == 1
                and made.peers["a"]._state().models == 2
            )
        )
        yield made
        nursery.cancel_scope.cancel()


async def live(
    made: Cast, name: str, tmp_path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with ActorSystem(name, vocabulary=MESSAGES, authorize=may_gossip) as system:
        files = made.folder
        system.enable_ssl(str(files / f"{name}.pem"), str(files / f"{name}.key"), str(files / "ca.pem"))
        address = await system.listen("127.0.0.1")
        made.systems[name], made.addresses[name] = system, address
        if name != "mallory":
            world = World(
                ref_to=lambda address: system.ref(*address, actor_of("toy")),
                reporter_at=lambda address: system.ref(*address, "reporter"),
                rng=random.Random(name),
                open_store=lambda: GossipStore(tmp_path / f"{name}.db", RUN, name),
                find_seeds=lambda: [made.addresses[one] for one in made.addresses if one in "ab"],
                notary=made.notaries[name],
                offload=inline,
            )
            budget = Budget(rounds=2, epochs=1, batch_size=8)
            plan = Plan(peer=name, address=address, rounds=2, min_peers=2)

            def make() -> GossipPeer:
                made.peers[name] = GossipPeer(plan, Learner(name, toy_region(name), budget), world)
                return made.peers[name]

            await system.actor_of(
                lambda: Supervisor([ChildSpec(make, "peer", restart="transient")]), supervisor_of("toy")
            )
        task_status.started()
        await trio.sleep_forever()


def forged_model(of: ModelInfo, seal: Callable[[bytes], bytes]) -> ModelInfo:
    lie = replace(of, version=of.version + 1, content=sha256(DATA).digest(), size=len(DATA), proof=b"")
    return replace(lie, proof=seal(model_claim(lie)))


async def test_a_liar_changes_nobodys_model_address_or_clock(folder: Path, tmp_path: Path) -> None:
    async with cast(folder, tmp_path) as made:
        view = made.view("b")
        truth = view.models.get("a")
        assert truth is not None
        before = view.models.map, view.membership.roster["a"], view._clock.time
        mine = made.notaries["mallory"].seal

        for seal in (mine, lambda _claim: truth.proof, lambda _claim: b""):
            lie = forged_model(truth, seal)
            await made.lie("b").tell(GossipAnnounce("mallory", lie))
            await made.lie("b").tell(GossipDelta("mallory", (), (lie,), closes=True))
        far = replace(truth, version=truth.version + MAX_ADVANCE // 2)
        await made.lie("b").tell(GossipAnnounce("mallory", far))
        moved = PeerInfo("a", "127.0.0.1", 9, view.membership.roster["a"].incarnation + 2**32)
        for proof in (mine(peer_claim(moved)), b""):
            await made.lie("b").tell(GossipDelta("mallory", (replace(moved, proof=proof),), (), closes=True))
        await made.until(lambda: view.refused["an address that its owner has not given"] >= 2)

        assert view.models.refused["a model that its owner has not given"] >= 7
        assert view.models.liars["mallory"] >= 7
        after = view.models.map, view.membership.roster["a"], view._clock.time
        assert after[0].entries["model/a"] == before[0].entries["model/a"]
        assert after[1].address == before[1].address
        assert after[2] - before[2] < 100  # what its own life has ticked
        assert made.peers["a"]._standing.sha256 == made.peers["b"]._standing.sha256


async def test_who_speaks_under_anothers_name_is_not_heard(folder: Path, tmp_path: Path) -> None:
    async with cast(folder, tmp_path) as made:
        view = made.view("b")
        a = view.membership.roster["a"]
        await made.lie("b").tell(GossipPing(1, a, "b", (replace(a, status="left", rebuttals=9),)))
        await made.lie("b").tell(GossipDelta("a", (replace(a, status="left", rebuttals=9),), ()))
        await made.until(lambda: view.refused["a sender under another's name"] >= 2)

        assert view.membership.roster["a"].status != "left"


async def test_a_certificate_that_is_no_peers_is_not_heard_at_all(folder: Path, tmp_path: Path) -> None:
    async with cast(folder, tmp_path) as made:
        made.systems["a"].authorize = lambda peer, actor_id, wire_name: may_gossip(
            replace(peer, identity=("launcher", "127.0.0.1")), actor_id, wire_name
        )
        with pytest.raises(NotDelivered, match="may not send"):
            await made.lie("a").stop()
        before = made.systems["a"].network_counts.refused["NotAuthorized"]
        await made.lie("a").tell(GossipAnnounce("mallory", next(iter(made.view("a").models.infos()))))
        await made.until(lambda: made.systems["a"].network_counts.refused["NotAuthorized"] > before)


async def test_a_liar_keeps_no_peer_out_of_its_name(folder: Path, tmp_path: Path) -> None:
    """It answers a peer that comes back as if it lived under its name, with its own seal or an old one."""
    question, lies = GossipSurvey("a", 77), 0
    async with cast(folder, tmp_path) as made:
        true = await made.lie("a").ask(question)
        mine = made.notaries["mallory"]

        async def ask(address: tuple[str, int], asked: GossipSurvey) -> GossipSighting:
            nonlocal lies
            lies += 1
            proof = (mine.seal(namesake_claim(asked)), true.proof, b"")[lies % 3]
            return replace(true, proof=proof)

        come_back = partial(
            ask_around,
            address=("127.0.0.1", 9),
            seeds=[made.addresses["b"]],
            remembered=True,
            timing=replace(Timing(), round_seconds=0.1, retry_seconds=0.02, ack_seconds=0.02),
            notary=made.notaries["a"],
        )
        assert await come_back(GossipSurvey("a", 78), ask=ask) == []
        assert lies >= 3

        with pytest.raises(DuplicateIdentity, match="lives under the name 'a' already"):
            await come_back(question, ask=lambda address, asked: made.lie("a").ask(asked))


async def test_nobody_is_stopped_from_outside(folder: Path, tmp_path: Path) -> None:
    """Neither by an order of the runtime, nor by the word that the peer's own program says."""
    async with cast(folder, tmp_path) as made:
        with pytest.raises(NotDelivered, match="may not send"):
            await made.lie("b").stop()
        assert Leave not in MESSAGES
        assert made.peers["b"]._over is None


async def test_a_reporter_believes_each_peer_about_itself_only(folder: Path) -> None:
    heard: list[GossipState] = []
    state = GossipState("a", 1, 0.0, None, 1, 1, 1, 0, 0, "", False)
    reporters: list[GossipReporter] = []

    def make() -> GossipReporter:
        reporters.append(GossipReporter(heard.append))
        return reporters[-1]

    async with ActorSystem("hub", vocabulary=MESSAGES, authorize=may_gossip) as hub:
        hub.enable_ssl(str(folder / "a.pem"), str(folder / "a.key"), str(folder / "ca.pem"))
        await hub.actor_of(make, "reporter")
        address = await hub.listen("127.0.0.1")
        for name in ("mallory", "a"):
            async with ActorSystem(name, vocabulary=MESSAGES) as system:
                system.enable_ssl(
                    str(folder / f"{name}.pem"), str(folder / f"{name}.key"), str(folder / "ca.pem")
                )
                await system.ref(*address, "reporter").tell(state)
                with trio.fail_after(5):
                    while not (heard if name == "a" else reporters[0].refused):  # noqa: ASYNC110
                        await trio.sleep(0.01)

    assert heard == [state]
    assert reporters[0].refused == 1
