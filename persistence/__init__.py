"""SQLite for the federation: rows, arrays and bytes. Knows no actor and no model.

`RoundPersistence` keeps the record of coordinated runs in training.db; `SCHEMA.md` says how other
programs read it. `python -m persistence report` shows it.
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
    "EvaluationRow",
    "EventRow",
    "Locked",
    "NewRun",
    "NewerSchema",
    "NoAccess",
    "NoDatabase",
    "NotADatabase",
    "NotOurs",
    "RegionScoreRow",
    "RoundConflict",
    "RoundPersistence",
    "RoundRow",
    "RunRow",
    "UnknownRun",
    "UpdateRow",
]
