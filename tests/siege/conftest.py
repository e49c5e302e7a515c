"""A certificate for all who take part in a siege over TLS."""

from __future__ import annotations

import pytest

from tests.trioactor.certificates import Authority, Files


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """One for this machine."""
    authority = Authority(tmp_path_factory.mktemp("siege"), "authority")
    return authority.issue("localhost", "127.0.0.1", file="siege")
