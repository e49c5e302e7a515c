"""Who is alive: each rule by plain calls, then small networks in virtual time."""

from __future__ import annotations

import ast
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import Change, GossipPeerJoin, Membership, Outgoing, PeerInfo, Timing
from gossip import membership as membership_module
from gossip import prober as prober_module
from gossip.messages import GossipAck, GossipNack, GossipPing, GossipPingRequest, GossipWelcome
from gossip.news import NEWS_PER_MESSAGE
from tests.gossip.stores import begin
from tests.simulation.gossip_net import Net, peer_address, peer_name

TIMING = Timing()
B = PeerInfo("b", "10.0.0.2", 7000, 5)
C = PeerInfo("c", "10.0.0.3", 7000, 5)
D = PeerInfo("d", "10.0.0.4", 7000, 5)
E = PeerInfo("e", "10.0.0.5", 7000, 5)


def membership(*known: PeerInfo, **options: Any) -> Membership:
    identity, _ = begin("a")
    made = Membership(identity, "10.0.0.1", 7000, now=0.0, rng=Random(1), timing=TIMING, **options)
    for info in known:
        made.learn(info, 0.0)
    made.take_changes()
    return made


def messages(out: list[Outgoing], kind: type) -> list[Any]:
    return [each.message for each in out if type(each.message) is kind]


def first_probe(a: Membership) -> tuple[float, GossipPing, str]:
    """Let time pass until somebody is looked after."""
    now = 0.0
    while not (pings := [out for out in a.tick(now) if type(out.message) is GossipPing]):
        now = a.next_tick_at()
    assert isinstance(pings[0].to, str)
    return now, pings[0].message, pings[0].to


# --- probing --------------------------------------------------------------------------------------


def test_everybody_is_looked_after_once_before_anybody_is_again() -> None:
    a = membership(B, C, D, E)
    looked_after: list[str] = []
    now = 0.0
    while len(looked_after) < 12:
        for ping in messages(a.tick(now), GossipPing):
            looked_after.append(ping.target)
            info = a.roster[ping.target]
            a.on_message(GossipAck(ping.number, ping.target, info), now)
        now = a.next_tick_at()

    for turn in range(0, 12, 4):
        assert sorted(looked_after[turn : turn + 4]) == ["b", "c", "d", "e"]


def test_a_question_is_answered_with_what_we_are() -> None:
    a = membership()
    (out,) = a.on_message(GossipPing(7, B, "a"), 0.0)
    assert out.to == "b"
    assert out.message == GossipAck(7, "a", a.me, out.message.news)


def test_a_question_tells_who_asks() -> None:
    a = membership()
    a.on_message(GossipPing(7, B, "a", (C,)), 0.0)
    assert a.live == ["b", "c"]
    assert a.take_changes() == [Change("b", "alive"), Change("c", "alive")]


def test_a_question_for_another_is_not_answered() -> None:
    """The address has passed on to us: who was meant is not here, and must be found to be gone."""
    a = membership()
    assert a.on_message(GossipPing(7, B, "former"), 0.0) == []


def test_who_answers_is_well() -> None:
    a = membership(B, C)
    now, ping, target = first_probe(a)
    a.on_message(GossipAck(ping.number, target, a.roster[target]), now)
    assert messages(a.tick(now + 0.6), GossipPingRequest) == []


def test_an_answer_to_another_question_does_not_count() -> None:
    a = membership(B, C)
    now, ping, target = first_probe(a)
    a.on_message(GossipAck(ping.number + 99, target, a.roster[target]), now)
    assert messages(a.tick(now + 0.6), GossipPingRequest) != []


def test_an_answer_of_another_peer_does_not_count() -> None:
    """Somebody who lives at the address now is not the one that was meant."""
    a = membership(B, C, D)
    now, ping, target = first_probe(a)
    other = next(name for name in a.live if name != target)
    a.on_message(GossipAck(ping.number, other, a.roster[other]), now)
    assert messages(a.tick(now + 0.6), GossipPingRequest) != []


def test_who_does_not_answer_is_looked_for_by_others_and_then_suspect() -> None:
    a = membership(B, C, D, E)
    now, _, target = first_probe(a)
    out = a.tick(now + 0.5)
    helpers = {each.to for each in out if type(each.message) is GossipPingRequest}
    assert len(helpers) == TIMING.helpers
    assert target not in helpers
    assert all(request.target.peer == target for request in messages(out, GossipPingRequest))

    a.tick(now + 1.0)

    assert a.roster[target].status == "suspect"
    assert a.take_changes() == [Change(target, "suspect")]


