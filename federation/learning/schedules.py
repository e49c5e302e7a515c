"""How the workers' learning rate changes from round to round: as a factor on the rate that was set.

A factor depends on the number of the round alone, so a run that is resumed goes on where it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from .errors import StrategyError


class Schedule(Protocol):
    """A learning rate over time."""

    def factor(self, round_number: int) -> float:
        """Return what the learning rate is multiplied by in a round; rounds count from 1."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """The same rate in every round."""

    def factor(self, round_number: int) -> float:
        """Return 1."""
        del round_number
        return 1.0


@dataclass(frozen=True, slots=True)
class Steps:
    """The rate falls by a factor every few rounds: decay ** floor((round - 1) / every_rounds).

    Attributes:
        every_rounds: Rounds between two steps, at least 1; 1 is exponential decay.
        decay: What each step multiplies by, above 0 and at most 1.
    """

    every_rounds: int = 10
    decay: float = 0.5

    def __post_init__(self) -> None:
        _check_rounds("every_rounds", self.every_rounds)
        if not 0 < self.decay <= 1:
            raise StrategyError(f"decay={self.decay}; above 0 and at most 1 is allowed")

    def factor(self, round_number: int) -> float:
        """Return 1 in the first rounds, then less and less."""
        return float(self.decay ** ((round_number - 1) // self.every_rounds))


@dataclass(frozen=True, slots=True)
class Cosine:
    """The rate falls along half a wave (Loshchilov and Hutter, 2017, equation 5, without restarts).

    Attributes:
        rounds: In which round `least` is reached, at least 2; it stays there.
        least: The factor at the end, above 0, which would be a round that trains nothing, to 1.
    """

    rounds: int
    least: float = 0.01

    def __post_init__(self) -> None:
        _check_rounds("rounds", self.rounds, least=2)
        if not 0 < self.least <= 1:
            raise StrategyError(f"least={self.least}; above 0 and at most 1 is allowed")

    def factor(self, round_number: int) -> float:
        """Return 1 in round 1, `least` in the last."""
        done = min((round_number - 1) / (self.rounds - 1), 1)
        return self.least + (1 - self.least) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The rate rises evenly for some rounds; from then on another schedule, which counts from there.

    Attributes:
        rounds: Rounds below the full rate, at least 1: round r has the factor r / (rounds + 1).
        then: What follows.
    """

    rounds: int
    then: Schedule

    def __post_init__(self) -> None:
        _check_rounds("rounds", self.rounds)

    def factor(self, round_number: int) -> float:
        """Return less than 1 while it warms up, then what follows."""
        if round_number <= self.rounds:
            return round_number / (self.rounds + 1)
        return self.then.factor(round_number - self.rounds)


SCHEDULES = ("constant", "steps", "cosine")


def make_schedule(
    name: str = "constant",
    *,
    rounds: int,
    warm_up_rounds: int = 0,
    decay: float = 0.5,
    decay_rounds: int = 10,
    least: float = 0.01,
) -> Schedule:
    """Return a schedule by its name, for a run of so many rounds.

    Args:
        name: "constant", "steps" or "cosine".
        rounds: Of the whole run, at least 1.
        warm_up_rounds: How many of them warm up first; 0 for none.
        decay: Of "steps".
        decay_rounds: Of "steps": its `every_rounds`.
        least: Of "cosine".

    Raises:
        StrategyError: There is no such schedule, or a value is not allowed.
    """
    if name not in SCHEDULES:
        raise StrategyError(f"no schedule is named {name!r}; there are {', '.join(SCHEDULES)}")
    if warm_up_rounds and warm_up_rounds >= rounds:
        raise StrategyError(f"{warm_up_rounds} rounds of warming up, of {rounds} in all; use fewer")
    then: Schedule = Constant()
    if name == "steps":
        then = Steps(decay_rounds, decay)
    elif name == "cosine":
        then = Cosine(max(2, rounds - warm_up_rounds), least)
    return WarmUp(warm_up_rounds, then) if warm_up_rounds else then


def _check_rounds(name: str, rounds: int, least: int = 1) -> None:
    if rounds < least:
        raise StrategyError(f"{name}={rounds}; at least {least} is allowed")
