"""What two views say to each other, and what many come to know."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from cbor2 import dumps

from gossip import DuplicateIdentity, GossipSurvey, ModelInfo, PeerInfo
from gossip import view as view_module
from gossip.clock import MAX_ADVANCE
from gossip.identity import SALT_BITS
from gossip.messages import (
    PIECE_BYTES,
    GossipAnnounce,
    GossipDelta,
    GossipDigest,
    GossipPiece,
    GossipPing,
    GossipSyn,
    GossipWant,
    Rows,
)
from gossip.outgoing import Outgoing
from gossip.view import BUDGET_BYTES
from tests.gossip.notaries import SecretNotary
from tests.gossip.wire import packed, wire_bytes
from tests.simulation.gossip_net import Net, Node, peer_address, peer_name
from trioactor.codec import check_items
from trioactor.limits import Limits

A, B, C = (peer_name(number) for number in range(3))


def quiet(size: int, **options: Any) -> Net:
    """A network in which nothing happens by itself."""
    return Net(size, exchanging=False, **options)


def talk(net: Net, node: Node, out: list[Outgoing]) -> list[Any]:
    """Deliver messages and all that follows from them, at once; return them in their order."""
    waiting = deque((node, each) for each in out)
    said = []
    while waiting:
        speaker, (to, message) = waiting.popleft()
        said.append(message)
        if isinstance(to, str) and (listener := net.nodes.get(to)):
            sender = speaker.name if net.authenticated else None
            waiting += [(listener, each) for each in listener.view.on_message(message, net.now, sender)]
    return said


def meet(net: Net, one: str, other: str) -> list[Any]:
    """Let one exchange with the other; return all that is said."""
    node = net.nodes[one]
    out = node.view.start_round(net.now)
    syn = next(each.message for each in out if type(each.message) is GossipSyn)
    assert node.view._exchange is not None
    node.view._exchange.partner = other  # the one we want it to meet
    return talk(net, node, [Outgoing(other, syn)])


def publish(net: Net, name: str, data: bytes) -> ModelInfo:
    """Write a model and tell nobody."""
    net.nodes[name].view.publish(data, 10)
    return net.nodes[name].view.models[name]


def kinds(said: list[Any]) -> list[str]:
    return [type(message).__name__.removeprefix("Gossip") for message in said]


def models_of(net: Net, name: str) -> dict[str, bytes]:
    return {model.owner: model.data for model in net.nodes[name].view.all_models()}


# --- the exchange ---------------------------------------------------------------------------------


def test_two_that_know_the_same_say_so_in_two_messages() -> None:
    assert kinds(meet(quiet(3), A, B)) == ["Syn", "Equal"]


@pytest.mark.parametrize("size", [3, 30, 300])
def test_an_idle_exchange_takes_250_bytes_whatever_is_known(size: int) -> None:
    net = quiet(size)
    for name in (A, B):
        net.nodes[name].view.models.restore(
            (ModelInfo(peer, 1 << SALT_BITS, 1, 1, 5000, sha256(bytes(5000)).digest()), bytes(5000))
            for peer in net.nodes
        )
    assert sum(map(wire_bytes, meet(net, A, B))) <= 250


def test_what_each_lacks_comes_in_one_exchange() -> None:
    net = quiet(3)
    publish(net, A, b"of a")
    publish(net, B, b"of b")

    said = meet(net, A, B)

    assert kinds(said) == ["Syn", "Digest", "Delta", "Delta", "Want", "Want", "Piece", "Piece"]
    assert models_of(net, A) == models_of(net, B) == {A: b"of a", B: b"of b"}
    assert kinds(meet(net, A, B)) == ["Syn", "Equal"]


def test_only_the_newest_version_is_sent() -> None:
    net = quiet(2)
    for number in range(5):
        publish(net, A, f"version {number}".encode())
    said = meet(net, B, A)
    assert [message.data for message in said if type(message) is GossipPiece] == [b"version 4"]


def test_what_is_held_is_never_sent_again() -> None:
    """Also when the one who has it is met again and again, and when the owner says the same model anew."""
    net = quiet(3)
    publish(net, A, b"of a")
    for one, other in ((A, B), (B, C), (A, C)):
        meet(net, one, other)
    publish(net, A, b"of a")
    said = [message for pair in ((A, B), (B, C), (C, A), (A, B)) for message in meet(net, *pair)]
    assert "Piece" not in kinds(said)
    assert len({node.view.summary() for node in net.nodes.values()}) == 1


def test_peers_come_before_models_and_new_models_before_newer_ones() -> None:
    """A newcomer must learn who is there before it gets ten megabytes of state (chitchat#119)."""
    net = quiet(2)
    stranger = PeerInfo("stranger", "10.0.0.99", 7000, 5)
    net.nodes[A].view.membership.learn(stranger, 0.0)
    known = publish(net, A, b"known")
    meet(net, A, B)
    net.nodes[A].view.models.restore([(replace(known, owner="fresh"), b"known")])
    publish(net, A, b"newer")
    net.nodes[A].view.membership.learn(replace(stranger, peer="other"), 0.0)

    delta = next(message for message in meet(net, A, B) if type(message) is GossipDelta)

    assert [info.peer for info in delta.peers] == ["other"]
    assert [info.owner for info in delta.models] == ["fresh", A]


def test_a_message_of_infos_keeps_to_its_budget_and_the_rest_follows() -> None:
    """A message too large for the line cuts the connection, every time (akka#23025, chitchat#170)."""
    net = quiet(2)
    models = [
        (ModelInfo(f"owner-{n}", 1 << SALT_BITS, 1, 1, 4, sha256(b"%04d" % n).digest()), b"%04d" % n)
        for n in range(1500)
    ]
    net.nodes[A].view.models.restore(models)
    exchanges = []
    while len(models_of(net, B)) < len(models):
        exchanges.append(meet(net, B, A))
        assert len(exchanges) < 10
    largest = max(wire_bytes(message) for said in exchanges for message in said)
    assert len(exchanges) >= 3
    assert largest <= BUDGET_BYTES


def test_a_message_of_infos_with_short_names_has_no_more_items_than_a_frame_may() -> None:
    """What cannot be encoded raises at its sender: the peer would crash, and again after each restart."""
    net = quiet(2)
    membership = net.nodes[A].view.membership
    for number in range(2000):
        membership.learn(PeerInfo(f"{number:x}", "h", 1, 1 << SALT_BITS), 0.0)
    exchanges = []
    while len(net.nodes[B].view.membership.roster) < len(membership.roster):
        exchanges.append(meet(net, B, A))
        assert len(exchanges) < 10
    deltas = [message for said in exchanges for message in said if type(message) is GossipDelta]
    assert len(deltas) >= 3
    for delta in deltas:
        check_items(dumps(packed(delta)), Limits().items, AssertionError)


def test_the_estimate_of_sizes_is_never_below_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "BUDGET_BYTES", 4000)
    net = quiet(100, notary_of=SecretNotary)
    for name in list(net.nodes)[:50]:
        publish(net, name, name.encode())
        meet(net, A, name)
    newcomer = net.start("newcomer", ("10.0.200.1", 7000), surveyed=False)
    newcomer.view.membership.learn(net.nodes[A].view.membership.me, 0.0)

    said = meet(net, "newcomer", A)

    deltas = [wire_bytes(message) for message in said if type(message) is GossipDelta]
    assert 3000 < max(deltas) <= 4000


