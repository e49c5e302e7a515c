"""Every strategy by the name it has on a command line."""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import Any

from .errors import StrategyError
from .robust import CoordinateMedian, Krum, MultiKrum, TrimmedMean
from .server_steps import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi
from .strategy import Strategy

STRATEGIES: dict[str, type[Any]] = {  # of classes that are a Strategy: the suite in tests holds each to it
    "fedavg": FedAvg,
    "fedavgm": FedAvgM,
    "fedadagrad": FedAdagrad,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "median": CoordinateMedian,
    "trimmed-mean": TrimmedMean,
    "krum": Krum,
    "multi-krum": MultiKrum,
}


def strategy_parameters(name: str) -> dict[str, Any]:
    """Return the parameters of a strategy and their defaults.

    Raises:
        StrategyError: There is no such strategy.
    """
    return {field.name: field.default for field in fields(_class_of(name))}


def make_strategy(name: str, **parameters: float | int | None) -> Strategy:
    """Return a strategy by its name: "fedavg", "krum", ...

    Args:
        name: One of `STRATEGIES`.
        parameters: Those of its class; what is left out has its default.

    Raises:
        StrategyError: There is no such strategy or parameter, or a value is not allowed.
    """
    allowed = strategy_parameters(name)
    for parameter in parameters:
        if parameter not in allowed:
            takes = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
            raise StrategyError(f"{name} has no parameter {parameter!r}; {takes}{_guess(parameter, allowed)}")
    strategy: Strategy = _class_of(name)(**parameters)
    return strategy


def _class_of(name: str) -> type[Any]:
    if name not in STRATEGIES:
        raise StrategyError(
            f"no strategy is named {name!r}; there are {', '.join(STRATEGIES)}{_guess(name, STRATEGIES)}"
        )
    return STRATEGIES[name]


def _guess(word: str, known: dict[str, Any]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
