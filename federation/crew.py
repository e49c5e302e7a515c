"""`Crew`: the roles as processes of this machine, each under a supervisor of its own.

A role that crashes is started again, after a wait that grows; one that ends with a status of its own choice
is not, since it would do the same again. One that crashes too often is given up.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from federation.errors import ExitStatus
from federation.processes import GRACE_SECONDS, PARENT_VARIABLE, error_in, how_it_ended, log_is_lost
from trioactor import Backoff, ChildFailed, ChildSpec, Command, ProcessActor, Supervisor

# Often enough for a machine that has a bad minute, seldom enough that a role that cannot live is soon known.
MAX_RESTARTS = 5
WITHIN_SECONDS = 60.0
BACKOFF = Backoff(first_seconds=0.1, most_seconds=5.0)

# A role that ends so has decided to, and has said why.
OWN_STATUSES = frozenset(int(status) for status in ExitStatus)

# Of what a role has said. Its error is the last of it, in a line or a few.
LAST_LINES = 50

PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Role:
    """How a role is started.

    Attributes:
        name: "provider", "aggregator", "evaluator", or the region of a worker.
        command: Makes its command, for every start anew: a Provider comes back to its old port.
        log: Where all that it writes goes.
        environment: Its variables.
    """

    name: str
    command: Callable[[], list[str]]
    log: Path
    environment: Mapping[str, str]


class Crew(Supervisor):
    """Starts the roles in order, and ends them all when it ends itself.

    Args:
        roles: What to start.
        on_exit: Told the role, its exit status and why, in words, when its process has ended by itself.
        on_given_up: Told the role that will not be started again, because it crashed too often, and what
            was wrong the last time.
    """

    def __init__(
        self,
        roles: list[Role],
        on_exit: Callable[[str, int, str], None],
        on_given_up: Callable[[str, str], None],
    ) -> None:
        super().__init__([_supervised(role, on_exit) for role in roles])
        self._on_given_up = on_given_up

    async def receive(self, message: ChildFailed) -> None:
        """Hear from the supervisors of the roles."""
        if message.decision == "gave up":
            self._on_given_up(message.actor_id.split("/")[1], message.reason)


def process_name(role: str) -> str:
    """Return the name of the actor that is a role's process, within a crew named "crew"."""
    return f"crew/{role}/{PROCESS}"


def _supervised(role: Role, on_exit: Callable[[str, int, str], None]) -> ChildSpec:
    process = ChildSpec(partial(RoleProcess, role, on_exit), PROCESS, restart="transient")
    supervisor = partial(
        Supervisor, [process], max_restarts=MAX_RESTARTS, within_seconds=WITHIN_SECONDS, backoff=BACKOFF
    )
    return ChildSpec(supervisor, role.name, restart="temporary")


class RoleProcess(ProcessActor):
    """The process of a role; what it writes goes into the role's log.

    A log that can no longer be written is told of once, in a line, and the role goes on.
    """

    def __init__(self, role: Role, on_exit: Callable[[str, int, str], None]) -> None:
        command = Command(
            role.command(),
            environment={**role.environment, PARENT_VARIABLE: str(os.getpid())},
            one_channel=True,
            whole_environment=True,
            grace_seconds=GRACE_SECONDS,
            ok_statuses=OWN_STATUSES,
        )
        super().__init__(command, self._write, self._ended)
        self._role = role
        self._tell = on_exit
        self._log: TextIO | None = None
        # Not read from the log: that may be full, and has what processes before this one said.
        self._last_lines_said: deque[str] = deque(maxlen=LAST_LINES)

    async def pre_start(self) -> None:
        """Open the log, start the process."""
        with self._let_go_of_the_log_if_it_fails():
            self._log = self._role.log.open("a", buffering=1)
        await super().pre_start()

    async def post_stop(self) -> None:
        """End the process, close the log."""
        await super().post_stop()
        if self._log is not None:
            self._log.close()

    def _write(self, _channel: Any, line: str) -> None:
        self._last_lines_said.append(line)
        if self._log is not None:
            with self._let_go_of_the_log_if_it_fails():
                self._log.write(line + "\n")

    @contextmanager
    def _let_go_of_the_log_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log, self._log = self._log, None
            if log is not None:
                with suppress(OSError):  # what it could not write, it tries once more
                    log.close()
            sys.stderr.write(log_is_lost(self._role.log, error) + "\n")

    def _ended(self, status: int) -> None:
        said = error_in("\n".join(self._last_lines_said)) if status in OWN_STATUSES else ""
        self._tell(self._role.name, status, said or how_it_ended(status))
