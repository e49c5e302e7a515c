"""`TorchModel`: any `torch.nn.Module` as a `Model`, for `--model package.module:name` and for notebooks.

```python
from torch import nn
from federation.learning.torch_model import TorchModel, seeded


def network(feature_count, class_count, chance):  # a ModelFactory
    with seeded(chance):
        module = nn.Sequential(nn.Linear(feature_count, 64), nn.ReLU(), nn.Linear(64, class_count))
    return TorchModel(module)
```

Nothing else of the house imports this module, so torch is needed by those who use it alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import MissingExtra, ParamsError, RegionError, TrainingDiverged, TrainingStopped
from .model import Features, Labels, Metrics, never
from .params import Params, check_params, copy_params
from .torch_turns import Turns, seeded, turns_of

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtra("torch", extra="torch") from error

__all__ = ["Loss", "MakeOptimiser", "TorchModel", "seeded"]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (samples, classes) and labels (samples,) to their mean loss, a tensor of one number."""

MakeOptimiser = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]
"""Parameters and the learning rate of the round to an optimiser."""

# Whole numbers up to here survive as float32. A counter of batches reaches it after 16 million of them.
LARGEST_WHOLE = 2**24

# How many samples are scored at once: what a network needs for each of them has to fit into memory.
SCORED_AT_ONCE = 256


class TorchModel:
    """A network as every role wants it: weights out, weights in, fit, evaluate.

    **Weights.** The whole `state_dict`, parameters and persistent buffers, each as float32. Whole numbers
    (the counters of batch norm, index tables) and truth values are rounded on the way back, so an average
    of counters is one again. A single number has shape (1,). float64 is refused: it would lose digits.

    **The same bytes.** One thread, torch's deterministic algorithms, and a generator that comes from the
    one handed to `fit`: dropout draws the same numbers in every process. The optimiser begins anew in each
    round. On another processor, or with another torch, the last bits may differ.

    **Batch norm.** Running means and variances are averaged as weights are. That is what FedAvg wants.
    Strategies that step beyond the mean (fedavgm, fedadam and their like) may push a variance below zero,
    and Krum measures distances over counters, too: with those take group norm, which has no buffers.

    Args:
        module: Takes float32 (samples, features), or what `input_shape` makes of it, and gives logits
            (samples, classes).
        input_shape: What the features of a sample become, like (3, 64, 64); by default a row stays a row.
        loss: What is to become small; by default the mean cross-entropy.
        optimiser: Makes what takes the steps; by default they are those of plain stochastic gradient
            descent, as `SimpleClassifier` takes them.
        device: Where it is computed, like "cpu" or "cuda:0".

    Raises:
        ParamsError: A part of its state cannot travel. The text names it, and the fix.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        input_shape: Sequence[int] | None = None,
        loss: Loss = nn.functional.cross_entropy,
        optimiser: MakeOptimiser | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self._device = torch.device(device)
        if self._device.type == "cuda":  # cuBLAS is deterministic only so, and reads it when it begins
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        _check_state(module)
        self._module = module.to(self._device)
        self._input_shape = None if input_shape is None else tuple(input_shape)
        self._loss = loss
        self._make_optimiser = optimiser

    @property
    def module(self) -> nn.Module:
        """The network itself."""
        return self._module

    # --- weights ----------------------------------------------------------------------------

    def get_weights(self) -> dict[str, NDArray[np.float32]]:
        """Return a copy of parameters and buffers, by their names in the `state_dict`.

        Raises:
            ParamsError: A counter has outgrown what float32 holds.
        """
        return copy_params(self._arrays())

    def set_weights(self, params: Params) -> None:
        """Take on a copy of parameters and buffers.

        Raises:
            ParamsError: Other names, other shapes, or values that are not finite.
        """
        check_params(params, self._arrays())
        state = self._module.state_dict()
        self._module.load_state_dict({name: _to_tensor(params[name], state[name]) for name in state})

    def _arrays(self) -> dict[str, NDArray[np.float32]]:
        return {name: _to_array(name, tensor) for name, tensor in self._module.state_dict().items()}

    # --- training ---------------------------------------------------------------------------

    def fit(
        self,
        X: Features,
        y: Labels,
        *,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        generator: np.random.Generator,
        mu: float = 0.0,
        should_stop: Callable[[], bool] = never,
    ) -> float:
        """Train from the weights as they are, which are also FedProx's `w_global`.

        Args:
            X: float32 (samples, features), at least one sample.
            y: int64 (samples,).
            epochs: Passes over all samples, at least 1.
            batch_size: Samples per step, at least 1; the last batch of an epoch may be smaller.
            learning_rate: Handed to the optimiser, above 0.
            generator: Draws the order of the samples, as for `SimpleClassifier`, and seeds torch's chance.
            mu: Weight of the proximal term on the parameters, at least 0; 0 is none.
            should_stop: Asked before every batch.

        Returns:
            The mean loss over the last epoch, each batch scored before its own step.

        Raises:
            RegionError: X and y do not fit this model.
            TrainingStopped: `should_stop` said so. The weights are those of the last whole batch.
            TrainingDiverged: The loss or the weights left the finite numbers.
        """
        if epochs < 1 or batch_size < 1:
            raise ValueError(f"epochs={epochs}, batch_size={batch_size}; training takes at least 1 of each")
        if not learning_rate > 0 or not mu >= 0:
            raise ValueError(f"learning_rate={learning_rate}, mu={mu}; above 0 and at least 0 are allowed")
        self._check_data(X, y)
        turns = turns_of(generator, self._device)
        trained = [one for one in self._module.parameters() if one.requires_grad]
        optimiser = self._make_optimiser and self._make_optimiser(trained, learning_rate)
        step = _Step(trained, optimiser, learning_rate, mu)
        loss = 0.0
        for _ in range(epochs):
            loss = self._train_epoch(
                X, y, generator.permutation(len(y)), batch_size, step, turns, should_stop
            )
            self._check_finite(loss, learning_rate)
        return loss

    def _train_epoch(
        self,
        X: Features,
        y: Labels,
        order: NDArray[np.int64],
        batch_size: int,
        step: _Step,
        turns: Turns,
        should_stop: Callable[[], bool],
    ) -> float:
        self._module.train()
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for start in range(0, len(order), batch_size):
            if should_stop():
                raise TrainingStopped(f"stopped after {start:,} of {len(order):,} samples of an epoch")
            rows = order[start : start + batch_size]
            with turns.turn():
                logits, labels = self._logits(X[rows]), self._labels(y[rows])
                if start == 0:
                    self._check_labels(logits, y)
                loss = self._loss(logits, labels)
                step.take(loss)
                total += loss.detach().double() * len(rows)
        return float(total) / len(order)

    def _check_finite(self, loss: float, learning_rate: float) -> None:
        try:
            check_params(self._arrays())
        except ParamsError as error:
            raise TrainingDiverged(_diverged(str(error), learning_rate)) from error
        if not math.isfinite(loss):
            raise TrainingDiverged(_diverged(f"the loss is {loss}", learning_rate))

    # --- scores -----------------------------------------------------------------------------

    def evaluate(self, X: Features, y: Labels) -> Metrics:
        """Score the model on samples, as it is when it is used: without dropout, with running means.

        Raises:
            RegionError: X and y do not fit this model, or there are none.
        """
        self._check_data(X, y)
        turns = Turns(0, self._device)
        loss, confusion = 0.0, np.zeros(0, np.int64)
        classes = 0
        for start in range(0, len(y), SCORED_AT_ONCE):
            of_part = slice(start, start + SCORED_AT_ONCE)
            with turns.turn(), torch.inference_mode():
                self._module.eval()
                logits = self._logits(X[of_part])
                self._check_labels(logits, y)
                part_loss = float(self._loss(logits, self._labels(y[of_part])))
                found = logits.argmax(dim=1).cpu().numpy()
            classes = logits.shape[1]
            loss += part_loss * len(found)
            cells = np.bincount(y[of_part] * classes + found, minlength=classes**2)
            confusion = cells if start == 0 else confusion + cells
        return Metrics(loss / len(y), confusion.astype(np.int64).reshape(classes, classes))

    # --- data -------------------------------------------------------------------------------

    def _logits(self, X: Features) -> torch.Tensor:
        rows = torch.tensor(X, device=self._device)  # a copy: what came over a network is read-only
        if self._input_shape is not None:
            rows = rows.reshape(-1, *self._input_shape)
        logits: torch.Tensor = self._module(rows)
        return logits

    def _labels(self, y: Labels) -> torch.Tensor:
        return torch.tensor(y, device=self._device)

    def _check_data(self, X: Features, y: Labels) -> None:
        if X.ndim != 2 or y.shape != X.shape[:1] or not len(y):
            raise RegionError(
                f"X of shape {X.shape} and y of shape {y.shape}; a model takes (samples, features) and "
                "(samples,), at least one sample"
            )
        if X.dtype != np.float32 or y.dtype != np.int64:
            raise RegionError(f"X is {X.dtype} and y is {y.dtype}; float32 and int64 are needed")
        if self._input_shape is not None and math.prod(self._input_shape) != X.shape[1]:
            raise RegionError(
                f"{X.shape[1]:,} features, and this model makes {self._input_shape} of them, which is "
                f"{math.prod(self._input_shape):,}; give it regions of as many, or another input_shape"
            )

    def _check_labels(self, logits: torch.Tensor, y: Labels) -> None:
        if logits.ndim != 2 or y.min() < 0 or y.max() >= logits.shape[1]:
            raise RegionError(
                f"labels from {y.min()} to {y.max()}, and the network gives {tuple(logits.shape)} for a "
                "batch; it must give (samples, classes), a column for every label"
            )


class _Step:
    """Steps of an optimiser, with FedProx's pull back to where it began (Li et al., 2020).

    Without one it is plain gradient descent: one line, where torch.optim imports torch's compiler, which
    takes each process 2 s and 140 MiB.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        optimiser: torch.optim.Optimizer | None,
        learning_rate: float,
        mu: float,
    ) -> None:
        self._parameters = parameters
        self._optimiser = optimiser
        self._learning_rate = learning_rate
        self._mu = mu
        self._global = [one.detach().clone() for one in parameters] if mu > 0 else []

    def take(self, loss: torch.Tensor) -> None:
        """Move the parameters against the gradient of a loss."""
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        with torch.no_grad():
            for parameter, begun in zip(self._parameters, self._global, strict=False):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter - begun, alpha=self._mu)
            if self._optimiser is None:
                for parameter in self._parameters:
                    if parameter.grad is not None:
                        parameter.add_(parameter.grad, alpha=-self._learning_rate)
        if self._optimiser is not None:
            self._optimiser.step()


