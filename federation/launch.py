"""The whole coordinated mode on one machine: every role its own process, watched, shown, and ended.

The launcher has no part in the run. It starts the roles, observes the Provider as anybody can, has those
that crash come back, and ends what it has started, whatever happens to it.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import trio

from federation.aggregator import Aggregator
from federation.authority import WORKER
from federation.config import (
    BUILT_IN_REGIONS,
    DEFAULT_REGIONS,
    EVALUATION_REGION,
    Address,
    Deciding,
    Learning,
    OfModel,
    ProviderConfig,
    StartConfig,
    region_file_in,
)
from federation.crew import OWN_STATUSES, Crew, Role, process_name
from federation.errors import STATUS_OF_RUN, ExitStatus, run_status_of
from federation.evaluator import Evaluator
from federation.events import Event, RunEnded, RunPlanned
from federation.learning import Model, Region
from federation.messages import StopRun
from federation.models import model_factory
from federation.observer import Observer
from federation.processes import environment_of_children, python_command
from federation.provider import Provider
from federation.roles import (
    PROVIDER_ID,
    model_for,
    now_unix,
    pass_on,
    role_system,
    supervise,
    wait_until_ended,
)
from federation.stopping import Stop
from federation.terminal import REFRESH_SECONDS, Screen
from federation.tracking import Tracking, start_tracking
from federation.view import SINGLE_ROLES, ProcessChanged, RunView, reduce
from federation.worker import Worker
from federation.workspace import RunFolder, forget_the_dead, open_record, read_address, wait_for_address
from persistence import RoundPersistence
from trioactor import Actor, ActorRef, ActorSystem
from trioactor.process import SendSignal

logger = logging.getLogger(__name__)

# How long the roles may take to end by themselves when their run has.
LAST_SECONDS = 2.0

# The same when they were asked to end: with what comes after it, Ctrl-C takes less than 2 s.
STOP_SECONDS = 0.8


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went.

    Attributes:
        view: The run at its end.
        status: What the shell is told.
        reason: Why it did not finish, in words; empty when it did.
        notes: What else people should know, a sentence each.
    """

    view: RunView
    status: ExitStatus
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the launcher gave a run up, and what the shell is told."""

    reason: str
    status: ExitStatus


class RunWatch:
    """Keeps the view of a run, shows it, and knows when it is over.

    Args:
        screen: Where it is shown.
    """

    def __init__(self, screen: Screen[RunView]) -> None:
        self.view = RunView()
        self.over = trio.Event()
        self.failure: Failure | None = None
        self._screen = screen
        self._offset: float | None = None

    def see(self, event: Event) -> None:
        """Take in an event of the Provider, in whose clock it is told."""
        if self._offset is None or isinstance(event, RunPlanned):  # a Provider's first word
            self._offset = trio.current_time() - event.at_seconds
        self._take(replace(event, at_seconds=event.at_seconds + self._offset))

    def process_changed(self, role: str, state: str, reason: str = "") -> None:
        """Take in what became of a process of ours."""
        self._take(ProcessChanged(at_seconds=trio.current_time(), role=role, state=state, reason=reason))

    def fail(self, reason: str, status: ExitStatus = ExitStatus.FAILED) -> None:
        """The run cannot go on, as the launcher sees it."""
        if self.failure is None and not self.view.ended:
            self.failure = Failure(reason, status)
        self.over.set()

    def conclude(self) -> None:
        """The run has finished, as its roles were told, though the Provider did not live to tell us."""
        if not self.over.is_set():
            self._take(
                RunEnded(
                    at_seconds=trio.current_time(),
                    status="finished",
                    reason="",
                    model_sha256=self.view.model_sha256,
                )
            )

    async def tick(self) -> None:
        """Have the screen show how time passes. Never returns."""
        while True:
            self._screen.tick(trio.current_time())
            await trio.sleep(REFRESH_SECONDS)

    def outcome(self, stop: Stop) -> Outcome:
        """Return how the run went."""
        if stop.wanted.is_set() and self.view.status != "finished":
            return Outcome(self.view, stop.status, stop.reason)
        if self.failure is not None:
            return Outcome(self.view, self.failure.status, self.failure.reason)
        if not self.view.ended:
            return Outcome(self.view, ExitStatus.FAILED, "the Provider ended without a word")
        return Outcome(self.view, STATUS_OF_RUN[self.view.status], self.view.reason)

    def _take(self, event: Event | ProcessChanged) -> None:
        self.view = reduce(self.view, event)
        self._screen.show(self.view)
        if self.view.ended:
            self.over.set()


# --- every role its own process -------------------------------------------------------------


async def run_in_processes(
    config: StartConfig, folder: RunFolder, screen: Screen[RunView], stop: Stop
) -> Outcome:
    """Run the coordinated mode with a process for each role, until it is over and all have ended."""
    watch = RunWatch(screen)
    with screen:
        files = folder.tls_files("launcher") if config.tls else None
        async with role_system("launcher", files) as system, trio.open_nursery() as nursery:
            roles = roles_of(config, folder)
            roll_call = RollCall(watch, config, nursery, [role.name for role in roles])
            for role in roles:
                watch.process_changed(role.name, "starting")
            nursery.start_soon(watch.tick)
            crew = await system.actor_of(
                partial(Crew, roles, roll_call.see_exit, roll_call.see_given_up), "crew"
            )
            nursery.start_soon(_end_on_request, system, watch, stop)
            nursery.start_soon(_observe, system, folder, watch, config)
            tracking = await start_tracking(system, config, folder)
            await watch.over.wait()
            hurried = stop.wanted.is_set() or watch.failure is not None
            await _let_them_end(system, roles, STOP_SECONDS / 2 if hurried else LAST_SECONDS)
            await crew.kill()  # all at once, where a stop would take one after the other
            notes = await _finish_tracking(tracking, stop)
            nursery.cancel_scope.cancel()
        forget_the_dead(config.workspace)
        screen.tick(trio.current_time())
    return replace(watch.outcome(stop), notes=notes)


def roles_of(config: StartConfig, folder: RunFolder) -> list[Role]:
    """Return all roles in the order of their start, the Provider first."""
    environment = environment_of_children()

    def role(name: str, command: Callable[[], list[str]]) -> Role:
        return Role(name, command, folder.log(name), environment)

    return [
        role("provider", partial(_provider_command, config, folder)),
        *(role(name, partial(list, command)) for name, command in _member_commands(config, folder).items()),
    ]


def _provider_command(config: StartConfig, folder: RunFolder) -> list[str]:
    """Return the Provider's command. One that comes back is where the others look for it: at its old port."""
    settings = provider_config(config, folder)
    before = read_address(folder.address)
    if before is not None:
        again = Address(config.listen_address.host, before.address.port)
        settings = replace(settings, listen=str(again))
    return python_command("federation", "provider", *settings.as_flags())


