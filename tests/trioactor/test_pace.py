"""Whether a peer is too slow: plain calls, no time passes."""

from __future__ import annotations

import pytest

from trioactor.limits import Limits
from trioactor.pace import Look, Pace

LIMITS = Limits(stall_seconds=4, least_bytes_per_second=1000)


def test_who_sends_a_byte_a_second_is_found_out_after_the_first_4_seconds() -> None:
    pace = Pace(LIMITS)

    found = [pace.judge(Look(at, (1, at), 0, None)) for at in range(5)]

    assert found[:4] == [None] * 4
    assert found[4] == "the peer began a frame and sends it at less than 1,000 bytes a second"


def test_one_that_begins_between_two_looks_is_found_out_a_look_later() -> None:
    """However its frame lies to our looks: 4 s, and a look at the most."""
    pace = Pace(LIMITS)

    found = [pace.judge(Look(at, None if at < 3 else (1, 5), 0, None)) for at in range(8)]

    assert [reason is not None for reason in found] == [False] * 7 + [True]


def test_who_is_as_fast_as_it_must_be_is_left_alone() -> None:
    pace = Pace(LIMITS)

    assert not any(pace.judge(Look(at, (1, at * 1000), 0, None)) for at in range(100))


def test_another_frame_is_another_matter() -> None:
    """Small frames one after the other are slow in bytes, and none of them is long in coming."""
    pace = Pace(LIMITS)

    assert not any(pace.judge(Look(at, (at // 3, 1), 0, None)) for at in range(100))


def test_who_reads_nothing_is_found_out_when_it_had_something_to_read_all_the_time() -> None:
    pace = Pace(LIMITS)

    found = [pace.judge(Look(at, None, 500, 0.5)) for at in range(6)]

    assert found[:5] == [None] * 5
    assert found[5] == "the peer reads at less than 1,000 bytes a second"


@pytest.mark.parametrize("since", [None, 98.0])
def test_who_has_nothing_to_read_or_not_for_long_is_left_alone(since: float | None) -> None:
    pace = Pace(LIMITS)

    assert not any(pace.judge(Look(at, None, 500, since)) for at in range(100))


def test_a_heart_that_beats_late_asks_for_more_bytes_no_more_often() -> None:
    """Looks that are far apart, since the system was busy, are compared over the time that they are apart."""
    pace = Pace(LIMITS)

    assert not any(pace.judge(Look(at, (1, at * 1000), 0, None)) for at in (0, 7, 30, 31, 60))
