"""Who is known: what is newer, what is refused, what is remembered."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import PeerInfo
from gossip import roster as roster_module
from gossip.messages import STATUSES
from gossip.roster import Learned, Roster
from tests.gossip.notaries import SecretNotary

ME = PeerInfo("me", "10.0.0.1", 7000, 1)
B = PeerInfo("b", "10.0.0.2", 7000, 5)

sayings = st.builds(
    lambda incarnation, rebuttals, status: replace(
        B, incarnation=incarnation, rebuttals=rebuttals, status=status, host=f"10.0.1.{incarnation}"
    ),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from(STATUSES),
)


@given(st.permutations(range(6)), st.lists(sayings, min_size=6, max_size=6))
def test_in_whatever_order_they_come_the_newest_saying_stays(order: list[int], said: list[PeerInfo]) -> None:
    one, other = Roster(ME), Roster(ME)
    for info in said:
        one.learn(info)
    for number in order:
        other.learn(said[number])

    assert one.get("b") == other.get("b")
    assert one["b"].version == max(info.version for info in said)
    assert one.table.summary() == other.table.summary()


def test_status_beats_status_in_its_order() -> None:
    roster = Roster(ME)
    for status in STATUSES:
        assert roster.learn(replace(B, status=status)) is Learned.NEWS
    for status in STATUSES:
        assert roster.learn(replace(B, status=status)) is Learned.OLD
    assert roster.learn(replace(B, rebuttals=1)) is Learned.NEWS
    assert roster["b"].status == "alive"


def test_an_address_changes_only_with_a_newer_incarnation() -> None:
    roster = Roster(ME)
    roster.learn(B)
    moved = replace(B, host="10.6.6.6")
    for change in (moved, replace(moved, rebuttals=3), replace(moved, status="suspect")):
        assert roster.learn(change) is Learned.REFUSED
    assert roster["b"].host == "10.0.0.2"
    assert roster.refused == {"an address without a newer incarnation": 3}

    assert roster.learn(replace(moved, incarnation=6)) is Learned.NEWS
    assert roster["b"].host == "10.6.6.6"


def test_with_seals_only_the_owner_gives_an_address() -> None:
    roster = Roster(ME, SecretNotary("me"))
    lie = replace(B, proof=SecretNotary("liar").seal(b""))
    assert roster.learn(lie) is Learned.REFUSED
    assert roster.get("b") is None

    sealed = SecretNotary("b").sealed_peer(B)
    assert roster.learn(sealed, authenticated="somebody else") is Learned.NEWS
    assert roster.learn(replace(sealed, incarnation=6, host="10.6.6.6")) is Learned.REFUSED
    assert roster["b"] == sealed


def test_with_seals_others_may_still_say_that_it_is_suspect() -> None:
    roster = Roster(ME, SecretNotary("me"))
    roster.learn(SecretNotary("b").sealed_peer(B))
    assert roster.learn(replace(B, status="suspect", accuser="c")) is Learned.NEWS
    assert roster["b"].proof, "and the owner's seal stays on the address"


def test_without_seals_a_connection_that_says_who_speaks_is_believed_about_itself() -> None:
    roster = Roster(ME)
    assert roster.learn(B, authenticated="liar") is Learned.REFUSED
    assert roster.learn(B, authenticated="b") is Learned.NEWS


def test_live_and_gone() -> None:
    roster = Roster(ME)
    roster.learn(B)
    roster.learn(replace(B, peer="c", host="10.0.0.3", status="dead"))
    assert (roster.live, roster.gone, len(roster)) == (["b"], ["c"], 3)

    roster.learn(replace(B, status="left"))
    assert (roster.live, roster.gone) == ([], ["c", "b"])
    roster.learn(replace(B, incarnation=6))
    assert (roster.live, roster.gone) == (["b"], ["c"])


def test_an_old_word_does_not_bring_back_who_is_gone() -> None:
    roster = Roster(ME)
    roster.learn(replace(B, status="dead"))
    assert roster.learn(B) is Learned.OLD
    assert roster.learn(replace(B, incarnation=4)) is Learned.OLD
    assert roster.live == []


def test_those_that_went_first_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "MAX_GONE", 3)
    roster = Roster(ME)
    for number in range(10):
        roster.learn(replace(B, peer=f"p{number}", status="dead"))
    assert roster.gone == ["p7", "p8", "p9"]
    assert len(roster) == 4
    assert roster.table.summary() == _table_of(roster)


def test_the_number_of_peers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "MAX_PEERS", 3)
    roster = Roster(ME)
    for number in range(10):
        roster.learn(replace(B, peer=f"p{number}"))
    assert len(roster) == 3
    assert roster.refused == {"too many peers": 8}


def test_the_way_to_a_peer_is_its_name_only_at_its_own_address() -> None:
    roster = Roster(ME)
    assert roster.way_to(B) == B.address
    roster.learn(B)
    assert roster.way_to(B) == "b"
    assert roster.way_to(replace(B, port=7001)) == ("10.0.0.2", 7001)


def _table_of(roster: Roster) -> bytes:
    fresh = Roster(ME)
    for info in roster.infos():
        fresh.set(info)
    return fresh.table.summary()
