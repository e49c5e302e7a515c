"""A machine that gives orders to an actor system and knows what must come of them.

Hypothesis calls the rules. A rule tells the model (`model.py`), which says what is to be seen afterwards,
and writes the order down; nothing runs yet. At the end of the example the whole program is played on real
systems inside one `trio.run` (`theatre.py`), settled and hurried.

Why so, and not one guest run of trio with a step per rule: an example is one run, so nothing is left between
two rules that could depend on wall time or on a thread; a difference is reported with the order after which
it showed; and when hypothesis leaves rules out to find a smaller example, what is left is a program as good
as any, since a rule that has nothing to do writes no order. trio's scheduler draws from hypothesis, so a
failure repeats.

`bin/fuzz-actors` runs it for as many examples as one likes.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.simulation.actors.model import Model, ModelActor
from tests.simulation.actors.theatre import Order, Scene, play_hurried, play_settled

STEPS = 40  # rules of an example

KINDS = [*["note"] * 4, *["hold"] * 3, "shut", *["open"] * 2, "reject", "later", "stop"]
POLICIES = ["wait", "wait", "drop_oldest", "drop_newest", "reject"]
ENDS = ["fail by tell", "fail by ask", "drain", "leave", "cancel"]

# Which of the actors, or of the calls that wait: small numbers, so that examples shrink.
which = st.integers(0, 15)


class ActorMachine(RuleBasedStateMachine):
    """Writes a program and what is to be seen after each of its orders.

    Actors are picked among the living, and now and then among all: most letters should find somebody.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.scenes: list[Scene] = []
        self.letters = 0

    def teardown(self) -> None:
        """Play it."""
        play_settled(self.scenes)
        play_hurried(self.scenes)

    def write(self, what: str, *arguments: object) -> None:
        """Add an order; the model has obeyed it already."""
        self.scenes.append(Scene(Order(what, arguments), self.model.snapshot()))

    def write_call(self, what: str, *arguments: object) -> None:
        """The same for one that the model has made an operation of."""
        self.write(what, len(self.model.operations) - 1, *arguments)

    def pick(self, number: int) -> ModelActor:
        """An actor; a number above 12 may give one that has ended. If all have, there is a new one."""
        if number > 12:
            return self.model.actors[number % len(self.model.actors)]
        if self.model.era is None:
            self.open(send=False, receive=False)
        if not self.model.eras[-1].living:
            self.spawn(None, "a", 2, "wait")
        actors = self.model.eras[-1].living or self.model.actors
        return actors[number % len(actors)]

    def number_of(self, actor: ModelActor) -> int:
        """What the theatre knows the actor by."""
        return self.model.actors.index(actor)

    # --- systems and actors ---------------------------------------------------------------------

    @initialize(send=st.booleans(), receive=st.booleans(), capacity=st.integers(1, 3))
    def begin(self, send: bool, receive: bool, capacity: int) -> None:
        """The first system and its first actor."""
        self.open(send, receive)
        self.spawn(None, "a", capacity, "wait")

    def open(self, send: bool, receive: bool) -> None:
        """Open a system, with or without middleware."""
        self.model.open()
        self.write("open", send, receive)

    @rule(
        name=st.sampled_from("abcd"),
        capacity=st.integers(1, 3),
        when_full=st.sampled_from(POLICIES),
        broken=st.integers(0, 4).map(lambda n: n == 4),
        middleware=st.tuples(st.booleans(), st.booleans()),
    )
    def spawn_root(
        self, name: str, capacity: int, when_full: str, broken: bool, middleware: tuple[bool, bool]
    ) -> None:
        """Start an actor, in a new system if need be. One in five cannot start."""
        if self.model.era is None:
            self.open(*middleware)
        if broken and not self.model.eras[-1].leaving:
            self.write("spawn_broken", name)
        else:
            self.spawn(None, name, capacity, when_full)

    @rule(
        parent=which,
        name=st.sampled_from("ab"),
        capacity=st.integers(1, 3),
        when_full=st.sampled_from(POLICIES),
    )
    def spawn_child(self, parent: int, name: str, capacity: int, when_full: str) -> None:
        """Start an actor below another."""
        above = self.pick(parent)
        if not above.stop_ordered and not above.ended:
            self.spawn(above, name, capacity, when_full)

    def spawn(self, parent: ModelActor | None, name: str, capacity: int, when_full: str) -> None:
        """Start an actor, unless its system is being left: it would be chance how far it comes."""
        if self.model.era is not None and not self.model.era.leaving:
            number = len(self.model.actors)
            above = None if parent is None else self.number_of(parent)
            self.model.spawn(parent, name, capacity, when_full)
            self.write("spawn", number, above, name, capacity, when_full)

    # --- letters --------------------------------------------------------------------------------

    @rule(to=which, kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    def tell(self, to: int, kinds: list[str]) -> None:
        """Tell an actor a few things."""
        actor = self.pick(to)
        for kind in kinds:
            self.letters += 1
            self.model.tell(actor, kind, self.letters, ())
            self.write_call("tell", self.number_of(actor), kind, self.letters, ())

    @rule(to=which, kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    def tell_nowait(self, to: int, kinds: list[str]) -> None:
        """The same without waiting."""
        actor = self.pick(to)
        for kind in kinds:
            self.letters += 1
            self.model.tell_nowait(actor, kind, self.letters, ())
            self.write_call("tell_nowait", self.number_of(actor), kind, self.letters, ())

    @rule(to=which, kind=st.sampled_from([*KINDS, "ping"]), seconds=st.sampled_from([None, 1, 5]))
    def ask(self, to: int, kind: str, seconds: float | None) -> None:
        """Ask, with or without a deadline."""
        self._ask(self.pick(to), kind, (), seconds)

    @rule(to=which, path=st.lists(which, min_size=1, max_size=3))
    def ask_to_relay(self, to: int, path: list[int]) -> None:
        """Have actors ask each other, in a circle perhaps."""
        if self.model.may_relay():
            self._ask(self.pick(to), "relay", tuple(self.pick(number) for number in path), None)

    def _ask(self, to: ModelActor, kind: str, path: tuple[ModelActor, ...], seconds: float | None) -> None:
        self.letters += 1
        # No two questions expire at one time: which of them trio would cancel first is chance.
        deadline = None if seconds is None else seconds + self.letters / 1024
        self.model.ask(to, kind, self.letters, path, deadline)
        numbers = tuple(self.number_of(actor) for actor in path)
        self.write_call("ask", self.number_of(to), kind, self.letters, numbers, deadline)

    # --- what befalls actors and calls ----------------------------------------------------------

    @rule(actor=which)
    def release(self, actor: int) -> None:
        """Let go of what is held."""
        held = [a for a in self.model.eras[-1].living if a.in_hand is not None and a.in_hand.kind == "hold"]
        if held:
            self.model.release(held[actor % len(held)])
            self.write("release", self.number_of(held[actor % len(held)]))

    @rule(actor=which)
    def answer(self, actor: int) -> None:
        """Have the answers given that are owed."""
        owing = [a for a in self.model.eras[-1].living if a.owed]
        if owing:
            self.model.answer(owing[actor % len(owing)])
            self.write("answer", self.number_of(owing[actor % len(owing)]))

    @rule(call=which)
    def cancel(self, call: int) -> None:
        """Cancel a call that waits."""
        waiting = [n for n, call in enumerate(self.model.operations) if call.outcome == "pending"]
        if waiting:
            number = waiting[call % len(waiting)]
            self.model.cancel(self.model.operations[number])
            self.write("cancel", number)

    @rule(seconds=st.sampled_from([0.5, 3, 10]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.model.advance(seconds)
        self.write("advance", seconds)

    @rule(actor=which)
    def watch(self, actor: int) -> None:
        """Wait for the end of an actor."""
        chosen = self.pick(actor)
        self.model.watch(chosen)
        self.write_call("watch", self.number_of(chosen))

    @rule(how=st.sampled_from(["stop", "kill"]), actor=which, chance=st.integers(0, 2))
    def end_actor(self, how: str, actor: int, chance: int) -> None:
        """Have an actor end, in one of three cases."""
        if chance > 0:
            return
        chosen = self.pick(actor)
        getattr(self.model, how)(chosen)
        self.write_call(how, self.number_of(chosen))

    @rule(how=st.sampled_from(ENDS), actor=which, chance=st.integers(0, 3))
    def end_system(self, how: str, actor: int, chance: int) -> None:
        """Have the system end, in one of four cases."""
        era = self.model.era
        if era is None or chance > 0:
            return
        if how == "drain" and not era.draining:
            self.model.drain()
            self.write_call("drain")
        elif how == "leave" and not era.leaving:
            self.model.leave()
            self.write("leave")
        elif how == "cancel":
            self.model.cancel_era()
            self.write("cancel_era")
        elif how.startswith("fail") and self.model.may_fail() and era.living:
            to = self.pick(actor)
            if how == "fail by ask":
                self._ask(to, "fail", (), None)
            else:
                self.letters += 1
                self.model.tell(to, "fail", self.letters, ())
                self.write_call("tell", self.number_of(to), "fail", self.letters, ())


def machine_settings(examples: int) -> settings:
    """How often and how long the machine runs: the same in the suite and from the launcher."""
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    )
