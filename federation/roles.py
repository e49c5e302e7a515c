"""Each role as a program: its actor in a system of its own that listens, until the run is over.

These are what `python -m federation ROLE` runs, and what a program that embeds one role calls.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import trio

from federation.aggregator import Aggregator
from federation.authority import WORKER, authorize, check_names, may_act_as, roles_in
from federation.config import (
    Address,
    AggregatorConfig,
    EvaluatorConfig,
    Joining,
    ProviderConfig,
    TlsFiles,
    WorkersConfig,
    worker_name,
)
from federation.credentials import TLS_FLAGS, ca_fingerprints, read_credentials
from federation.errors import Refused, SettingsError, Unreachable
from federation.evaluator import Evaluator
from federation.events import EVENTS, Event, RunEnded
from federation.joining import Ties
from federation.learning import LearningError, Model, Region, generator_for, load_region
from federation.messages import MESSAGES, RunOver, StopRun, Withdraw
from federation.models import ModelFactory, model_factory
from federation.observer import Observer
from federation.provider import Provider
from federation.stopping import Stop
from federation.worker import Worker
from federation.workspace import (
    Whereabouts,
    address_file,
    make_writable,
    open_record,
    reachable_host,
    read_address,
    wait_for_address,
)
from trioactor import Actor, ActorRef, ActorSystem, ChildSpec, Health, PeerDown, Supervisor

logger = logging.getLogger(__name__)

VOCABULARY = (*MESSAGES, *EVENTS)

# The supervisor of the roles in a process, and the Provider's name below it.
TEAM = "federation"
PROVIDER_ID = f"{TEAM}/provider"

# A role that does not answer for five minutes is stuck. Putting a large model on a slow disk is not.
HEALTH = Health(interval_seconds=5.0, timeout_seconds=60.0, max_missed=5)


def now_unix() -> float:
    """Return the time in seconds since 1970: for the record, which people read. Nothing waits by it."""
    return time.time()


def default_run_name() -> str:
    """Return the name of a run that was not given one: when it began."""
    return f"{datetime.now():%Y%m%d-%H%M%S}"


@asynccontextmanager
async def role_system(name: str, files: TlsFiles | None) -> AsyncIterator[ActorSystem]:
    """Open a system that speaks with the other roles: over mutual TLS when it is given certificates.

    Raises:
        SettingsError: They cannot be used; the text says why.
    """
    if files is None:
        async with ActorSystem(name, vocabulary=VOCABULARY) as system:
            yield system
        return
    for warning in read_credentials(files, now_unix()).warnings:
        logger.warning("%s", warning)
    async with ActorSystem(name, vocabulary=VOCABULARY, receive=[check_names], authorize=authorize) as system:
        system.enable_ssl(str(files.cert), str(files.key), str(files.ca))
        yield system


@asynccontextmanager
async def listening_system(
    name: str, config: ProviderConfig | Joining
) -> AsyncIterator[tuple[ActorSystem, Address]]:
    """Open a system that can be reached, and say where.

    Raises:
        CannotListen: The address is taken; the text says by whom.
        SettingsError: The certificate cannot be used, or is of another role.
    """
    check_roles(name, config)
    async with role_system(name, config.tls_files) as system:
        yield system, Address(*await system.listen(*config.listen_address))


def check_roles(name: str, config: ProviderConfig | Joining) -> None:
    """See that a certificate is of the role that it is given to.

    Raises:
        SettingsError: It is of another, or cannot be used.
    """
    if config.tls_files is None:
        return
    names = read_credentials(config.tls_files, now_unix()).names
    workers = config.region if isinstance(config, WorkersConfig) else ()
    for role in [f"{WORKER}{worker_name(region)}" for region in workers] or [name]:
        if not may_act_as(names, role):
            raise SettingsError(
                f"--tls-cert {config.tls_cert}: it is of {' and '.join(sorted(roles_in(names)))}; the others "
                f"would refuse it as {role}. Give the certificate of {role}, or make one with "
                f"bin/generate-certs --roles {role}"
            )


async def find_provider(system: ActorSystem, config: Joining) -> ActorRef:
    """Return the Provider's ref: where the flag says, or where its file says as soon as it is there.

    Raises:
        Unreachable: The file is not there in time.
    """
    if config.provider is not None:
        address = Address.parse(config.provider, "--provider")
    else:
        where = await wait_for_address(config.address_file, config.connect_seconds)
        check_same_authority(config, where)
        address = where.address
    return system.ref(*address, PROVIDER_ID)


def look_again(system: ActorSystem, config: Joining, found: ActorRef) -> Callable[[], ActorRef]:
    """Return what returns where the Provider is now: what its file says, and else where it was found."""

    def look() -> ActorRef:
        if config.provider is not None:
            return found
        try:
            where = read_address(config.address_file)
        except SettingsError:  # it is being replaced by something else; that is told where it matters
            return found
        return found if where is None else system.ref(*where.address, PROVIDER_ID)

    return look


def check_same_authority(config: Joining, where: Whereabouts) -> None:
    """See that this role and the Provider will know each other's certificates.

    Raises:
        Refused: They will not; the text says what each side has.
    """
    file = config.address_file
    if config.tls_ca is None:
        if where.ca_sha256:
            raise Refused(
                f"the Provider of {file} takes TLS only, and this role speaks plaintext; give it "
                f"{TLS_FLAGS}, of the authority with the SHA-256 {where.ca_sha256[0]}"
            )
        return
    ours = ca_fingerprints(config.tls_ca)
    if not where.ca_sha256:
        raise Refused(
            f"the Provider of {file} speaks plaintext, and this role takes TLS only; give both sides "
            f"{TLS_FLAGS}, or neither"
        )
    if not set(ours) & set(where.ca_sha256):
        raise Refused(
            f"--tls-ca {config.tls_ca}: the Provider of {file} trusts another authority, with the SHA-256 "
            f"{where.ca_sha256[0]}; this one has {ours[0]}. Give both sides certificates of one authority"
        )


def read_region(path: Path) -> Region:
    """Read a region file.

    Raises:
        SettingsError: It cannot be learnt from; the text says why, and the fix.
    """
    try:
        return load_region(path)
    except LearningError as error:
        raise SettingsError(str(error)) from error


async def run_provider(
    config: ProviderConfig, *, stop: Stop, on_event: Callable[[Event], None] = lambda _event: None
) -> RunEnded:
    """Run the Provider until its run has ended, and return how.

    Args:
        config: Its settings.
        stop: Ends the run in good order.
        on_event: Told everything that happens.
    """
    run = config.run or default_run_name()
    make_writable(config.workspace)
    say_end, hear_end = trio.open_memory_channel[RunEnded](1)

    def see(event: Event) -> None:
        on_event(event)
        if isinstance(event, RunEnded):
            say_end.send_nowait(event)

    async with listening_system("provider", config) as (system, address):
        provider = await supervise(
            system, {"provider": partial(Provider, config, run, model_factory(config.model))}
        )
        await system.actor_of(partial(Observer, provider, see), "observer")
        reached = Address(reachable_host(address.host), address.port)
        where = Whereabouts(reached, ca_fingerprints(config.tls_ca) if config.tls_ca else ())
        with address_file(config.address_file, where, run):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, stop, provider)
                how = await hear_end.receive()
                await wait_until_ended(provider)
                nursery.cancel_scope.cancel()
    return how


async def pass_on(stop: Stop, provider: ActorRef) -> None:
    """Have the Provider end the run when somebody wants the program to end."""
    await stop.wanted.wait()
    await provider.tell(StopRun(stop.reason))


async def wait_until_ended(actor: ActorRef) -> None:
    """Return when an actor has ended."""
    with suppress(PeerDown):
        async with actor.watch():
            await trio.sleep_forever()


async def run_aggregator(config: AggregatorConfig) -> RunOver:
    """Run the Aggregator until the run is over, and return how it ended.

    Raises:
        Unreachable: The Provider is gone for good.
    """
    ending = Ending()
    with closing(open_record(config.database)) as store:
        async with listening_system("aggregator", config) as (system, _):
            provider = await find_provider(system, config)
            ties = ending.ties(config, look_again(system, config, provider))
            aggregator = partial(Aggregator, store, provider, now_unix=now_unix, **ties)
            await supervise(system, {"aggregator": aggregator})
            return await ending.wait()


async def run_evaluator(config: EvaluatorConfig) -> RunOver:
    """Run the Evaluator until the run is over, and return how it ended.

    Raises:
        Unreachable: The Provider is gone for good.
    """
    region, make_model = read_region(config.region_file(config.region)), model_factory(config.model)
    ending = Ending()
    with closing(open_record(config.database)) as store:
        async with listening_system("evaluator", config) as (system, _):
            provider = await find_provider(system, config)
            evaluator = partial(
                Evaluator,
                region,
                store,
                provider,
                model=model_for(region, make_model),
                **ending.ties(config, look_again(system, config, provider)),
            )
            await supervise(system, {"evaluator": evaluator})
            return await ending.wait()


async def run_workers(config: WorkersConfig, *, stop: Stop) -> RunOver:
    """Run one worker for each region until the run is over, and return how it ended.

    Args:
        config: Their settings.
        stop: Has the workers leave the run, which goes on without them.

    Raises:
        Unreachable: The Provider is gone for good.
    """
    regions = {worker_name(one): read_region(config.region_file(one)) for one in config.region}
    make_model = model_factory(config.model)
    ending = Ending(len(regions))
    async with listening_system("workers", config) as (system, _):
        provider = await find_provider(system, config)
        workers = {
            f"worker-{name}": partial(
                Worker,
                name,
                region,
                provider,
                model=model_for(region, make_model),
                **ending.ties(config, look_again(system, config, provider)),
            )
            for name, region in regions.items()
        }
        await supervise(system, workers)
        over: RunOver | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_withdraw, stop, system, tuple(workers), nursery.cancel_scope)
            over = await ending.wait()
            nursery.cancel_scope.cancel()
    return over or RunOver("stopped", stop.reason)


async def _withdraw(stop: Stop, system: ActorSystem, names: Sequence[str], scope: trio.CancelScope) -> None:
    """Have workers leave the run when they are told to end, so that nobody waits for them."""
    await stop.wanted.wait()
    for name in names:
        worker = system.find(f"{TEAM}/{name}")
        if worker is not None:
            await worker.tell(Withdraw(f"it was stopped by {stop.reason}"))
            await wait_until_ended(worker)
    scope.cancel()


async def supervise(system: ActorSystem, roles: Mapping[str, Callable[[], Actor]]) -> ActorRef:
    """Start the roles of a process under a supervisor, in their order, and return the first.

    Their names are "federation/provider" and so on. One that fails, or is stuck, gets another life; one
    that fails again and again fails the process.
    """
    children = [ChildSpec(make, name, restart="transient") for name, make in roles.items()]
    await system.actor_of(partial(Supervisor, children, health=HEALTH), TEAM)
    first = system.find(f"{TEAM}/{children[0].actor_id}")
    assert first is not None  # it has just been started
    return first


def model_for(region: Region, make_model: ModelFactory) -> Model:
    """Return a model that fits a region. Its weights come from the Provider, so no chance is at work."""
    return make_model(region.feature_count, region.class_count, generator_for(0, "model"))


class Ending:
    """How the run ended for the members of a process.

    Args:
        members: How many they are.
    """

    def __init__(self, members: int = 1) -> None:
        self._members = members
        self._say, self._hear = trio.open_memory_channel[RunOver | Unreachable](members)

    def ties(self, config: Joining, look_again: Callable[[], ActorRef]) -> Ties:
        """Return what a member is told of its Provider, and whom it tells how it ended."""
        return Ties(
            connect_seconds=config.connect_seconds,
            look_again=look_again,
            on_over=self._say.send_nowait,
            on_unreachable=self._say.send_nowait,
        )

    async def wait(self) -> RunOver:
        """Wait until the run is over for all of them.

        Raises:
            Unreachable: It is so for one of them because its Provider is gone.
        """
        ends = []
        for _ in range(self._members):
            end = await self._hear.receive()
            if isinstance(end, Unreachable):
                raise end
            ends.append(end)
        return ends[-1]
