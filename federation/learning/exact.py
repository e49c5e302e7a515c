"""Sums of arrays without any error, so that their order does not matter and their number costs no memory.

A running float64 sum rounds at every step, and so depends on the order of what is added. Here each rounding
error is computed, by the TwoSum of Knuth (The Art of Computer Programming, volume 2, section 4.2.2), and
carried along in an array of its own. Errors of errors are 53 bits smaller each time: float32 values and
their products with whole numbers span so few bits that seven arrays hold any sum of them, and two or three
nearly always do. At the end the sum is rounded once, as `math.fsum` does it for numbers (after Shewchuk,
1997).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


# So many bits of a factor, times the 24 bits of a float32, fit into the 53 bits of a float64.
_FACTOR_BITS = 29

# So many values at a time: what is worked on stays in the processor's cache.
_AT_A_TIME = 8_192


class ExactSum:
    """The sum of arrays of one shape, in any order."""

    def __init__(self) -> None:
        self._parts: list[Doubles] = []  # flat; their sum is what was added, to the last bit
        self._shape: tuple[int, ...] = ()

    def add(self, array: NDArray[np.float32], times: int = 1) -> None:
        """Add an array, as if so many times.

        Args:
            array: Float32 values, finite, of the shape of those before. It is not changed.
            times: At least 1.

        Raises:
            ValueError: It is to be added less often.
        """
        if times < 1:
            raise ValueError(f"an array is to be added {times:,} times; at least 1 is needed")
        flat = array.reshape(-1)
        for factor in _exact_factors(times):
            if not self._parts:
                self._shape = array.shape
                # Not 0 plus it: -0.0 stays itself.
                self._parts.append(np.multiply(flat, factor, dtype=np.float64))
                continue
            for start in range(0, flat.size, _AT_A_TIME):
                here = slice(start, start + _AT_A_TIME)
                self._add_some(here, np.multiply(flat[here], factor, dtype=np.float64))

    def _add_some(self, here: slice, values: Doubles) -> None:
        for part in self._parts:
            values = _absorb(part[here], values)
            if not values.any():
                return
        self._parts.append(np.zeros_like(self._parts[0]))
        self._parts[-1][here] = values

    def rounded(self) -> Doubles:
        """Return the sum, each value rounded once, to the nearest, ties to even.

        Raises:
            ValueError: Nothing was added.
        """
        if not self._parts:
            raise ValueError("a sum of nothing; add an array first")
        total = np.empty_like(self._parts[0])
        for start in range(0, total.size, _AT_A_TIME):
            here = slice(start, start + _AT_A_TIME)
            total[here] = _rounded([part[here].copy() for part in self._parts])
        return total.reshape(self._shape)


def _exact_factors(times: int) -> Iterator[float]:
    """Yield numbers that add up to `times`, each of few enough bits."""
    for shift in range(0, times.bit_length(), _FACTOR_BITS):
        digit = (times >> shift) % (1 << _FACTOR_BITS)
        if digit:
            yield float(digit << shift)


def _absorb(total: Doubles, values: Doubles) -> Doubles:
    """Add values to `total` in place; return what the rounding has lost, exactly."""
    before = total.copy()
    total += values
    gained = total - before
    before -= total - gained
    lost = np.subtract(values, gained, out=gained)
    lost += before
    return lost


def _rounded(parts: list[Doubles]) -> Doubles:
    """Return the sum of parts, rounded once. The parts are used up."""
    for _ in range(len(parts) - 1):  # carry what has gathered below to where it belongs
        for upper, lower in zip(parts[-2::-1], parts[:0:-1], strict=True):
            lower[...] = _absorb(upper, lower)
    total = parts[0]
    if len(parts) > 2:
        # Where the second lies just between two values, and was rounded to the even one, the third decides.
        doubled = 2 * parts[1]
        other = total + doubled
        wrong = (parts[1] * parts[2] > 0) & (other - total == doubled)
        total[wrong] = other[wrong]
    return total
