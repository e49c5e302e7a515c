"""Torch's settings and its chance, for one batch at a time.

How many threads add, whether only deterministic algorithms run, and what dropout and first weights are drawn
from: in torch all three belong to the process. So whoever needs them as they must be takes a turn, sets them,
and puts them back. Models that train in several threads of one process alternate batch by batch, and each
draws the numbers that it would draw alone.

This module is for those who have torch: nothing else of the house imports it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .errors import MissingExtra

try:
    import torch
except ImportError as error:
    raise MissingExtra("torch", extra="torch") from error

# Not ours: the lock of settings that torch keeps once for the whole process.
_SETTINGS = threading.Lock()


class Turns:
    """The turns of one training, or of one score.

    Args:
        seed: Of what is drawn in them, one turn going on where the last one ended.
        device: Where it is computed; a GPU has a generator of its own.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        self._state = torch.Generator().manual_seed(seed).get_state()
        self._device_state = torch.Generator(device).manual_seed(seed).get_state() if self._device else None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have torch for the length of the block: one thread, deterministic, and our chance.

        An operation that has no deterministic form raises torch's RuntimeError, which names it.
        """
        with _SETTINGS:
            threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
            others = self._swap_chance(self._state, self._device_state)
            torch.set_num_threads(1)  # two would split a sum where one does not
            # The same as use_deterministic_algorithms(True), which imports torch's compiler: 1.6 s.
            torch.set_deterministic_debug_mode("error")
            try:
                yield
            finally:
                torch.set_deterministic_debug_mode(mode)
                torch.set_num_threads(threads)
                self._state, self._device_state = self._swap_chance(*others)

    def _swap_chance(
        self, state: torch.Tensor, device_state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Put a state into torch's own generators, and return the one that was there."""
        before = torch.get_rng_state()
        torch.set_rng_state(state)
        if self._device is None or device_state is None:
            return before, None
        device_before = torch.cuda.get_rng_state(self._device)
        torch.cuda.set_rng_state(device_state, self._device)
        return before, device_before


def turns_of(generator: np.random.Generator, device: torch.device) -> Turns:
    """Return turns whose chance comes from a generator, which itself draws nothing for them."""
    return Turns(int(generator.spawn(1)[0].integers(2**63)), device)


@contextmanager
def seeded(generator: np.random.Generator) -> Iterator[None]:
    """Have every module that is made in the block draw its first weights from a generator.

    >>> import numpy as np, torch
    >>> with seeded(np.random.default_rng(7)):
    ...     network = torch.nn.Linear(4, 2)
    """
    with turns_of(generator, torch.device("cpu")).turn():
        yield