def test_an_answer_by_a_helper_counts() -> None:
    a = membership(B, C, D, E)
    now, ping, target = first_probe(a)
    a.tick(now + 0.5)
    helper = next(name for name in a.live if name != target)
    a.on_message(GossipAck(ping.number, helper, a.roster[target]), now + 0.7)
    a.tick(now + 1.0)
    assert a.roster[target].status == "alive"


def test_a_helper_asks_and_passes_the_answer_on() -> None:
    a = membership(B, C)
    (out,) = a.on_message(GossipPingRequest(40, B, C), 0.0)
    assert (out.to, out.message.target) == ("c", "c")

    (answer,) = a.on_message(GossipAck(out.message.number, "c", C), 0.1)

    assert (answer.to, answer.message.number, answer.message.info) == ("b", 40, C)


def test_a_helper_that_hears_nothing_says_so() -> None:
    a = membership(B, C)
    a.on_message(GossipPingRequest(40, B, C), 0.0)
    out = a.tick(0.4)
    assert [(each.to, each.message) for each in out if type(each.message) is GossipNack] == [
        ("b", GossipNack(40, "a"))
    ]
    assert messages(a.tick(0.5), GossipNack) == [], "once"


def test_a_helper_does_not_help_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober_module, "MAX_RELAYS", 3)
    a = membership(B, C)
    asked = [a.on_message(GossipPingRequest(number, B, C), 0.0) for number in range(10)]
    assert sum(map(bool, asked)) == 3
    a.tick(0.45)
    a.tick(1.01)
    assert a.on_message(GossipPingRequest(11, B, C), 1.02) != []


# --- local health ---------------------------------------------------------------------------------


def suffer(a: Membership, probes: int, *, nacks: bool) -> tuple[float, GossipPing | None]:
    """Let nobody answer for some probes; helpers say that they hear nothing, or are silent, too.

    Returns:
        When the next probe began, and its question; None when nobody is left.
    """
    now = 0.0
    while a.live:
        for each in a.tick(now):
            if type(each.message) is GossipPingRequest and nacks:
                a.on_message(GossipNack(each.message.number, str(each.to)), now)
            if type(each.message) is GossipPing:
                probes -= 1
                if probes < 0:
                    return now, each.message
        now = a.next_tick_at()
    return now, None


def test_who_gets_no_answers_at_all_takes_itself_for_ill() -> None:
    a = membership(B, C, D, E)
    suffer(a, 2, nacks=False)
    assert a.health >= 3


def test_who_hears_from_its_helpers_does_not() -> None:
    a = membership(B, C, D, E)
    suffer(a, 2, nacks=True)
    assert a.health == 0


def test_who_is_ill_waits_longer_and_gets_well() -> None:
    a = membership(B, C, D, E)
    now, ping = suffer(a, 1, nacks=False)
    ill = a.health
    assert ill >= 1
    assert ping is not None
    assert messages(a.tick(now + 0.5 * (1 + ill) - 0.01), GossipPingRequest) == []
    assert messages(a.tick(now + 0.5 * (1 + ill) + 0.01), GossipPingRequest) != []

    a.on_message(GossipAck(ping.number, ping.target, a.roster[ping.target]), now + 1.0)

    assert a.health == ill - 1


def test_health_is_bounded() -> None:
    a = membership(B, C, D, E)
    suffer(a, 12, nacks=False)
    assert a.health <= TIMING.health_most


def test_after_standing_still_nobody_is_blamed() -> None:
    """A process that was stopped finds all deadlines passed, and the answers waiting to be read."""
    a = membership(B, C, D, E)
    now, _, target = first_probe(a)
    a.learn(replace(B, status="suspect", accuser="c"), now)

    a.tick(now + 3600)

    assert all(a.roster[peer].status == "alive" for peer in a.live if peer not in ("b", target))
    assert a.roster["b"].status == "suspect", "with all the time that it had left"
    assert a.roster[target].status != "dead"
    assert a.health == 1


# --- suspicion ------------------------------------------------------------------------------------


def test_a_suspect_that_does_not_rebut_dies() -> None:
    a = membership(B, C, D, E)
    a.learn(replace(B, status="suspect", accuser="c"), 0.0)
    deadline = TIMING.suspicion_seconds(5, 0)
    assert status_after(a, deadline - 0.1, silent=()) == "suspect", "it answers, but does not rebut"
    assert status_after(a, deadline + 0.1, silent=()) == "dead"
    assert a.live == ["c", "d", "e"]


