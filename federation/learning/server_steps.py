"""Strategies that move the global model toward the workers' mean: FedAvg and its relatives with memory.

In all of them the contributions are weighted by their samples, and

    delta = mean of the workers' models - global model

is the direction of a round. Reddi et al. call it a pseudo-gradient and print the plain mean of deltas; the
mean by samples is what their experiments use, and with it FedAvg is a special case. Arithmetic is float64,
rounded to float32 once at the end of a round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import StrategyError
from .exact import Doubles
from .params import Params
from .strategy import Averaged, Combining, State


@dataclass(frozen=True, slots=True)
class FedAvg(Combining):
    """Federated averaging (McMahan et al., 2017, algorithm 1): w <- w + rate * delta.

    FedProx (Li et al., 2020) is this strategy with `mu > 0` in the workers' training.

    Attributes:
        server_learning_rate: How far to move toward the mean; 1.0 puts the mean in the model's place.
    """

    fewest: ClassVar[int] = 1  # any mean will do
    server_learning_rate: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("server_learning_rate", self.server_learning_rate)

    def start(self, params: Params) -> State:
        """Return a state without memory."""
        return State(params)

    def gather(self, state: State) -> Averaged:
        """See `Strategy.gather`."""
        return Averaged(state, self.fewest, self._step)

    def _step(self, state: State, mean: Mapping[str, Doubles]) -> State:
        if self.server_learning_rate == 1.0:  # to the byte: w + (mean - w) rounds on the way
            return State(_rounded(mean))
        rate = self.server_learning_rate
        return State(
            _rounded({name: w + rate * (mean[name] - w) for name, w in _exact(state.params).items()})
        )


@dataclass(frozen=True, slots=True)
class FedAvgM(Combining):
    """Averaging with server momentum (Hsu, Qi and Brown, 2019): v <- momentum * v + delta; w <- w + rate * v.

    Attributes:
        server_learning_rate: Step along v. A constant delta moves the model up to 1 / (1 - momentum) times
            as far as FedAvg does at the same rate.
        momentum: Share of the last direction that is kept, 0 to below 1; 0 is FedAvg.
    """

    fewest: ClassVar[int] = 1  # any mean will do
    server_learning_rate: float = 1.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _check_positive("server_learning_rate", self.server_learning_rate)
        _check_share("momentum", self.momentum)

    def start(self, params: Params) -> State:
        """Return a state whose velocity v is 0."""
        return State(params, {"v": _constant(params, 0.0)})

    def gather(self, state: State) -> Averaged:
        """See `Strategy.gather`."""
        return Averaged(state, self.fewest, self._step)

    def _step(self, state: State, mean: Mapping[str, Doubles]) -> State:
        velocity, params = _exact(state.recall("v")), _exact(state.params)
        for name, w in params.items():
            velocity[name] = self.momentum * velocity[name] + (mean[name] - w)
            params[name] = w + self.server_learning_rate * velocity[name]
        return State(_rounded(params), {"v": _rounded(velocity)})


@dataclass(frozen=True, slots=True)
class FedAdagrad(Combining):
    """Adaptive federated optimisation (Reddi et al., 2021, algorithm 2): v <- v + delta^2.

    m <- beta1 * m + (1 - beta1) * delta, and w <- w + rate * m / (sqrt(v) + tau), for all three of the paper.
    v starts at tau^2 and there is no bias correction, as in the paper; other frameworks start at 0.

    Attributes:
        server_learning_rate: Near how far one weight moves in a round, at most.
        beta1: Share of the last direction that is kept, 0 to below 1. The paper uses 0 here.
        tau: How adaptive: the smaller, the more alike are the steps of all weights.
    """

    fewest: ClassVar[int] = 1  # any mean will do
    server_learning_rate: float = 0.1
    beta1: float = 0.0
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _check_adaptive(self.server_learning_rate, self.tau, beta1=self.beta1)

    def start(self, params: Params) -> State:
        """Return a state whose m is 0 and whose v is tau^2."""
        return _adaptive_start(params, self.tau)

    def gather(self, state: State) -> Averaged:
        """See `Strategy.gather`."""
        return Averaged(state, self.fewest, self._step)

    def _step(self, state: State, mean: Mapping[str, Doubles]) -> State:
        return _adaptive_step(self, state, mean, lambda v, squared: v + squared)


@dataclass(frozen=True, slots=True)
class FedAdam(Combining):
    """Adaptive federated optimisation (Reddi et al., 2021): v <- beta2 * v + (1 - beta2) * delta^2.

    Everything else as `FedAdagrad`.

    Attributes:
        server_learning_rate: Near how far one weight moves in a round.
        beta1: Share of the last direction that is kept, 0 to below 1.
        beta2: Share of the last squares that is kept, 0 to below 1.
        tau: How adaptive.
    """

    fewest: ClassVar[int] = 1  # any mean will do
    server_learning_rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _check_adaptive(self.server_learning_rate, self.tau, beta1=self.beta1, beta2=self.beta2)

    def start(self, params: Params) -> State:
        """Return a state whose m is 0 and whose v is tau^2."""
        return _adaptive_start(params, self.tau)

    def gather(self, state: State) -> Averaged:
        """See `Strategy.gather`."""
        return Averaged(state, self.fewest, self._step)

    def _step(self, state: State, mean: Mapping[str, Doubles]) -> State:
        return _adaptive_step(
            self, state, mean, lambda v, squared: self.beta2 * v + (1 - self.beta2) * squared
        )


@dataclass(frozen=True, slots=True)
class FedYogi(Combining):
    """Adaptive federated optimisation (Reddi et al., 2021): v <- v - (1 - beta2) delta^2 sign(v - delta^2).

    Unlike FedAdam's, this v never falls or rises by more than a share of delta^2. Everything else as
    `FedAdagrad`.

    Attributes:
        server_learning_rate: Near how far one weight moves in a round.
        beta1: Share of the last direction that is kept, 0 to below 1.
        beta2: How slowly v follows, 0 to below 1.
        tau: How adaptive.
    """

    fewest: ClassVar[int] = 1  # any mean will do
    server_learning_rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _check_adaptive(self.server_learning_rate, self.tau, beta1=self.beta1, beta2=self.beta2)

    def start(self, params: Params) -> State:
        """Return a state whose m is 0 and whose v is tau^2."""
        return _adaptive_start(params, self.tau)

    def gather(self, state: State) -> Averaged:
        """See `Strategy.gather`."""
        return Averaged(state, self.fewest, self._step)

    def _step(self, state: State, mean: Mapping[str, Doubles]) -> State:
        return _adaptive_step(
            self, state, mean, lambda v, squared: v - (1 - self.beta2) * squared * np.sign(v - squared)
        )


def _adaptive_start(params: Params, tau: float) -> State:
    return State(params, {"m": _constant(params, 0.0), "v": _constant(params, tau**2)})


def _adaptive_step(
    settings: FedAdagrad | FedAdam | FedYogi,
    state: State,
    mean: Mapping[str, Doubles],
    second_moment: Callable[[Doubles, Doubles], Doubles],
) -> State:
    """Algorithm 2 of Reddi et al., with `second_moment` for the line that differs: (v, delta^2) -> v."""
    m, v = _exact(state.recall("m")), _exact(state.recall("v"))
    params = _exact(state.params)
    for name, w in params.items():
        delta = mean[name] - w
        m[name] = settings.beta1 * m[name] + (1 - settings.beta1) * delta
        v[name] = second_moment(v[name], delta**2)
        params[name] = w + settings.server_learning_rate * m[name] / (np.sqrt(v[name]) + settings.tau)
    return State(_rounded(params), {"m": _rounded(m), "v": _rounded(v)})


def _exact(params: Params) -> dict[str, Doubles]:
    return {name: array.astype(np.float64) for name, array in params.items()}


def _rounded(params: Mapping[str, Doubles]) -> dict[str, NDArray[np.float32]]:
    return {name: array.astype(np.float32) for name, array in params.items()}


def _constant(params: Params, value: float) -> dict[str, NDArray[np.float32]]:
    return {name: np.full_like(array, value) for name, array in params.items()}


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise StrategyError(f"{name}={value}; a finite number above 0 is allowed")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise StrategyError(f"{name}={value}; 0 to below 1 is allowed")


def _check_adaptive(server_learning_rate: float, tau: float, **betas: float) -> None:
    _check_positive("server_learning_rate", server_learning_rate)
    _check_positive("tau", tau)
    for name, beta in betas.items():
        _check_share(name, beta)
