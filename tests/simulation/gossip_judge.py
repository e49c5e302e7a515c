"""What must hold in a season of gossip, whoever plays it: views without I/O, or whole peers.

At any time:

- no timestamp is used twice: one owner, one life, one time, one content;
- no clock follows a liar;
- nothing comes back: what a process holds of an owner only gets newer;
- what a process has written itself is what it holds under its own name;
- nobody holds a model that its owner never wrote.

In the end, in the core: all hold the same models with the same bytes, know the same peers, take exactly each
other for alive, and hold the last word of everybody who has spoken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from gossip import ModelInfo
from tests.gossip.world import require

LIAR = "liar"
FAR_TIME = 2**40
"""No honest clock comes so far in a season; liars show later times."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One process, looked at.

    Attributes:
        process: What it is called among all processes of a season.
        name: Of the peer.
        clock_time: What its logical clock shows.
        equivocations: How often it saw two contents under one timestamp.
        models: What it says about models, by owner.
        data: The bytes of those that are not withdrawn, by owner.
        live: Whom it takes for alive, itself included.
        summary: Equal for equal knowledge.
    """

    process: str
    name: str
    clock_time: int
    equivocations: int
    models: dict[str, ModelInfo]
    data: dict[str, bytes]
    live: frozenset[str]
    summary: bytes


@dataclass(slots=True)
class Judge:
    """Is told what peers write, looks at what they hold, and raises `Violation`.

    Attributes:
        written: What was ever written under a name, None for a withdrawal.
        spoken: What each process has written last.
    """

    written: dict[str, set[bytes | None]] = field(default_factory=dict)
    spoken: dict[str, bytes | None] = field(default_factory=dict)
    _contents: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    _held: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def hear(self, process: str, name: str, data: bytes | None) -> None:
        """A process has written its model, or taken it back."""
        self.written.setdefault(name, set()).add(data)
        self.spoken[process] = data

    def look(self, seen: Iterable[Seen]) -> None:
        """Check what must hold at any time. Raises Violation."""
        for each in seen:
            require(each.clock_time < FAR_TIME, f"the clock of {each.process} follows a liar")
            require(each.equivocations == 0, f"{each.process} saw two models under one timestamp")
            for info in each.models.values():
                self._look_at(each, info)
            if each.process in self.spoken:
                self._look_at_own(each)

    def _look_at(self, seen: Seen, info: ModelInfo) -> None:
        stamp = info.owner, info.incarnation, info.version
        known = self._contents.setdefault(stamp, info.content)
        require(known == info.content, f"{info.owner} has used the time {info.version} twice")
        before = self._held.get((seen.process, info.owner), (-1, -1))
        after = info.version, info.incarnation
        require(before <= after, f"{seen.process} held {info.owner}'s model {before} and now {after}")
        self._held[seen.process, info.owner] = after
        data = None if info.withdrawn else seen.data[info.owner]
        require(data in self.written.get(info.owner, ()), f"{info.owner} never wrote {data!r}")
        require(data is None or sha256(data).digest() == info.content, "bytes of another content")

    def _look_at_own(self, seen: Seen) -> None:
        said = self.spoken[seen.process]
        require(seen.name in seen.models, f"{seen.process} has lost its own model")
        holds = seen.data.get(seen.name)
        require(holds == said, f"{seen.process} has written {said!r} and holds {holds!r}")

    def agree(self, seen: Iterable[Seen], core: frozenset[str]) -> bool:
        """Whether the core agrees: each name once, same knowledge, and just each other alive."""
        seen = list(seen)
        return (
            sorted(each.name for each in seen) == sorted(core)
            and len({each.summary for each in seen}) == 1
            and all(each.live == core for each in seen)
        )

    def judge_end(self, seen: Iterable[Seen]) -> None:
        """Check what must hold once all in the core agree. Raises Violation."""
        seen = list(seen)
        self.look(seen)
        for each in seen:
            require(each.models == seen[0].models, "equal summaries, different models")
            require(each.data == seen[0].data, "equal models, different bytes")
            if each.process in self.spoken:
                said = self.spoken[each.process]
                holds = seen[0].data.get(each.name)
                require(holds == said, f"{each.name} has said {said!r}, all hold {holds!r}")