def status_after(a: Membership, until: float, silent: tuple[str, ...] = ("b",)) -> str:
    """Let time pass, with all others answering; return what b is then."""
    while (now := a.next_tick_at()) <= until:
        for ping in messages(a.tick(now), GossipPing):
            if ping.target not in silent:
                a.on_message(GossipAck(ping.number, ping.target, a.roster[ping.target]), now)
    return a.roster["b"].status


def test_confirmations_shorten_its_time_and_hearsay_of_the_same_accuser_does_not() -> None:
    a = membership(B, C, D, E)
    for accuser in ("c", "c", "d", "e"):
        a.learn(replace(B, status="suspect", accuser=accuser), 0.0)
    assert status_after(a, TIMING.suspicion_seconds(5, 2) + 0.1) == "dead"


def test_a_rebuttal_ends_a_suspicion() -> None:
    a = membership(B, C, D, E)
    a.learn(replace(B, status="suspect", accuser="c"), 0.0)
    a.learn(replace(B, rebuttals=1), 1.0)
    assert a.take_changes() == [Change("b", "suspect"), Change("b", "alive")]
    assert status_after(a, TIMING.suspicion_seconds(5, 0) + 0.1, silent=()) == "alive"


def test_that_a_peer_is_dead_is_taken_for_a_suspicion() -> None:
    """Of one sick observer that buries everybody: all of them get the time to rebut (consul#5928)."""
    a = membership(B, C, D, E)
    a.learn(replace(B, status="dead", accuser="sick"), 0.0)
    assert a.roster["b"].status == "suspect"
    assert "b" in a.live


def test_that_a_peer_left_is_taken_as_it_is() -> None:
    a = membership(B)
    a.learn(replace(B, status="left", rebuttals=1), 0.0)
    assert a.live == []


def test_that_a_stranger_is_dead_is_remembered() -> None:
    a = membership()
    a.learn(replace(B, status="dead"), 0.0)
    a.learn(B, 0.0)
    assert (a.live, a.roster.gone) == ([], ["b"])


def test_a_suspicion_about_a_later_rebuttal_is_about_that() -> None:
    a = membership(B)
    a.learn(replace(B, rebuttals=4, status="suspect", accuser="c"), 0.0)
    assert (a.roster["b"].rebuttals, a.roster["b"].status) == (4, "suspect")
    a.learn(replace(B, rebuttals=3, status="dead", accuser="d"), 0.0)
    assert a.roster["b"].accuser == "c", "the old accusation is answered"


def test_the_suspect_is_told_first_of_all() -> None:
    """Lifeguard's buddy: whoever asks a suspect tells it what is held against it."""
    a = membership(B, C, D, E)
    for number in range(20):
        a.learn(replace(C, peer=f"p{number}"), 0.0)
    a.learn(replace(B, status="suspect", accuser="c"), 0.0)
    (answer,) = a.on_message(GossipPing(1, B, "a"), 0.0)
    assert answer.message.news[0] == a.roster["b"]
    assert answer.message.news[0].status == "suspect"


def test_one_who_comes_back_with_an_old_life_is_told_that_it_is_dead() -> None:
    """Else it stays dead for ever, for everybody who heard of its death (memberlist#311)."""
    a = membership(replace(B, status="dead"))
    (answer,) = a.on_message(GossipPing(1, B, "a"), 0.0)
    assert answer.to == "b"
    assert answer.message.news[0].status == "dead"
    (welcome,) = a.on_message(GossipPeerJoin(B), 0.0)
    assert welcome.message.peers[1].status == "dead"


# --- news -----------------------------------------------------------------------------------------


def test_news_is_passed_on_some_times_and_then_no_more() -> None:
    a = membership()
    a.learn(B, 0.0)
    told = [a.on_message(GossipPing(n, C, "a"), 0.0)[0].message.news for n in range(50)]
    assert 1 <= sum(B in news for news in told) <= 8
    assert B not in told[-1]


def test_a_message_carries_some_news_those_told_least_first() -> None:
    a = membership()
    infos = [replace(C, peer=f"p{number}") for number in range(30)]
    for info in infos:
        a.learn(info, 0.0)
    told: list[PeerInfo] = []
    for number in range(4):
        news = a.on_message(GossipPing(number, B, "a"), 0.0)[0].message.news
        assert len(news) <= NEWS_PER_MESSAGE
        told += news
    assert set(infos) <= set(told)


