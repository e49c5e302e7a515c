"""The system that the Node.js client talks to. Says on stdout, as JSON, on which ports; ends with its stdin.

    python server.py [CERTFILE KEYFILE CA]

On the second port somebody speaks version 2 of the protocol.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import numpy as np
import trio
from cbor2 import dumps
from numpy.typing import NDArray

from trioactor import Actor, ActorRef, ActorSystem, Rejected, Request, message
from trioactor.framing import encode_frame
from trioactor.limits import Limits

# A peer that is silent for longer than a second has not answered its pings.
LIMITS = Limits(heartbeat_seconds=0.2, silence_seconds=1.0)


@message("node.add")
class Add:
    number: int


@message("node.total")
class Total(Request[int]):
    pass


@message("node.scale", eq=False)
class Scale(Request[NDArray[np.float32]]):
    matrix: NDArray[np.float32]
    factor: float


@message("node.call")
class Call(Request[int]):
    """Tell `back` so many numbers, and return how many it has counted."""

    back: ActorRef
    count: int


class Counter(Actor):
    async def pre_start(self) -> None:
        self.total = 0

    async def receive(self, message: Add | Total) -> int | None:
        match message:
            case Add(number=number):
                self.total += number
                return None
            case Total():
                return self.total


class Scaler(Actor):
    async def receive(self, message: Scale) -> NDArray[np.float32]:
        if message.factor == 0:
            raise Rejected("what is scaled by 0 is lost")
        return message.matrix * np.float32(message.factor)


class Caller(Actor):
    async def receive(self, message: Call) -> int:
        for number in range(message.count):
            await message.back.tell(Add(number))
        return await message.back.ask(Total())


class Mortal(Actor):
    async def receive(self, message: Add) -> None:
        self.context.stop()


async def speak_version_2(stream: trio.SocketStream) -> None:
    hello = {
        "protocol": 2,
        "system": "of the future",
        "incarnation": 1,
        "vocabulary": bytes(8),
        "frame_bytes": 262_144,
        "message_bytes": 2**29,
        "window": [256, 2**22],
        "silence_seconds": 15.0,
        "address": None,
    }
    await stream.send_all(encode_frame(dumps([0, hello])))
    async for _ in stream:
        pass


async def main(*certificates: str) -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, speak_version_2, 0, host="127.0.0.1")
        (future,) = await nursery.start(serve)
        async with ActorSystem("hub", vocabulary=[Add, Total, Scale, Call], limits=LIMITS) as hub:
            if certificates:
                hub.enable_ssl(*certificates)
            _, port = await hub.listen("127.0.0.1", 0)
            for factory in (Counter, Scaler, Caller, Mortal):
                await hub.actor_of(factory, factory.__name__.lower())
            address = future.socket.getsockname()
            print(json.dumps({"port": port, "port_of_version_2": address[1]}), flush=True)
            await trio.lowlevel.wait_readable(sys.stdin)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