def _member_commands(config: StartConfig, folder: RunFolder) -> dict[str, list[str]]:
    place = ["--workspace", str(config.workspace), "--provider-file", str(folder.address)]
    join = [*place, "--connect-seconds", str(config.register_seconds)]
    model = OfModel(model=config.model).as_flags()  # the Aggregator needs to know of weights only
    regions = {name: str(region_file_in(config.dataset, name)) for name in BUILT_IN_REGIONS}
    commands = {
        "aggregator": python_command("federation", "aggregator", *join),
        "evaluator": python_command(
            "federation", "evaluator", *join, *model, "--region", regions[EVALUATION_REGION]
        ),
    }
    for name in DEFAULT_REGIONS:
        commands[name] = python_command("federation", "workers", *join, *model, "--region", regions[name])
    if config.tls:
        for name, command in commands.items():
            command += folder.tls_files(certificate_of(name)).as_flags()
    return commands


def certificate_of(role: str) -> str:
    """Return the role that a process of ours needs a certificate of: of a worker's, worker-A for A."""
    return role if role in SINGLE_ROLES else f"{WORKER}{role}"


def provider_config(config: StartConfig, folder: RunFolder) -> ProviderConfig:
    """Return the Provider's part of the settings."""
    shared = {one.name: getattr(config, one.name) for kind in (Learning, Deciding) for one in fields(kind)}
    cert, key, ca = folder.tls_files("provider") if config.tls else (None, None, None)
    return ProviderConfig(
        **shared,
        workspace=config.workspace,
        listen=config.listen,
        run=folder.run,
        register_seconds=config.register_seconds,
        alone=config.alone,
        provider_file=folder.address,
        tls_cert=cert,
        tls_key=key,
        tls_ca=ca,
    )


class RollCall:
    """Knows which roles are there, and what it means for the run when one is not.

    Args:
        watch: What is told of it.
        config: How many workers the run needs.
        nursery: For what has to wait.
        roles: Who is to be there.
    """

    def __init__(
        self, watch: RunWatch, config: StartConfig, nursery: trio.Nursery, roles: Sequence[str]
    ) -> None:
        self._watch = watch
        self._config = config
        self._nursery = nursery
        self._workers = {role for role in roles if role not in SINGLE_ROLES}
        self._last_words: dict[str, str] = {}

    def see_exit(self, role: str, status: int, words: str) -> None:
        """A process has ended by itself."""
        self._last_words[role] = words
        if self._watch.over.is_set():
            self._watch.process_changed(role, "ended")
        elif status == ExitStatus.FINISHED:  # it has been told that the run is over, and we not yet
            self._watch.process_changed(role, "ended")
            self._nursery.start_soon(_conclude_soon, self._watch)
        elif status in OWN_STATUSES:
            self._miss(role, words, ExitStatus.USAGE if status == ExitStatus.USAGE else ExitStatus.FAILED)
        else:
            self._watch.process_changed(role, "restarting", words)

    def see_given_up(self, role: str, reason: str) -> None:
        """A role has crashed too often, and does not come back."""
        if not self._watch.over.is_set():
            words = self._last_words.get(role, reason)
            self._miss(role, f"it crashed too often; the last time {words}", ExitStatus.FAILED)

    def _miss(self, role: str, words: str, status: ExitStatus) -> None:
        watch = self._watch
        self._workers.discard(role)
        watch.process_changed(role, "ended", words)
        if role in SINGLE_ROLES:
            self._nursery.start_soon(_fail_soon, watch, f"the {role} has ended: {words}", status)
        elif watch.view.status == "waiting" and len(self._workers) < self._config.min_workers:
            watch.fail(f"worker {role} has ended before the run began: {words}", status)
        elif watch.view.status == "running" and not self._workers:
            lost = ExitStatus.QUORUM_LOST if watch.view.finished_count else ExitStatus.FAILED
            reason = f"no worker is left; the last one, {role}, has ended: {words}"
            self._nursery.start_soon(_fail_soon, watch, reason, lost)


