"""Which model a run learns: the one of the house, or one of the user's by its place in Python."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from federation.errors import SettingsError
from federation.learning import Model, SimpleClassifier

ModelFactory: TypeAlias = Callable[[int, int, np.random.Generator], Model]
"""Makes a model: called with the number of features, of classes, and the generator for its first weights."""

SIMPLE = "simple"


def simple_model(feature_count: int, class_count: int, _chance: np.random.Generator) -> Model:
    """Return a `SimpleClassifier`, which starts at zero and needs no chance."""
    return SimpleClassifier(feature_count, class_count)


def model_factory(name: str) -> ModelFactory:
    """Return what makes the model of a run.

    Args:
        name: "simple", or "package.module:name" of a `ModelFactory` that Python finds. It runs in every
            role, so each role is given the same name by whoever starts it; none takes it from a peer.

    Raises:
        SettingsError: There is no such module, or no such callable in it.
    """
    if name == SIMPLE:
        return simple_model
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise SettingsError(
            f"--model {name}: give {SIMPLE!r}, or package.module:name of what makes your model"
        )
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"--model {name}: it is not found ({error}); it must be importable where each role runs: see "
            "PYTHONPATH"
        ) from error
    if not callable(found):
        raise SettingsError(f"--model {name}: it is a {type(found).__name__}, and must be callable")
    factory: ModelFactory = found
    return factory
