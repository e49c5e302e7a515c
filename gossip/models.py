"""The models that one peer knows: an `LWWMap` with a key for each owner, and the bytes beside it.

The map holds what is said about a model: samples, size, SHA-256. What is in the map is complete: a model
is not shown to others, and takes no part in the average, before all of its bytes are here; until then the
former one stays.

`model/<owner>` may be written by its owner alone (`ownership.py`). What a liar says about the model of
another is refused and counted; it touches neither the entry nor the clock. A time that is too far ahead is
not obeyed: the word that carries it is left where it is, and the next exchange offers it again.

**Our own key.** When the network shows a model of ours that we do not know, it is from a life that our disk
has forgotten. As long as we have published none in this life, it is the best we have, and we take it. Later
we outbid it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from gossip.clock import CEILING, LamportClock, ReplicaId
from gossip.crdt import Delta, Entry, LWWMap, Timestamp
from gossip.digest import DigestTable, key_hash, read_row
from gossip.identity import Identity
from gossip.messages import MAX_MODEL_BYTES, MAX_PEERS, GossipPiece, ModelInfo
from gossip.outgoing import Outgoing
from gossip.ownership import Notary, may_say, model_claim
from gossip.plain import fingerprint
from gossip.replica import Replica
from gossip.transfer import Transfers


class Model(NamedTuple):
    """A model that takes part in the average.

    Attributes:
        owner: Who trained it.
        samples: On how many samples: its weight.
        data: Its bytes.
    """

    owner: str
    samples: int
    data: bytes


@dataclass(slots=True)
class _Pending:
    """A model whose bytes are on their way."""

    info: ModelInfo
    stamp: Timestamp
    announced: bool


def key_of(owner: str) -> str:
    """Return the key of a peer's model in the map."""
    return f"model/{owner}"


def stamp_of(info: ModelInfo) -> Timestamp:
    """Return when and by whom a model was written."""
    replica = ReplicaId(info.owner, info.incarnation)
    content = b"" if info.withdrawn else fingerprint((info.samples, info.size, info.content))
    return Timestamp(info.version, replica, info.withdrawn, content)


