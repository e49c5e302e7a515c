"""ZeroMQ beside ours between two processes: a DEALER tells and asks a ROUTER, in pickled objects.

It is a transport, no actor system: nobody supervises, checks or accounts for anything, and what is
unpickled may run. Run by `two.py`.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable
from functools import partial

import zmq

from tests.benchmarks.measure import Row, compare
from tests.benchmarks.two import HOST, two_processes


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Return tells and asks per second, ours and ZeroMQ's."""
    tells, asks = (20_000, 1_000) if quick else (100_000, 5_000)
    measure = partial(compare, rounds=1 if quick else 9, progress=progress)
    with two_processes("remote_ours") as ours, two_processes("zeromq") as theirs:
        return [
            *measure(
                "TCP: tell",
                {"ours": ours.case("tell", tells), "pyzmq, pickle": theirs.case("tell", tells)},
                {},
                unit="messages/s",
            ),
            *measure(
                "TCP: ask",
                {"ours": ours.case("ask", asks), "pyzmq, pickle": theirs.case("ask", asks)},
                {},
                unit="asks/s",
            ),
        ]


def far() -> None:
    """Add up what is told, and answer what is asked, until it is asked to end."""
    router = zmq.Context().socket(zmq.ROUTER)
    print(router.bind_to_random_port(f"tcp://{HOST}"), flush=True)
    total = 0
    while True:
        sender, said = router.recv_multipart()
        match pickle.loads(said):
            case ("add", n):
                total += n
            case "total":
                router.send_multipart([sender, pickle.dumps(total)])
            case "end":
                return


def near(port: str) -> None:
    """Measure what is asked for, line by line."""
    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.connect(f"tcp://{HOST}:{port}")
    before = 0
    for line in sys.stdin:
        what, count = line.split()
        start = time.perf_counter()
        if what == "tell":
            for _ in range(int(count)):
                dealer.send(pickle.dumps(("add", 1)))
            before += int(count)
            assert _total(dealer) == before
        else:
            for _ in range(int(count)):
                _total(dealer)
        print(int(count) / (time.perf_counter() - start), flush=True)
    dealer.send(pickle.dumps("end"))


def _total(dealer: zmq.Socket[bytes]) -> int:
    dealer.send(pickle.dumps("total"))
    total: int = pickle.loads(dealer.recv())
    return total


if __name__ == "__main__":
    far() if sys.argv[1] == "far" else near(sys.argv[3])
