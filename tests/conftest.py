"""What all tests share: what their systems write on the wire is held against its grammar."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.trioactor.recorder import Recorder


@pytest.fixture(scope="session")
def recorder_of_all() -> Iterator[Recorder]:
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        recorder.attach(patch)
        yield recorder


@pytest.fixture(autouse=True)
def recorder(recorder_of_all: Recorder) -> Iterator[Recorder]:
    """Fail a test whose systems have written what `wire.cddl` does not allow."""
    recorder_of_all.complaints()  # of session fixtures before us: they fail nobody twice
    yield recorder_of_all
    complaints = recorder_of_all.complaints()
    assert not complaints, "frames that wire.cddl does not allow were written:\n" + "\n".join(complaints)
