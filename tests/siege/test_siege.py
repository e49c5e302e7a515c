"""A short siege, and what is said of one. `bin/siege` besieges with a thousand peers for a minute.

What honest peers wait is not judged here, where other things run on the same machine.
"""

from __future__ import annotations

import pytest
import trio

from tests.siege.attackers import Fate
from tests.siege.kinds import KINDS
from tests.siege.siege import Bounds, Siege, judged
from tests.trioactor.certificates import Files

MIB = 1024

SHORT_SECONDS = 4.0


@pytest.mark.parametrize(("tls", "limits"), [(False, "default"), (True, "small")])
def test_a_short_siege_is_stood(tls: bool, limits: str, good: Files) -> None:
    siege = Siege(64, SHORT_SECONDS, 1, good if tls else None, limits=limits)

    trio.run(siege.run)

    assert not siege.served.failures
    assert len(siege.served.besieged) > 5
    assert siege.during[-1]["turned_away"] > 0
    assert all(fate.connections for fate in siege.fates.values())
    assert siege.grown_mib < 64


def a_siege(**changes: object) -> Siege:
    siege = Siege(10, 1.0, 0, None)
    siege.served.idle = [0.001] * 9
    siege.served.besieged = [0.002] * 9
    siege.served.newcomers = [0.01]
    siege.late = [0.001] * 9
    siege.fates = {name: Fate(connections=3, hung_up_on=3, longest_seconds=8.0) for name in KINDS}
    siege.before = {"resident_kib": 50 * MIB}
    siege.during = [{"resident_kib": 60 * MIB}, {"resident_kib": 55 * MIB}]
    for name, value in changes.items():
        setattr(siege, name, value)
    return siege


def test_a_siege_that_was_stood_is_praised_by_silence() -> None:
    assert judged(a_siege(), Bounds()) == []


def test_what_was_not_as_it_must_be_is_named() -> None:
    siege = a_siege(during=[{"resident_kib": 150 * MIB}])
    siege.served.besieged = [0.0061] * 9
    siege.served.failures = ["TooSlowError: "]
    siege.fates["half a hello"].longest_seconds = 10.5
    siege.fates["garbage"].borne = 2
    siege.fates["plaintext"].connections = 0

    assert judged(siege, Bounds()) == [
        "100.0 MiB more memory; 64 are allowed",
        "1 honest questions failed, the first: TooSlowError: ",
        "honest answers take 6.1 times as long; 5 are allowed",
        "a slow peer (half a hello) was borne for 10.5 s; 10 are allowed",
        "2 peers (garbage) were not shed at all",
        "not one hostile peer was there for: plaintext; the siege does not test it",
    ]


def test_no_answer_at_all_is_the_worst() -> None:
    siege = a_siege()
    siege.served.besieged = []

    assert judged(siege, Bounds()) == ["no honest question was answered"]


def test_every_kind_has_a_name_for_the_table() -> None:
    assert max(map(len, KINDS)) < 30
    assert any(kind.slow for kind in KINDS.values())
