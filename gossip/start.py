"""`start`: from one command to a network that has converged, a summary and a folder of results."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any

from federation.config import EVALUATION_REGION, StartConfig, region_file_in
from federation.errors import ExitStatus, SettingsError, run_status_of, was_stopped
from federation.exports import save_model_for_others
from federation.learning import (
    Region,
    one_blas_thread,
    save_params,
    train_alone,
    writing_whole,
)
from federation.preflight import PreparationFailed, check_tls, make_certificates, ready_regions
from federation.processes import environment_of_children
from federation.programs import explain, log_to_file, run_program, say, say_error
from federation.results import settings_to_resume, why_unsaved, write_settings
from federation.stopping import Stop
from federation.terminal import Screen, is_watched
from federation.workspace import RunFolder, make_writable, new_run_folder
from gossip.config import StartGossipConfig
from gossip.launch import REPORTER_NAME, Outcome, run_in_process, run_in_processes
from gossip.learner import Average, Learner, gossip_strategy
from gossip.models import Model
from gossip.network import NetworkView
from gossip.ownership import certificate_name
from gossip.roles import model_maker, now_unix, read_region
from gossip.store import MODEL, model_of
from gossip.terminal import LiveNetwork, PlainNetwork, summary
from persistence import DatabaseError, GossipPersistence, NewRun
from persistence.gossip import open_or_set_aside
from persistence.gossip_history import load_gossip_run
from trioactor.version import VERSION

LAUNCHER = "bin/start-gossip-mode"

# What may be given anew to a run that goes on, and what is always as it is given, or not given, then.
# Anything else would make it another run.
FREE_WHEN_RESUMED = frozenset({"rounds"})
FRESH_WHEN_RESUMED = frozenset(
    {"workspace", "plain", "in_process", "resume", "alone", "picture", "tls", "join_seconds"}
)


def start_network(config: StartGossipConfig, chosen: frozenset[str]) -> ExitStatus:
    """Check everything, run, leave the results, and tell how it went.

    Args:
        config: The settings.
        chosen: Which of them the user has given; the others are defaults.
    """
    try:
        check_record(config)
        config, folder = _resumed(config, chosen) if config.resume else (config, None)
        if config.tls:
            check_tls(LAUNCHER)
        regions = prepared_regions(config)
        if folder is None:
            folder = new_run_folder(config.workspace, config.name or "gossip", datetime.now())
            write_settings(folder, config.as_table())
        if config.tls:
            names = map(certificate_name, config.peer_names)
            make_certificates(folder, [*names, REPORTER_NAME, "launcher"])
        shutil.rmtree(folder.path / "peers", ignore_errors=True)  # where peers were at an earlier start
        enter_run(config, folder, regions)
    except KeyboardInterrupt:
        say("Stopped; nothing was started.")
        return ExitStatus.INTERRUPTED
    except PreparationFailed as failure:  # it has said why
        return ExitStatus(failure.status) if failure.status in set(ExitStatus) else ExitStatus.FAILED
    except BaseException as error:
        return explain(error)
    return _run(config, folder, regions)


def _run(config: StartGossipConfig, folder: RunFolder, regions: Mapping[str, Region]) -> ExitStatus:
    screen = screen_for(config)
    outcome: Outcome | None = None

    async def work(stop: Stop) -> ExitStatus:
        nonlocal outcome
        if config.in_process:
            outcome = await run_in_process(config, folder, regions, screen, stop)
        else:
            outcome = await run_in_processes(config, folder, regions, screen, stop, environment_of_children())
        return outcome.status

    log = folder.log("network" if config.in_process else "launcher")
    log_to_file(log)
    with one_blas_thread() if config.in_process else nullcontext():
        status = run_program("launcher", config.workspace, work, patient=True)
    try:
        return _conclude(config, folder, regions, outcome, status)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BaseException as error:
        return explain(error)


def screen_for(config: StartGossipConfig) -> Screen[NetworkView]:
    """Return a live table where somebody looks at a terminal, plain lines elsewhere."""
    if not is_watched(plain=config.plain):
        return PlainNetwork(sys.stderr)
    from rich.console import Console

    return LiveNetwork(Console(stderr=True))


# --- before ---------------------------------------------------------------------------------


def check_record(config: StartGossipConfig) -> None:
    """See that the record can be written; put a damaged one aside, and say so.

    Raises:
        SettingsError: It cannot be.
    """
    make_writable(config.workspace)
    try:
        store, aside, why = open_or_set_aside(config.gossip_database)
    except DatabaseError as error:
        raise SettingsError(str(error)) from error
    store.close()
    if why:
        say(f"{why}. It is kept as {aside}; a new record is begun")


def prepared_regions(config: StartGossipConfig) -> dict[str, Region]:
    """Return the regions of the peers, and the one that averages are scored on; prepare them if need be.

    Raises:
        SettingsError: A region is missing or cannot be learnt from.
        PreparationFailed: They could not be made.
    """
    source = StartConfig(workspace=config.workspace, source=config.source, samples=config.samples)
    found = ready_regions(source)
    wanted = (*config.peer_names, EVALUATION_REGION)
    return {
        name: found[name] if name in found else read_region(region_file_in(config.dataset, name))
        for name in wanted
    }


def enter_run(config: StartGossipConfig, folder: RunFolder, regions: Mapping[str, Region]) -> None:
    """Enter the run into the record, or have one go on."""
    meta = regions[EVALUATION_REGION].meta
    settings = {
        name: value
        for name, value in config.for_record().items()
        if name not in ("resume", "picture", "in_process", "name")
    }
    new = NewRun(
        name=folder.run,
        created_unix=now_unix(),
        settings=settings,
        seed=config.seed,
        source=meta.source,
        synthetic=meta.synthetic,
    )
    with GossipPersistence(config.gossip_database) as record:
        record.reopen_run(record.enter_run(new).id, settings)


def _resumed(config: StartGossipConfig, chosen: frozenset[str]) -> tuple[StartGossipConfig, RunFolder]:
    """Return the settings and the folder of a run that goes on."""
    with GossipPersistence(config.gossip_database) as record:
        runs = record.runs()
    began_with, folder = settings_to_resume(
        config, config.resume, runs, chosen, free=FREE_WHEN_RESUMED, fresh=FRESH_WHEN_RESUMED
    )
    return StartGossipConfig.from_table(began_with), folder


# --- after ----------------------------------------------------------------------------------


def _conclude(
    config: StartGossipConfig,
    folder: RunFolder,
    regions: Mapping[str, Region],
    outcome: Outcome | None,
    status: ExitStatus,
) -> ExitStatus:
    """Write down how the run ended, leave its results, and tell."""
    if outcome is None:  # cut short, or a fault of ours that has been told
        end_run(config, folder, run_status_of(status), "", None)
        return status
    finished = outcome.status is ExitStatus.FINISHED
    sha = outcome.view.common_average if finished else None
    end_run(config, folder, run_status_of(outcome.status), outcome.reason, sha)
    if not finished:
        unsaved = _leave_results(config, folder, regions, None)
        _tell_unfinished(config, folder, outcome)
        if unsaved:
            say_error(unsaved)
        return outcome.status
    average = average_on_disk(config, folder, regions, outcome.view.states[0].peer)
    if average is None or average.sha256 != outcome.view.common_average:
        found = "none" if average is None else average.sha256
        say_error(
            f"the peers hold the average {outcome.view.common_average}, and the models in "
            f"{config.gossip_database} make {found}; please report it"
        )
        return ExitStatus.FAILED
    unsaved = _leave_results(config, folder, regions, average)
    alone = alone_accuracies(config, regions) if config.alone else {}
    sys.stdout.write(_summary(config, folder, outcome, alone) + "\n")
    if unsaved:
        say_error(unsaved)
        return ExitStatus.FAILED
    return outcome.status


def _leave_results(
    config: StartGossipConfig, folder: RunFolder, regions: Mapping[str, Region], average: Average | None
) -> str:
    """Write what a run leaves in its folder, with the average if it has one; return why that could not be."""
    try:
        history = load_gossip_run(config.gossip_database, folder.run)
        with writing_whole(folder.metrics) as file:
            file.write(history.table().as_csv().encode())
        if average is None:
            return ""
        save_params(folder.model, average.params)
        card = card_of(config, folder, regions, average)
        save_model_for_others(folder.model_for_others, average.params, card)
        if config.picture:
            from persistence.canvas import save
            from persistence.gossip_plot import draw_gossip

            save(draw_gossip(history), folder.plot)
    except (DatabaseError, OSError) as error:
        return why_unsaved(folder, error)
    return ""


def card_of(
    config: StartGossipConfig, folder: RunFolder, regions: Mapping[str, Region], average: Average
) -> dict[str, Any]:
    """Return what is to be known of the average that all peers hold."""
    meta = regions[EVALUATION_REGION].meta
    return {
        "model": config.model,
        "class_names": list(meta.class_names),
        "source": meta.source,
        "synthetic": meta.synthetic,
        "run": folder.run,
        "mode": "gossip",
        "strategy": config.strategy,
        "seed": config.seed,
        "round": config.rounds,
        "region": EVALUATION_REGION,
        "peers": list(average.owners),
        "trioactor": VERSION,
    }


def end_run(config: StartGossipConfig, folder: RunFolder, status: str, reason: str, sha: str | None) -> None:
    """Write into the record how the run ended."""
    with GossipPersistence(config.gossip_database) as record:
        run = record.find_run(folder.run)
        if run is not None:
            record.end_run(run.id, status=status, reason=reason, ended_unix=now_unix(), model_sha256=sha)


def average_on_disk(
    config: StartGossipConfig, folder: RunFolder, regions: Mapping[str, Region], name: str
) -> Average | None:
    """Return the average of the models that a peer has on its disk: what all of them must hold."""
    learner = Learner(
        name,
        regions[name],
        config.budget,
        make_model=model_maker(config, regions[name]),
        strategy=gossip_strategy(config.strategy),
    )
    with GossipPersistence(config.gossip_database, read_only=True) as record:
        run = record.find_run(folder.run)
        assert run is not None
        found = record.load_snapshot(run.id, name)
    models = [
        Model(info.owner, info.samples, found.contents[info.content])
        for info in (model_of(entry) for entry in found.entries if entry.key.startswith(MODEL))
        if not info.withdrawn
    ]
    return learner.average(models)


def alone_accuracies(config: StartGossipConfig, regions: Mapping[str, Region]) -> dict[str, float]:
    """Return how good each peer becomes that never hears of the others, with the same budget."""
    on = regions[EVALUATION_REGION]
    scores = {}
    for name in config.peer_names:
        model = train_alone(regions[name], name, config.budget, model=model_maker(config, regions[name])())
        scores[name] = model.evaluate(on.X, on.y).accuracy
    return scores


def _summary(
    config: StartGossipConfig, folder: RunFolder, outcome: Outcome, alone: Mapping[str, float]
) -> str:
    places = {
        "record": str(config.gossip_database),
        "run folder": f"{folder.path}/",
        **({"picture": str(folder.plot)} if config.picture else {}),
        "look again": f"bin/report --db {config.gossip_database} {folder.run}",
    }
    return summary(outcome.view, outcome.seconds, alone, places)


def _tell_unfinished(config: StartGossipConfig, folder: RunFolder, outcome: Outcome) -> None:
    if was_stopped(outcome.status):
        say(f"Stopped by {outcome.reason}.")
        say(f"Kept: what each peer knew of run {folder.run}, in {config.gossip_database}.")
        say(f"Go on with: {LAUNCHER}{config.elsewhere} --resume {folder.run}")
    else:
        say_error(outcome.reason)
    say(f"Logs of all peers: {folder.path}/logs/")
