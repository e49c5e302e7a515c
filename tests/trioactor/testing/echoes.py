"""A simulation that is run in processes of its own: fifty clients and an echo, plain or over TLS.

    python -m tests.trioactor.testing.echoes SEED CERTIFICATE KEY AUTHORITY

prints the digests of two traces: without TLS and with it.
"""

from __future__ import annotations

import ssl
import sys
from functools import partial

import trio

from trioactor.testing import Faults, Link, Network, Node, Report, Simulation, simulate

CLIENTS = 50
ROUNDS = 20


class Echoes:
    """The programs, with what they need to know of TLS."""

    def __init__(self, certfile: str = "", keyfile: str = "", ca_cert: str = "") -> None:
        self._server: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None
        if certfile:
            self._server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._server.load_cert_chain(certfile, keyfile)
            self._client = ssl.create_default_context(cafile=ca_cert)
        self.answers = 0

    async def server(self, node: Node, *, task_status: trio.TaskStatus[object]) -> None:
        async def echo(transport: trio.SocketStream) -> None:
            stream: trio.abc.Stream = transport
            if self._server is not None:
                stream = trio.SSLStream(transport, self._server, server_side=True)
            try:
                async for data in stream:
                    await stream.send_all(data)
            except trio.BrokenResourceError:
                node.sim.note("echo broke")

        await trio.serve_tcp(echo, 7000, host=node.name, task_status=task_status)

    async def client(self, node: Node, *, task_status: object) -> None:
        stream: trio.abc.Stream = await trio.open_tcp_stream("server", 7000)
        if self._client is not None:
            stream = trio.SSLStream(stream, self._client, server_hostname="server")
        async with stream:
            for number in range(ROUNDS):
                await trio.sleep(node.rng.random())
                message = f"{node.name} says {number}".encode()
                await stream.send_all(message)
                answer = b""
                while len(answer) < len(message):
                    answer += await stream.receive_some()
                assert answer == message
                self.answers += 1

    async def main(self, sim: Simulation) -> int:
        await sim.start("server", self.server)
        clients = [sim.start_soon(f"client-{number}", self.client) for number in range(CLIENTS)]
        faults = Faults(sim, [client.name for client in clients] + ["server"], kinds=["stall", "slow link"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faults.rage, 10)
            await trio.sleep(10)
        faults.mend()
        for client in clients:
            await client.ended.wait()
        return self.answers


def run(seed: int, *files: str) -> Report[int]:
    link = Link(latency_seconds=0.01, jitter_seconds=0.1, loss=0.02, short_sends=0.2)
    return simulate(
        Echoes(*files).main, seed=seed, network=partial(Network, link=link, shows_contents=not files)
    )


if __name__ == "__main__":
    seed, *files = sys.argv[1:]
    print(run(int(seed)).digest, run(int(seed), *files).digest)