def test_a_large_model_comes_in_pieces() -> None:
    net = quiet(2)
    data = bytes(range(256)) * 1024 * 2  # eight pieces
    publish(net, A, data)
    said = meet(net, B, A)
    assert kinds(said).count("Piece") == 8
    assert max(map(wire_bytes, said)) < PIECE_BYTES + 200
    assert models_of(net, B) == {A: data}


def test_a_partner_that_does_not_answer_is_asked_again_a_few_times() -> None:
    net = quiet(2)
    view = net.nodes[A].view
    view.start_round(0.0)
    again = [kinds([out.message for out in view.tick(quarter / 4)]) for quarter in range(1, 9)]
    assert again == [["Syn"]] * 3 + [[]] * 5


def test_one_that_has_answered_is_not_asked_again() -> None:
    net = quiet(2)
    meet(net, A, B)
    assert net.nodes[A].view.tick(1.0) == []


def test_nobody_is_asked_where_nobody_is_known() -> None:
    assert quiet(1).nodes[A].view.start_round(0.0) == []


def test_a_digest_that_was_not_asked_for_is_not_answered() -> None:
    net = quiet(2)
    publish(net, A, b"of a")
    empty = Rows(255, bytes(48), b"")
    assert net.nodes[A].view.on_message(GossipDigest(B, 1, empty, empty), 0.0) == []


