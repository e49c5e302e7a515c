"""The besieged system, a process of its own: it says its port, and then twice a second how it is.

    python -m tests.siege.victim small|default [CERTFILE KEYFILE CA_CERT]

It ends when its standard input does.
"""

from __future__ import annotations

import json
import logging
import sys
import time

import trio

from tests.fuzz.watch import resident_kib
from tests.siege.words import WORDS, Clerk, Echo
from trioactor import ActorSystem
from trioactor.limits import KIB, MIB, Limits

TELL_SECONDS = 0.5

LIMITS = {
    "default": Limits(),
    # Of a system that expects small messages from many peers. All else is as by default.
    "small": Limits(
        message_bytes=4 * MIB,
        head_bytes=1 * MIB,
        unfinished_bytes=16 * MIB,
        unread_bytes=16 * MIB,
        window_bytes=256 * KIB,
    ),
}


async def main() -> None:
    """Live until standard input ends."""
    limits, *files = sys.argv[1:]
    async with (
        ActorSystem("victim", vocabulary=WORDS, limits=LIMITS[limits]) as system,
        trio.open_nursery() as nursery,
    ):
        if files:
            system.enable_ssl(*files)
        await system.actor_of(Clerk, "clerk")
        await system.actor_of(Echo, "echo")
        _, port = await system.listen("127.0.0.1", 0)
        print(json.dumps({"port": port}), flush=True)
        nursery.start_soon(_report, system)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


async def _report(system: ActorSystem) -> None:
    while True:
        counts = system.network_counts
        told = {
            "resident_kib": resident_kib(),
            "connections": len(system.links),
            "turned_away": counts.turned_away,
            "cut_off": counts.cut_off,
            "cpu_seconds": time.process_time(),
        }
        print(json.dumps(told), flush=True)
        await trio.sleep(TELL_SECONDS)


if __name__ == "__main__":
    logging.basicConfig(filename="/dev/null", level=logging.WARNING)  # what is written costs, as in real life
    trio.run(main)
