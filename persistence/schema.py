"""The tables of training.db, the record of coordinated runs. `SCHEMA.md` explains them to other programs."""

from __future__ import annotations

from persistence.database import Schema

TRAINING_MIGRATIONS = (  # append only: PRAGMA user_version counts how many a file has seen
    (
        """CREATE TABLE runs (
            id            INTEGER PRIMARY KEY,
            name          TEXT    NOT NULL UNIQUE,
            created_unix  REAL    NOT NULL,
            settings      TEXT    NOT NULL,             -- JSON object, as resolved
            seed          INTEGER NOT NULL,
            source        TEXT    NOT NULL,
            synthetic     INTEGER NOT NULL CHECK (synthetic IN (0, 1)),
            status        TEXT    NOT NULL,             -- running, finished, failed, stopped, quorum lost
            reason        TEXT    NOT NULL DEFAULT '',
            ended_unix    REAL,
            model_sha256  TEXT                          -- of the final model
        ) STRICT""",
        """CREATE TABLE rounds (
            run             INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            number          INTEGER NOT NULL CHECK (number >= 1),
            status          TEXT    NOT NULL,           -- committed, failed
            reason          TEXT    NOT NULL DEFAULT '',
            started_unix    REAL    NOT NULL,
            ended_unix      REAL    NOT NULL,
            seconds         REAL    NOT NULL CHECK (seconds >= 0),
            train_loss      REAL,
            train_accuracy  REAL    CHECK (train_accuracy BETWEEN 0 AND 1),
            model_sha256    TEXT,                       -- of the global model after the round
            PRIMARY KEY (run, number),
            CHECK ((status = 'committed') = (model_sha256 IS NOT NULL))
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE weights (
            id     INTEGER PRIMARY KEY,                 -- keeps the order of the arrays
            run    INTEGER NOT NULL,
            round  INTEGER NOT NULL,
            kind   TEXT    NOT NULL,                    -- model, strategy
            name   TEXT    NOT NULL,
            dtype  TEXT    NOT NULL,                    -- as NumPy calls it: float32
            shape  TEXT    NOT NULL,                    -- JSON list
            data   BLOB    NOT NULL,                    -- little-endian, C order
            UNIQUE (run, round, kind, name),
            FOREIGN KEY (run, round) REFERENCES rounds (run, number) ON DELETE CASCADE
        ) STRICT""",
        """CREATE TABLE worker_updates (
            run        INTEGER NOT NULL,
            round      INTEGER NOT NULL,
            position   INTEGER NOT NULL,                -- order of arrival within the round
            worker     TEXT    NOT NULL,
            outcome    TEXT    NOT NULL,
            reason     TEXT    NOT NULL DEFAULT '',
            samples    INTEGER CHECK (samples >= 0),
            loss       REAL,
            accuracy   REAL    CHECK (accuracy BETWEEN 0 AND 1),
            seconds    REAL    CHECK (seconds >= 0),
            bytes_in   INTEGER NOT NULL DEFAULT 0 CHECK (bytes_in >= 0),
            bytes_out  INTEGER NOT NULL DEFAULT 0 CHECK (bytes_out >= 0),
            PRIMARY KEY (run, round, position),
            FOREIGN KEY (run, round) REFERENCES rounds (run, number) ON DELETE CASCADE
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE evaluations (
            run        INTEGER NOT NULL,
            round      INTEGER NOT NULL,
            model      TEXT    NOT NULL,                -- 'global', or the worker whose model it is
            region     TEXT    NOT NULL,                -- whose samples it was scored on
            samples    INTEGER NOT NULL CHECK (samples >= 1),
            loss       REAL,
            accuracy   REAL    NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
            per_class  TEXT    NOT NULL,                -- JSON object: class name to accuracy or null
            confusion  TEXT    NOT NULL,                -- JSON list of rows: true class by predicted class
            seconds    REAL    CHECK (seconds >= 0),
            PRIMARY KEY (run, round, model, region),
            FOREIGN KEY (run, round) REFERENCES rounds (run, number) ON DELETE CASCADE
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE baselines (
            run        INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            worker     TEXT    NOT NULL,                -- who trained alone, with the budget of the run
            region     TEXT    NOT NULL,                -- whose samples it was scored on
            samples    INTEGER NOT NULL CHECK (samples >= 1),
            loss       REAL,
            accuracy   REAL    NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
            PRIMARY KEY (run, worker, region)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE events (
            id       INTEGER PRIMARY KEY,
            run      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            at_unix  REAL    NOT NULL,
            source   TEXT    NOT NULL,                  -- which role or worker it is about
            kind     TEXT    NOT NULL,
            round    INTEGER,
            text     TEXT    NOT NULL
        ) STRICT""",
        "CREATE INDEX events_of_a_run ON events (run, id)",
    ),
    (  # 2: how a run averages, what updates were trained from, and the model on each worker's region
        "ALTER TABLE runs ADD COLUMN mode TEXT NOT NULL DEFAULT 'rounds'",
        "ALTER TABLE runs ADD COLUMN strategy TEXT NOT NULL DEFAULT 'fedavg'",
        "ALTER TABLE runs ADD COLUMN strategy_parameters TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE worker_updates ADD COLUMN staleness INTEGER CHECK (staleness >= 0)",
        "ALTER TABLE worker_updates ADD COLUMN train_seconds REAL CHECK (train_seconds >= 0)",
        """CREATE TABLE region_scores (
            run        INTEGER NOT NULL,
            round      INTEGER NOT NULL,
            worker     TEXT    NOT NULL,                -- on whose region, and who says so
            samples    INTEGER NOT NULL CHECK (samples >= 1),
            loss       REAL,
            accuracy   REAL    NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
            per_class  TEXT    NOT NULL,                -- JSON object: class name to accuracy or null
            PRIMARY KEY (run, round, worker),
            FOREIGN KEY (run, round) REFERENCES rounds (run, number) ON DELETE CASCADE
        ) STRICT, WITHOUT ROWID""",
    ),
)

TRAINING_SCHEMA = Schema(
    title="record of coordinated runs (training.db)",
    application_id=0x74_72_61_63,  # "trac" in ASCII, for trioactor, coordinated
    migrations=TRAINING_MIGRATIONS,
)
