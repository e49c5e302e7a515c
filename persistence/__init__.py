"""The record, in SQLite: rows, arrays and bytes, and how people and programs look at them.

`RoundPersistence` keeps the record of coordinated runs in training.db, `GossipPersistence` what the peers of
a gossip network know, in gossip.db. `load_run` gives a whole run as one frozen object, from which all tables,
pictures and exports are made; `python -m persistence report` shows them.

It is no layer between objects and tables, and no message store: it knows no actor, no model and no clock.
All of it blocks; an actor calls it through a thread, and owns its store alone.

Where to go on: `SCHEMA.md` and `GOSSIP_SCHEMA.md` say what the tables mean, also to other programs;
`database.py` how a file is opened, recognised and migrated, `rows.py` and `rounds.py` what is kept and when
it counts as kept, `history.py` what is read back, `report.py` and `plot.py` what people see, `run_json.py`
and `lines.py` what other programs read; `gossip.py` begins the same for gossip.db.
"""

from persistence.errors import (
    Damaged,
    DatabaseError,
    DiskFull,
    Locked,
    MissingExtra,
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
from persistence.history import RunHistory, load_run, load_runs
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
    "MissingExtra",
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
    "RunHistory",
    "RunRow",
    "Snapshot",
    "UnknownRun",
    "UpdateRow",
    "load_run",
    "load_runs",
    "open_or_set_aside",
]