def test_a_model_on_its_way_is_not_asked_of_a_second_one() -> None:
    """Two that have it are met before the bytes are there: it enters once."""
    net = quiet(3)
    publish(net, A, b"of a")
    meet(net, B, A)
    node = net.nodes[C]
    for partner in (A, B):
        syn = node.view.start_round(0.0)[0].message
        assert node.view._exchange is not None
        node.view._exchange.partner = partner
        answer = net.nodes[partner].view.on_message(syn, 0.0)[0].message
        wants = [out for out in node.view.on_message(answer, 0.0) if type(out.message) is GossipDelta]
        for out in wants:
            back = net.nodes[partner].view.on_message(out.message, 0.0)[0].message
            asked = [each.to for each in node.view.on_message(back, 0.0) if type(each.message) is GossipWant]
            assert asked == [A], "only the first time"
        assert bool(wants) == (partner == A)
    assert [out.to for out in node.view.lose(A, 0.0)] == [B], "the second is there when the first is lost"


def test_who_is_asked_for_an_old_version_tells_of_the_newer_one() -> None:
    net = quiet(2)
    old = publish(net, A, b"old")
    publish(net, A, b"new")
    said = talk(net, net.nodes[B], [Outgoing(A, GossipWant(B, A, old.content, (0,), 1))])
    assert kinds(said) == ["Want", "Delta", "Want", "Piece"]
    assert models_of(net, B) == {A: b"new"}


def test_who_knows_nothing_of_what_it_is_asked_for_is_silent() -> None:
    net = quiet(2)
    assert net.nodes[A].view.on_message(GossipWant(B, "nobody", bytes(32), (0,), 1), 0.0) == []


def test_a_lost_partner_ends_the_exchange() -> None:
    net = quiet(2)
    view = net.nodes[A].view
    view.start_round(0.0)
    view.lose(B, 0.1)
    assert view.tick(0.5) == []


def test_time_travels_with_the_exchange() -> None:
    """A clock that is far behind is believed to be so when two others show it, and then takes part again."""
    net = quiet(3)
    late = 5 * MAX_ADVANCE
    for name in (A, B):
        net.nodes[name].clock.restore(late)
    publish(net, A, b"late")
    meet(net, C, A)
    assert models_of(net, C) == {}

    meet(net, B, C)
    meet(net, C, A)

    assert models_of(net, C) == {A: b"late"}


# --- announcements --------------------------------------------------------------------------------


def test_a_new_model_is_announced_to_a_few_who_pass_it_on_once() -> None:
    net = quiet(60)
    node = net.nodes[A]
    said = talk(net, node, node.view.publish(b"of a", 10))
    announced = [message for message in said if type(message) is GossipAnnounce]
    reached = sum(models_of(net, name) == {A: b"of a"} for name in net.nodes)
    assert reached > 55
    assert len(announced) <= reached * 6
    assert Counter(message.sender for message in announced).most_common(1)[0][1] == 6, "each of them once"
    assert kinds(said).count("Piece") == reached - 1, "and each gets the bytes once"


def test_an_old_announcement_is_not_passed_on() -> None:
    net = quiet(3)
    info = publish(net, A, b"of a")
    talk(net, net.nodes[A], [Outgoing(B, GossipAnnounce(A, info))])
    assert net.nodes[B].view.on_message(GossipAnnounce(A, info), 0.0) == []


def test_a_withdrawal_travels_as_a_model_does() -> None:
    net = quiet(3)
    publish(net, A, b"of a")
    meet(net, A, B)
    node = net.nodes[A]
    talk(net, node, node.view.withdraw())
    assert models_of(net, B) == {}
    assert net.nodes[B].view.models[A].withdrawn


# --- who may say what -----------------------------------------------------------------------------


def test_a_message_under_another_name_is_refused() -> None:
    net = quiet(2)
    syn = net.nodes[A].view.start_round(0.0)[0].message
    assert net.nodes[B].view.on_message(syn, 0.0, authenticated="liar") == []
    ping = GossipPing(1, net.nodes[A].view.membership.me, B)
    assert net.nodes[B].view.on_message(ping, 0.0, authenticated="liar") == []
    assert net.nodes[B].view.refused == {"a sender under another's name": 2}


