"""Domain shifts: what the same land looks like to another region's sensor, on features.

Each has a name, a strength and a formula. Strength 0 changes nothing, to the byte; 1 is as strong as the
features themselves. What is random (which way a veil tints, which features a sensor favours) is drawn once
for a region from its generator: it is a shift of the whole region, not noise, except where noise is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import PrepError

Features = NDArray[np.float32]  # (samples, features)
ShiftFunction = Callable[[Features, float, np.random.Generator], Features]


def haze(X: Features, strength: float, chance: np.random.Generator) -> Features:
    """Veil a region and blur it with noise: (1 - s/2) x + s u (v / 2 + e / 2).

    Args:
        X: float32 (samples, features).
        strength: s, 0 to 1.
        chance: Draws v, one standard normal number per feature, and e, one per value.

    Returns:
        A new array. u is the deviation of all values of X, so the shift has the scale of the features.
    """
    unit = X.std(dtype=np.float64)
    veil = chance.standard_normal(X.shape[1])
    noise = chance.standard_normal(X.shape, dtype=np.float32)
    return _float32((1 - strength / 2) * X + strength * unit / 2 * (veil + noise))


def colour(X: Features, strength: float, chance: np.random.Generator) -> Features:
    """See a region through other filters: (1 + s g / 2) x + s u o / 2, feature by feature.

    Args:
        X: float32 (samples, features).
        strength: s, 0 to 1.
        chance: Draws the gains g and the offsets o, two standard normal numbers per feature.

    Returns:
        A new array. u is the deviation of all values of X.
    """
    unit = X.std(dtype=np.float64)
    gains = chance.standard_normal(X.shape[1])
    offsets = chance.standard_normal(X.shape[1])
    return _float32((1 + strength / 2 * gains) * X + strength * unit / 2 * offsets)


def contrast(X: Features, strength: float, chance: np.random.Generator) -> Features:
    """Flatten the differences within a region: m + (1 - s/2) (x - m).

    Args:
        X: float32 (samples, features).
        strength: s, 0 to 1.
        chance: Not used; nothing here is random.

    Returns:
        A new array. m is the mean of each feature over the region.
    """
    del chance
    mean = X.mean(axis=0, dtype=np.float64)
    # Written as a change of X, so that strength 0 gives X to the last bit.
    return _float32(X - strength / 2 * (X - mean))


def noise(X: Features, strength: float, chance: np.random.Generator) -> Features:
    """See a region through a worse sensor: x + s u e.

    Args:
        X: float32 (samples, features).
        strength: s, 0 to 1.
        chance: Draws e, one standard normal number per value.

    Returns:
        A new array. u is the deviation of all values of X.
    """
    unit = X.std(dtype=np.float64)
    return _float32(X + strength * unit * chance.standard_normal(X.shape, dtype=np.float32))


SHIFTS: dict[str, ShiftFunction] = {"haze": haze, "colour": colour, "contrast": contrast, "noise": noise}


@dataclass(frozen=True, slots=True)
class Shift:
    """A named shift of a strength. `str()` of it stands in a region's meta.

    Attributes:
        name: One of `SHIFTS`.
        strength: 0, no change at all, to 1.
    """

    name: str
    strength: float

    def __post_init__(self) -> None:
        if self.name not in SHIFTS:
            raise PrepError(f"no shift is named {self.name!r}; there are {', '.join(SHIFTS)}")
        if not 0 <= self.strength <= 1:
            raise PrepError(f"shift {self.name} of strength {self.strength}; 0 to 1 are allowed")

    def __str__(self) -> str:
        return f"{self.name} {self.strength:g}"

    def apply(self, X: Features, chance: np.random.Generator) -> Features:
        """Return the features as this region sees them: a new array of the same shape."""
        return SHIFTS[self.name](X, self.strength, chance)


def _float32(X: NDArray[np.floating]) -> Features:
    return np.ascontiguousarray(X, np.float32)
