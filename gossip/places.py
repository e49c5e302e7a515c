"""Where everybody is: a folder with a small file for each peer and each reporter that can be reached.

On one machine, or with a shared folder, that alone brings a network together: who starts looks there for
others, now and again, so it does not matter who starts first. Elsewhere, addresses are given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from federation.learning import writing_whole
from gossip.outgoing import Address

PEER = "peer"
REPORTER = "reporter"


@contextmanager
def placed(folder: Path, kind: str, name: str, address: Address) -> Iterator[None]:
    """Say where somebody is, for the length of a block."""
    path = folder / f"{kind}-{name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"host": address[0], "port": address[1], "pid": os.getpid()}) + "\n"
    with writing_whole(path) as file:
        file.write(text.encode())
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text() == text:  # another one may have come after us
                path.unlink()


def places(folder: Path, kind: str) -> list[Address]:
    """Return where all of one kind are, in the order of their names. One that is half written is passed over.

    One that was killed could not take back its file; so somebody else, or nobody, may be there by now.
    """
    found = []
    for path in sorted(folder.glob(f"{kind}-*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            read = json.loads(path.read_text())
            found.append((str(read["host"]), int(read["port"])))
    return found
