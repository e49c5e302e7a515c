"""What a program says when it ends for a reason, and its status."""

from __future__ import annotations

import errno
import os

import pytest

from federation.errors import ExitStatus
from federation.programs import explain


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_that_says_what_to_do(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ExceptionGroup("", [OSError(number, os.strerror(number), "runs/one/settings.toml")])

    assert explain(error) is ExitStatus.FAILED
    assert capsys.readouterr().err == (
        "error: runs/one/settings.toml: no room left on the disk; make room, then start again\n"
    )


def test_any_other_error_of_the_system_is_a_fault_of_ours_with_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert explain(OSError(errno.EBADF, "bad file descriptor")) is ExitStatus.FAILED
    said = capsys.readouterr().err
    assert "Traceback" in said or "OSError" in said
    assert "please report it" in said
