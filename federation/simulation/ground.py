"""`Ground`: where rounds are played. Virtual time passes, workers answer, are lost, come back and join.

What becomes of a worker is known before it is trained, so only those are trained whose answer can count: of
a round with a quorum those that come first, and none that comes after the round is over. Who is too late is
late in the record all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from federation.buffer import Buffer
from federation.learning import Params
from federation.messages import ModelUpdate, TrainRequest
from federation.round import Round
from federation.simulation.agenda import Agenda, Happening
from federation.simulation.assignment import Answers, Assignment
from federation.simulation.crowd import Crowd
from federation.simulation.engine import Engine
from federation.simulation.scenario import Scenario


class Ground:
    """Plays rounds and buffers by the rules of `federation.round` and `federation.buffer`.

    Args:
        names: Of the workers, by place.
        scenario: What becomes of them.
        crowd: Who is there.
        engine: What trains them.

    Attributes:
        now: The virtual time, in seconds since the beginning.
    """

    def __init__(self, names: Sequence[str], scenario: Scenario, crowd: Crowd, engine: Engine) -> None:
        self.now = 0.0
        self._names = names
        self._scenario = scenario
        self._crowd = crowd
        self._engine = engine
        self._agenda = Agenda()
        self._times_asked = 0  # since the round or version began
        self._requests: dict[int, TrainRequest] = {}  # those that somebody may still answer
        self._ready: dict[int, ModelUpdate | str] = {}  # what comes when its time has come; why not, else

    # --- rounds -----------------------------------------------------------------------------

    async def play_round(self, open_round: Round, places: Sequence[int], enough: int | None) -> None:
        """Play a round that begins now, and close it.

        Args:
            open_round: It.
            places: Of those that take part in it, ascending.
            enough: How many answers its rules call a quorum; None when they wait for all.
        """
        self._agenda.clear()  # who is late with an older round is asked anew, or does not answer any more
        self._ready.clear()
        self._requests = {open_round.number: open_round.request}
        self._times_asked = 0
        there = []
        for place in places:
            away = self._crowd.away(place, self.now)
            if away is None:
                there.append(place)
            else:
                self._agenda.plan(away.back_at, "is back", place)
        self._ask(open_round.number, there)
        await self._play(open_round, {}, enough)
        open_round.close(self.now)

    # --- buffered mode ----------------------------------------------------------------------

    async def fill(self, buffer: Buffer, places_of: Mapping[str, int], enough: int) -> None:
        """Play until a buffer is full, or nothing more is to be waited for.

        Args:
            buffer: It.
            places_of: The places of all workers, by name.
            enough: How many answers fill it.
        """
        self._requests[buffer.number] = buffer.request
        self._times_asked = 0
        joins = self._scenario.next_join(self.now)
        if joins is not None:
            self._agenda.plan(joins, "joins", -1)
        self._ask_idle(buffer, places_of)
        await self._play(buffer, places_of, enough)
        self._requests = {number: one for number, one in self._requests.items() if number in self.in_hand}

    @property
    def in_hand(self) -> set[int]:
        """For which versions somebody trains still."""
        return {one.number for one in self._agenda.answers(math.inf)}

    def _ask_idle(self, buffer: Buffer, places_of: Mapping[str, int]) -> None:
        present = (self._names[place] for place in self._crowd.present(self.now))
        places = [places_of[name] for name in buffer.idle(present)]
        for place in places:
            buffer.ask(self._names[place], self.now)
        if places:
            self._ask(buffer.number, places)

    # --- both -------------------------------------------------------------------------------

    def wait(self, least: int) -> bool:
        """Let time pass until so many workers take part; return False when there will never be so many."""
        while self._crowd.count(self.now) < least:
            change = self._crowd.next_change(self.now)
            if change is None:
                return False
            self.now = change
        return True

    async def _play(self, rules: Round | Buffer, places_of: Mapping[str, int], enough: int | None) -> None:
        while (following := self._agenda.first(rules.over_at)) is not None:
            if following.kind == "answers" and following.place not in self._ready:
                await self._train(self._worth_training(rules, enough))
            happening = self._agenda.pop()
            self.now = max(self.now, happening.at)
            self._happen(rules, happening)
            if isinstance(rules, Buffer) and happening.kind in ("is back", "joins"):
                self._ask_idle(rules, places_of)
        if math.isfinite(rules.over_at):
            self.now = max(self.now, rules.over_at)

    def _worth_training(self, rules: Round | Buffer, enough: int | None) -> list[Happening]:
        """Return the answers that come next, no more than may be needed until enough are there."""
        coming = [one for one in self._agenda.answers(rules.over_at) if one.place not in self._ready]
        there = rules.accepted if isinstance(rules, Buffer) else len(rules.updates)
        return coming if enough is None or there >= enough else coming[: enough - there]

    async def _train(self, answers: Sequence[Happening]) -> None:
        for number in sorted({one.number for one in answers}):
            these = {one.place: one for one in answers if one.number == number}
            request = self._requests[number]
            for part in await self._engine.train(assignment_of(request), sorted(these)):
                self._note(request, part, these)

    def _note(self, request: TrainRequest, part: Answers, answers: dict[int, Happening]) -> None:
        self._ready.update(part.failures)
        arrays = list(part.weights.items())
        figures = zip(part.samples.tolist(), part.losses.tolist(), part.accuracies.tolist(), strict=True)
        for row, (place, (samples, loss, accuracy)) in enumerate(zip(part.places, figures, strict=True)):
            weights: Params = {name: array[row] for name, array in arrays}
            metrics = {"loss": loss, "accuracy": accuracy, "seconds": answers[place].seconds}
            self._ready[place] = ModelUpdate(request.round, self._names[place], weights, samples, metrics)

    def _happen(self, rules: Round | Buffer, happening: Happening) -> None:
        place, now = happening.place, self.now
        match happening.kind:
            case "answers":
                answer = self._ready.pop(place)
                if isinstance(answer, str):
                    rules.fail(self._names[place], answer, now)
                else:
                    rules.take(answer, now)
            case "is lost":
                rules.lose(self._names[place], "lost, as the scenario has it", now)
                back_at = self._crowd.lose(place, now, happening.seconds).back_at
                self._agenda.plan(back_at, "is back", place)
            case "is back":
                if rules.ask_again(self._names[place], now):
                    self._ask(rules.number, [place])
            case "joins":
                following = self._scenario.next_join(now)
                if following is not None:
                    self._agenda.plan(following, "joins", -1)

    def _ask(self, number: int, places: Sequence[int]) -> None:
        fates = self._scenario.fates(number, self._times_asked, places)
        self._times_asked += 1
        for place, fate in zip(places, fates, strict=True):
            if fate.away_seconds is None:
                self._agenda.plan(self.now + fate.seconds, "answers", place, number, fate.seconds)
            else:
                self._agenda.plan(self.now + fate.seconds, "is lost", place, number, fate.away_seconds)


def assignment_of(request: TrainRequest) -> Assignment:
    """Return what an engine is told of a request."""
    return Assignment(
        round=request.round,
        weights=request.weights,
        epochs=request.epochs,
        batch_size=request.batch_size,
        learning_rate=request.learning_rate,
        mu=request.mu,
        seed=request.seed,
    )
