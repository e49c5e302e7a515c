"""Each role as a program: a peer, or a reporter, in a system of its own that listens, until it is over.

These are what `python -m gossip ROLE` runs, and what a program that embeds one role calls.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio

from federation.config import Address, Listening, Secured, TlsFiles
from federation.credentials import read_credentials
from federation.errors import SettingsError
from federation.learning import LearningError, Model, Region, generator_for, load_region
from federation.models import model_factory
from federation.stopping import Stop
from federation.terminal import Screen
from federation.workspace import make_writable
from gossip.config import InNetwork, Learning, PeerConfig, ReporterConfig
from gossip.learner import Learner, gossip_strategy
from gossip.messages import MESSAGES, GossipState
from gossip.network import NetworkView
from gossip.ownership import Notary, certificate_name
from gossip.peer import GossipPeer, Leave
from gossip.places import PEER, REPORTER, placed, places
from gossip.plan import Over, Plan, World
from gossip.reporter import GossipReporter
from gossip.store import GossipStore
from gossip.traffic import traffic_of
from persistence import NewRun
from trioactor import ActorRef, ActorSystem, ChildSpec, Health, Peer, Supervisor
from trioactor.messages import wire_name_of

logger = logging.getLogger(__name__)

REPORTER_ACTOR = "reporter"
OURS = frozenset(name for one in MESSAGES if (name := wire_name_of(one)))
PEERS_ONLY = certificate_name("")


def supervisor_of(run: str) -> str:
    """Return what the parent of a peer is called, in each system of one run.

    What peers of another run say goes to another name, where there is nobody. So two networks do not mix,
    although an address that one of them remembers may have passed to the other. It is short, for it is in
    every message.
    """
    return f"gossip-{sha256(run.encode()).hexdigest()[:8]}"


def actor_of(run: str) -> str:
    """Return what a peer of a run is called in its system."""
    return f"{supervisor_of(run)}/{PEER}"


def now_unix() -> float:
    """Return the time in seconds since 1970: for the record, which people read. Nothing waits by it."""
    return time.time()


def may_gossip(peer: Peer, _actor_id: str, wire_name: str) -> bool:
    """Whether a message is taken: only what peers say, and with TLS only from those who have a peer's name.

    So nobody stops or watches an actor of ours from outside.
    """
    names = peer.identity
    return wire_name in OURS and (not names or any(name.startswith(PEERS_ONLY) for name in names))


@asynccontextmanager
async def listening(
    name: str, config: Listening, files: TlsFiles | None
) -> AsyncIterator[tuple[ActorSystem, Address]]:
    """Open a system that can be reached, and say where.

    Raises:
        CannotListen: The address is taken; the text says by whom.
    """
    async with ActorSystem(name, vocabulary=MESSAGES, authorize=may_gossip) as system:
        if files is not None:
            system.enable_ssl(str(files.cert), str(files.key), str(files.ca))
        yield system, Address(*await system.listen(*config.listen_address))


# --- a peer ---------------------------------------------------------------------------------


def read_region(path: Path) -> Region:
    """Read a region file. Raises SettingsError: the text names the file and the fix."""
    try:
        return load_region(path)
    except LearningError as error:
        raise SettingsError(str(error)) from error


def model_maker(config: Learning, region: Region) -> Callable[[], Model]:
    """Return what makes the model that is trained; all of its models begin with the same weights.

    Raises:
        SettingsError: There is nothing of the name that `--model` gives.
    """
    make = model_factory(config.model)
    return lambda: make(region.feature_count, region.class_count, generator_for(config.seed, "model"))


def make_learner(config: PeerConfig) -> Learner:
    """Return what a peer learns with.

    Raises:
        SettingsError: A region cannot be read, the two do not fit together, or the model is not found.
    """
    region = read_region(config.region_file(config.region))
    evaluation = None
    if config.evaluate:
        path = config.region_file(config.evaluate)
        evaluation = read_region(path)
        if (evaluation.feature_count, evaluation.class_count) != (region.feature_count, region.class_count):
            raise SettingsError(
                f"--evaluate {path}: {evaluation.feature_count} features and {evaluation.class_count} "
                f"classes, while --region has {region.feature_count} and {region.class_count}; prepare them "
                "together with bin/prepare"
            )
    return Learner(
        config.peer_name,
        region,
        config.budget,
        evaluation=evaluation,
        make_model=model_maker(config, region),
        strategy=gossip_strategy(config.strategy),
    )


def make_notary(peer: str, config: Secured) -> Notary | None:
    """Return who seals what a peer says; None where plaintext is spoken.

    Raises:
        SettingsError: Its certificate cannot be used, or is another's.
    """
    files = config.tls_files
    if files is None:
        return None
    for warning in read_credentials(files, now_unix()).warnings:
        logger.warning("%s", warning)
    try:
        from gossip.notary import CannotSeal, CertificateNotary
    except ImportError as error:
        raise SettingsError(
            "--tls-cert: peers seal their words with the package cryptography, which is not installed here; "
            "get it with pip install 'trioactor[tls]'"
        ) from error
    try:
        return CertificateNotary(peer, *files)
    except CannotSeal as error:
        raise SettingsError(f"--tls-cert: {error}") from error


def plan_of(config: PeerConfig, address: Address) -> Plan:
    """Return what a peer with these settings is to do."""
    return Plan(
        peer=config.peer_name,
        address=(config.advertise or address.host, address.port),
        rounds=config.rounds,
        min_peers=config.min_peers,
        join_seconds=config.join_seconds,
        patience_seconds=config.patience_seconds,
        until_converged=config.until_converged,
    )


def run_row(config: PeerConfig, region: Region) -> NewRun:
    """Return how the run of a peer is entered into its record, should it not be there."""
    return NewRun(
        name=config.run,
        created_unix=now_unix(),
        settings=config.for_record(),
        seed=config.seed,
        source=region.meta.source,
        synthetic=region.meta.synthetic,
    )


async def run_peer(config: PeerConfig, stop: Stop) -> Over:
    """Run a peer until it is over, and return why. It leaves when it is asked to stop."""
    learner = make_learner(config)
    notary = make_notary(config.peer_name, config)
    make_writable(config.gossip_database.parent)
    ended, end = trio.open_memory_channel[Over](1)
    name = config.peer_name
    async with listening(f"peer {name}", config, config.tls_files) as (system, address):
        plan = plan_of(config, address)
        world = World(
            ref_to=partial(_ref, system, actor_of(config.run)),
            reporter_at=partial(_ref, system, REPORTER_ACTOR),
            rng=random.Random(system.rng.getrandbits(64)),  # noqa: S311  # no secret depends on it
            open_store=lambda: _open_store(config, learner),
            find_seeds=lambda: [*config.join_addresses, *places(config.places_folder, PEER)],
            find_reporters=lambda: [*config.reporter_addresses, *places(config.places_folder, REPORTER)],
            notary=notary,
            now_unix=now_unix,
            traffic=partial(traffic_of, system),
            on_over=ended.send_nowait,
        )
        child = ChildSpec(partial(GossipPeer, plan, learner, world), PEER, restart="transient")
        supervisor = supervisor_of(config.run)
        await system.actor_of(partial(Supervisor, [child], health=Health()), supervisor)
        with placed(config.places_folder, PEER, name, plan.address):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_leave_on_request, system, actor_of(config.run), stop)
                over = await end.receive()
                nursery.cancel_scope.cancel()
    return over


def _ref(system: ActorSystem, actor_id: str, address: tuple[str, int]) -> ActorRef:
    return system.ref(*address, actor_id)


def _open_store(config: PeerConfig, learner: Learner) -> GossipStore:
    store = GossipStore(config.gossip_database, run_row(config, learner.region), config.peer_name)
    if store.aside is not None:
        path, why = store.aside
        logger.warning("%s. It is kept as %s; what it held comes back from the other peers", why, path)
    return store


async def _leave_on_request(system: ActorSystem, actor_id: str, stop: Stop) -> None:
    await stop.wanted.wait()
    peer = system.find(actor_id)
    if peer is not None:
        await peer.tell(Leave(stop.reason))


# --- a reporter -----------------------------------------------------------------------------


async def run_reporter(config: ReporterConfig, stop: Stop, screen: Screen[NetworkView]) -> None:
    """Run a reporter until it is asked to stop.

    Args:
        config: Its settings.
        stop: Ends it.
        screen: Shown the network as things happen, and told the time once in `every_seconds` and at the end.
    """
    view = NetworkView(began_seconds=trio.current_time())

    def hear(state: GossipState) -> None:
        nonlocal view
        view = view.hear(state, trio.current_time())
        screen.show(view)

    async with listening("reporter", config, config.tls_files) as (system, address):
        await system.actor_of(partial(GossipReporter, hear), REPORTER_ACTOR)
        with placed(config.places_folder, REPORTER, config.name, address):
            while not stop.wanted.is_set():
                with trio.move_on_after(config.every_seconds):
                    await stop.wanted.wait()
                screen.tick(trio.current_time())
                if config.output is not None:
                    _append(config.output, view)


def _append(path: Path, view: NetworkView) -> None:
    """Write how the network is as one line of JSON."""
    with path.open("a") as file:
        file.write(json.dumps({"at_unix": now_unix(), "peers": report_of(view)}, allow_nan=False) + "\n")


def report_of(view: NetworkView) -> dict[str, Any]:
    """Return how each peer is doing, for programs."""
    return {
        state.peer: {
            "round": state.round,
            "finished": state.finished,
            "accuracy": state.accuracy,
            "delta": state.delta,
            "models": state.models,
            "known_peers": state.known_peers,
            "live_peers": state.live_peers,
            "bytes_in": state.bytes_in,
            "bytes_out": state.bytes_out,
            "average_sha256": state.average or None,
        }
        for state in view.states
    }


def check_network(config: InNetwork) -> None:
    """See that a role can say where it is.

    Raises:
        SettingsError: It cannot write into that folder.
    """
    make_writable(config.places_folder)
