"""`wire.cddl` as a judge: whether bytes are what it says, and if not, which and why."""

from __future__ import annotations

import logging
import re
from importlib.resources import files

from cbor2 import dumps
from cddl_verifier import Validator

from trioactor.framing import read_head

TEXT = files("trioactor").joinpath("wire.cddl").read_text()

# The rules of frames that begin with a number. A complaint about a frame is about the one with its number.
_CHOICES = re.findall(r"^(?:control-|piece-|)frame = ([a-z/\s-]+)", TEXT, re.MULTILINE)
RULES = {
    rule: re.findall(rf"^{rule} = \[(\d+),", TEXT, re.MULTILINE)[0]
    for rule in re.findall(r"[a-z]+", re.sub(r"\w+-frame", "", " ".join(_CHOICES)))
}
_RULE_OF = {int(number): rule for rule, number in RULES.items()}

_GRAMMAR = Validator(TEXT)
logging.getLogger("cddl_verifier").disabled = True  # it tells at length what it returns, too


def complaint_about(payload: bytes) -> str | None:
    """Say what is wrong with the payload of a frame, None when it is as the grammar says."""
    if _GRAMMAR.validate(payload).valid:
        return None
    return f"{in_words(payload)} is no `{rule_of(payload)}`: {_why(payload, rule_of(payload))}"


def complaint_about_sequence(sequence: bytes) -> str | None:
    """The same of a message or an answer that came in pieces, put together."""
    if _GRAMMAR.validate(dumps(sequence), "long-message").valid:
        return None
    return (
        f"no `long-message`: {_why(dumps(sequence), 'long-message')}; it begins with {sequence[:200].hex()}"
    )


def in_words(payload: bytes) -> str:
    """Return a payload in diagnostic notation (RFC 8949, section 8)."""
    notation: str = _GRAMMAR.to_edn(payload, annotate=False)
    line = re.sub(r"\s+", " ", notation).replace("[ ", "[").replace(" ]", "]")
    return line if len(line) <= 2000 else f"{line[:2000]}..."


def rule_of(payload: bytes) -> str:
    """Return the name of the rule that a payload is meant to follow."""
    array = read_head(payload, 0)
    first = read_head(payload, array.end) if array is not None and array.major == 4 else None
    if first is None:
        return "frame"
    return "message-frame" if first.major else _RULE_OF.get(first.value, "frame")


def _why(data: bytes, rule: str) -> str:
    return "; ".join(found.message[:500] for found in _GRAMMAR.validate(data, rule).diagnostics[:3])
