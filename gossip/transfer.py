"""Models as bytes: which are held, which are on their way, in pieces, each from one source at a time.

A model is known by its SHA-256. What is held is never asked for. What is wanted is asked of one peer; others
that have it are remembered and asked when that one does not answer. A piece that is there is not asked for
again. So a model enters a peer once, but for pieces that crossed a repeated question.

How long an answer is waited for follows the answers: four times the slowest of late, or `retry_seconds`.
Each answer names its question, so one that was merely slow is not taken for a quick one to the repetition.
A fixed time would, on a slow line, ask for everything twice. The first question for a model is for one piece
only, since nothing is known of the line by then.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice

from gossip.messages import PIECE_BYTES, GossipPiece, GossipWant
from gossip.outgoing import Outgoing
from gossip.timing import Timing

PIECES_PER_WANT = 4
"""256 KiB go out for one question, so one model holds up others for 2 ms at 1 Gbit/s."""

MAX_ACTIVE = 64
"""How many models are asked for at a time; the others wait, so that a newcomer floods nobody."""

MAX_FAILURES = 12
"""A model that did not come so many times in a row is given up, until an exchange finds it again."""

MAX_SOURCES = 8
"""So many that have a model are remembered."""

MAX_PATIENCE_ROUNDS = 16
_PATIENCE = 4.0
_EARLY_FAILURES = 6  # so many are taken for accidents; after them, each doubles the patience

# So much is left of a slow answer with each that follows. TCP sends again what was lost, 0.2 s late or more.
# On a line that loses one segment in ten, who forgets that in twenty answers asks for one model in 30 twice.
_FADE = 0.97


@dataclass(slots=True)
class _Fetch:
    """One model on its way."""

    content: bytes
    size: int
    owner: str
    sources: list[str]  # who has it; the first one is being asked
    pieces: dict[int, bytes] = field(default_factory=dict)
    givers: set[str] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)
    asks: dict[int, float] = field(default_factory=dict)  # when each question was asked
    heard_at: float = 0.0  # when it was last asked for, or a piece came
    piece_at: float = 0.0  # when a piece came
    failures: int = 0  # in a row

    @property
    def count(self) -> int:
        return -(-self.size // PIECE_BYTES)

    def length_of(self, number: int) -> int:
        return min(PIECE_BYTES, self.size - number * PIECE_BYTES)


class Transfers:
    """The models of one peer, as bytes.

    Args:
        me: The peer's name.
        timing: Its pace.
        max_pending_bytes: How much may be on its way. What is more waits for another exchange.

    Attributes:
        refused: What was refused, counted by reason.
    """

    def __init__(self, me: str, timing: Timing, *, max_pending_bytes: int = 1024**3) -> None:
        self._me = me
        self._timing = timing
        self._max_pending_bytes = max_pending_bytes
        self._held: dict[bytes, bytes] = {}
        self._active: dict[bytes, _Fetch] = {}
        self._waiting: dict[bytes, _Fetch] = {}
        self._pending_bytes = 0
        self._slowest_seconds = 0.0
        self._asks = 0
        self.refused: Counter[str] = Counter()

    # --- what is held ---------------------------------------------------------------------------

    def held(self, content: bytes) -> bytes | None:
        """Return the bytes of a model, None when they are not here."""
        return self._held.get(content)

    def keep(self, data: bytes) -> bytes:
        """Hold a model of our own, and return its SHA-256."""
        content = sha256(data).digest()
        self._held[content] = data
        self.cancel(content)
        return content

    def forget(self, content: bytes) -> None:
        """Hold a model no more."""
        self._held.pop(content, None)

    # --- what is wanted -------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many models are on their way."""
        return len(self._active) + len(self._waiting)

    def is_wanted(self, content: bytes) -> bool:
        """Whether a model is on its way, or waits for its turn."""
        return self._find(content) is not None

    def _find(self, content: bytes) -> _Fetch | None:
        return self._active.get(content) or self._waiting.get(content)

    def fetch(self, content: bytes, size: int, owner: str, source: str, now: float) -> list[Outgoing] | None:
        """Want a model that a peer has; a further source, where it is wanted already.

        Returns:
            What to send now; None when there is no room for it.
        """
        fetch = self._find(content)
        if fetch is not None:
            return self._hear_of(source, fetch, now)
        if self._pending_bytes + size > self._max_pending_bytes:
            self.refused["no room"] += 1
            return None
        self._want(_Fetch(content, size, owner, [source]))
        return self._start_more(now)

    def _hear_of(self, source: str, fetch: _Fetch, now: float) -> list[Outgoing]:
        """One more has it, and we just heard from that one: ask it, if the present one did not answer."""
        if fetch.failures and now - fetch.heard_at >= self._timing.retry_seconds:
            others = [each for each in fetch.sources if each != source]
            fetch.sources = [source, *others[: MAX_SOURCES - 1]]
            fetch.failures = 0
            return self._ask(fetch, now)
        if source not in fetch.sources and len(fetch.sources) < MAX_SOURCES:
            fetch.sources.append(source)
        return []

    def _want(self, fetch: _Fetch) -> None:
        self._waiting[fetch.content] = fetch
        self._pending_bytes += fetch.size

    def cancel(self, content: bytes) -> None:
        """Want a model no more."""
        fetch = self._active.pop(content, None) or self._waiting.pop(content, None)
        if fetch is not None:
            self._pending_bytes -= fetch.size

    def lose(self, peer: str, now: float) -> list[Outgoing]:
        """A peer cannot be reached: ask others for what was asked of it."""
        out: list[Outgoing] = []
        for fetch in [*self._active.values(), *self._waiting.values()]:
            if peer in fetch.sources:
                was_asked = fetch.content in self._active and fetch.sources[0] == peer
                fetch.sources.remove(peer)
                if not fetch.sources:
                    self.cancel(fetch.content)
                elif was_asked:
                    out += self._ask(fetch, now)
        return out + self._start_more(now)

    def tick(self, now: float) -> list[Outgoing]:
        """Ask again for what did not come in time."""
        out: list[Outgoing] = []
        for fetch in list(self._active.values()):
            if now - fetch.heard_at < self._patience_seconds(fetch):
                continue
            fetch.failures += 1
            if fetch.failures >= MAX_FAILURES:
                self.cancel(fetch.content)
                continue
            fetch.sources.append(fetch.sources.pop(0))
            out += self._ask(fetch, now)
        return out + self._start_more(now)

    def _start_more(self, now: float) -> list[Outgoing]:
        """Ask for what waits, as far as there is room for active ones."""
        out: list[Outgoing] = []
        while self._waiting and len(self._active) < MAX_ACTIVE:
            content = next(iter(self._waiting))
            fetch = self._active[content] = self._waiting.pop(content)
            out += self._ask(fetch, now)
        return out

    def _ask(self, fetch: _Fetch, now: float) -> list[Outgoing]:
        missing = (number for number in range(fetch.count) if number not in fetch.pieces)
        numbers = tuple(islice(missing, PIECES_PER_WANT if fetch.pieces else 1))
        self._asks += 1
        fetch.asked = set(numbers)
        fetch.asks[self._asks] = fetch.heard_at = now
        want = GossipWant(self._me, fetch.owner, fetch.content, numbers, self._asks)
        return [Outgoing(fetch.sources[0], want)]

    def _patience_seconds(self, fetch: _Fetch) -> float:
        seconds = max(self._timing.retry_seconds, _PATIENCE * self._slowest_seconds)
        seconds *= 2.0 ** max(fetch.failures - _EARLY_FAILURES, 0)
        return min(seconds, MAX_PATIENCE_ROUNDS * self._timing.round_seconds)

    def hear(self, seconds: float) -> None:
        """An answer, here or elsewhere in the exchange, has taken so long."""
        self._slowest_seconds = max(seconds, _FADE * self._slowest_seconds)

    # --- pieces ---------------------------------------------------------------------------------

    def pieces_for(self, want: GossipWant) -> list[Outgoing]:
        """Return the pieces that a peer asks for, of a model that is held."""
        data = self._held[want.content]
        return [
            Outgoing(want.sender, GossipPiece(self._me, want.content, number, piece, want.ask))
            for number in want.pieces[:PIECES_PER_WANT]
            if (piece := data[number * PIECE_BYTES : (number + 1) * PIECE_BYTES])
        ]

    def on_piece(self, piece: GossipPiece, now: float) -> tuple[list[Outgoing], bool]:
        """Take in a piece.

        Returns:
            What to send now, and whether the model is complete by it, and held.
        """
        fetch = self._active.get(piece.content)
        if fetch is None or piece.sender not in fetch.sources or piece.number in fetch.pieces:
            self.refused["piece not asked for"] += 1
            return [], False
        if piece.number >= fetch.count or len(piece.data) != fetch.length_of(piece.number):
            self.refused["piece of a wrong size"] += 1
            return [], False
        if piece.ask in fetch.asks:
            self.hear(now - max(fetch.asks[piece.ask], fetch.piece_at))
        fetch.pieces[piece.number] = piece.data
        fetch.givers.add(piece.sender)
        fetch.asked.discard(piece.number)
        fetch.heard_at = fetch.piece_at = now
        fetch.failures = 0
        if len(fetch.pieces) == fetch.count:
            return self._complete(fetch, now)
        return ([] if fetch.asked else self._ask(fetch, now)), False

    def _complete(self, fetch: _Fetch, now: float) -> tuple[list[Outgoing], bool]:
        self.cancel(fetch.content)
        data = b"".join(fetch.pieces[number] for number in range(fetch.count))
        sound = sha256(data).digest() == fetch.content
        if sound:
            self._held[fetch.content] = data
        else:
            self.refused["model with another content"] += 1
            others = [source for source in fetch.sources if source not in fetch.givers]
            if others:
                self._want(_Fetch(fetch.content, fetch.size, fetch.owner, others))
        return self._start_more(now), sound
