"""Comparing two tables by few bytes: a summary, then the rows of those buckets that differ.

A table has one row for each thing that a peer knows, a peer or a model:

    8 bytes   hash of the key
    16 bytes  the version: two numbers, compared in that order
    8 bytes   the beginning of the content's hash

Rows lie in 8 buckets by their key's hash. A summary is a root hash over the whole table and a short hash of
each bucket, 48 bytes in all, however large the table is. Summaries are over the whole content hashes: an
owner that found two contents with one beginning can hide them from the rows, not from the summary. Then the
contents of those buckets are sent without being asked for.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from gossip.messages import KEY_HASH_BYTES, ROW_BYTES, SUMMARY_BYTES

BUCKETS = 8
ROOT_BYTES = 16
BUCKET_BYTES = 4

_VERSION = slice(KEY_HASH_BYTES, KEY_HASH_BYTES + 16)
_ROW = Struct(f">{KEY_HASH_BYTES}sQQ8s")

assert _ROW.size == ROW_BYTES
assert ROOT_BYTES + BUCKETS * BUCKET_BYTES == SUMMARY_BYTES


class Difference(NamedTuple):
    """What is to be told after a comparison.

    Attributes:
        lacking: Keys that the other side lacks or has older; what it lacks altogether comes first.
        wanted: Rows of what it has newer.
    """

    lacking: list[str]
    wanted: list[bytes]


class Row(NamedTuple):
    """A row, taken apart.

    Attributes:
        key_hash: Hash of the key.
        major: The first number of the version.
        minor: The second.
        content: The beginning of the content's hash.
    """

    key_hash: bytes
    major: int
    minor: int
    content: bytes


def read_row(row: bytes) -> Row:
    """Take a row apart."""
    return Row._make(_ROW.unpack(row))


@lru_cache(maxsize=16_384)
def key_hash(key: str) -> bytes:
    """Return the 8 bytes that stand for a key in rows."""
    return blake2b(key.encode(), digest_size=KEY_HASH_BYTES).digest()


def short_content(content: bytes) -> bytes:
    """Return the part of a content's hash that is in a row."""
    return content[:8]


class DigestTable:
    """The rows of one side."""

    def __init__(self) -> None:
        self._rows: tuple[dict[bytes, bytes], ...] = tuple({} for _ in range(BUCKETS))
        self._contents: dict[bytes, bytes] = {}
        self._keys: dict[bytes, str] = {}
        self._hashes: list[bytes | None] = [None] * BUCKETS
        self._summary: bytes | None = None

    def set(self, key: str, major: int, minor: int, content: bytes) -> None:
        """Say what version of a key we have.

        Args:
            key: Of what.
            major: The first number of its version, below 2**64.
            minor: The second, below 2**64.
            content: Hash of its content.
        """
        hashed = key_hash(key)
        self._rows[hashed[0] % BUCKETS][hashed] = _ROW.pack(hashed, major, minor, short_content(content))
        self._contents[hashed] = content
        self._keys[hashed] = key
        self._touch(hashed)

    def remove(self, key: str) -> None:
        """Say that we have a key no more."""
        hashed = key_hash(key)
        if self._keys.pop(hashed, None) is not None:
            del self._rows[hashed[0] % BUCKETS][hashed]
            del self._contents[hashed]
            self._touch(hashed)

    def _touch(self, hashed: bytes) -> None:
        self._hashes[hashed[0] % BUCKETS] = None
        self._summary = None

    def key_of(self, hashed: bytes) -> str | None:
        """Return the key of a hash, None when we do not have it."""
        return self._keys.get(hashed)

    def summary(self) -> bytes:
        """Return the 48 bytes that are equal for equal tables."""
        if self._summary is None:
            hashes = [self._bucket_hash(number) for number in range(BUCKETS)]
            root = blake2b(b"".join(hashes), digest_size=ROOT_BYTES).digest()
            self._summary = root + b"".join(each[:BUCKET_BYTES] for each in hashes)
        return self._summary

    def _bucket_hash(self, number: int) -> bytes:
        found = self._hashes[number]
        if found is None:
            rows = self._rows[number]
            hashing = blake2b(digest_size=ROOT_BYTES)
            for hashed in sorted(rows):
                hashing.update(rows[hashed] + self._contents[hashed])
            found = self._hashes[number] = hashing.digest()
        return found

    def differing(self, summary: bytes) -> int:
        """Return which buckets differ from those of a summary, a bit for each; 0 when all are equal."""
        ours = self.summary()
        if ours == summary:
            return 0
        mask = 0
        for number in range(BUCKETS):
            start = ROOT_BYTES + number * BUCKET_BYTES
            if ours[start : start + BUCKET_BYTES] != summary[start : start + BUCKET_BYTES]:
                mask |= 1 << number
        return mask or (1 << BUCKETS) - 1  # the roots differ, so some short hash is equal by chance

    def rows(self, mask: int) -> bytes:
        """Return all rows of some buckets, one behind the other."""
        return b"".join(row for bucket in self._buckets(mask) for row in bucket.values())

    def compare(self, mask: int, summary: bytes, rows: bytes) -> Difference:
        """Find out what each side lacks.

        Args:
            mask: Which buckets the other side has sent.
            summary: Of the other side.
            rows: All of its rows in those buckets.
        """
        theirs = {
            rows[start : start + KEY_HASH_BYTES]: rows[start : start + ROW_BYTES]
            for start in range(0, len(rows), ROW_BYTES)
        }
        absent, older, wanted = [], [], []
        for bucket in self._buckets(mask):
            for hashed, row in bucket.items():
                their_row = theirs.pop(hashed, None)
                if their_row == row:
                    continue
                if their_row is None:
                    absent.append(self._keys[hashed])
                elif their_row[_VERSION] < row[_VERSION]:
                    older.append(self._keys[hashed])
                elif their_row[_VERSION] > row[_VERSION]:
                    wanted.append(their_row)
                else:  # one version, two contents: both sides must see both
                    older.append(self._keys[hashed])
                    wanted.append(their_row)
        numbers = _bits(mask)
        wanted += [row for hashed, row in theirs.items() if hashed[0] % BUCKETS in numbers]
        if not absent and not older and not wanted:
            return Difference(self._hidden(mask & self.differing(summary)), [])
        return Difference(absent + older, wanted)

    def _hidden(self, mask: int) -> list[str]:
        """All keys of buckets whose rows are equal and whose hashes are not."""
        return [self._keys[hashed] for bucket in self._buckets(mask) for hashed in bucket]

    def _buckets(self, mask: int) -> list[dict[bytes, bytes]]:
        return [self._rows[number] for number in _bits(mask)]


def _bits(mask: int) -> list[int]:
    return [number for number in range(BUCKETS) if mask >> number & 1]
