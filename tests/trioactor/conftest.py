"""What all tests of the runtime share: the audit of every system that a test opens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from tests.trioactor.certificates import Authority, Files
from trioactor import ActorSystem
from trioactor.testing import Auditor, assert_accounted

# A test that has failed may leave a handler waiting. Then this is how long it holds up the others.
STOP_SECONDS = 2


@pytest.fixture(autouse=True)
def auditor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Auditor]:
    """Audit every system that the test opens, at every instant, and once more when the test is over."""
    auditor = Auditor()
    enter = ActorSystem.__aenter__

    async def enter_and_be_audited(system: ActorSystem) -> ActorSystem:
        if not auditor.systems:
            trio.lowlevel.add_instrument(auditor)
        auditor.systems.append(system)
        return await enter(system)

    monkeypatch.setattr(ActorSystem, "__aenter__", enter_and_be_audited)
    yield auditor
    auditor.check()
    for system in auditor.systems:
        assert_accounted(system, ended=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that all good certificates are signed by."""
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="session")
def good(authority: Authority) -> Files:
    """A certificate for this machine."""
    return authority.issue("localhost", "127.0.0.1", file="good")


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    """An open system, for tests in which no actor fails."""
    with trio.CancelScope() as patience:
        async with ActorSystem("test") as system:
            yield system
            patience.deadline = trio.current_time() + STOP_SECONDS
    assert not patience.cancelled_caught, "an actor did not stop with its system"
