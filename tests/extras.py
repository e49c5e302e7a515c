"""Tests of what large packages do: skipped where these are not, with the command that installs them."""

from __future__ import annotations

import importlib.util

import pytest


def need(*packages: str) -> None:
    """Skip the module or the test that calls this, before it imports them, unless all packages are there."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(
            f"needs {' and '.join(missing)}: bin/test --all installs what the tests can use",
            allow_module_level=True,
        )
