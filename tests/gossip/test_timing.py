"""The pace of a peer: its formulas and what it refuses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import Timing
from gossip.suspicion import Suspicions

TIMING = Timing()


@given(st.integers(1, 100_000), st.integers(0, 10))
def test_a_suspect_has_less_time_the_more_suspect_it(peers: int, confirmations: int) -> None:
    least = TIMING.suspicion_seconds(peers, 1000)
    now, later = (TIMING.suspicion_seconds(peers, confirmations + more) for more in (0, 1))
    assert least <= later <= now <= TIMING.suspicion_most * least + 1e-9


def test_the_time_of_a_suspect_grows_with_the_logarithm_of_the_network() -> None:
    """memberlist's figures: 4 s for up to 10 peers, 12 s for 1,000, six times that with no confirmation."""
    assert TIMING.suspicion_seconds(10, 2) == pytest.approx(4.0)
    assert TIMING.suspicion_seconds(1000, 2) == pytest.approx(12.0)
    assert TIMING.suspicion_seconds(1000, 0) == pytest.approx(72.0)


def test_where_nobody_else_can_confirm_a_suspect_has_the_least_time() -> None:
    assert TIMING.suspicion_seconds(2, 0) == TIMING.suspicion_seconds(2, 2)
    assert TIMING.suspicion_seconds(3, 0) == TIMING.suspicion_seconds(3, 2)


def test_announcements_reach_more_peers_in_larger_networks() -> None:
    assert [TIMING.forwards(peers) for peers in (2, 16, 1000, 100_000)] == [6, 6, 8, 13]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"round_seconds": 0}, "round_seconds=0; it must be a number above 0"),
        ({"probe_seconds": float("nan")}, "probe_seconds"),
        ({"helpers": -1}, "helpers"),
        ({"ack_seconds": 1.0}, "no time left to ask others"),
        ({"attempts": 5}, "do not fit into"),
    ],
)
def test_a_pace_that_cannot_be_kept_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Timing(**change)


def test_a_suspicion_runs_out_and_confirmations_shorten_it() -> None:
    suspicions = Suspicions(TIMING)
    assert suspicions.next_at(10) is None
    assert suspicions.doubt("b", "a", 100.0)
    assert suspicions.next_at(10) == pytest.approx(124.0)
    assert not suspicions.doubt("b", "a", 101.0), "the same accuser again"
    assert suspicions.doubt("b", "c", 101.0)
    assert suspicions.doubt("b", "d", 101.0)
    assert not suspicions.doubt("b", "e", 101.0), "two confirmations are all that counts"
    assert suspicions.next_at(10) == pytest.approx(104.0)

    suspicions.postpone(10.0, now=1000.0)

    assert suspicions.expired(104.0, 10) == []
    assert suspicions.expired(114.0, 10) == ["b"]
    suspicions.clear("b")
    assert suspicions.expired(1000.0, 10) == []
