"""What the log is told of peers that misbehave."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from trioactor.complaints import INTERVAL_SECONDS, LINES_IN_ALL, LINES_OF_A_KIND, Complaints

LOG = logging.getLogger("complaints")


async def test_the_first_of_a_kind_are_written_and_the_others_counted(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    complaints = Complaints(LOG, nursery)
    for number in range(1000):
        complaints.write(("10.0.0.1", number), "was turned away", f"reason {number}")
    complaints.write(("10.0.0.1", 7), "was cut off", "another kind")
    complaints.write(("10.0.0.2", 8), "was turned away", "another address")

    assert caplog.messages == [
        *(f"10.0.0.1:{number} was turned away: reason {number}" for number in range(LINES_OF_A_KIND)),
        "10.0.0.1:7 was cut off: another kind",
        "10.0.0.2:8 was turned away: another address",
    ]

    await trio.sleep(INTERVAL_SECONDS + 1)

    assert caplog.messages[-1] == "995 more complaints within 10 s, of 1 addresses: 10.0.0.1 995"
    complaints.write(("10.0.0.1", 9), "was turned away", "again")
    assert caplog.messages[-1] == "10.0.0.1:9 was turned away: again"


async def test_many_addresses_do_not_fill_the_log_either(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    complaints = Complaints(LOG, nursery)
    for number in range(10_000):
        complaints.write((f"address {number}", 1), "was turned away", "why")
    await trio.sleep(INTERVAL_SECONDS + 1)

    assert len(caplog.messages) == LINES_IN_ALL + 1
    last = caplog.messages[-1]
    assert last.startswith("9,900 more complaints within 10 s, of 100 and more addresses: elsewhere 9,800")


async def test_an_address_that_is_counted_is_counted_on_however_many_others_come(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    complaints = Complaints(LOG, nursery)
    for number in range(LINES_IN_ALL + 1000):
        complaints.write((f"address {number}", 1), "was turned away", "why")
    for _ in range(5000):
        complaints.write((f"address {LINES_IN_ALL}", 1), "was turned away", "why")
    await trio.sleep(INTERVAL_SECONDS + 1)

    assert f": address {LINES_IN_ALL} 5,001, elsewhere 900" in caplog.messages[-1]


async def test_a_reason_that_is_not_written_costs_nothing(nursery: trio.Nursery) -> None:
    class Dear:
        def __str__(self) -> str:
            made_for.append(self)
            return "dear"

    made_for: list[Dear] = []
    complaints, reasons = Complaints(LOG, nursery), [Dear() for _ in range(100)]
    for reason in reasons:
        complaints.write(("10.0.0.1", 1), "was turned away", reason)

    assert list(dict.fromkeys(made_for)) == reasons[:LINES_OF_A_KIND]
    nursery.cancel_scope.cancel()


async def test_what_was_left_out_is_said_at_the_end_too(caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as nursery:
        complaints = Complaints(LOG, nursery)
        for _ in range(LINES_OF_A_KIND + 3):
            complaints.write(("10.0.0.1", 1), "was cut off", "why")
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert caplog.messages[-1] == "3 more complaints within 10 s, of 1 addresses: 10.0.0.1 3"
