"""The runtime between two processes, beside its physical limits and a peer, over TCP and over TLS.

Every end is a process of its own, on the same machine: it needs two cores that are free. Limits: a bare
trio stream that sends the same CBOR, and hands it to the same handler, with nothing between. Peer: xoscar,
which has no TLS. Where it is not installed, its rows are left out. Rows of CPU say what the work costs where
the machine is not free.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.measure import Case, Row, compare
from tests.benchmarks.two import make_certificates, two_processes

BARE = "bare trio stream, CBOR"


def rows(*, quick: bool, progress: Callable[[str], None]) -> list[Row]:
    """Measure everything, and say how it compares."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder))
        for transport, certificates in ("TCP", None), ("TLS", Path(folder)):
            measured += _rows_over(transport, certificates, quick=quick, progress=progress)
    return measured


def _rows_over(
    transport: str, certificates: Path | None, *, quick: bool, progress: Callable[[str], None]
) -> list[Row]:
    rounds = 1 if quick else 9
    tells, asks, arrays = (20_000, 1_000, 2) if quick else (100_000, 5_000, 4)
    measure = partial(compare, rounds=rounds, warm_up=not quick, progress=progress)
    with ExitStack() as stack:
        ours = stack.enter_context(two_processes("remote_ours", certificates))
        bare = stack.enter_context(two_processes("remote_bare", certificates))
        told: dict[str, Case] = {"ours": ours.case("tell", tells), BARE: bare.case("tell", tells)}
        asked: dict[str, Case] = {"ours": ours.case("ask", asks), BARE: bare.case("ask", asks)}
        tell_cpu: dict[str, Case] = {"ours": ours.cpu_case("tell", tells), BARE: bare.cpu_case("tell", tells)}
        ask_cpu: dict[str, Case] = {"ours": ours.cpu_case("ask", asks), BARE: bare.cpu_case("ask", asks)}
        if certificates is None and find_spec("xoscar"):
            xoscar = stack.enter_context(two_processes("remote_xoscar"))
            told["xoscar"] = xoscar.case("tell", tells // 20)
            asked["xoscar"] = xoscar.case("ask", asks // 4)
            tell_cpu["xoscar"] = xoscar.cpu_case("tell", tells // 20)
            ask_cpu["xoscar"] = xoscar.cpu_case("ask", asks // 4)
        cpu = partial(measure, targets={}, unit="us of CPU, both ends", more_is_better=False)
        return [
            *measure(f"{transport}: tell", told, {BARE: 0.5, "xoscar": 20}, unit="messages/s"),
            *measure(f"{transport}: ask", asked, {BARE: 0.6, "xoscar": 2}, unit="asks/s"),
            *cpu(f"{transport}: tell", tell_cpu),
            *cpu(f"{transport}: ask", ask_cpu),
            *measure(
                f"{transport}: arrays of 45 MB",
                {"ours": ours.case("arrays", arrays), BARE: bare.case("arrays", arrays)},
                {BARE: 0.7},
                unit="bytes/s",
            ),
            *measure(
                f"{transport}: an ask beside transfers of 256 MiB",
                {
                    "ours": ours.case("busy", 1 if quick else 2),
                    "the same, idle": ours.case("idle", asks // 10),
                },
                {"the same, idle": 1 / 5},
                unit="us, median",
                more_is_better=False,
            ),
        ]
