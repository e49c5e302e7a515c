"""A whole gossip network on one machine: every peer, and a reporter, its own process, watched and shown.

The launcher has no part in the learning. It starts the peers, listens to them as a reporter does, has those
that crash come back, and when all hold the same average it ends what it has started.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial

import trio

from federation.config import EVALUATION_REGION, Listening, TlsFiles, region_file_in
from federation.crew import OWN_STATUSES, Crew, Role, process_name
from federation.errors import ExitStatus
from federation.learning import Region
from federation.processes import python_command
from federation.stopping import Stop
from federation.terminal import REFRESH_SECONDS, Screen
from federation.workspace import RunFolder, forget_the_dead
from gossip.config import PeerConfig, StartGossipConfig
from gossip.messages import GossipState
from gossip.network import NetworkView
from gossip.ownership import certificate_name
from gossip.places import REPORTER, placed
from gossip.plan import Over
from gossip.reporter import GossipReporter
from gossip.roles import REPORTER_ACTOR, listening, run_peer
from trioactor import ActorSystem, PeerDown
from trioactor.process import SendSignal

REPORTER_NAME = "reporter"

# Peers say goodbye to each other and save what they know. Ctrl-C, with all of it, takes less than 2 s.
LEAVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went.

    Attributes:
        view: The network at its end.
        seconds: How long it took.
        status: What the shell is told.
        reason: Why it did not finish, in words; empty when it did.
    """

    view: NetworkView
    seconds: float
    status: ExitStatus
    reason: str


class NetworkWatch:
    """Keeps the view of a network, shows it, and knows when it is over.

    Args:
        view: As it is before anybody has said anything.
        screen: Where it is shown.
    """

    def __init__(self, view: NetworkView, screen: Screen[NetworkView]) -> None:
        self.view = replace(view, began_seconds=trio.current_time())
        self.over = trio.Event()
        self.failure: tuple[ExitStatus, str] | None = None
        self._screen = screen

    def hear(self, state: GossipState) -> None:
        """A peer has said how it is doing."""
        if state.peer in self.view.peers and self.view.peers[state.peer].process != "ended":
            self._show(self.view.hear(state, trio.current_time()))

    def process_changed(self, peer: str, process: str, text: str = "") -> None:
        """The process of a peer, or of the reporter, has changed."""
        now = trio.current_time()
        if peer in self.view.peers:
            self._show(self.view.process_changed(peer, process, now, text))
        elif text:
            self._show(self.view.notice(text, now))

    def fail(self, status: ExitStatus, reason: str) -> None:
        """The run cannot go on."""
        if self.failure is None and not self.over.is_set():
            self.failure = (status, reason)
        self.over.set()

    async def tick(self) -> None:
        """Have the screen show how time passes. Never returns."""
        while True:
            self._screen.tick(trio.current_time())
            await trio.sleep(REFRESH_SECONDS)

    def outcome(self, stop: Stop) -> Outcome:
        """Return how the run went."""
        seconds = trio.current_time() - self.view.began_seconds
        if self.failure is not None:
            return Outcome(self.view, seconds, *self.failure)
        if self.view.converged:
            return Outcome(self.view, seconds, ExitStatus.FINISHED, "")
        return Outcome(self.view, seconds, stop.status, stop.reason)

    def _show(self, view: NetworkView) -> None:
        self.view = view
        self._screen.show(view)
        if view.converged:
            self.over.set()


def first_view(config: StartGossipConfig, folder: RunFolder, regions: Mapping[str, Region]) -> NetworkView:
    """Return the view of a network that is about to start."""
    meta = next(iter(regions.values())).meta
    made_up = " (made by a program)" if meta.synthetic else ""
    view = NetworkView(run=folder.run, rounds=config.rounds, source=f"{meta.source} data{made_up}")
    for name in config.peer_names:
        view = view.process_changed(name, "starting", 0.0)
    return view


def peer_config(config: StartGossipConfig, folder: RunFolder, name: str) -> PeerConfig:
    """Return the settings of one peer."""
    files = tls_files(config, folder, name)
    return PeerConfig(
        name=name,
        region=str(region_file_in(config.dataset, name)),
        evaluate=str(region_file_in(config.dataset, EVALUATION_REGION)),
        run=folder.run,
        workspace=config.workspace,
        places=folder.path / "peers",
        model=config.model,
        rounds=config.rounds,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        mu=config.mu,
        strategy=config.strategy,
        seed=config.seed,
        patience_seconds=config.patience_seconds,
        min_peers=len(config.peer_names),
        join_seconds=config.join_seconds,
        tls_cert=files and files.cert,
        tls_key=files and files.key,
        tls_ca=files and files.ca,
    )


def tls_files(config: StartGossipConfig, folder: RunFolder, name: str) -> TlsFiles | None:
    """Return the certificate of a peer, or of the "reporter" or the "launcher"; None without TLS."""
    if not config.tls:
        return None
    role = name if name in (REPORTER_NAME, "launcher") else certificate_name(name)
    certificates = folder.certificates
    return TlsFiles(certificates / f"{role}.crt", certificates / f"{role}.key", certificates / "ca.crt")


# --- every peer its own process -------------------------------------------------------------


