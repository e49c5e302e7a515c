"""What to do with new certificates, in words and in commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from .certificates import Issued, Made

SERVICES = ("provider", "aggregator", "evaluator")
WORKER = "worker-"


def how_to_use(made: Made) -> Iterator[str]:
    """Yield the lines that say what was made, and the command with the flags for each role."""
    yield f"made in {made.authority.parent}/, valid until {made.ends:%Y-%m-%d %H:%M} UTC:"
    rows = [(f"{one.certfile.name}, {one.keyfile.name}", ", ".join(one.names)) for one in made.issued]
    if made.is_new:
        rows = [
            (made.authority.name, "the authority: every role gets a copy"),
            (made.authority_key.name, "its key: whoever has it can be anyone, so no role gets it"),
            *rows,
        ]
    width = max(len(files) for files, _ in rows)
    yield from (f"  {files:<{width}}  {words}" for files, words in rows)
    yield f"SHA-256 of the authority: {made.fingerprint}"
    yield "start the roles with:"
    for one in made.issued:
        yield f"  {_command(one)} {flags(made, one)}"


def flags(made: Made, one: Issued) -> str:
    """Return the flags that give a role its certificate."""
    files = {"--tls-cert": one.certfile, "--tls-key": one.keyfile, "--tls-ca": made.authority}
    return " ".join(f"{flag} {shlex.quote(str(path))}" for flag, path in files.items())


def _command(one: Issued) -> str:
    """Return the launcher of a role; nothing but its flags for a name that could be of any."""
    if one.role in SERVICES:
        return f"bin/{one.role}"
    if one.role.startswith(WORKER):
        return f"bin/workers --region {one.role.removeprefix(WORKER)}"
    return "bin/workers" if one.role == "workers" else f"{one.role}:"
