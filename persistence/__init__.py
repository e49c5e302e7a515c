"""SQLite for the federation: rows, arrays and bytes. Knows no actor and no model.

`RoundPersistence` keeps the record of coordinated runs in training.db, `GossipPersistence` what the peers of
a gossip network know, in gossip.db; `SCHEMA.md` says how other programs read them. `python -m persistence
report` shows them.
"""

from persistence.errors import (
    Damaged,
    DatabaseError,
    DiskFull,
    Locked,
    NewerSchema,
    NoAccess,
    NoDatabase,
    NotADatabase,
    NotOurs,
)
from persistence.gossip import FileMoved, GossipPersistence, open_or_set_aside
from persistence.gossip_rows import (
    EntryRow,
    GossipEventRow,
    IdentityRow,
    PeerMetricsRow,
    PeerStateRow,
    Snapshot,
)
from persistence.rounds import RoundConflict, RoundPersistence, UnknownRun
from persistence.rows import (
    RUN_STATUSES,
    UPDATE_OUTCOMES,
    BaselineRow,
    EvaluationRow,
    EventRow,
    NewRun,
    RegionScoreRow,
    RoundRow,
    RunRow,
    UpdateRow,
)

__all__ = [
    "RUN_STATUSES",
    "UPDATE_OUTCOMES",
    "BaselineRow",
    "Damaged",
    "DatabaseError",
    "DiskFull",
    "EntryRow",
    "EvaluationRow",
    "EventRow",
    "FileMoved",
    "GossipEventRow",
    "GossipPersistence",
    "IdentityRow",
    "Locked",
    "NewRun",
    "NewerSchema",
    "NoAccess",
    "NoDatabase",
    "NotADatabase",
    "NotOurs",
    "PeerMetricsRow",
    "PeerStateRow",
    "RegionScoreRow",
    "RoundConflict",
    "RoundPersistence",
    "RoundRow",
    "RunRow",
    "Snapshot",
    "UnknownRun",
    "UpdateRow",
    "open_or_set_aside",
]