async def run_in_processes(
    config: StartGossipConfig,
    folder: RunFolder,
    regions: Mapping[str, Region],
    screen: Screen[NetworkView],
    stop: Stop,
    environment: Mapping[str, str],
) -> Outcome:
    """Run the network with a process for each peer, until all agree and all have ended."""
    with screen:
        watch = NetworkWatch(first_view(config, folder, regions), screen)
        files = tls_files(config, folder, "launcher")
        async with listening("launcher", Listening(), files) as (system, address):
            await system.actor_of(partial(GossipReporter, watch.hear), REPORTER_ACTOR)
            with placed(folder.path / "peers", REPORTER, "launcher", address):
                async with trio.open_nursery() as nursery:
                    roles = roles_of(config, folder, environment)
                    attendance = Attendance(watch, config)
                    nursery.start_soon(watch.tick)
                    nursery.start_soon(_end_on_request, watch, stop)
                    crew = await system.actor_of(
                        partial(Crew, roles, attendance.see_exit, attendance.see_given_up), "crew"
                    )
                    await watch.over.wait()
                    attendance.over = True
                    await _have_them_leave(system, [role.name for role in roles])
                    await crew.kill()  # all at once, where a stop would take one after the other
                    nursery.cancel_scope.cancel()
        forget_the_dead(config.workspace)
        screen.tick(trio.current_time())
        return watch.outcome(stop)


def roles_of(config: StartGossipConfig, folder: RunFolder, environment: Mapping[str, str]) -> list[Role]:
    """Return all processes in the order of their start."""

    def role(name: str, command: Callable[[], list[str]]) -> Role:
        return Role(name, command, folder.log(name), environment)

    return [
        role(REPORTER_NAME, partial(_reporter_command, config, folder)),
        *(role(name, partial(_peer_command, config, folder, name)) for name in config.peer_names),
    ]


def _peer_command(config: StartGossipConfig, folder: RunFolder, name: str) -> list[str]:
    return python_command("gossip", "peer", *peer_config(config, folder, name).as_flags())


def _reporter_command(config: StartGossipConfig, folder: RunFolder) -> list[str]:
    flags = ["--plain", "--workspace", str(config.workspace), "--places", str(folder.path / "peers")]
    flags += ["--output", str(folder.path / "report.jsonl")]
    files = tls_files(config, folder, REPORTER_NAME)
    return python_command("gossip", "reporter", *flags, *(files.as_flags() if files else []))


class Attendance:
    """Knows what it means for the run when a process ends.

    Args:
        watch: What is told of it.
        config: Says which peers there are.

    Attributes:
        over: Whether processes end because they are to.
    """

    def __init__(self, watch: NetworkWatch, config: StartGossipConfig) -> None:
        self.over = False
        self._watch = watch
        self._peers = set(config.peer_names)

    def see_exit(self, role: str, status: int, words: str) -> None:
        """A process has ended by itself."""
        if self.over:
            return
        who = _who(role)
        if status in OWN_STATUSES:
            self._miss(role, f"{who} has ended: {words}", status)
        else:
            self._watch.process_changed(
                role, "restarting", f"the process of {who} has ended: {words}; it is started again"
            )

    def see_given_up(self, role: str, reason: str) -> None:
        """A process has crashed too often, and does not come back."""
        if not self.over:
            self._miss(role, f"{_who(role)} crashed too often, and is not started again: {reason}", 1)

    def _miss(self, role: str, text: str, status: int) -> None:
        self._peers.discard(role)
        self._watch.process_changed(role, "ended", text)
        usage = status == ExitStatus.USAGE
        if role != REPORTER_NAME and (usage or not self._peers):
            self._watch.fail(ExitStatus.USAGE if usage else ExitStatus.FAILED, text)


def _who(role: str) -> str:
    return f"peer {role}" if role != REPORTER_NAME else "the reporter"


async def _end_on_request(watch: NetworkWatch, stop: Stop) -> None:
    await stop.wanted.wait()
    watch.over.set()


async def _have_them_leave(system: ActorSystem, roles: list[str]) -> None:
    """Ask all processes to end, and give them a moment to say goodbye to each other."""
    processes = [process for role in roles if (process := system.find(process_name(role))) is not None]
    for process in processes:
        await process.tell(SendSignal(signal.SIGTERM))
    with trio.move_on_after(LEAVE_SECONDS):
        for process in processes:
            try:
                async with process.watch():
                    await trio.sleep_forever()
            except PeerDown:
                continue


# --- all peers in this process --------------------------------------------------------------


async def run_in_process(
    config: StartGossipConfig,
    folder: RunFolder,
    regions: Mapping[str, Region],
    screen: Screen[NetworkView],
    stop: Stop,
) -> Outcome:
    """Run all peers in this process, each in a system of its own: breakpoints everywhere."""
    with screen:
        watch = NetworkWatch(first_view(config, folder, regions), screen)
        leave = Stop()
        async with AsyncExitStack() as stack:
            system, address = await stack.enter_async_context(listening("launcher", Listening(), None))
            await system.actor_of(partial(GossipReporter, watch.hear), REPORTER_ACTOR)
            stack.enter_context(placed(folder.path / "peers", REPORTER, "launcher", address))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.tick)
                nursery.start_soon(_end_on_request, watch, stop)
                async with trio.open_nursery() as peers:
                    for name in config.peer_names:
                        peers.start_soon(_run_here, peer_config(config, folder, name), leave, watch)
                    await watch.over.wait()
                    leave.ask("the launcher", ExitStatus.TERMINATED)
                    peers.cancel_scope.deadline = trio.current_time() + LEAVE_SECONDS
                nursery.cancel_scope.cancel()
        screen.tick(trio.current_time())
        return watch.outcome(stop)


async def _run_here(config: PeerConfig, leave: Stop, watch: NetworkWatch) -> None:
    over: Over = await run_peer(config, leave)
    if over.kind != "left":
        watch.fail(ExitStatus.FAILED, f"peer {config.peer_name} has ended: {over.reason}")
