"""Lives, leases and the disk that remembers them."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import Identity, IdentityExhausted, Sighting, StoredIdentity, WrongIdentity, life_of
from gossip.clock import MAX_ADVANCE
from gossip.identity import MAX_INCARNATION, MAX_LIVES, SALT_BITS
from tests.gossip.stores import MemoryStore, begin


def test_the_first_life_is_number_one() -> None:
    identity, _ = begin("a")
    assert identity.replica.peer == "a"
    assert life_of(identity.replica.incarnation) == 1


def test_a_life_is_on_disk_before_it_begins() -> None:
    class Full(MemoryStore):
        def save_identity(self, identity: StoredIdentity) -> None:
            raise OSError("no space left on device")

    identity = Identity("a", Full(), Random(0))
    with pytest.raises(OSError, match="no space"):
        identity.begin()


def test_each_start_is_another_life_and_the_clock_goes_on() -> None:
    store = MemoryStore()
    first, clock = begin("a", store, salt=1)
    used = [clock.tick() for _ in range(3)]
    second, clock = begin("a", store, salt=2)

    assert second.remembered
    assert second.replica > first.replica
    assert clock.tick() > max(used)


def test_a_peer_without_a_disk_takes_the_life_after_the_last_that_others_saw() -> None:
    seen, clock = begin("a", salt=1)
    for _ in range(5000):
        clock.tick()

    identity, clock = begin(
        "a",
        salt=2,
        sightings=(Sighting("b", 0, 7), Sighting("c", seen.replica.incarnation, 5000)),
    )

    assert not identity.remembered
    assert life_of(identity.replica.incarnation) == 2
    assert clock.tick() == 5001


def test_the_sightings_of_one_liar_move_no_clock_when_there_are_others() -> None:
    _, clock = begin("a", sightings=(Sighting("liar", 0, 2**61), Sighting("b", 0, 3 * MAX_ADVANCE)))
    assert clock.time == 3 * MAX_ADVANCE


@given(st.integers(0, 50), st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_lives_from_one_copy_of_a_disk_differ(writes: int, salts: list[int]) -> None:
    """An old copy knows nothing of the life that went on after it, and begins one of the same number."""
    store = MemoryStore()
    _, clock = begin("a", store)
    for _ in range(writes):
        clock.tick()
    copies = [begin("a", MemoryStore(store.stored), salt=salt)[0].replica for salt in set(salts)]

    assert len(set(copies)) == len(copies)
    assert len({life_of(replica.incarnation) for replica in copies}) == 1


def test_a_process_keeps_its_salt_through_its_lives() -> None:
    identity, _ = begin("a", salt=4)
    first = identity.replica.incarnation
    second = identity.renew(first + (5 << SALT_BITS)).incarnation

    assert life_of(second) == 7
    assert first % 2**SALT_BITS == second % 2**SALT_BITS
    assert identity.is_ours(first)
    assert identity.is_ours(second)
    assert not identity.is_ours(second + 1)
    assert not identity.is_ours(second + (1 << SALT_BITS)), "a life that we have not had yet"


def test_a_newer_life_keeps_the_lease() -> None:
    store = MemoryStore()
    identity, clock = begin("a", store)
    clock.tick()
    identity.renew(0)
    assert store.stored is not None
    assert store.stored.lease_end == clock.lease_end


def test_the_disk_of_another_peer_is_refused() -> None:
    store = MemoryStore()
    begin("a", store)
    with pytest.raises(WrongIdentity, match=r"belongs to peer 'a', this is 'b'; give each peer"):
        begin("b", store)


def test_lives_run_out_with_words() -> None:
    store = MemoryStore(StoredIdentity("a", (MAX_LIVES - 1) << SALT_BITS, 0))
    with pytest.raises(IdentityExhausted, match="give it another name"):
        begin("a", store)


def test_no_liar_uses_up_the_lives_of_a_peer_that_starts() -> None:
    """To outlive what it tells of would leave none."""
    identity, _ = begin("a", sightings=(Sighting("liar", MAX_INCARNATION - 1, 0), Sighting("b", 0, 0)))

    assert life_of(identity.replica.incarnation) == 1


def test_what_is_saved_can_be_read() -> None:
    stored = StoredIdentity("a", 1 << SALT_BITS, 1024)
    store = MemoryStore(stored)
    identity, clock = begin("a", store)

    assert clock.lease_end == 1024
    assert store.stored == replace(stored, incarnation=identity.replica.incarnation)
