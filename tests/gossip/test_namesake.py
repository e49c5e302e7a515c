"""Our own name in the mouths of others."""

from dataclasses import replace

import pytest

from gossip import DuplicateIdentity, Identity, PeerInfo, Status, Timing, life_of
from gossip.identity import MAX_LIVES_AHEAD, SALT_BITS
from gossip.messages import MAX_REBUTTALS
from gossip.namesake import MAX_CONTESTS, OwnName
from tests.gossip.notaries import SecretNotary
from tests.gossip.stores import MemoryStore, begin


class Case:
    """A peer a and what it says of itself."""

    def __init__(self, notary: SecretNotary | None = None) -> None:
        self.store = MemoryStore()
        self.identity: Identity = begin("a", self.store)[0]
        self.own_name = OwnName(self.identity, notary, Timing())
        self.me = self.own_name.first_info("10.0.0.1", 7000)

    def hear(self, info: PeerInfo, now: float = 0.0) -> PeerInfo | None:
        self.me, ask_at = self.own_name.hear(info, self.me, now)
        return ask_at

    def ghost(self, lives: int = 1, salt: int = 77) -> PeerInfo:
        """A life that our disk has forgotten, at another address."""
        incarnation = (life_of(self.me.incarnation) + lives) << SALT_BITS | salt
        return replace(self.me, incarnation=incarnation, host="10.9.9.9", rebuttals=0)


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.mark.parametrize("status", ["suspect", "dead", "left"])
def test_what_is_said_against_our_present_life_is_rebutted(case: Case, status: Status) -> None:
    said = replace(case.me, status=status, rebuttals=3)
    assert case.hear(said) is None
    assert case.me.version > said.version
    assert (case.me.rebuttals, case.me.status) == (4, "alive")


def test_what_is_said_of_an_earlier_life_is_nothing_to_us(case: Case) -> None:
    before = case.me
    case.hear(replace(case.me, status="dead", incarnation=case.me.incarnation - (1 << SALT_BITS)))
    case.hear(case.me)
    assert case.me == before


def test_one_who_has_left_rebuts_nothing(case: Case) -> None:
    case.me = replace(case.me, status="left", rebuttals=1)
    case.hear(replace(case.me, rebuttals=5, status="dead"))
    assert case.me.status == "left"


def test_when_rebuttals_run_out_a_newer_life_begins(case: Case) -> None:
    """A liar who says the highest number must not stop us, or break us."""
    first = case.me
    case.hear(replace(case.me, status="suspect", rebuttals=MAX_REBUTTALS))
    assert life_of(case.me.incarnation) == life_of(first.incarnation) + 1
    assert case.me.rebuttals == 0


def test_a_ghost_at_our_address_is_outlived(case: Case) -> None:
    """We are the only one who listens here, so it was us."""
    ghost = replace(case.ghost(), host=case.me.host)
    assert case.hear(ghost) is None
    assert case.me.incarnation > ghost.incarnation
    assert case.store.stored is not None
    assert case.store.stored.incarnation == case.me.incarnation, "on disk before it is said"


def test_a_ghost_that_is_gone_is_outlived(case: Case) -> None:
    ghost = replace(case.ghost(), status="dead")
    assert case.hear(ghost) is None
    assert case.me.version > ghost.version


def test_our_present_life_at_another_address_is_outlived(case: Case) -> None:
    lie = replace(case.me, host="10.6.6.6")
    case.hear(lie)
    assert case.me.version > lie.version
    assert case.me.host == "10.0.0.1"


def test_a_later_life_elsewhere_is_asked_first_and_outlived_when_nobody_answers(case: Case) -> None:
    ghost = case.ghost()
    before = case.me
    assert case.hear(ghost, now=10.0) == ghost
    assert case.me == before
    assert case.own_name.next_at() == 12.0
    assert case.own_name.tick(case.me, 11.9) == before
    assert case.hear(case.ghost(lives=2), now=11.0) is None, "one question at a time"

    after = case.own_name.tick(case.me, 12.0)

    assert after.incarnation > ghost.incarnation
    assert case.own_name.next_at() is None


def test_the_question_waits_longer_when_we_stood_still(case: Case) -> None:
    case.hear(case.ghost(), now=10.0)
    case.own_name.postpone(100.0, now=111.0)
    assert case.own_name.next_at() == 112.0
    case.own_name.postpone(100.0, now=111.0)
    assert case.own_name.next_at() == 113.0, "as if it was asked just now, and no longer"


def test_who_answers_under_our_name_in_a_later_life_ends_ours(case: Case) -> None:
    namesake = case.ghost()
    with pytest.raises(DuplicateIdentity, match=r"under the name 'a', at 10\.9\.9\.9:7000, in its life 2"):
        case.own_name.meet(namesake)


def test_who_speaks_under_our_name_in_an_earlier_life_will_end_itself(case: Case) -> None:
    case.own_name.meet(replace(case.ghost(), incarnation=77))
    case.own_name.meet(case.me)
    case.own_name.meet(replace(case.ghost(), peer="b"))


def test_one_that_keeps_outliving_us_is_no_ghost(case: Case) -> None:
    for _ in range(MAX_CONTESTS - 1):
        case.hear(replace(case.ghost(), host=case.me.host))
    with pytest.raises(DuplicateIdentity, match="keeps outliving 'a'"):
        case.hear(replace(case.ghost(), host=case.me.host))


def test_several_ghosts_are_just_ghosts(case: Case) -> None:
    for salt in range(3 * MAX_CONTESTS):
        case.hear(replace(case.ghost(salt=salt), host=case.me.host))
    assert life_of(case.me.incarnation) > 3 * MAX_CONTESTS


def test_a_life_that_cannot_be_is_not_believed(case: Case) -> None:
    """Outliving it would use up all lives that there are."""
    before = case.me
    assert case.hear(case.ghost(lives=MAX_LIVES_AHEAD + 1)) is None
    assert case.me == before


def test_with_seals_only_our_own_seal_tells_of_our_other_lives() -> None:
    case = Case(SecretNotary("a"))
    before = case.me
    lie = replace(case.ghost(), proof=SecretNotary("liar").seal(b""))
    assert case.hear(lie) is None
    assert case.me == before

    ghost = SecretNotary("a").sealed_peer(case.ghost())
    assert case.hear(ghost) == ghost
