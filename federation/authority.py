"""Who may say what, by the names in certificates. Plain rules, and the two hooks that apply them.

With mutual TLS an authority vouches for the names in a certificate. Names of roles among them say what its
holder may do: "provider", "aggregator", "evaluator", "worker-A" (the worker of region A, and no other),
"workers" (any worker), "launcher" (watches a run, and ends it). A certificate that names no role, only hosts
say, may do all: who signs certificates elsewhere decides elsewhere. Case makes no difference, as in DNS.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from federation.events import Happened
from federation.messages import (
    MESSAGES,
    AggregateRequest,
    CloseRun,
    EvaluateRequest,
    FetchUpdate,
    GlobalModelBroadcast,
    Join,
    Observe,
    OpenRun,
    RecordFailedRound,
    RegionScored,
    RunOver,
    StopRun,
    TrainAlone,
    TrainRequest,
)
from trioactor import Rejected
from trioactor.connection import KILL, STOP
from trioactor.envelope import Arrived, Envelope, Peer
from trioactor.middleware import CallNext

logger = logging.getLogger(__name__)

NAMED_ROLES = ("provider", "aggregator", "evaluator", "launcher")
ANY_WORKER = "workers"
WORKER = "worker-"

Judge = Callable[[Any, frozenset[str]], str]


def roles_in(identity: Iterable[str]) -> frozenset[str]:
    """Return the names of roles among those in a certificate, in lower case."""
    names = {name.lower() for name in identity}
    return frozenset(
        name for name in names if name in NAMED_ROLES or name == ANY_WORKER or name.startswith(WORKER)
    )


def may_act_as(identity: Iterable[str], role: str) -> bool:
    """Return whether the holder of a certificate with these names may be a role, like "worker-A"."""
    roles = roles_in(identity)
    return not roles or role.lower() in roles or (role.lower().startswith(WORKER) and ANY_WORKER in roles)


def why_not(message: Any, identity: Iterable[str]) -> str:
    """Return why the holder of a certificate may not say this, in words; empty when it may.

    Args:
        message: What it says.
        identity: The names in its certificate; none when nobody vouches for any.
    """
    roles = roles_in(identity)
    judge = RULES.get(type(message))
    if judge is None and type(message) in MESSAGES:
        return "this is only ever an answer, or said within one program"
    if not roles or judge is None:  # the runtime's own messages
        return ""
    needed = judge(message, roles)
    if not needed:
        return ""
    return f"the certificate is of {' and '.join(sorted(roles))}, and this needs one of {needed}"


# --- the rules ------------------------------------------------------------------------------


def _only(*allowed: str) -> Judge:
    def judge(_message: Any, roles: frozenset[str]) -> str:
        return "" if roles & set(allowed) else " or ".join(allowed)

    return judge


def _anyone(_message: Any, _roles: frozenset[str]) -> str:
    return ""


def _that_service(message: Join, roles: frozenset[str]) -> str:
    return "" if message.role in roles else message.role


def _that_worker(message: Any, roles: frozenset[str]) -> str:
    needed = f"{WORKER}{message.worker_id}"
    return "" if may_act_as(roles, needed) else f"{needed} or {ANY_WORKER}"


def _that_worker_or_provider(message: RegionScored, roles: frozenset[str]) -> str:
    """Judge what a worker says to the Provider, and the Provider passes on."""
    return "" if "provider" in roles else _that_worker(message, roles)


_PROVIDER = _only("provider")
_NAMES_A_WORKER = [one for one in MESSAGES if "worker_id" in {field.name for field in fields(one)}]

# Every message that comes from afar, but for answers. One that is missing here is refused, and a test tells.
RULES: Mapping[type, Judge] = {
    Join: _that_service,
    **dict.fromkeys(_NAMES_A_WORKER, _that_worker),
    **dict.fromkeys((OpenRun, AggregateRequest, RecordFailedRound, EvaluateRequest, CloseRun), _PROVIDER),
    **dict.fromkeys((TrainRequest, TrainAlone, GlobalModelBroadcast, RunOver, Happened), _PROVIDER),
    RegionScored: _that_worker_or_provider,
    FetchUpdate: _only("aggregator"),
    StopRun: _only("launcher", "provider"),
    Observe: _anyone,
}


# --- the hooks ------------------------------------------------------------------------------


async def check_names(envelope: Envelope, call_next: CallNext) -> Any:
    """Receive middleware: decline what the sender may not say, and tell it why.

    Raises:
        Rejected: See `why_not`.
    """
    if isinstance(envelope, Arrived):
        reason = why_not(envelope.message, envelope.peer.identity)
        if reason:
            logger.warning("from %s:%d: %s", *envelope.peer.address, reason)
            raise Rejected(reason)
    return await call_next(envelope)


def authorize(_peer: Peer, _actor_id: str, wire_name: str) -> bool:
    """Say what any peer may order: not the end of our actors. Messages are judged when they are read."""
    return wire_name not in (STOP, KILL)