async def _fail_soon(watch: RunWatch, reason: str, status: ExitStatus) -> None:
    """Fail, unless the Provider ends the run itself, which knows more of it."""
    with trio.move_on_after(STOP_SECONDS):
        await watch.over.wait()
    watch.fail(reason, status)


async def _conclude_soon(watch: RunWatch) -> None:
    """Take the run for finished, unless the Provider still says so itself: it may have been killed."""
    with trio.move_on_after(STOP_SECONDS):
        await watch.over.wait()
    watch.conclude()


async def _observe(system: ActorSystem, folder: RunFolder, watch: RunWatch, config: StartConfig) -> None:
    where = await wait_for_address(folder.address, config.register_seconds)
    provider = system.ref(*where.address, PROVIDER_ID)
    await system.actor_of(partial(Observer, provider, watch.see), "observer")
    await watch.over.wait()
    if watch.failure is not None:
        with trio.move_on_after(STOP_SECONDS):
            await provider.tell(StopRun(watch.failure.reason, run_status_of(watch.failure.status)))


async def _end_on_request(system: ActorSystem, watch: RunWatch, stop: Stop) -> None:
    await stop.wanted.wait()
    provider = system.find(process_name("provider"))
    if provider is not None:  # it ends the run in good order, and says so to everyone
        await provider.tell(SendSignal(signal.SIGTERM))
        with trio.move_on_after(STOP_SECONDS):
            await watch.over.wait()
    watch.over.set()


async def _let_them_end(system: ActorSystem, roles: Sequence[Role], seconds: float) -> None:
    """Give the roles time to end by themselves."""
    processes = [system.find(process_name(role.name)) for role in roles]
    with trio.move_on_after(seconds):
        for process in processes:
            if process is not None:
                await wait_until_ended(process)


async def _finish_tracking(tracking: Tracking | None, stop: Stop) -> tuple[str, ...]:
    """Let the trackers be told the rest, unless somebody wants the program to end."""
    if tracking is None:
        return ()
    notes: tuple[str, ...] = ()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _hurry() -> None:
            await stop.wanted.wait()
            nursery.cancel_scope.cancel()

        notes = await tracking.finish()
        nursery.cancel_scope.cancel()
    return notes


# --- all roles in this process --------------------------------------------------------------


async def run_in_process(
    config: StartConfig, folder: RunFolder, regions: dict[str, Region], screen: Screen[RunView], stop: Stop
) -> Outcome:
    """Run the coordinated mode in one system: no network, no processes, breakpoints everywhere."""
    watch = RunWatch(screen)
    with screen, open_record(config.database) as store:
        async with ActorSystem("federation") as system, trio.open_nursery() as nursery:
            provider = await supervise(system, cast_in_process(config, folder, regions, store, system))
            await system.actor_of(partial(Observer, provider, watch.see), "observer")
            nursery.start_soon(watch.tick)
            nursery.start_soon(pass_on, stop, provider)
            tracking = await start_tracking(system, config, folder)
            await watch.over.wait()
            notes = await _finish_tracking(tracking, stop)
            nursery.cancel_scope.cancel()
        screen.tick(trio.current_time())
    return replace(watch.outcome(stop), notes=notes)


def cast_in_process(
    config: StartConfig,
    folder: RunFolder,
    regions: dict[str, Region],
    store: RoundPersistence,
    system: ActorSystem,
) -> dict[str, Callable[[], Actor]]:
    """Return all roles of a run in one system, the Provider first."""
    make_model = model_factory(config.model)

    def provider() -> ActorRef:
        found = system.find(PROVIDER_ID)
        assert found is not None  # it is started before the others
        return found

    def model() -> Model:
        return model_for(regions[EVALUATION_REGION], make_model)

    def worker(name: str) -> Worker:
        return Worker(name, regions[name], provider(), model=model())

    return {
        "provider": lambda: Provider(provider_config(config, folder), folder.run, make_model),
        "aggregator": lambda: Aggregator(store, provider(), now_unix=now_unix),
        "evaluator": lambda: Evaluator(regions[EVALUATION_REGION], store, provider(), model=model()),
        **{f"worker-{name}": partial(worker, name) for name in DEFAULT_REGIONS},
    }