def test_a_liar_harms_nobody_s_entries_or_clock() -> None:
    """With seals: the address, the model and the life of another, and the clock of all."""
    net = quiet(3, notary_of=SecretNotary, authenticated=True)
    honest = publish(net, A, b"of a")
    meet(net, B, A)
    view = net.nodes[B].view
    before, time = view.summary(), net.nodes[B].clock.time
    seal = SecretNotary(C)
    address = replace(view.membership.roster[A], incarnation=2**63, host="10.6.6.6")
    lies = GossipDelta(
        C,
        (address, seal.sealed_peer(address)),
        (replace(honest, version=honest.version + 5), seal.sealed_model(replace(honest, content=bytes(32)))),
        closes=True,
    )
    view.on_message(lies, 0.0, C)
    view.on_message(GossipAnnounce(C, replace(honest, version=2**61)), 0.0, C)
    view.on_message(GossipSyn(C, 2**61, bytes(48), bytes(48)), 0.0, C)

    assert view.summary() == before
    assert net.nodes[B].clock.time == time
    assert view.refused["a model that its owner has not given"] == 2
    assert view.refused["an address that its owner has not given"] == 2
    assert view.models.liars == {C: 2}


# --- identity -------------------------------------------------------------------------------------


def test_what_is_known_of_a_peer_is_told_to_it() -> None:
    net = quiet(5)
    publish(net, A, b"of a")
    meet(net, A, B)
    sighting = net.nodes[B].view.sighting_of(GossipSurvey(A))
    assert sighting.sender == B
    assert sighting.incarnation == net.nodes[A].identity.replica.incarnation
    assert sighting.time == net.nodes[B].clock.time
    assert sighting.last_address == net.nodes[A].address
    assert set(sighting.others) == {net.nodes[peer_name(number)].address for number in (2, 3, 4)}

    assert net.nodes[B].view.sighting_of(GossipSurvey("nobody")).incarnation == 0


def test_one_that_is_gone_is_not_said_to_live_anywhere() -> None:
    net = quiet(3)
    info = net.nodes[A].view.membership.me
    net.nodes[B].view.membership.learn(replace(info, status="left", rebuttals=1), 0.0)
    assert net.nodes[B].view.sighting_of(GossipSurvey(A)).last_address is None


def test_a_process_whose_name_is_in_use_does_not_begin() -> None:
    net = Net(4, probing=True)
    net.seeds = [peer_address(1), peer_address(2)]
    with pytest.raises(DuplicateIdentity, match="lives under the name"):
        net.start(A, ("10.0.9.9", 7000), net.nodes[A].disk.copy())


# --- many -----------------------------------------------------------------------------------------


def test_all_come_to_know_all() -> None:
    net = Net(16, seed=1)
    for name in net.nodes:
        net.publish(name, name.encode())
    net.rounds_until(lambda node: len(node.view.all_models()) == 16, most=12)
    assert len({node.view.summary() for node in net.nodes.values()}) == 1


@pytest.mark.parametrize(("loss", "most"), [(0.0, 8.0), (0.1, 8.0), (0.3, 10.0)])
def test_one_model_reaches_all_in_rounds_by_the_logarithm(loss: float, most: float) -> None:
    """The targets for 16 peers, by the exchange alone; the launcher measures the 99th percentile."""
    for seed in range(5):
        net = Net(16, loss=loss, announcing=False, seed=seed)
        net.publish(A, b"of a")
        assert net.rounds_until(lambda node: len(node.view.all_models()) == 1) <= most


def test_a_newcomer_learns_all_from_one_seed() -> None:
    net = Net(12, probing=True, seed=2)
    for name in net.nodes:
        net.publish(name, name.encode())
    net.run(10)
    net.seeds = [peer_address(0)]
    newcomer = net.start("newcomer", ("10.0.9.9", 7000))
    net.run(6)
    assert len(newcomer.view.all_models()) == 12
    assert len(newcomer.view.membership.live) == 12


def test_a_restart_with_its_disk_fetches_no_model_again() -> None:
    net = Net(6, counted=True, probing=True, seed=3)
    for name in net.nodes:
        net.publish(name, name.encode() * 1000)
    net.run(10)
    node = net.crash(B)
    node.save()
    net.run(2)
    net.traffic.model_bytes_in.clear()
    net.start(B, node.address, node.disk)
    net.run(20)
    assert net.traffic.model_bytes_in.total() == 0
    assert len({other.view.models.table.summary() for other in net.nodes.values()}) == 1


def test_one_that_is_no_peer_moves_no_clock_where_only_one_peer_is_known() -> None:
    net = quiet(2)
    view = net.nodes[A].view
    view.on_message(GossipSyn("liar", 2**61, bytes(48), bytes(48)), 0.0)
    assert net.nodes[A].clock.time < 2**20
    view.on_message(GossipSyn(B, 2**30, bytes(48), bytes(48)), 0.0)
    assert net.nodes[A].clock.time == 2**30
