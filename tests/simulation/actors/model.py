"""What an actor system does with orders, written down as plain sequential code. The model of the machine.

It knows no trio and no runtime: actors are objects with lists, and what can happen is worked off until
nothing can. Its counts, diaries and outcomes are compared with those of the real thing after every order, so
it is as exact as the promises of the runtime are, and no more.

An order for an actor is a letter with a kind:

    note     write the number into the diary            reject   the same, and decline
    hold     the same, once the gate is opened          fail     the same, and raise
    shut     become an actor that stashes all but       stop     the same, and stop
             "open", which goes back and unstashes      later    answer when told to, beside other letters
    relay    ask the first actor of a path to relay     ping     a health ping
             to the rest of it, and return its answer
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PENDING = "pending"


@dataclass(eq=False)
class Operation:
    """A call that somebody waits for: the machine, or an actor that relays."""

    what: str
    outcome: str = PENDING
    deadline: float | None = None
    letter: Letter | None = None
    target: ModelActor | None = None
    then: Callable[[str], None] | None = None  # of an actor that relays: how it goes on
    given_up: bool = False


@dataclass(eq=False)
class Letter:
    """A message on its way."""

    kind: str
    number: int
    path: tuple[ModelActor, ...] = ()
    ask: Operation | None = None
    tell: Operation | None = None
    chain: tuple[str, ...] = ()  # who waits for the answer


@dataclass(eq=False)
class ModelActor:
    """An actor: what it has been told, what it has done."""

    era: Era
    name: str
    parent: ModelActor | None
    capacity: int
    when_full: str
    children: list[ModelActor] = field(default_factory=list)
    diary: list[int] = field(default_factory=list)
    life: list[str] = field(default_factory=lambda: ["pre_start"])
    signals: list[Letter] = field(default_factory=list)
    queue: list[Letter] = field(default_factory=list)
    stash: list[Letter] = field(default_factory=list)
    senders: list[Letter] = field(default_factory=list)
    owed: list[tuple[Operation, int]] = field(default_factory=list)
    waited_for: list[Operation] = field(default_factory=list)  # stop, kill and watch
    in_hand: Letter | None = None
    asking: Operation | None = None
    shut: int = 0
    stop_ordered: bool = False
    closed: bool = False
    ended: bool = False

    @property
    def path(self) -> str:
        """The whole name."""
        return self.name if self.parent is None else f"{self.parent.path}/{self.name}"

    @property
    def family(self) -> list[ModelActor]:
        """It and all below it, the lowest first."""
        return [*(actor for child in reversed(self.children) for actor in child.family), self]

    @property
    def queued(self) -> int:
        """How many letters wait."""
        return len(self.signals) + len(self.queue) + len(self.stash)


@dataclass(eq=False)
class Era:
    """One system, from its opening to its end."""

    counts: Counter[str] = field(default_factory=Counter)
    actors: list[ModelActor] = field(default_factory=list)  # all that ever were
    draining: bool = False
    leaving: bool = False
    end: str | None = None  # "left", "failed" or "cancelled"

    @property
    def living(self) -> list[ModelActor]:
        """The living actors, in the order of their start."""
        return [actor for actor in self.actors if not actor.ended]

    @property
    def roots(self) -> list[ModelActor]:
        """Those that have no parent."""
        return [actor for actor in self.living if actor.parent is None]

    @property
    def ledger(self) -> dict[str, int]:
        """What `system.ledger()` should say; zeros are left out."""
        queued = sum(actor.queued for actor in self.living)
        in_hand = sum(actor.in_hand is not None for actor in self.living)
        return {name: n for name, n in {**self.counts, "queued": queued, "in_hand": in_hand}.items() if n}


class Model:
    """All systems of a program, one after the other."""

    def __init__(self) -> None:
        self.eras: list[Era] = []
        self.actors: list[ModelActor] = []
        self.operations: list[Operation] = []  # of the machine
        self.now = 0.0
        self._ready: list[Callable[[], None]] = []
        self._just_admitted: list[Letter | None] = []

    @property
    def era(self) -> Era | None:
        """The open system."""
        return self.eras[-1] if self.eras and self.eras[-1].end is None else None

    def snapshot(self) -> dict[str, Any]:
        """What can be seen from outside; "?" is what may or may not have happened yet."""
        for operation in self.operations:
            if operation.what == "drain" and operation.outcome == PENDING and self._is_dry():
                operation.outcome = "?"  # it looks now and then
        return {
            "ledgers": [era.ledger for era in self.eras],
            "ends": [era.end for era in self.eras],
            "actors": [(a.path, a.ended, list(a.life), list(a.diary)) for a in self.actors],
            "operations": [operation.outcome for operation in self.operations],
        }

    def _is_dry(self) -> bool:
        ledger = self.eras[-1].ledger
        return "queued" not in ledger and "in_hand" not in ledger

    def may_fail(self) -> bool:
        """Whether nobody relays: else it is chance how far that comes before the system falls."""
        return all(actor.asking is None for actor in self.actors)

    def may_relay(self) -> bool:
        """Whether nobody relays yet, and no failure is on its way: two relays could meet in any order."""
        letters = [
            letter
            for actor in self.actors
            for letter in (*actor.queue, *actor.stash, *actor.senders, actor.in_hand)
            if letter is not None
        ]
        return not any(letter.kind in ("fail", "relay") for letter in letters)

    # --- orders of the machine ------------------------------------------------------------------

    def open(self) -> None:
        """Open a new system."""
        self.eras.append(Era())

    def spawn(self, parent: ModelActor | None, name: str, capacity: int, when_full: str) -> str:
        """Start an actor. Returns what the caller sees: its path, or "NameTaken"."""
        era = self.eras[-1]
        actor = ModelActor(era, name, parent, capacity, when_full)
        if any(other.path == actor.path for other in era.living):
            return "NameTaken"
        era.actors.append(actor)
        self.actors.append(actor)
        if parent is not None:
            parent.children.append(actor)
        return actor.path

    def tell(self, to: ModelActor, kind: str, number: int, path: tuple[ModelActor, ...]) -> None:
        """Tell, waiting for room."""
        operation = self._operation("tell", to)
        operation.letter = letter = Letter(kind, number, path, tell=operation)
        if self._refuses_outsiders(to):
            operation.outcome = "NotDelivered"
        else:
            outcome = self._offer(to, letter)
            if outcome != PENDING:
                operation.outcome = outcome
        self._run()

    def tell_nowait(self, to: ModelActor, kind: str, number: int, path: tuple[ModelActor, ...]) -> None:
        """Tell without waiting."""
        operation = self._operation("tell_nowait", to)
        if self._refuses_outsiders(to):
            operation.outcome = "NotDelivered"
        elif not to.closed and to.when_full == "wait" and len(to.queue) >= to.capacity:
            operation.outcome = "MailboxFull"
        else:
            operation.outcome = self._offer(to, Letter(kind, number, path))
        self._run()

    def ask(
        self, to: ModelActor, kind: str, number: int, path: tuple[ModelActor, ...], seconds: float | None
    ) -> None:
        """Ask, with or without a deadline."""
        operation = self._operation("ask", to)
        operation.deadline = None if seconds is None else self.now + seconds
        operation.letter = letter = Letter(kind, number, path, ask=operation)
        if self._refuses_outsiders(to):
            operation.outcome = "NotDelivered"
        elif self._offer(to, letter) == "MailboxFull":
            operation.outcome = "MailboxFull"
        self._run()

    def stop(self, actor: ModelActor) -> None:
        """Order a stop and wait for the end."""
        self._wait_for_end(actor, "stop")
        actor.stop_ordered = True
        self._turn(actor)
        self._run()

    def kill(self, actor: ModelActor) -> None:
        """Kill and wait for the end."""
        self._wait_for_end(actor, "kill")
        self._cancel(actor.family)
        self._run()

    def watch(self, actor: ModelActor) -> None:
        """Wait for the end in a block."""
        self._wait_for_end(actor, "watch")

    def release(self, actor: ModelActor) -> None:
        """Open the gate of the letter that is held, and of no later one."""
        letter = actor.in_hand
        if letter is not None and letter.kind == "hold":
            actor.diary.append(letter.number)
            self._handled(actor, letter, str(letter.number))
        self._run()

    def answer(self, actor: ModelActor) -> None:
        """Have the actor give the answers that it owes."""
        owed, actor.owed = actor.owed, []
        for operation, number in owed:
            self._settle(operation, f"= {number}")
        self._run()

    def cancel(self, operation: Operation) -> None:
        """Cancel a call."""
        if operation.outcome != PENDING:
            return
        operation.outcome = "cancelled"
        if operation.what == "drain":
            for actor in self.eras[-1].living:
                self._give_back(actor)
        elif operation.what in ("tell", "ask"):
            self._give_up(operation, "cancelled")
        self._run()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        late = [
            operation
            for operation in self.operations
            if operation.outcome == PENDING
            and operation.deadline is not None
            and operation.deadline <= self.now
        ]
        late.sort(key=lambda operation: operation.deadline or 0)
        self._just_admitted.clear()
        # One that gets room as another leaves is awake already: it finds itself cancelled when it runs.
        awake = [operation for operation in late if not self._gives_up_asleep(operation)]
        for operation in awake:
            self._give_up(operation, "expired")
        for operation in late:
            operation.outcome = "too slow"
        self._run()

    def _gives_up_asleep(self, operation: Operation) -> bool:
        asleep = operation.letter not in self._just_admitted
        if asleep:
            self._give_up(operation, "expired")
        return asleep

    def drain(self) -> None:
        """Take no more from outside."""
        self.eras[-1].draining = True
        self._operation("drain", None)

    def leave(self) -> None:
        """Leave the block of the system."""
        self.eras[-1].leaving = True
        self._wind_down(self.eras[-1])
        self._run()

    def cancel_era(self) -> None:
        """Cancel the block of the system."""
        self._fall("cancelled")
        self._run()

    # --- what follows ---------------------------------------------------------------------------

    def _operation(self, what: str, target: ModelActor | None) -> Operation:
        operation = Operation(what, target=target)
        self.operations.append(operation)
        return operation

    def _wait_for_end(self, actor: ModelActor, what: str) -> None:
        operation = self._operation(what, actor)
        if actor.ended:
            operation.outcome = "ended"
        actor.waited_for.append(operation)

    def _refuses_outsiders(self, to: ModelActor) -> bool:
        if to.era.draining:
            to.era.counts.update(accepted=1, returned=1)
        return to.era.draining

    def _run(self) -> None:
        """Work off what has become possible."""
        while self._ready:
            self._ready.pop(0)()

    def _offer(self, to: ModelActor, letter: Letter) -> str:
        """Put the letter in, or give it its end. Returns "sent", "MailboxFull" or PENDING."""
        counts = to.era.counts
        if to.path in letter.chain:
            counts.update(accepted=1, rejected=1)
            self._settle(letter.ask, "AskCycle")
        elif to.closed:
            counts.update(accepted=1)
            self._bury(to, letter)
        elif letter.kind == "ping":
            counts.update(accepted=1)
            to.signals.append(letter)
        elif len(to.queue) < to.capacity:
            counts.update(accepted=1)
            to.queue.append(letter)
        elif to.when_full == "wait":
            to.senders.append(letter)
            return PENDING
        elif to.when_full == "reject":
            counts.update(accepted=1, rejected=1)
            return "MailboxFull"
        elif to.when_full == "drop_newest":
            counts.update(accepted=1, dropped=1)
            self._settle(letter.ask, "MailboxFull")
        else:
            counts.update(accepted=1, dropped=1)
            self._settle(to.queue.pop(0).ask, "MailboxFull")
            to.queue.append(letter)
        self._ready.append(lambda: self._turn(to))
        return "sent"

    def _settle(self, operation: Operation | None, outcome: str) -> None:
        if operation is None:
            return
        if operation.given_up:
            assert operation.target is not None
            operation.target.era.counts.update(late_replies=1)
            return
        operation.outcome = outcome
        if operation.then is not None:
            operation.then(outcome)

    def _bury(self, actor: ModelActor, letter: Letter) -> None:
        actor.era.counts.update(["returned" if actor.era.draining else "dead"])
        self._settle(letter.ask, "NotDelivered")

    def _give_back(self, actor: ModelActor) -> None:
        left = [*actor.signals, *actor.stash, *actor.queue, *actor.senders]
        for letter in actor.senders:
            actor.era.counts.update(accepted=1)
            if letter.tell is not None:
                letter.tell.outcome = "sent"
        for lane in (actor.signals, actor.stash, actor.queue, actor.senders):
            lane.clear()
        for letter in left:
            self._bury(actor, letter)

    def _give_up(self, operation: Operation, outcome: str) -> None:
        """The caller has gone: take the letter out, if it still waits."""
        operation.given_up = True
        actor, letter = operation.target, operation.letter
        assert actor is not None
        assert letter is not None
        if letter in actor.senders:
            actor.senders.remove(letter)
            return
        for lane in (actor.queue, actor.stash, actor.signals):
            if letter in lane:
                lane.remove(letter)
                actor.era.counts.update([outcome])
                self._admit(actor)

    def _admit(self, actor: ModelActor) -> None:
        while actor.senders and len(actor.queue) < actor.capacity:
            letter = actor.senders.pop(0)
            actor.era.counts.update(accepted=1)
            actor.queue.append(letter)
            self._just_admitted.append(letter)
            if letter.tell is not None:
                letter.tell.outcome = "sent"

    # --- handling -------------------------------------------------------------------------------

    def _turn(self, actor: ModelActor) -> None:
        """Let the actor go on as far as it can."""
        while not actor.closed and actor.in_hand is None:
            if actor.stop_ordered:
                self._close(actor)
                self._end_children(actor)
            elif actor.signals:
                letter = actor.signals.pop(0)
                actor.era.counts.update(handled=1)
                self._settle(letter.ask, "ack")
            elif actor.queue:
                actor.in_hand = letter = actor.queue.pop(0)
                self._admit(actor)
                if actor.shut:
                    self._handle_shut(actor, letter)
                else:
                    self._handle(actor, letter)
            else:
                return

    def _handle_shut(self, actor: ModelActor, letter: Letter) -> None:
        if letter.kind == "open":
            actor.shut -= 1
            actor.diary.append(letter.number)
            actor.queue[:0] = actor.stash
            actor.stash.clear()
            self._handled(actor, letter, str(letter.number))
        elif len(actor.stash) < actor.capacity:
            actor.in_hand = None
            actor.stash.append(letter)
        else:
            self._reject(actor, letter)

    def _handle(self, actor: ModelActor, letter: Letter) -> None:
        if letter.kind == "hold":
            return
        actor.diary.append(letter.number)
        match letter.kind:
            case "relay" if letter.path:
                self._relay(actor, letter)
                return
            case "reject":
                self._reject(actor, letter)
                return
            case "fail":
                actor.in_hand = None
                actor.era.counts.update(failed=1)
                self._settle(letter.ask, "HandlerFailed")
                self._fall("failed")
                return
            case "shut":
                actor.shut += 1
            case "stop":
                actor.stop_ordered = True
            case "later" if letter.ask is not None:
                actor.owed.append((letter.ask, letter.number))
                letter.ask = None
        self._handled(actor, letter, str(letter.number))

    def _handled(self, actor: ModelActor, letter: Letter, value: str) -> None:
        actor.in_hand = None
        actor.era.counts.update(handled=1)
        self._settle(letter.ask, f"= {value}")
        self._ready.append(lambda: self._turn(actor))

    def _reject(self, actor: ModelActor, letter: Letter) -> None:
        actor.in_hand = None
        actor.era.counts.update(rejected=1)
        self._settle(letter.ask, "Rejected")

    def _relay(self, actor: ModelActor, letter: Letter) -> None:
        target, *rest = letter.path

        def go_on(outcome: str) -> None:
            actor.asking = None
            self._handled(actor, letter, outcome.removeprefix("= "))

        actor.asking = question = Operation("relay", target=target, then=go_on)
        same = target.era is actor.era
        chain = (*letter.chain, actor.path) if same else ()  # other systems know nothing of it
        question.letter = Letter("relay", letter.number, tuple(rest), ask=question, chain=chain)
        if not same and self._refuses_outsiders(target):
            go_on("NotDelivered")
        elif self._offer(target, question.letter) == "MailboxFull":
            go_on("MailboxFull")

    # --- ending ---------------------------------------------------------------------------------

    def _close(self, actor: ModelActor) -> None:
        actor.closed = True
        self._give_back(actor)

    def _end_children(self, actor: ModelActor) -> None:
        """Order the youngest to stop; when it has ended it is the turn of the next."""
        if actor.children:
            child = actor.children[-1]
            child.stop_ordered = True
            self._turn(child)
        else:
            self._end(actor)

    def _end(self, actor: ModelActor) -> None:
        actor.ended = True
        actor.life.append("post_stop")
        for operation, _ in actor.owed:
            self._settle(operation, "HandlerFailed")
        actor.owed.clear()
        for operation in actor.waited_for:
            if operation.outcome == PENDING:
                operation.outcome = "ended"
        if actor.parent is not None:
            actor.parent.children.remove(actor)
            if actor.parent.closed and not actor.parent.ended:
                self._ready.append(lambda: self._resume_end(actor.parent))
        elif actor.era.leaving:
            self._ready.append(lambda: self._wind_down(actor.era))

    def _resume_end(self, actor: ModelActor | None) -> None:
        if actor is not None and not actor.ended:
            self._end_children(actor)

    def _cancel(self, actors: list[ModelActor]) -> None:
        """Cancel actors, the lowest first. What they ask is called off before any of them ends."""
        dying = [actor for actor in actors if not actor.ended]
        for actor in dying:
            if actor.asking is not None:
                self._give_up(actor.asking, "cancelled")
                actor.asking = None
        for actor in dying:
            letter, actor.in_hand = actor.in_hand, None
            if letter is not None:
                actor.era.counts.update(cancelled=1)
                self._settle(letter.ask, "HandlerFailed")
            self._close(actor)
            self._end(actor)

    def _fall(self, how: str) -> None:
        era = self.eras[-1]
        era.leaving = False
        self._cancel([actor for root in era.roots for actor in root.family])
        era.end = how

    def _wind_down(self, era: Era) -> None:
        """As above, for those without a parent."""
        if era.leaving and era.roots:
            actor = era.roots[-1]
            actor.stop_ordered = True
            self._turn(actor)
        elif era.leaving:
            era.leaving = False
            era.end = "left"