def test_changes_are_told_once_and_bounded() -> None:
    a = membership(B)
    for rebuttals in range(2000):
        a.learn(replace(B, rebuttals=rebuttals, status="suspect", accuser="c"), 0.0)
        a.learn(replace(B, rebuttals=rebuttals + 1), 0.0)
    assert len(a.take_changes()) == 1024
    assert a.take_changes() == []


# --- coming and going -----------------------------------------------------------------------------


def test_a_peer_that_knows_nobody_asks_its_seeds_with_pauses_that_grow() -> None:
    a = membership(seeds=[("10.0.0.9", 1), ("10.0.0.1", 7000)])
    asked = []
    now = 0.0
    while now < 200:
        out = a.tick(now)
        asked += [(now, each.to) for each in out if type(each.message) is GossipPeerJoin]
        now = a.next_tick_at()
    assert {to for _, to in asked} == {("10.0.0.9", 1)}, "not itself"
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(asked)]
    assert max(pauses) <= TIMING.join_most_seconds + 1
    assert sum(pauses[:3]) < sum(pauses[-3:])


def test_a_seed_answers_with_itself_and_some_others() -> None:
    a = membership(*(replace(C, peer=f"p{number:03}") for number in range(200)))
    (out,) = a.on_message(GossipPeerJoin(B), 0.0)
    assert out.to == "b"
    assert out.message.peers[0] == a.me
    assert len(out.message.peers) == 64
    assert "b" in a.live


def test_a_welcome_makes_others_known() -> None:
    a = membership(seeds=[B.address])
    a.on_message(GossipWelcome("b", (B, C)), 0.0)
    assert a.live == ["b", "c"]
    assert messages(a.tick(50.0), GossipPeerJoin) == []


def test_who_leaves_says_goodbye_and_falls_silent() -> None:
    a = membership(B, C)
    out = a.leave()
    assert {each.to for each in out} == {"b", "c"}
    assert all(each.message.info.status == "left" for each in out)
    assert a.on_message(GossipPing(1, B, "a"), 0.0) == []
    assert a.tick(100.0) == []


def test_a_message_under_another_name_is_refused() -> None:
    a = membership(B)
    assert a.on_message(GossipPing(1, B, "a"), 0.0, authenticated="liar") == []
    assert a.roster.refused == {"a sender under another's name": 1}


def test_an_earlier_life_s_roster_is_taken_up_again() -> None:
    a = membership(remembered=[B, replace(C, status="suspect"), replace(D, status="dead")])
    assert a.live == ["b", "c"]
    assert a.roster["c"].status == "alive"
    a.learn(D, 0.0)
    assert a.roster.gone == ["d"], "its death is remembered"


# --- small networks -------------------------------------------------------------------------------


def statuses(net: Net, of: str) -> set[str]:
    found: set[str] = set()
    for node in net.nodes.values():
        info = node.view.membership.roster.get(of)
        if node.name != of and info is not None:
            found.add(info.status)
    return found


def test_nobody_dies_in_a_healthy_network() -> None:
    net = Net(8, probing=True, exchanging=False, seed=1)
    net.run(600)
    assert all(len(node.view.membership.live) == 7 for node in net.nodes.values())
    assert all(node.view.membership.health == 0 for node in net.nodes.values())
    assert all(node.view.membership.take_changes() == [] for node in net.nodes.values())


# That nobody is held for dead in any number of hours in which every question is answered in time follows
# from three things: the state after an answered look is the one before it; without a look that nobody
# answers, a suspicion begins only by the word of one who has one; and whole networks, with answers as late
# as they may be, have never shown one.


def at_rest(one: Membership) -> tuple[Any, ...]:
    """All that a membership goes by, but for the time, its chance, and whose turn it is."""
    prober = one._prober
    return (
        dict(one.roster._infos),
        dict(one._suspicions._suspects),
        dict(prober._relays),
        prober._probe,
        prober.health,
        one._news.take("nobody"),
        one.take_changes(),
    )