# --- from torch's tensors to arrays that travel, and back ---------------------------------------


def _check_state(module: nn.Module) -> None:
    """See that all of a module's state can travel.

    Raises:
        ParamsError: It cannot; the text names the part.
    """
    arrays = {}
    for name, tensor in module.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            raise ParamsError(f"{name!r} of the network's state is a {type(tensor).__name__}, no tensor")
        if tensor.dtype == torch.float64:
            raise ParamsError(f"{name!r} is float64, and weights travel as float32; call module.float()")
        if tensor.is_complex() or tensor.is_quantized:
            raise ParamsError(f"{name!r} is {tensor.dtype}; numbers that float32 can hold are needed")
        arrays[name] = _to_array(name, tensor)
    try:
        check_params(arrays)
    except ParamsError as error:
        raise ParamsError(f"{error}; a constant mask is registered with persistent=False") from error


def _to_array(name: str, tensor: torch.Tensor) -> NDArray[np.float32]:
    """Return a tensor as an array, which may share its memory."""
    whole = not tensor.is_floating_point() and tensor.dtype != torch.bool
    if whole and tensor.numel() and int(tensor.abs().max()) > LARGEST_WHOLE:
        raise ParamsError(f"{name!r} holds a whole number above {LARGEST_WHOLE:,}, which float32 rounds")
    array: NDArray[np.float32] = tensor.detach().to("cpu", torch.float32).numpy()
    return array.reshape(1) if array.ndim == 0 else array  # NumPy turns 0-dimensional results into scalars


def _to_tensor(array: NDArray[np.float32], like: torch.Tensor) -> torch.Tensor:
    """Return an array as a tensor of another's kind and shape."""
    tensor = torch.tensor(array).reshape(like.shape)
    return tensor if like.is_floating_point() else tensor.round().to(like.dtype)


def _diverged(found: str, learning_rate: float) -> str:
    return (
        f"training left the finite numbers at learning_rate={learning_rate} ({found}); use a smaller one, or "
        "scale the features to about -1 to 1"
    )
