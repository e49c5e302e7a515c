"""The disk of a peer, in a gossip.db; and the places where all say where they are."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
import trio

from federation.learning import Budget
from gossip import (
    Identity,
    Learner,
    Membership,
    ModelInfo,
    PeerInfo,
    StoredIdentity,
    View,
    World,
    WrongIdentity,
)
from gossip.keeper import Keeper
from gossip.places import PEER, REPORTER, placed, places
from gossip.standing import Standing
from gossip.store import Changes, GossipStore, Remembered
from persistence import GossipEventRow, GossipPersistence, PeerMetricsRow, PeerStateRow
from tests.gossip.site import RUN, toy_region
from trioactor import ActorRef

LIFE = 2**32 + 7
DATA = b"weights"
MODEL = ModelInfo("b", LIFE, 9, 100, len(DATA), sha256(DATA).digest(), b"seal")
PEER_INFO = PeerInfo("b", "10.0.0.2", 7000, LIFE, 2, "suspect", "c", b"seal")


def state(round: int = 4) -> PeerStateRow:
    return PeerStateRow(peer="a", round=round, finished=False, samples=10, life=1, saved_unix=0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gossip.db"


def open_store(path: Path, peer: str = "a") -> GossipStore:
    return GossipStore(path, RUN, peer)


def test_what_was_saved_is_remembered(path: Path) -> None:
    withdrawn = ModelInfo("c", LIFE, 3, 0, 0, b"", b"another seal")
    with closing(open_store(path)) as store:
        contents = ((MODEL.content, DATA),)
        store.save(Changes(state(), (MODEL, withdrawn), contents, (PEER_INFO,)))

    with closing(open_store(path)) as store:
        found = store.load()

    assert found.models == ((MODEL, DATA), (withdrawn, b""))
    assert found.peers == (PEER_INFO,)
    assert found.round == 4


def test_a_snapshot_and_the_round_that_it_speaks_of_are_one_commit(path: Path) -> None:
    row = PeerMetricsRow(peer="a", round=4, at_unix=0.0, seconds=0.5, train_loss=0.25)
    statements: list[str] = []
    with closing(open_store(path)) as store:
        store._record.database._connection.set_trace_callback(statements.append)
        store.save(Changes(state(round=4), (MODEL,), ((MODEL.content, DATA),), (PEER_INFO,), metrics=row))
        assert statements.count("COMMIT") == 1
        found = store.load()

    assert (found.round, found.metrics) == (4, row)


def test_a_peer_that_is_forgotten_is_not_remembered(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.save(Changes(state(), peers=(PEER_INFO, replace(PEER_INFO, peer="c"))))
        store.save(Changes(state(), forgotten=("b",)))
        assert [info.peer for info in store.load().peers] == ["c"]


def test_a_model_whose_bytes_are_missing_is_passed_over(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.save(Changes(state(), (MODEL,)))
        assert store.load().models == ()


def test_an_identity_is_kept_for_all_runs(path: Path) -> None:
    stored = StoredIdentity("a", (2**32 - 1) << 32 | 5, 2**62 - 1)
    with closing(open_store(path)) as store:
        assert store.load_identity() is None
        store.save_identity(stored)

    with closing(GossipStore(path, replace(RUN, name="another"), "a")) as store:
        assert store.load_identity() == stored
        assert store.load().round == 0


def test_an_identity_can_be_saved_while_a_snapshot_is_written(path: Path) -> None:
    """By another connection: it waits for the other's transaction, and does not become part of it."""
    with closing(open_store(path)) as store:
        with pytest.raises(ZeroDivisionError), store._record.database.transaction() as connection:
            connection.execute("UPDATE runs SET reason = 'never to be seen'")
            assert store._identities.database.read("SELECT reason FROM runs")[0][0] == ""
            raise ZeroDivisionError
        store.save_identity(StoredIdentity("a", LIFE, 1))
        assert store.load_identity() == StoredIdentity("a", LIFE, 1)


def test_peers_that_share_a_file_have_identities_of_their_own(path: Path) -> None:

    with closing(open_store(path, "a")) as a, closing(open_store(path, "b")) as b:
        Identity("a", a, Random(1)).begin()
        assert b.load_identity() is None
        with pytest.raises(WrongIdentity):
            Identity("b", a, Random(1))


def test_a_damaged_file_is_said_to_be_aside(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    with closing(open_store(path)) as store:
        assert store.aside is not None
        aside, why = store.aside
    assert aside == path.with_name("gossip.db.aside-1")
    assert "no SQLite database" in why


def test_a_run_that_has_finished_is_said_to_have(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.finish("ab" * 32, 5.0)
    with GossipPersistence(path, read_only=True) as record:
        (run,) = record.runs()
    assert (run.status, run.ended_unix, run.model_sha256) == ("finished", 5.0, "ab" * 32)


# --- places -----------------------------------------------------------------------------------------


def test_who_is_placed_is_found_and_gone_after_the_block(tmp_path: Path) -> None:
    folder = tmp_path / "peers"
    with placed(folder, PEER, "b", ("10.0.0.2", 7002)), placed(folder, PEER, "a", ("10.0.0.1", 7001)):
        with placed(folder, REPORTER, "r", ("10.0.0.9", 7009)):
            assert places(folder, REPORTER) == [("10.0.0.9", 7009)]
        assert places(folder, PEER) == [("10.0.0.1", 7001), ("10.0.0.2", 7002)]
        assert places(folder, REPORTER) == []
    assert places(folder, PEER) == []


def test_who_comes_after_us_keeps_its_place(tmp_path: Path) -> None:
    with placed(tmp_path, PEER, "a", ("10.0.0.1", 7001)):
        later = placed(tmp_path, PEER, "a", ("10.0.0.1", 7002))
        later.__enter__()
    assert places(tmp_path, PEER) == [("10.0.0.1", 7002)]
    later.__exit__(None, None, None)


@pytest.mark.parametrize("text", ["", "{", '{"host": "a"}', '{"host": "a", "port": "x"}', "[]", "\x00"])
def test_a_place_that_cannot_be_read_is_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / "peer-a.json").write_text(text)
    assert places(tmp_path, PEER) == []


def test_where_nobody_is_there_are_no_places(tmp_path: Path) -> None:
    assert places(tmp_path / "no such folder", PEER) == []


# --- several tasks, one disk ------------------------------------------------------------------------


async def test_tasks_that_write_at_once_take_turns(path: Path) -> None:
    """In threads, as in a real peer: SQLite's connection is one, and knows one transaction at a time."""
    learner = Learner("a", toy_region("a"), Budget())
    with closing(open_store(path)) as store:
        identity = Identity("a", store, Random(1))
        clock = identity.begin()
        membership = Membership(identity, "10.0.0.1", 7000, now=0.0, rng=Random(1))
        view = View(identity, clock, membership, rng=Random(1))
        world = World(ref_to=nobody, reporter_at=nobody, rng=Random(1), open_store=lambda: store)
        keeper = Keeper(view, learner, Standing("a", 24), store, world, Remembered())
        event = GossipEventRow(at_unix=0.0, source="a", kind="dead", text="b is dead")
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(keeper.write, lambda disk: disk.add_events([event]))
                nursery.start_soon(keeper.save)
    with GossipPersistence(path, read_only=True) as record:
        assert len(record.events(1)) == 30


def nobody(address: tuple[str, int]) -> ActorRef:
    raise AssertionError(f"nothing is sent, least of all to {address}")
