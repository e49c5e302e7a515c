"""Learning with nobody in charge: peers exchange a CRDT of models, and each computes the same average.

It has no leader, no election and no quorum, so no moment at which all agree and know it: peers come to hold
the same bytes when training has ended and messages have got through. It is no general database of CRDTs.

Most of it knows no trio and does no I/O. From the ground up: `clock.py` and `identity.py` (time and names
that are never used twice), `crdt.py` (what converges), `messages.py` (what peers say), `digest.py` and
`transfer.py` (what two of them lack, and how it gets there), `membership.py` (who is alive), `view.py` (all
that a peer knows), `pace.py` (when to train), `learner.py` (training, and the average).

`peer.py` is the actor that moves messages and time for all that, with `store.py` as its disk; `reporter.py`
is told how peers are doing, and `network.py` what comes of it. `python -m gossip ROLE` runs one of them, or
a whole network. In a program of your own, a peer needs an actor system that listens, a `Learner` and a
`Plan`; see `roles.py:run_peer`, which is just that.

Two peers that know the same hold the same values, whatever was lost, doubled or late on the way:

>>> from gossip import LWWMap, ReplicaId
>>> a, b = ReplicaId("a", 1), ReplicaId("b", 1)
>>> one = LWWMap().put("model/a", "first", 1, a).put("model/a", "second", 2, a)
>>> other = LWWMap().put("model/b", "theirs", 1, b)
>>> one.merge_state(other).digest() == other.merge_state(one).digest()
True
"""

from gossip.clock import LamportClock, LeaseStore, Parked, ReplicaId
from gossip.crdt import Delta, Entry, LWWMap, MapDigest, PNCounter, Timestamp
from gossip.errors import (
    BadState,
    BadTime,
    DuplicateIdentity,
    GossipError,
    IdentityError,
    IdentityExhausted,
    WrongIdentity,
)
from gossip.identity import Identity, IdentityStore, Sighting, StoredIdentity, life_of
from gossip.learner import Average, Learner
from gossip.membership import Change, Membership
from gossip.messages import (
    MESSAGES,
    GossipPeerJoin,
    GossipSighting,
    GossipState,
    GossipStateRequest,
    GossipSurvey,
    ModelInfo,
    PeerInfo,
    Status,
)
from gossip.models import Model, Models
from gossip.outgoing import Address, Outgoing
from gossip.ownership import Notary
from gossip.peer import GossipPeer, Leave
from gossip.plan import Over, Plan, World
from gossip.replica import Replica
from gossip.reporter import GossipReporter
from gossip.store import GossipStore, PeerStore
from gossip.survey import Survey
from gossip.timing import Timing
from gossip.view import View

__all__ = [
    "MESSAGES",
    "Address",
    "Average",
    "BadState",
    "BadTime",
    "Change",
    "Delta",
    "DuplicateIdentity",
    "Entry",
    "GossipError",
    "GossipPeer",
    "GossipPeerJoin",
    "GossipReporter",
    "GossipSighting",
    "GossipState",
    "GossipStateRequest",
    "GossipStore",
    "GossipSurvey",
    "Identity",
    "IdentityError",
    "IdentityExhausted",
    "IdentityStore",
    "LWWMap",
    "LamportClock",
    "Learner",
    "LeaseStore",
    "Leave",
    "MapDigest",
    "Membership",
    "Model",
    "ModelInfo",
    "Models",
    "Notary",
    "Outgoing",
    "Over",
    "PNCounter",
    "Parked",
    "PeerInfo",
    "PeerStore",
    "Plan",
    "Replica",
    "ReplicaId",
    "Sighting",
    "Status",
    "StoredIdentity",
    "Survey",
    "Timestamp",
    "Timing",
    "View",
    "World",
    "WrongIdentity",
    "life_of",
]
