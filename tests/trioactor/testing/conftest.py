"""What the tests of the simulation share."""

from __future__ import annotations

import pytest

from tests.trioactor.certificates import Files
from tests.trioactor.testing.ed25519 import make_certificate


@pytest.fixture(scope="session")
def ed25519(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_certificate(tmp_path_factory.mktemp("ed25519"), ["server"])
