"""One role as a program: what it says on the way, and the status it ends with."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable

from federation.config import Joining, ProviderConfig
from federation.errors import STATUS_OF_RUN, ExitStatus
from federation.events import Event
from federation.learning import one_blas_thread
from federation.messages import RunOver
from federation.programs import log_to_stderr, run_program, say_error
from federation.roles import run_provider
from federation.stopping import Stop
from federation.terminal import PlainScreen, summary
from federation.view import RunView, reduce


def provider_program(config: ProviderConfig) -> ExitStatus:
    """Run the Provider; tell on stderr how the run goes, and on stdout what it has brought."""
    log_to_stderr(logging.WARNING)
    view = RunView()
    screen = PlainScreen(sys.stderr)

    def see(event: Event) -> None:
        nonlocal view
        view = reduce(view, event)
        screen.show(view)

    async def work(stop: Stop) -> ExitStatus:
        ended = await run_provider(config, stop=stop, on_event=see)
        if stop.wanted.is_set() and ended.status == "stopped":
            return stop.status
        if ended.status == "finished":
            sys.stdout.write(summary(view, {}) + "\n")
        else:
            say_error(ended.reason)
        return STATUS_OF_RUN[ended.status]

    return run_program("provider", config.workspace, work, patient=True)


def member_program(
    role: str, config: Joining, run: Callable[[Stop], Awaitable[RunOver]], *, patient: bool = False
) -> ExitStatus:
    """Run a role that works for the Provider, until the run is over.

    Args:
        role: Which.
        config: Its settings.
        run: What to do, handed the wish to end.
        patient: Whether it ends by itself when it is asked to.
    """
    log_to_stderr()

    async def work(stop: Stop) -> ExitStatus:
        over = await run(stop)
        if stop.wanted.is_set():
            return stop.status
        logging.getLogger("federation").info("the run has ended: %s %s", over.status, over.reason)
        return STATUS_OF_RUN[over.status]

    with one_blas_thread():
        return run_program(role, config.workspace, work, patient=patient)
