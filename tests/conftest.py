"""What all tests share: what their systems write on the wire is held against its grammar.

With `--all`, a test that is skipped for want of a package fails.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

import pytest

from tests.trioactor.recorder import Recorder

Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="All extras are there: who is skipped for one fails.")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _fail_if_wanting((yield), collector.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _fail_if_wanting((yield), item.config)


def _fail_if_wanting(report: Report, config: pytest.Config) -> Report:
    """Such a skip says how to get the package: the reasons of tests/extras.py do, and those of pip."""
    wanting = any(way in report.longreprtext for way in ("bin/test --all", "pip install"))
    if report.skipped and wanting and config.getoption("--all"):
        report.outcome = "failed"
    return report


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