class Models:
    """The models of one peer.

    Args:
        identity: Who we are.
        clock: Our clock.
        transfers: Where the bytes are.
        notary: Who seals and checks; None where nothing is sealed.

    Attributes:
        table: The rows of all models, for the exchange.
        refused: What was refused, counted by reason.
        liars: Who said what it may not say, and how often, where connections say who speaks.
        equivocations: How often an owner was seen to have said two things at one time.
        parked: How often something was left for later because its time is too far ahead.
    """

    def __init__(
        self, identity: Identity, clock: LamportClock, transfers: Transfers, notary: Notary | None = None
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._transfers = transfers
        self._notary = notary
        self._replica = Replica(identity, clock)
        self._infos: dict[str, ModelInfo] = {}
        self._pending: dict[bytes, _Pending] = {}  # by the hash of the owner's name
        self._uses: Counter[bytes] = Counter()  # how many models have that content
        self._spoken = False  # whether we have written our own key in this life
        self._fresh: list[ModelInfo] = []
        self._changed: dict[str, None] = {}
        self.table = DigestTable()
        self.refused: Counter[str] = Counter()
        self.liars: Counter[str] = Counter()
        self.equivocations = 0
        self.parked = 0

    # --- reading --------------------------------------------------------------------------------

    @property
    def map(self) -> LWWMap:
        """What is said about all models, by `model/<owner>`: (samples, size, content)."""
        return self._replica.map

    def get(self, owner: str) -> ModelInfo | None:
        """Return what is said about an owner's model, also when it is withdrawn; None when nothing is."""
        return self._infos.get(owner)

    def infos(self) -> list[ModelInfo]:
        """Return what is said about all models, those that are withdrawn included."""
        return list(self._infos.values())

    def __getitem__(self, owner: str) -> ModelInfo:
        return self._infos[owner]

    def all(self) -> list[Model]:
        """Return all models, in the order of their owners' names."""
        models = []
        for owner in sorted(self._infos):
            info = self._infos[owner]
            if not info.withdrawn:
                data = self._transfers.held(info.content)
                assert data is not None, "what is in the map is complete"
                models.append(Model(owner, info.samples, data))
        return models

    def take_changed(self) -> list[ModelInfo]:
        """Return what has changed since the last call: what a snapshot has to write."""
        changed = [self._infos[owner] for owner in self._changed]
        self._changed.clear()
        return changed

    def take_fresh(self) -> list[ModelInfo]:
        """Return what is to be announced: our own new models, and those that were announced to us."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def is_reachable(self, row: bytes) -> bool:
        """Whether what a row of another peer tells of may be asked for now; else it counts as parked."""
        time = read_row(row).major
        reached = time < CEILING and self._clock.reaches(time)
        self.parked += not reached
        return reached

    def on_its_way(self, row: bytes) -> ModelInfo | None:
        """Return the model that a row tells of, when its bytes are on their way already."""
        hashed, version, incarnation, _ = read_row(row)
        pending = self._pending_of(hashed)
        if pending is None or (pending.info.version, pending.info.incarnation) != (version, incarnation):
            return None
        return pending.info

    # --- our own model --------------------------------------------------------------------------

    def publish(self, data: bytes, samples: int) -> ModelInfo:
        """Write our own model, and return what is said about it.

        Args:
            data: Its bytes, 1 to `MAX_MODEL_BYTES` of them.
            samples: On how many samples it was trained, at least 1.

        Raises:
            ValueError: It is empty, too large, or was trained on nothing.
        """
        if not 0 < len(data) <= MAX_MODEL_BYTES:
            raise ValueError(f"a model of {len(data):,} bytes; 1 to {MAX_MODEL_BYTES:,} are allowed")
        if samples < 1:
            raise ValueError(f"samples={samples}; a peer without data publishes no model")
        self._speak()
        return self._write(samples, len(data), self._transfers.keep(data))

    def withdraw(self) -> ModelInfo:
        """Take our own model back, and return what is said about it."""
        self._speak()
        return self._write(0, 0, b"")

    def _speak(self) -> None:
        """From now on our own key says what this life has to say: a former life's word is outbid."""
        self._spoken = True
        pending = self._pending.pop(key_hash(self._identity.peer), None)
        if pending is not None:
            self._give_up(pending.info.content)
            self._clock.observe(pending.info.version)

    def _write(self, samples: int, size: int, content: bytes) -> ModelInfo:
        key = key_of(self._identity.peer)
        delta = self._replica.put(key, (samples, size, content)) if content else self._replica.delete(key)
        stamp = delta.entry.stamp
        info = ModelInfo(self._identity.peer, stamp.replica.incarnation, stamp.time, samples, size, content)
        if self._notary is not None:
            info = replace(info, proof=self._notary.seal(model_claim(info)))
        self._enter(info)
        self._fresh.append(info)
        return info

    def restore(self, models: Iterable[tuple[ModelInfo, bytes]]) -> None:
        """Take in a snapshot of an earlier life: what was held then, with the bytes; none when withdrawn."""
        for info, data in models:
            if not info.withdrawn and self._transfers.keep(data) != info.content:
                self.refused["a snapshot with another content"] += 1
                self._release(self._transfers.keep(data))
                continue
            self._clock.restore(info.version)
            self._merge(info, stamp_of(info))
        self._changed.clear()

    # --- the models of others -------------------------------------------------------------------

    def take(
        self,
        info: ModelInfo,
        source: str,
        now: float,
        *,
        authenticated: str | None = None,
        announced: bool = False,
    ) -> list[Outgoing]:
        """Take in what is said about a model, and want its bytes.

        Args:
            info: What is said.
            source: Who says so, and has the bytes.
            now: The time.
            authenticated: Who says so, if the connection tells.
            announced: Whether it came as an announcement, to be passed on once we have it.
        """
        stamp = stamp_of(info)
        entry = self.map.entries.get(key_of(info.owner))
        if entry is not None and stamp <= entry.stamp:
            self._notice(stamp, entry.stamp)
            return []
        pending = self._pending_of(key_hash(info.owner))
        if pending is not None and stamp < pending.stamp:
            return []
        if pending is None or stamp != pending.stamp:
            if not self._may_enter(info, source, authenticated):
                return []
            if entry is not None:
                self._notice(stamp, entry.stamp)
            if info.owner == self._identity.peer and self._spoken:
                self._outbid(info)
                return []
        return self._want(_Pending(info, stamp, announced), source, now)

    def on_piece(self, piece: GossipPiece, now: float) -> list[Outgoing]:
        """Take in a piece of a model, and with the last one the model."""
        out, complete = self._transfers.on_piece(piece, now)
        if complete:
            for hashed, pending in list(self._pending.items()):
                if pending.info.content == piece.content:
                    del self._pending[hashed]
                    self._install(pending)
        return out

    def _pending_of(self, hashed: bytes) -> _Pending | None:
        """What is on its way of an owner's. One that was given up must not keep out the best that is left."""
        pending = self._pending.get(hashed)
        if pending is not None and not self._transfers.is_wanted(pending.info.content):
            del self._pending[hashed]
            return None
        return pending

    def _may_enter(self, info: ModelInfo, source: str, authenticated: str | None) -> bool:
        if not self._clock.reaches(info.version):
            self.parked += 1
            return False
        claim = model_claim(info)
        if not may_say(info.owner, claim, info.proof, notary=self._notary, authenticated=authenticated):
            self.refused["a model that its owner has not given"] += 1
            if authenticated is not None and (source in self.liars or len(self.liars) < MAX_PEERS):
                self.liars[source] += 1
            return False
        if len(self._infos) + len(self._pending) >= MAX_PEERS and info.owner not in self._infos:
            self.refused["too many models"] += 1
            return False
        return True

    def _notice(self, one: Timestamp, other: Timestamp) -> None:
        """Two contents under one time and one life: the owner lies, or lives twice. The order decides."""
        self.equivocations += one[:2] == other[:2] and one != other

    def _outbid(self, ghost: ModelInfo) -> None:
        """A forgotten life of ours shows a newer model than this one: say ours again, later."""
        self._clock.observe(ghost.version)
        ours = self._infos[self._identity.peer]
        self._write(ours.samples, ours.size, ours.content)

    def _want(self, pending: _Pending, source: str, now: float) -> list[Outgoing]:
        info = pending.info
        hashed = key_hash(info.owner)
        former = self._pending.pop(hashed, None)
        if former is not None and former.stamp != pending.stamp:
            self._give_up(former.info.content)
        if info.withdrawn or self._transfers.held(info.content) is not None:
            self._install(pending)
            return []
        out = self._transfers.fetch(info.content, info.size, info.owner, source, now)
        if out is None:
            return []
        pending.announced |= former is not None and former.stamp == pending.stamp and former.announced
        self._pending[hashed] = pending
        return out

    def _install(self, pending: _Pending) -> None:
        if self._merge(pending.info, pending.stamp) and pending.announced:
            self._fresh.append(pending.info)

    def _merge(self, info: ModelInfo, stamp: Timestamp) -> bool:
        value = None if info.withdrawn else (info.samples, info.size, info.content)
        if not self._replica.merge(Delta(key_of(info.owner), Entry(stamp, value))):
            return False
        if self.map.entries[key_of(info.owner)].stamp != stamp:
            return False  # a newer one came by another way
        self._enter(info)
        return True

    def _enter(self, info: ModelInfo) -> None:
        """Keep the books: the map says this about the owner's model now."""
        former = self._infos.get(info.owner)
        self._infos[info.owner] = info
        self.table.set(info.owner, info.version, info.incarnation, stamp_of(info).content or b"withdrawn")
        self._changed[info.owner] = None
        if not info.withdrawn:
            self._uses[info.content] += 1
        if former is not None and not former.withdrawn:
            self._uses[former.content] -= 1
            self._release(former.content)

    def _release(self, content: bytes) -> None:
        if not self._uses[content]:
            del self._uses[content]
            self._transfers.forget(content)

    def _give_up(self, content: bytes) -> None:
        if all(pending.info.content != content for pending in self._pending.values()):
            self._transfers.cancel(content)
