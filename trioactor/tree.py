"""A picture of a system at one instant: who lives, in what state, with how much to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import trio

from trioactor.cell import Cell

State = Literal["starting", "idle", "busy", "stopping", "resting", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorInfo:
    """One actor at one instant.

    Attributes:
        actor_id: Its whole name.
        kind: The class of the instance, or "-" between two lives.
        state: "starting" (in `pre_start`), "idle", "busy" (a message is in hand), "stopping", "resting"
            (it failed, and its supervisor waits before the next life), "ended".
        queued: Messages that wait, what was put aside included.
        restarts: How many lives it has had before this one.
        abandoned: Handlers of earlier lives that ignore that they were cancelled.
        age_seconds: Since this life began, in trio's time.
        children: The actors below, in the order of their start.
    """

    actor_id: str
    kind: str
    state: State
    queued: int
    restarts: int
    abandoned: int
    age_seconds: float
    children: tuple[ActorInfo, ...]

    def _line(self) -> str:
        parts = [self.actor_id.rpartition("/")[2], self.kind, self.state]
        if self.queued:
            parts.append(f"{self.queued} queued")
        if self.restarts:
            parts.append(f"{self.restarts} restarts")
        if self.abandoned:
            parts.append(f"{self.abandoned} stuck")
        return "  ".join([*parts, f"{self.age_seconds:.1f} s"])


@dataclass(frozen=True, slots=True)
class Tree:
    """The actors of a system; `str()` draws them.

    Attributes:
        name: The system's name.
        actors: Those without a parent, in the order of their start.
    """

    name: str
    actors: tuple[ActorInfo, ...]

    def __iter__(self) -> Iterator[ActorInfo]:
        """Every actor, parents before their children."""
        waiting = list(reversed(self.actors))
        while waiting:
            actor = waiting.pop()
            yield actor
            waiting.extend(reversed(actor.children))

    def __str__(self) -> str:
        return "\n".join([self.name, *_draw(self.actors, "")])


def _draw(actors: tuple[ActorInfo, ...], indent: str) -> Iterator[str]:
    for actor in actors:
        last = actor is actors[-1]
        yield f"{indent}{'└─' if last else '├─'} {actor._line()}"
        yield from _draw(actor.children, indent + ("   " if last else "│  "))


def look_at(cell: Cell) -> ActorInfo:
    """Return what can be said of an actor and those below it."""
    context = cell.context
    return ActorInfo(
        actor_id=cell.actor_id,
        kind=type(context.actor).__name__ if context is not None and context.actor is not None else "-",
        state=_state(cell),
        queued=cell.mailbox.queued,
        restarts=cell.restarts,
        abandoned=len(cell.abandoned),
        age_seconds=trio.current_time() - cell.since,
        children=tuple(look_at(child) for child in cell.child_cells),
    )


def _state(cell: Cell) -> State:
    if cell.ended is not None:
        return "ended"
    if cell.is_resting:
        return "resting"
    if cell.context is None or not cell.context.serving:
        return "starting"
    if cell.mailbox.stop_requested:
        return "stopping"
    return "busy" if cell.context.in_hand is not None else "idle"
