"""What a poisoner says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from gossip import ModelInfo, PeerInfo, View
from gossip.clock import CEILING
from gossip.messages import (
    MAX_REBUTTALS,
    STATUSES,
    SUMMARY_BYTES,
    GossipAnnounce,
    GossipDelta,
    GossipPiece,
    GossipSyn,
)
from tests.simulation.gossip_judge import LIAR

_PROOF = bytes(32)  # a seal that it cannot make


def _late_model(view: View, rng: Random) -> Any:
    """A model of its own, from the end of time."""
    return GossipAnnounce(LIAR, ModelInfo(LIAR, 1, CEILING - 1 - rng.randrange(3), 1, 5, bytes(32)))


def _late_clock(view: View, rng: Random) -> Any:
    """A clock that is far ahead."""
    return GossipSyn(LIAR, CEILING - 1, bytes(SUMMARY_BYTES), bytes(SUMMARY_BYTES))


def _model_of_another(view: View, rng: Random) -> Any:
    """A newer model of somebody else."""
    infos = view.models.infos()
    if not infos:
        return _late_model(view, rng)
    info = rng.choice(infos)
    lie = replace(info, version=info.version + rng.choice([1, 1000]), samples=1, size=5, content=bytes(32))
    return GossipAnnounce(LIAR, replace(lie, proof=_PROOF))


def _address_of_another(view: View, rng: Random) -> Any:
    """A later life of somebody else, at another address."""
    info = _some_peer(view, rng)
    lie = replace(info, host="10.66.6.6", incarnation=info.incarnation + (1 << 32), proof=_PROOF)
    return GossipDelta(LIAR, (lie,), (), closes=True)


def _death_of_another(view: View, rng: Random) -> Any:
    """That somebody is dead or has left, said so that it is hard to deny."""
    info = _some_peer(view, rng)
    rebuttals = rng.choice([info.rebuttals, info.rebuttals + 3, MAX_REBUTTALS])
    status = rng.choice(STATUSES[1:])
    lie = replace(info, status=status, rebuttals=rebuttals, accuser=LIAR)
    return GossipDelta(LIAR, (lie,), (), closes=True)


def _piece(view: View, rng: Random) -> Any:
    """A piece of a model that nobody asked it for."""
    contents = [info.content for info in view.models.infos() if not info.withdrawn]
    return GossipPiece(LIAR, rng.choice([bytes(32), *contents]), 0, b"poison", 1)


def _some_peer(view: View, rng: Random) -> PeerInfo:
    return rng.choice(sorted(view.membership.roster.infos(), key=lambda info: info.peer))


Lie = Callable[[View, Random], Any]

ABOUT_TIME: tuple[Lie, ...] = (_late_model, _late_clock)
"""What is harmless wherever it is said."""

ABOUT_ALL: tuple[Lie, ...] = (
    *ABOUT_TIME,
    _model_of_another,
    _address_of_another,
    _death_of_another,
    _piece,
)
"""What is harmless where peers seal what they say of themselves."""
