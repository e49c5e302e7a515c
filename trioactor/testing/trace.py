"""`Trace`: what happened, in order, as lines of text, counts and one digest."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from typing import TextIO

DIGEST_BYTES = 16

# As many as help to see what went on before a failure.
KEPT_LINES = 30


class Trace:
    """The diary of a simulation. Two runs that did the same have the same digest.

    Args:
        keep: How many of the last lines to hold in memory.
        copy_to: Gets every line as well. Two copies, compared with `diff`, show the first event in
            which two runs differ.

    Attributes:
        counts: How often each kind of event happened.
        events: How many events happened.
        last: The last lines.
    """

    def __init__(self, keep: int = KEPT_LINES, copy_to: TextIO | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.events = 0
        self.last: deque[str] = deque(maxlen=keep)
        self._copy_to = copy_to
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)

    def record(self, now: float, kind: str, detail: str = "") -> None:
        """Write an event down.

        Args:
            now: trio's time.
            kind: One or two words; `counts` goes by them.
            detail: Who and what. It must be the same in every run: no memory addresses, no real time.
        """
        line = f"{now:.9f} {kind} {detail}".rstrip() + "\n"
        self._hash.update(line.encode())
        self.counts[kind] += 1
        self.events += 1
        self.last.append(line)
        if self._copy_to is not None:
            self._copy_to.write(line)

    @property
    def digest(self) -> str:
        """Of all events so far, 32 hexadecimal digits."""
        return self._hash.hexdigest()
