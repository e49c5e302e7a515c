"""Summaries, rows and comparisons of two tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import digest as digest_module
from gossip.digest import BUCKETS, DigestTable, key_hash, read_row
from gossip.messages import ROW_BYTES, SUMMARY_BYTES

ALL = (1 << BUCKETS) - 1

contents = st.dictionaries(
    st.integers(0, 30).map(lambda number: f"peer-{number}"),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([b"x" * 32, b"y" * 32])),
    max_size=25,
)


def table_of(content: dict[str, tuple[int, int, bytes]]) -> DigestTable:
    table = DigestTable()
    for key, (major, minor, hashed) in content.items():
        table.set(key, major, minor, hashed)
    return table


@given(contents, contents)
def test_summaries_are_equal_only_for_equal_tables(
    one: dict[str, tuple[int, int, bytes]], other: dict[str, tuple[int, int, bytes]]
) -> None:
    """Whatever order the rows came in."""
    shuffled = table_of(dict(reversed(one.items())))
    assert table_of(one).summary() == shuffled.summary()
    assert (table_of(one).summary() == table_of(other).summary()) == (one == other)
    assert (table_of(one).differing(table_of(other).summary()) == 0) == (one == other)


@given(contents, contents)
def test_a_comparison_finds_just_what_each_side_lacks(
    one: dict[str, tuple[int, int, bytes]], other: dict[str, tuple[int, int, bytes]]
) -> None:
    ours, theirs = table_of(one), table_of(other)
    mask = ours.differing(theirs.summary())

    found = theirs.compare(mask, ours.summary(), ours.rows(mask))

    def newer(a: tuple[int, int, bytes], b: tuple[int, int, bytes] | None) -> bool:
        return b is None or a[:2] > b[:2] or (a[:2] == b[:2] and a[2] != b[2])

    assert set(found.lacking) == {key for key in other if newer(other[key], one.get(key))}
    wanted = {row[:8] for row in found.wanted}
    assert wanted == {key_hash(key) for key in one if newer(one[key], other.get(key))}
    assert all(read_row(row).key_hash == row[:8] for row in found.wanted)


def test_what_is_lacking_altogether_comes_first() -> None:
    theirs = table_of({"old": (1, 0, b"x" * 32)})
    ours = table_of({"old": (2, 0, b"x" * 32), "new": (1, 0, b"x" * 32)})
    assert ours.compare(ALL, theirs.summary(), theirs.rows(ALL)).lacking == ["new", "old"]


def test_a_summary_is_small_and_a_row_is_smaller() -> None:
    table = table_of({f"p{number}": (1, 1, bytes(32)) for number in range(1000)})
    assert len(table.summary()) == SUMMARY_BYTES
    assert len(table.rows(ALL)) == 1000 * ROW_BYTES


def test_one_difference_sends_one_bucket() -> None:
    content = {f"p{number}": (1, 1, bytes(32)) for number in range(800)}
    ours, theirs = table_of(content), table_of({**content, "p5": (2, 1, bytes(32))})
    mask = ours.differing(theirs.summary())
    assert mask.bit_count() == 1
    assert len(ours.rows(mask)) < 2 * 100 * ROW_BYTES


def test_a_removed_key_is_as_if_it_never_was() -> None:
    table = table_of({"a": (1, 1, bytes(32))})
    empty = DigestTable().summary()
    table.remove("a")
    table.remove("never")
    assert table.summary() == empty
    assert table.key_of(key_hash("a")) is None


def test_two_contents_under_one_short_hash_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner can find two contents whose hashes begin alike, in some 2**32 tries. It is as if it had.

    The rows are equal then, and without more the two sides would differ for ever.
    """
    monkeypatch.setattr(digest_module, "short_content", lambda content: bytes(8))
    ours, theirs = table_of({"a": (1, 1, b"x" * 32)}), table_of({"a": (1, 1, b"y" * 32)})
    assert ours.rows(ALL) == theirs.rows(ALL)

    mask = ours.differing(theirs.summary())

    assert mask != 0
    assert ours.compare(mask, theirs.summary(), theirs.rows(mask)).lacking == ["a"]
    assert ours.compare(mask, ours.summary(), ours.rows(mask)).lacking == [], "nothing is sent to an equal"


def test_short_bucket_hashes_that_are_equal_by_chance_hide_nothing() -> None:
    ours, theirs = table_of({"a": (1, 1, b"x" * 32)}), table_of({"a": (2, 1, b"x" * 32)})
    forged = theirs.summary()[:16] + ours.summary()[16:]
    assert ours.differing(forged) == ALL


def test_rows_of_buckets_that_were_not_announced_are_not_wanted() -> None:
    ours, theirs = DigestTable(), table_of({"a": (1, 1, bytes(32))})
    outside = ALL & ~(1 << key_hash("a")[0] % BUCKETS)
    assert ours.compare(outside, theirs.summary(), theirs.rows(ALL)).wanted == []
