"""Processes: how they end, and what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from federation.processes import PARENT_VARIABLE, error_in, how_it_ended

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("all is well\n", ""),
        ("error: no data\n", "no data"),
        ("starting\nerror: first\nerror: no data;\n  make some\n", "no data; make some"),
        ("an error: in the middle\n", ""),
    ],
)
def test_the_last_error_of_a_log_is_what_it_ended_with(log: str, words: str) -> None:
    assert error_in(log) == words


def test_an_exit_status_in_words() -> None:
    assert how_it_ended(-9) == "it was ended by SIGKILL"
    assert how_it_ended(3) == "it ended with status 3"
    assert how_it_ended(None) == "it is still running"


def test_a_process_whose_starter_is_gone_already_does_not_begin() -> None:
    program = "from federation.processes import check_starter; check_starter(); print('up')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), PARENT_VARIABLE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "")
