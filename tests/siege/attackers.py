"""All the hostile peers of a siege, a process of its own.

    python -m tests.siege.attackers PORT CONNECTIONS SECONDS SEED ADDRESSES [CERTFILE KEYFILE CA_CERT]

Each keeps one connection: when it has ended, it makes another after a pause. At the end it is said, as
JSON, what became of each kind, and how late these tasks were themselves: what a victim does is seen that much
later here. They come from many addresses of this machine, and go to 127.0.0.1 only.
"""

from __future__ import annotations

import json
import random
import ssl
import sys
from dataclasses import asdict, dataclass
from functools import partial

import trio

from tests.siege.kinds import KINDS, Attack, Kind

# Between two connections of one attacker.
PAUSE_SECONDS = (1.0, 3.0)

# How often it is looked how late this process is.
LOOK_SECONDS = 0.05

# Slow ones must be gone by 10 s. Who is still there after this is given up, and counted.
PATIENCE_SECONDS = 20.0

HOSTS_PER_NET = 200


@dataclass
class Fate:
    """What became of the connections of one kind.

    Attributes:
        connections: How many there were.
        hung_up_on: How many the victim has ended.
        longest_seconds: The longest time until then.
        borne: How many it had not ended after 20 s.
    """

    connections: int = 0
    hung_up_on: int = 0
    longest_seconds: float = 0.0
    borne: int = 0


class Attackers:
    """The hostile peers.

    Args:
        port: Of the victim.
        seed: Of chance.
        addresses: How many they come from.
        context: With a good certificate, for those that come past TLS; None without TLS.

    Attributes:
        fates: By kind.
        late: How late a task ran that had slept, again and again, in seconds.
    """

    def __init__(self, port: int, seed: int, addresses: int, context: ssl.SSLContext | None) -> None:
        self.fates = {name: Fate() for name in KINDS}
        self.late: list[float] = []
        self._addresses = addresses
        self._port = port
        self._seed = seed
        self._context = context

    async def run(self, connections: int, seconds: float) -> None:
        """Attack with so many at a time, all kinds alike."""
        names = list(KINDS)
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look)
                for number in range(connections):
                    place = number * self._addresses // connections
                    address = f"127.0.{1 + place // HOSTS_PER_NET}.{1 + place % HOSTS_PER_NET}"
                    nursery.start_soon(self._attack_on, number, names[number % len(names)], address)

    async def _look(self) -> None:
        while True:
            due = trio.current_time() + LOOK_SECONDS
            await trio.sleep_until(due)
            self.late.append(trio.current_time() - due)

    async def _attack_on(self, number: int, name: str, address: str) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        await trio.sleep(chance.uniform(0, PAUSE_SECONDS[1]))  # not all in the same instant
        while True:
            await self._attack(KINDS[name], self.fates[name], address, chance)
            await trio.sleep(chance.uniform(*PAUSE_SECONDS))

    async def _attack(self, kind: Kind, fate: Fate, address: str, chance: random.Random) -> None:
        try:
            tcp = await trio.open_tcp_stream("127.0.0.1", self._port, local_address=address)
        except OSError:
            return
        fate.connections += 1
        began = trio.current_time()
        stream: trio.abc.Stream = tcp
        with trio.move_on_after(PATIENCE_SECONDS) as patience:
            try:
                if self._context is not None and not kind.outside:
                    stream = trio.SSLStream(tcp, self._context, server_hostname="127.0.0.1")
                attack = Attack(stream, tcp, chance)
                await kind.act(attack)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                attack.hung_up = True
            if attack.hung_up:
                fate.hung_up_on += 1
                fate.longest_seconds = max(fate.longest_seconds, trio.current_time() - began)
        fate.borne += patience.cancelled_caught
        await trio.aclose_forcefully(tcp)


def main() -> None:
    """See above."""
    port, connections, seconds, seed, addresses, *files = sys.argv[1:]
    context = None
    if files:
        context = ssl.create_default_context(cafile=files[2])
        context.load_cert_chain(files[0], files[1])
    attackers = Attackers(int(port), int(seed), int(addresses), context)
    trio.run(partial(attackers.run, int(connections), float(seconds)))
    fates = {name: asdict(fate) for name, fate in attackers.fates.items()}
    print(json.dumps({"fates": fates, "late": attackers.late}))


if __name__ == "__main__":
    main()
