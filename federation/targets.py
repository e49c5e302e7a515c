"""An experiment tracker as a flag names it."""

from __future__ import annotations

from typing import NamedTuple

# What there is, and the package that it is told by.
PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}


class Target(NamedTuple):
    """A tracker.

    Attributes:
        kind: One of `PACKAGES`.
        where: A folder or an address; "" for where it is by default.
    """

    kind: str
    where: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read "tensorboard", "tensorboard:FOLDER" or "mlflow:URI".

        Raises:
            ValueError: It is none of these; the text says what is allowed.
        """
        kind, _, where = text.partition(":")
        if kind not in PACKAGES or (kind == "mlflow" and not where):
            raise ValueError(f"{text}: give tensorboard, tensorboard:DIR or mlflow:URI")
        return cls(kind, where)
