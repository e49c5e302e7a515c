"""Two ends of a ref, in every way in which there can be something between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import trio

from tests.trioactor.cast import Fail, Hold, Note, Read
from tests.trioactor.certificates import Files
from trioactor import Actor, ActorRef, ActorSystem, MailboxSettings
from trioactor.testing import Network

TRANSPORTS = ("local", "tcp", "tls", "simulated")

VOCABULARY: tuple[type, ...] = (Note, Hold, Read, Fail)


class Pair:
    """A system that asks, and the one where the actors are: the same one, when they are near.

    Attributes:
        here: Where the asking is done.
        there: Where the actors are.
        transport: What is between them.
    """

    def __init__(self, transport: str, here: ActorSystem, there: ActorSystem, port: int, host: str) -> None:
        self.transport = transport
        self.here = here
        self.there = there
        self.port = port
        self.host = host

    @property
    def near(self) -> bool:
        return self.here is self.there

    async def start(
        self, factory: Callable[[], Actor], actor_id: str, mailbox: MailboxSettings | None = None
    ) -> ActorRef:
        """Start an actor there, and return its ref as it is seen from here."""
        await self.there.actor_of(factory, actor_id, mailbox=mailbox)
        return self.ref(actor_id)

    def ref(self, actor_id: str) -> ActorRef:
        """The ref of an actor there, whether there is one or not."""
        return self.there.near_ref(actor_id) if self.near else self.here.ref(self.host, self.port, actor_id)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks, and other systems, are about to do."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110  # accounts have no events
            await trio.sleep(0.001)


@asynccontextmanager
async def open_pair(
    transport: str, files: Files, *, vocabulary: tuple[type, ...] = VOCABULARY, **settings: Any
) -> AsyncIterator[Pair]:
    """Open both systems, with the same settings; those of the far one are `there_...` if they differ."""
    theirs = {name.removeprefix("there_"): settings.pop(name) for name in list(settings) if "there_" in name}
    near = ActorSystem("near", vocabulary=vocabulary, **settings)
    if transport == "local":
        async with near:
            yield Pair(transport, near, near, 0, "")
        return
    far = ActorSystem("far", vocabulary=vocabulary, **{**settings, **theirs})
    network = Network() if transport == "simulated" else None
    host = "far" if network else "127.0.0.1"

    async def live(
        system: ActorSystem, name: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with network.at(name) if network else nullcontext():
            async with system:
                if transport == "tls":
                    system.enable_ssl(files.certfile, files.keyfile, files.ca_cert)
                port = (await system.listen(host))[1] if system is far else 0
                task_status.started(port)
                await leave[system].wait()

    leave = {near: trio.Event(), far: trio.Event()}
    async with network or nullcontext(), trio.open_nursery() as nursery:
        port = await nursery.start(live, far, "far")
        await nursery.start(live, near, "near")
        yield Pair(transport, near, far, port, host)
        leave[near].set()
        leave[far].set()
