"""What a handler is told of who sent a message, and what a system counts of its connections."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.trioactor.cast import Note
from tests.trioactor.certificates import Files
from tests.trioactor.pairs import TRANSPORTS, open_pair
from trioactor import Actor, Arrived, CallNext, Envelope, Peer, Request, message


@message("test.who")
class Who(Request[str]):
    pass


class Doorman(Actor):
    """Says who has asked."""

    async def receive(self, message: Who) -> str:
        envelope = self.context.in_hand
        return _names(envelope.peer) if isinstance(envelope, Arrived) else "somebody here"


def _names(peer: Peer) -> str:
    return f"{peer.system} {' '.join(peer.identity)}".strip()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_handler_knows_who_sent_what_it_has_in_hand(transport: str, good: Files) -> None:
    """With mutual TLS by the names in the certificate; near, there is nobody to tell of."""
    expected = {"local": "somebody here", "tls": "near localhost 127.0.0.1"}
    async with open_pair(transport, good, vocabulary=(Who,)) as pair:
        doorman = await pair.start(Doorman, "doorman")
        assert await doorman.ask(Who()) == expected.get(transport, "near")


async def test_a_middleware_that_changes_a_message_does_not_change_its_sender(good: Files) -> None:
    async def touch(envelope: Envelope, call_next: CallNext) -> Any:
        return await call_next(envelope.with_changes(headers={"touched": True}))

    async with open_pair("tcp", good, vocabulary=(Who,), there_receive=[touch]) as pair:
        doorman = await pair.start(Doorman, "doorman")
        assert await doorman.ask(Who()) == "near"


async def test_bytes_of_connections_that_have_ended_stay_counted(good: Files) -> None:
    async with open_pair("tcp", good, vocabulary=(Note, Who)) as pair:
        doorman = await pair.start(Doorman, "doorman")
        await doorman.ask(Who())
        (link,) = pair.here.links
        connection = link.connection
        assert connection is not None
        assert pair.here.network_counts.written == 0
        connection.end("enough")
        await connection.ended.wait()
        await wait_all_tasks_blocked()  # the link takes note of it
        counts = pair.here.network_counts
        assert (counts.received, counts.written) == (connection.received, connection.writer.written)
        assert counts.written > 20
        assert counts.received > 10
        with trio.fail_after(5):
            assert await doorman.ask(Who()) == "near"
