"""`start`: from one command to a finished run, a summary and a folder of results."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime

from federation.authority import NAMED_ROLES, WORKER
from federation.config import DEFAULT_REGIONS, EVALUATION_REGION, StartConfig
from federation.errors import ExitStatus, run_status_of, was_stopped
from federation.launch import Outcome, run_in_process, run_in_processes
from federation.learning import Region, one_blas_thread
from federation.preflight import (
    PreparationFailed,
    check_address,
    check_record,
    check_tls,
    check_trackers,
    make_certificates,
    ready_regions,
)
from federation.programs import explain, log_to_file, run_program, say, say_error
from federation.results import (
    settings_to_resume,
    was_simulated,
    why_unsaved,
    write_results,
    write_settings,
)
from federation.roles import now_unix
from federation.stopping import Stop
from federation.terminal import LiveScreen, PlainScreen, Screen, is_watched, summary
from federation.view import RunView
from federation.workspace import RunFolder, new_run_folder, reachable_host
from persistence import DatabaseError, RoundPersistence

# What may be given anew to a run that goes on, and what is always as it is given, or not given, then.
# Anything else would make it another run.
FREE_WHEN_RESUMED = frozenset({"rounds"})
FRESH_WHEN_RESUMED = frozenset(
    {"workspace", "listen", "plain", "in_process", "resume", "alone", "picture", "tls", "track"}
)

LAUNCHER = "bin/start-provider-mode"

# Who gets a certificate of its own.
CERTIFIED = (*NAMED_ROLES, *(f"{WORKER}{name}" for name in DEFAULT_REGIONS))


def start_run(config: StartConfig, chosen: frozenset[str]) -> ExitStatus:
    """Check everything, run, leave the results, and tell how it went.

    Args:
        config: The settings.
        chosen: Which of them the user has given; the others are defaults.
    """
    try:
        check_record(config)
        config, folder = _resumed(config, chosen) if config.resume else (config, None)
        check_address(config)
        if config.tls:
            check_tls(LAUNCHER)
        check_trackers(config)
        regions = ready_regions(config)
        if folder is None:
            label = config.run_label(regions[EVALUATION_REGION].meta.source)
            folder = new_run_folder(config.workspace, label, datetime.now())
            write_settings(folder, config.as_table())
        if config.tls:
            make_certificates(folder, CERTIFIED, reachable_host(config.listen_address.host))
    except KeyboardInterrupt:
        say("Stopped; nothing was started.")
        return ExitStatus.INTERRUPTED
    except PreparationFailed as failure:  # it has said why
        return ExitStatus(failure.status) if failure.status in set(ExitStatus) else ExitStatus.FAILED
    except BaseException as error:
        return explain(error)
    return _run(config, folder, regions)


def _run(config: StartConfig, folder: RunFolder, regions: dict[str, Region]) -> ExitStatus:
    screen = screen_for(config)
    outcome: Outcome | None = None

    async def work(stop: Stop) -> ExitStatus:
        nonlocal outcome
        if config.in_process:
            outcome = await run_in_process(config, folder, regions, screen, stop)
        else:
            outcome = await run_in_processes(config, folder, screen, stop)
        return outcome.status

    log = folder.log("federation" if config.in_process else "launcher")
    log_to_file(log)
    with one_blas_thread() if config.in_process else nullcontext():
        status = run_program("launcher", config.workspace, work, patient=True)
    failed = outcome is None and not was_stopped(status)  # and has said why
    outcome = outcome or Outcome(RunView(), status, "a failure of the launcher" if failed else "force")
    try:
        committed, model_sha256 = _settle_record(config, folder, outcome)
    except (DatabaseError, OSError) as error:
        _tell(config, folder, outcome, 0)
        return explain(error)
    if failed:
        return status
    # The screen may have missed the last word of a Provider that was killed; the record has it.
    outcome = replace(outcome, view=replace(outcome.view, model_sha256=model_sha256))
    unsaved = _write_results(config, folder, outcome) if committed else ""
    _tell(config, folder, outcome, committed)
    if unsaved:
        say_error(unsaved)
        return outcome.status or ExitStatus.FAILED
    return outcome.status


def _write_results(config: StartConfig, folder: RunFolder, outcome: Outcome) -> str:
    """Write what a run leaves in its folder; return why that could not be, in words."""
    picture = config.picture and outcome.status is ExitStatus.FINISHED
    try:
        write_results(folder, config.database, picture=picture)
    except (DatabaseError, OSError) as error:
        return why_unsaved(folder, error)
    return ""


def screen_for(config: StartConfig) -> Screen[RunView]:
    """Return a live table where somebody looks at a terminal, plain lines elsewhere."""
    if not is_watched(plain=config.plain):
        return PlainScreen(sys.stderr)
    from rich.console import Console

    return LiveScreen(Console(stderr=True, highlight=False))


# --- going on -------------------------------------------------------------------------------


def _resumed(config: StartConfig, chosen: frozenset[str]) -> tuple[StartConfig, RunFolder]:
    """Return the settings and the folder of a run that goes on."""
    with RoundPersistence(config.database) as record:
        runs = [run for run in record.runs() if not was_simulated(run)]
    began_with, folder = settings_to_resume(
        config, config.resume, runs, chosen, free=FREE_WHEN_RESUMED, fresh=FRESH_WHEN_RESUMED
    )
    return StartConfig.from_table(began_with), folder


# --- the end --------------------------------------------------------------------------------


def _settle_record(config: StartConfig, folder: RunFolder, outcome: Outcome) -> tuple[int, str]:
    """Write down how the run ended, should the one who keeps the record have been killed.

    Returns:
        How many rounds are committed, and the fingerprint of the last one's model.
    """
    with RoundPersistence(config.database) as record:
        run = record.find_run(folder.run)
        if run is None:  # it ended before it began
            return 0, ""
        if run.status == "running":
            status = run_status_of(outcome.status)
            run = record.end_run(run.id, status=status, reason=outcome.reason, ended_unix=now_unix())
        return record.last_committed_round(run.id), run.model_sha256 or ""


def _tell(config: StartConfig, folder: RunFolder, outcome: Outcome, committed: int) -> None:
    for note in outcome.notes:
        say(note)
    if outcome.status is ExitStatus.FINISHED:
        places = {
            "record": str(config.database),
            "run folder": f"{folder.path}/",
            **({"picture": str(folder.plot)} if config.picture else {}),
            "look again": f"bin/report{config.elsewhere} {folder.run}",
        }
        sys.stdout.write(summary(outcome.view, places) + "\n")
        return
    if was_stopped(outcome.status):
        say(f"Stopped by {outcome.reason}.")
    else:
        say_error(outcome.reason)
    if committed:
        say(f"Kept: {committed} of {config.rounds} rounds of run {folder.run}, in {config.database}.")
    if outcome.view.started_seconds is not None and outcome.status is not ExitStatus.FAILED:
        say(f"Go on with: {LAUNCHER}{config.elsewhere} --resume {folder.run}")
    say(f"Logs of all roles: {folder.path}/logs/")
