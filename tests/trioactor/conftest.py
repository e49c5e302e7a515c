"""What all tests of the runtime share: the audit of every system that a test opens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from trioactor import ActorSystem
from trioactor.testing import Auditor, assert_accounted


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


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    """An open system, for tests in which no actor fails."""
    async with ActorSystem("test") as system:
        yield system