@given(
    now=st.floats(0, 1e10),
    away=st.floats(0, 1),
    late=st.floats(0, 0.999),
    back=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_a_look_that_is_answered_in_time_leaves_both_as_they_were(
    now: float, away: float, late: float, back: float, seed: int
) -> None:
    """At any time, also after three hundred years, however long each way takes, one tick late or not."""
    there = away * TIMING.ack_seconds * 0.999
    home = back * (TIMING.ack_seconds * 0.999 - there)
    both = {}
    for name, number in (("a", 1), ("b", 2)):
        identity, _ = begin(name)
        both[name] = Membership(identity, f"10.0.0.{number}", 7000, now=now, rng=Random(f"{seed}/{name}"))
    a, b = both["a"], both["b"]
    for one, other in ((a, b), (b, a)):
        one.learn(other.me, now)
        one.learn(replace(C, port=9), now)
    while a._news.take("x") or b._news.take("x"):
        pass  # what is new is told some times and then no more
    before = at_rest(a)[:6], at_rest(b)[:6]
    due = a.next_tick_at()

    (out,) = a.tick(due + late * TIMING.probe_seconds)
    asked = b if out.to == "b" else None
    if asked is None:  # c's turn: answered as b would
        ack = GossipAck(out.message.number, "c", a.roster["c"])
        a.on_message(ack, due + there + home)
    else:
        ((_, ack),) = b.on_message(out.message, due + there)
        assert a.on_message(ack, due + there + home) == []

    assert (at_rest(a)[:6], at_rest(b)[:6]) == before
    assert a.next_tick_at() >= due


def test_a_suspicion_begins_only_with_a_look_that_nobody_answers_or_another_s_word() -> None:
    """There are two doors, and with the first one shut nobody has a word to say at the second."""
    tree = ast.parse(Path(membership_module.__file__).read_text())
    doors = [
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "self._suspect"
    ]
    assert sorted(doors) == ["learn", "tick"]


@pytest.mark.parametrize("seed", range(6))
def test_where_answers_come_just_in_time_nobody_is_even_looked_for(seed: int) -> None:
    chance = Random(seed)
    net = Net(chance.randint(2, 24), probing=True, exchanging=bool(seed % 2), counted=True, seed=seed)
    most = TIMING.ack_seconds / 2 * 0.999
    net.latency = lambda: chance.choice([0.0, most, chance.uniform(0, most)])
    for _ in range(10):
        net.run(9.0)
        for node in net.nodes.values():
            assert node.view.membership.take_changes() == []
            assert node.view.membership.health == 0
    assert net.traffic.messages["GossipPing"] > 100
    assert net.traffic.messages["GossipPingRequest"] == 0


def test_nobody_dies_where_a_tenth_of_all_messages_is_lost() -> None:
    net = Net(8, loss=0.1, probing=True, exchanging=False, seed=2)
    net.run(600)
    for node in net.nodes.values():
        assert "dead" not in {change.status for change in node.view.membership.take_changes()}


def test_a_crash_is_noticed_by_all() -> None:
    net = Net(8, probing=True, seed=3)
    net.run(5)
    net.crash(peer_name(3))
    net.run(60)
    assert statuses(net, peer_name(3)) == {"dead"}


def test_a_peer_that_left_is_known_to_have_left() -> None:
    net = Net(8, probing=True, seed=4)
    net.run(2)
    node = net.nodes[peer_name(3)]
    net.send(node, node.view.membership.leave())
    net.run(0.1)
    net.crash(node.name)
    net.run(10)
    assert statuses(net, node.name) == {"left"}


def test_a_peer_that_came_back_lives_again_under_a_newer_life() -> None:
    net = Net(6, probing=True, seed=5)
    net.run(3)
    node = net.crash(peer_name(2))
    node.save()
    net.run(60)
    assert statuses(net, node.name) == {"dead"}

    net.start(node.name, node.address, node.disk)
    net.run(20)

    assert statuses(net, node.name) == {"alive"}
    newer = net.nodes[node.name].view.membership.me.incarnation
    assert all(other.view.membership.roster[node.name].incarnation == newer for other in net.nodes.values())


def test_a_peer_that_moved_is_found_at_its_new_address() -> None:
    net = Net(6, probing=True, seed=6)
    net.run(3)
    node = net.crash(peer_name(2))
    node.save()

    net.start(node.name, ("10.0.9.9", 7000), node.disk)
    net.run(20)

    addresses = {other.view.membership.roster[node.name].address for other in net.nodes.values()}
    assert addresses == {("10.0.9.9", 7000)}
    assert statuses(net, node.name) == {"alive"}


def test_a_partition_heals_by_itself() -> None:
    net = Net(8, probing=True, seed=7)
    left = {peer_name(number) for number in range(4)}
    net.cut(left, set(net.nodes) - left)
    net.run(120)
    for node in net.nodes.values():
        others = left if node.name in left else set(net.nodes) - left
        assert set(node.view.membership.live) == others - {node.name}

    net.mend()
    net.run(60)

    assert all(len(node.view.membership.live) == 7 for node in net.nodes.values())


def test_one_seed_that_comes_late_brings_all_together() -> None:
    """Seeds may be down when a peer starts."""
    net = Net(0, acquainted=False, probing=True, seed=8)
    for number in range(1, 6):
        net.start(peer_name(number), peer_address(number))
    net.run(30)
    assert all(node.view.membership.live == [] for node in net.nodes.values())

    net.start(peer_name(0), peer_address(0))
    net.run(40)

    assert all(len(node.view.membership.live) == 5 for node in net.nodes.values())


def test_one_that_hears_nobody_blames_itself_and_kills_nobody() -> None:
    """A half-detached peer hears no answers and suspects all; the others rebut (consul#5928)."""
    net = Net(8, probing=True, seed=9)
    sick = peer_name(0)
    others = [name for name in net.nodes if name != sick]
    hears = net.nodes[sick].view.on_message
    net.nodes[sick].view.on_message = lambda *_: []  # type: ignore[method-assign]  # it is deaf
    net.run(30)
    net.nodes[sick].view.on_message = hears  # type: ignore[method-assign]
    net.run(30)
    for name in others:
        changes = net.nodes[name].view.membership.take_changes()
        assert not [change for change in changes if change.status == "dead" and change.peer != sick]
    assert all(len(node.view.membership.live) == 7 for node in net.nodes.values())


def test_two_that_cannot_reach_each_other_are_vouched_for_by_the_others() -> None:
    """Half a partition: both are alive for the rest, so they are for each other."""
    net = Net(8, probing=True, seed=7)
    net.run(20)
    net.cut([peer_name(0)], [peer_name(1)])
    net.run(200)
    for node in net.nodes.values():
        assert node.view.membership.take_changes() == []
        assert node.view.membership.health == 0


def test_a_restart_of_all_at_once_leaves_nobody_dead() -> None:
    """Everybody comes back with a newer life while accusations are still about (memberlist#311)."""
    net = Net(24, probing=True, seed=10)
    net.run(5)
    for number in range(0, 24):
        node = net.crash(peer_name(number))
        node.save()
        net.run(0.4)
        net.start(node.name, node.address, node.disk)
    net.run(40)
    assert all(len(node.view.membership.live) == 23 for node in net.nodes.values())
    views = {node.view.membership.roster.table.summary() for node in net.nodes.values()}
    assert len(views) == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_is_the_same_story(seed: int) -> None:
    def story() -> list[Any]:
        net = Net(6, loss=0.3, probing=True, seed=seed)
        net.run(60)
        return [(node.name, node.view.membership.take_changes()) for node in net.nodes.values()]

    assert story() == story()


def test_one_that_was_late_to_ask_others_sleeps_until_their_time_is_over() -> None:
    """The next probe is due by then and waits; to wake for it again and again would be a busy loop."""
    a = membership(B, C, D, E)
    asked_at, _, _ = first_probe(a)
    late = asked_at + 1.2
    a.tick(late)
    assert a.next_tick_at() > late


def test_who_asks_in_an_earlier_life_is_told_of_the_later_one() -> None:
    """Two processes of one name: all that is sent by name goes to the later, so the earlier hears it here."""
    later = replace(B, host="10.0.9.9", incarnation=B.incarnation + 1)
    a = membership(later, C)
    out = a.on_message(GossipPing(1, B, "a"), 1.0)
    (ack,) = messages(out, GossipAck)
    assert later in ack.news
    assert out[0].to == B.address

    assert messages(a.on_message(GossipPing(2, later, "a"), 1.0), GossipAck)[0].news.count(later) <= 1


def test_one_suspected_after_we_stood_still_has_no_more_time_than_others() -> None:
    """What waits is read before the clock is looked at; an hour asleep is no hour for the suspect."""
    a = membership(B, C, D, E)
    now, _, _ = first_probe(a)
    awake = now + 3600
    a.learn(replace(B, status="suspect", accuser="c"), awake)
    a.tick(awake)
    assert status_after(a, awake + TIMING.suspicion_seconds(5, 0) + 1, silent=("b",)) == "dead"
