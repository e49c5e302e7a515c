"""The models of one peer: who may write what, what is complete, what is outbid."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from gossip import Model, ModelInfo, Timing
from gossip import models as models_module
from gossip.clock import CEILING, MAX_ADVANCE
from gossip.digest import key_hash
from gossip.identity import SALT_BITS
from gossip.messages import GossipPiece
from gossip.models import Models, key_of
from gossip.transfer import Transfers
from tests.gossip.notaries import SecretNotary
from tests.gossip.stores import MemoryStore, begin

LIFE = 1 << SALT_BITS


class Case:
    """The models of a peer called a."""

    def __init__(self, store: MemoryStore | None = None, notary: SecretNotary | None = None) -> None:
        self.identity, self.clock = begin("a", store)
        self.transfers = Transfers("a", Timing())
        self.models = Models(self.identity, self.clock, self.transfers, notary)

    def send(self, data: bytes, sender: str = "b") -> None:
        for ask in range(1, 20):
            self.models.on_piece(GossipPiece(sender, sha256(data).digest(), 0, data, ask), 0.0)

    def take(
        self, info: ModelInfo, data: bytes | None = None, source: str = "b", authenticated: str | None = None
    ) -> int:
        """Let an info come, and the bytes after it; return how many questions were asked."""
        asked = len(self.models.take(info, source, 0.0, authenticated=authenticated))
        if data is not None:
            self.send(data, source)
        return asked


def model(
    owner: str = "b", version: int = 1, data: bytes = b"theirs", *, incarnation: int = LIFE
) -> ModelInfo:
    return ModelInfo(owner, incarnation, version, 10, len(data), sha256(data).digest())


def withdrawn(owner: str = "b", version: int = 2) -> ModelInfo:
    return ModelInfo(owner, LIFE, version, 0, 0, b"")


@pytest.fixture
def case() -> Case:
    return Case()


# --- our own model --------------------------------------------------------------------------------


def test_a_published_model_is_there(case: Case) -> None:
    info = case.models.publish(b"ours", samples=7)
    assert case.models.all() == [Model("a", 7, b"ours")]
    assert case.models["a"] == info
    assert case.models.map.get(key_of("a")) == (7, 4, sha256(b"ours").digest())
    assert case.models.take_fresh() == [info]
    assert case.models.take_changed() == [info]


def test_a_newer_model_takes_the_place_of_the_older_and_frees_its_bytes(case: Case) -> None:
    old = case.models.publish(b"old", samples=7)
    new = case.models.publish(b"new", samples=8)
    assert new.version > old.version
    assert case.models.all() == [Model("a", 8, b"new")]
    assert case.transfers.held(old.content) is None


def test_publishing_the_same_bytes_again_keeps_them(case: Case) -> None:
    case.models.publish(b"same", samples=7)
    case.models.publish(b"same", samples=7)
    assert case.models.all() == [Model("a", 7, b"same")]


def test_a_withdrawn_model_is_gone_and_stays_gone(case: Case) -> None:
    published = case.models.publish(b"ours", samples=7)
    gone = case.models.withdraw()
    assert gone.withdrawn
    assert case.models.all() == []
    assert case.transfers.held(published.content) is None
    assert case.models.take(published, "b", 0.0) == []
    assert case.models.all() == []


@pytest.mark.parametrize(("data", "samples"), [(b"", 1), (b"x", 0), (b"x", -1)])
def test_what_is_no_model_is_not_published(case: Case, data: bytes, samples: int) -> None:
    with pytest.raises(ValueError, match=r"a model of 0 bytes|samples="):
        case.models.publish(data, samples)


def test_a_model_that_is_too_large_is_not_published(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_module, "MAX_MODEL_BYTES", 3)
    with pytest.raises(ValueError, match="1 to 3 are allowed"):
        case.models.publish(b"four", 1)


# --- the models of others -------------------------------------------------------------------------


def test_a_model_takes_part_when_all_its_bytes_are_here(case: Case) -> None:
    summary = case.models.table.summary()
    assert case.take(model()) == 1
    assert case.models.all() == []
    assert case.models.table.summary() == summary, "and is not shown to others before"

    case.send(b"theirs")

    assert case.models.all() == [Model("b", 10, b"theirs")]
    assert case.models.table.summary() != summary
    assert case.clock.time == 1


def test_until_then_the_former_one_stays(case: Case) -> None:
    case.take(model(), b"theirs")
    case.take(model(version=2, data=b"newer"))
    assert case.models.all() == [Model("b", 10, b"theirs")]
    case.send(b"newer")
    assert case.models.all() == [Model("b", 10, b"newer")]


def test_an_older_model_changes_nothing(case: Case) -> None:
    case.take(model(version=2, data=b"newer"), b"newer")
    assert case.take(model(version=1)) == 0
    assert case.models.all() == [Model("b", 10, b"newer")]


def test_a_model_on_its_way_is_not_asked_for_again(case: Case) -> None:
    assert case.take(model()) == 1
    assert case.take(model(), source="c") == 0
    assert case.transfers.pending == 1


def test_a_newer_one_takes_the_place_of_one_on_its_way(case: Case) -> None:
    case.take(model(version=1))
    case.take(model(version=2, data=b"newer"))
    assert case.transfers.pending == 1
    assert case.take(model(version=1)) == 0, "an older one does not"
    case.send(b"newer")
    assert case.models.all() == [Model("b", 10, b"newer")]


def test_a_model_that_is_held_already_needs_no_bytes(case: Case) -> None:
    """The owner has said the same model again: only the info travels."""
    case.take(model(), b"theirs")
    assert case.take(model(version=2)) == 0
    assert case.models["b"].version == 2


def test_two_owners_of_one_model_need_the_bytes_once(case: Case) -> None:
    assert case.take(model("b")) + case.take(model("c")) == 1
    case.send(b"theirs")
    assert [each.owner for each in case.models.all()] == ["b", "c"]
    case.take(withdrawn("b"))
    assert case.models.all() == [Model("c", 10, b"theirs")], "and they stay as long as one has them"


def test_a_model_withdrawn_while_it_is_on_its_way_does_not_arrive(case: Case) -> None:
    case.take(model())
    case.take(withdrawn())
    assert case.transfers.pending == 0
    case.send(b"theirs")
    assert case.models.all() == []
    assert case.models["b"].withdrawn


def test_announced_models_are_passed_on_once_they_are_here(case: Case) -> None:
    case.models.take(model(), "b", 0.0, announced=True)
    assert case.models.take_fresh() == []
    case.send(b"theirs")
    assert [info.owner for info in case.models.take_fresh()] == ["b"]
    assert case.models.take_fresh() == []


def test_models_that_came_with_an_exchange_are_not_passed_on(case: Case) -> None:
    case.take(model(), b"theirs")
    assert case.models.take_fresh() == []


def test_rows_tell_what_is_on_its_way_and_what_is_too_far_ahead(case: Case) -> None:
    theirs = Case()
    theirs.take(model(), b"theirs")
    row = theirs.models.table.rows(255)
    assert row[:8] == key_hash("b")
    assert case.models.on_its_way(row) is None
    assert case.models.is_reachable(row)

    case.take(model())

    assert case.models.on_its_way(row) == model()
    assert case.models.on_its_way(row[:8] + bytes(24)) is None
    far = row[:8] + (MAX_ADVANCE + 1).to_bytes(8, "big") + row[16:]
    beyond = row[:8] + CEILING.to_bytes(8, "big") + row[16:]
    assert not case.models.is_reachable(far)
    assert not case.models.is_reachable(beyond)
    assert case.models.parked == 2


# --- who may write what ---------------------------------------------------------------------------


def test_without_seals_a_verified_sender_may_write_its_own_key_only(case: Case) -> None:
    assert case.take(model("b"), authenticated="liar", source="liar") == 0
    assert case.models.get("b") is None
    assert case.models.refused == {"a model that its owner has not given": 1}
    assert case.models.liars == {"liar": 1}
    assert case.clock.time == 0

    assert case.take(model("b"), authenticated="b") == 1


def test_with_seals_anybody_may_carry_what_the_owner_has_sealed() -> None:
    case = Case(notary=SecretNotary("a"))
    sealed = SecretNotary("b").sealed_model(model())
    forged = (
        replace(sealed, version=9),
        replace(sealed, samples=10**6),
        replace(sealed, content=bytes(32)),
        replace(sealed, incarnation=LIFE + 5),
        replace(sealed, owner="c"),
        SecretNotary("liar").sealed_model(model()),
        model(),
    )
    for lie in forged:
        assert case.take(lie, source="liar", authenticated="liar") == 0
    assert case.models.liars == {"liar": len(forged)}

    assert case.take(sealed, b"theirs", source="c", authenticated="c") == 1
    assert case.models.all() == [Model("b", 10, b"theirs")]


def test_our_own_models_are_sealed() -> None:
    case = Case(notary=SecretNotary("a"))
    info = case.models.publish(b"ours", 7)
    assert info == SecretNotary("a").sealed_model(replace(info, proof=b""))


def test_a_time_far_ahead_is_left_for_later(case: Case) -> None:
    far = model(version=MAX_ADVANCE + 3)
    assert case.take(far) == 0
    assert (case.models.parked, case.clock.time) == (1, 0)

    case.take(model("c", version=5, data=b"c"), b"c")

    assert case.take(far) == 1, "the next exchange offers it again"


def test_the_number_of_owners_is_bounded(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_module, "MAX_PEERS", 3)
    for number in range(10):
        case.take(model(f"p{number}", data=f"{number}".encode()), f"{number}".encode())
    assert len(case.models.all()) == 3
    assert case.models.refused == {"too many models": 7}
    assert case.take(model("p0", version=2, data=b"new")) == 1, "those that are known go on"


def test_liars_are_counted_within_bounds(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_module, "MAX_PEERS", 3)
    for number in range(10):
        case.take(model("b"), source=f"liar-{number}", authenticated=f"liar-{number}")
    assert len(case.models.liars) == 3
    assert case.models.refused.total() == 10


def test_an_owner_that_says_two_things_at_one_time_is_noticed_and_one_of_them_wins() -> None:
    one, other = model(data=b"one"), model(data=b"other")
    ends = []
    for first, second in ((one, other), (other, one)):
        case = Case()
        for info in (first, second):
            case.take(info, b"one" if info is one else b"other")
        assert case.models.equivocations == 1
        ends.append(case.models.all())
    assert ends[0] == ends[1]


# --- our own key in another life ------------------------------------------------------------------


def ghost(version: int = 500) -> ModelInfo:
    """What we wrote in a life that our disk has forgotten."""
    return model("a", version=version, data=b"ghost", incarnation=LIFE + 99)


def test_before_we_have_spoken_our_forgotten_model_is_welcome(case: Case) -> None:
    case.take(ghost(), b"ghost")
    assert case.models.all() == [Model("a", 10, b"ghost")]


def test_once_we_have_spoken_a_ghost_is_outbid(case: Case) -> None:
    case.models.publish(b"reborn", 7)
    assert case.take(ghost()) == 0
    assert case.models.all() == [Model("a", 7, b"reborn")]
    assert case.models["a"].version > 500
    assert [info.version for info in case.models.take_fresh()][-1] > 500, "and everybody is told"


def test_a_ghost_on_its_way_when_we_speak_is_outbid(case: Case) -> None:
    case.take(ghost())
    case.models.publish(b"reborn", 7)
    case.send(b"ghost")
    assert case.models.all() == [Model("a", 7, b"reborn")]
    assert case.models["a"].version > 500


def test_a_withdrawal_outbids_a_ghost_as_well(case: Case) -> None:
    case.models.publish(b"reborn", 7)
    case.models.withdraw()
    case.take(ghost())
    assert case.models.all() == []
    assert case.models["a"].version > 500


# --- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_brings_back_what_was_there() -> None:
    store = MemoryStore()
    before = Case(store)
    before.models.publish(b"ours", 7)
    before.take(model(version=900), b"theirs")
    before.take(withdrawn("c"))
    saved = [(info, before.transfers.held(info.content) or b"") for info in before.models.infos()]

    after = Case(store)
    after.models.restore(saved)

    assert after.models.all() == before.models.all()
    assert after.models.table.summary() == before.models.table.summary()
    assert after.models.map.digest() == before.models.map.digest()
    assert after.clock.time >= 900
    assert after.models.take_changed() == [], "it is on disk already"
    assert after.models.take_fresh() == []
    assert after.take(model(version=900)) == 0, "what is held is not asked for"


def test_a_snapshot_with_other_bytes_is_not_taken(case: Case) -> None:
    case.models.restore([(model(), b"other bytes"), (model("c"), b"theirs")])
    assert case.models.all() == [Model("c", 10, b"theirs")]
    assert case.models.refused == {"a snapshot with another content": 1}
    assert case.transfers.held(sha256(b"other bytes").digest()) is None


def test_a_newer_model_that_was_given_up_does_not_keep_out_the_best_that_is_left(case: Case) -> None:
    """All that had it came back without it: without this, an older one that all others hold is refused."""
    case.take(model(version=2, data=b"newer"))
    case.transfers.lose("b", 0.0)
    assert case.transfers.pending == 0

    assert case.take(model(version=1), source="c") == 1
    case.send(b"theirs", sender="c")
    assert case.models.all() == [Model("b", 10, b"theirs")]
