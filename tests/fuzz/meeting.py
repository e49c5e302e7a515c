"""A stranger meets a real system, on a virtual network: it dials the system, and is dialled by it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from tests.trioactor.cast import Clerk, Hold, Note, Read
from tests.trioactor.words import WORDS
from trioactor import ActorRef, ActorSystem, DeliveryError, MailboxSettings
from trioactor.framing import encode_frame
from trioactor.limits import Limits
from trioactor.testing import Node, Simulation, assert_accounted, simulate

HUB_PORT, STRANGER_PORT = 7000, 7001
LIMITS = Limits(window_messages=8, window_bytes=100_000, queued_messages=4)
VOCABULARY = (Note, Hold, Read, *WORDS)  # no handler here fails: that would end the system, as it should

# A part that begins with this, which begins no frame, is sent as it is: without a length before it.
RAW = b"\xff"

LISTENING_SECONDS = 1.0  # of virtual time, that the stranger listens
PATIENCE_SECONDS = 60.0  # of virtual time, for an honest question


@dataclass
class Meeting:
    """What came of it.

    Attributes:
        accepted: How many messages the system took, and sent.
        complaints: What went wrong.
    """

    accepted: int = 0
    complaints: list[str] = field(default_factory=list)


class _FenceWatch(logging.Handler):
    """Sees what the fences around connections caught: each is an exception that nobody thought of."""

    def __init__(self, meeting: Meeting) -> None:
        super().__init__(logging.ERROR)
        self._meeting = meeting

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._meeting.complaints.append(f"caught by a fence only: {record.getMessage()}: {error!r}")


def meet(parts: Sequence[bytes]) -> Meeting:
    """Let a stranger say these frames, once on a connection that it makes and once on one that it takes."""
    meeting = Meeting()
    watch = _FenceWatch(meeting)
    log = logging.getLogger("trioactor")
    before = log.propagate, log.level
    log.addHandler(watch)
    log.propagate = False
    log.setLevel(logging.ERROR)
    try:
        simulate(partial(_main, meeting, b"".join(map(_framed, parts))))
    finally:
        log.removeHandler(watch)
        log.propagate = before[0]
        log.setLevel(before[1])
    return meeting


def _framed(part: bytes) -> bytes:
    return part[1:] if part.startswith(RAW) else encode_frame(part)


async def _main(meeting: Meeting, said: bytes, sim: Simulation) -> None:
    await sim.start("stranger", _stranger, said)
    await sim.start("hub", _hub, meeting)
    await sim.nodes["hub"].ended.wait()


async def _stranger(_node: Node, said: bytes, *, task_status: trio.TaskStatus[None]) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        async with stream:
            with trio.move_on_after(LISTENING_SECONDS):
                try:
                    await stream.send_all(said)
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    return

    listeners = await trio.open_tcp_listeners(STRANGER_PORT, host="stranger")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, talk, listeners)
        task_status.started()
        await trio.sleep(LISTENING_SECONDS / 2)
        await talk(await trio.open_tcp_stream("hub", HUB_PORT))


async def _hub(node: Node, meeting: Meeting, *, task_status: trio.TaskStatus[None]) -> None:
    """A system whose clerk is busy, that asks the stranger something, and answers an honest question."""
    clerk = Clerk()
    async with ActorSystem("hub", vocabulary=VOCABULARY, limits=LIMITS, rng=node.rng) as system:
        near = await system.actor_of(lambda: clerk, "clerk", mailbox=MailboxSettings(capacity=2))
        await system.listen("hub", HUB_PORT)
        task_status.started()
        far = system.ref("stranger", STRANGER_PORT, "someone")
        far.on_down(lambda _reason: None)
        async with trio.open_nursery() as nursery:
            for message in (Read(), Hold(7)):
                nursery.start_soon(_ask, far, message)
            await trio.sleep(3 * LISTENING_SECONDS)
            clerk.gate.set()
            try:
                with trio.fail_after(PATIENCE_SECONDS):
                    if system.find("clerk") is not None:  # it may have been stopped, which is allowed
                        await near.ask(Read())
            except (trio.TooSlowError, DeliveryError) as error:
                meeting.complaints.append(f"an honest question was not answered: {error!r}")
            nursery.cancel_scope.cancel()
    assert_accounted(system, ended=True)
    meeting.accepted = system.ledger().accepted


async def _ask(far: ActorRef, message: Read | Hold) -> None:
    try:
        await far.ask(message)
    except DeliveryError:
        return
