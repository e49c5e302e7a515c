"""How a run can end, and every error of the federation, split by what the caller should do next.

| error | what happened | what to do | exit status |
| --- | --- | --- | --- |
| `SettingsError` | a flag or the data is wrong; nothing was started | mend it; the text names the fix | 2 |
| `Unreachable` | another role did not answer as long as was allowed | start it, or correct its address | 1 |
| `Refused` | another role was reached, and the two cannot speak | mend the certificates or flags | 2 |
| `RunFailed` | the run cannot go on: no update was accepted, a role broke | see the text and the logs | 1 |
| `QuorumLost` | the workers are gone; what is committed is kept | bring workers back, then resume | 3 |
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """What a launcher or a role tells the shell."""

    FINISHED = 0
    FAILED = 1
    USAGE = 2
    QUORUM_LOST = 3
    INTERRUPTED = 130  # 128 + SIGINT, as shells do
    TERMINATED = 143  # 128 + SIGTERM


STATUS_OF_RUN: Mapping[str, ExitStatus] = {
    "finished": ExitStatus.FINISHED,
    "failed": ExitStatus.FAILED,
    "quorum lost": ExitStatus.QUORUM_LOST,
    "stopped": ExitStatus.FAILED,  # for whom it was stopped by somebody else
}
"""What a program tells the shell when the run that it took part in has ended so."""


def run_status_of(status: ExitStatus) -> str:
    """Return what the record says of a run that ends a program with this exit status."""
    match status:
        case ExitStatus.FINISHED:
            return "finished"
        case ExitStatus.QUORUM_LOST:
            return "quorum lost"
        case ExitStatus.INTERRUPTED | ExitStatus.TERMINATED:
            return "stopped"
    return "failed"


def was_stopped(status: ExitStatus) -> bool:
    """Return whether a program ends so because somebody wanted it to."""
    return run_status_of(status) == "stopped"


class FederationError(Exception):
    """Base of all errors that a user of the federation can mend.

    Attributes:
        exit_status: What a process that ends for this reason tells the shell.
    """

    exit_status: ClassVar[ExitStatus] = ExitStatus.FAILED


class SettingsError(FederationError, ValueError):
    """Settings or data that cannot work. Found before anything was started."""

    exit_status = ExitStatus.USAGE


class Unreachable(FederationError):
    """A role that this one needs could not be reached, or is there no longer."""


class Refused(Unreachable):
    """A role was reached, and cannot be spoken with: another authority, TLS on one side, another release."""

    exit_status = ExitStatus.USAGE


class RunFailed(FederationError):
    """The run has failed, and goes on only when its cause is mended."""


class QuorumLost(FederationError):
    """There are too few workers to go on. The committed rounds are kept."""

    exit_status = ExitStatus.QUORUM_LOST
