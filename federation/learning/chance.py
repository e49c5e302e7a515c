"""Where chance comes from, and how many threads may add: the two things the same bytes hang on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits


def generator_for(seed: int, *labels: str | int) -> np.random.Generator:
    """Return the generator of one purpose, named by labels; other labels, other numbers.

    The labels are hashed with SHA-256, never by Python's `hash`, which differs from process to process.

    Args:
        seed: The seed of the whole run; any integer.
        labels: What the numbers are for, like "tiles", 17. "1" and 1 are different labels.
    """
    name = json.dumps([seed, *labels]).encode()
    entropy = int.from_bytes(hashlib.sha256(name).digest(), "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def worker_generator(seed: int, worker_id: str, round_number: int) -> np.random.Generator:
    """Return the generator of one worker's training in one round.

    It depends on nothing else: a worker that is restarted, or moved to another process, and trains the
    round again draws the same numbers and sends the same bytes.
    """
    return generator_for(seed, "worker", worker_id, round_number)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep NumPy's matrix products to one thread inside the block, for the whole process.

    Two threads split a sum where one does not, so its last bit would depend on the machine's cores; and
    on products as small as ours a second thread only costs time. Entering takes milliseconds: enter it
    once when a process starts, not around each training.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield
