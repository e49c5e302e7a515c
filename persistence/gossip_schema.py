"""The tables of gossip.db, what peers keep of themselves. `GOSSIP_SCHEMA.md` explains them to others."""

from __future__ import annotations

from persistence.database import Schema

GOSSIP_MIGRATIONS = (  # append only: PRAGMA user_version counts how many a file has seen
    (
        """CREATE TABLE identities (
            peer       TEXT    PRIMARY KEY,
            life       INTEGER NOT NULL CHECK (life >= 0),       -- which of its lives
            salt       INTEGER NOT NULL CHECK (salt >= 0),       -- chance that tells two of one number apart
            lease_end  INTEGER NOT NULL CHECK (lease_end >= 0)   -- logical times below may be in use
        ) STRICT, WITHOUT ROWID""",
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
            model_sha256  TEXT                          -- of the average that all peers had in the end
        ) STRICT""",
        """CREATE TABLE crdt_snapshots (
            run      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            peer     TEXT    NOT NULL,                  -- whose knowledge it is
            key      TEXT    NOT NULL,                  -- model/B, peer/B
            time     INTEGER NOT NULL CHECK (time >= 0),
            writer   TEXT    NOT NULL,                  -- with time: the timestamp of the entry
            life     INTEGER NOT NULL CHECK (life >= 0),
            salt     INTEGER NOT NULL CHECK (salt >= 0),
            deleted  INTEGER NOT NULL CHECK (deleted IN (0, 1)),
            value    TEXT    NOT NULL,                  -- JSON object
            content  BLOB,                              -- SHA-256 of the bytes beside it, in crdt_contents
            PRIMARY KEY (run, peer, key)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE crdt_contents (
            run      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            peer     TEXT    NOT NULL,
            content  BLOB    NOT NULL,
            data     BLOB    NOT NULL,
            PRIMARY KEY (run, peer, content)
        ) STRICT""",
        """CREATE TABLE peer_states (
            run             INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            peer            TEXT    NOT NULL,
            round           INTEGER NOT NULL CHECK (round >= 0),     -- trained so far
            finished        INTEGER NOT NULL CHECK (finished IN (0, 1)),
            samples         INTEGER NOT NULL CHECK (samples >= 1),
            life            INTEGER NOT NULL CHECK (life >= 0),
            saved_unix      REAL    NOT NULL,
            accuracy        REAL    CHECK (accuracy BETWEEN 0 AND 1),  -- of its average, where it evaluates
            loss            REAL,
            delta           REAL,
            known_peers     INTEGER NOT NULL CHECK (known_peers >= 1),
            live_peers      INTEGER NOT NULL CHECK (live_peers >= 1),
            models          INTEGER NOT NULL CHECK (models >= 0),
            bytes_in        INTEGER NOT NULL CHECK (bytes_in >= 0),
            bytes_out       INTEGER NOT NULL CHECK (bytes_out >= 0),
            average_sha256  TEXT,                                    -- NULL before there is one
            PRIMARY KEY (run, peer)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE peer_metrics (
            run             INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            peer            TEXT    NOT NULL,
            round           INTEGER NOT NULL CHECK (round >= 1),
            at_unix         REAL    NOT NULL,
            seconds         REAL    NOT NULL CHECK (seconds >= 0),   -- of training
            train_loss      REAL,
            train_accuracy  REAL    CHECK (train_accuracy BETWEEN 0 AND 1),
            accuracy        REAL    CHECK (accuracy BETWEEN 0 AND 1),  -- of its average, where it evaluates
            loss            REAL,
            delta           REAL,                                    -- distance of its model to that average
            known_peers     INTEGER NOT NULL CHECK (known_peers >= 1),
            live_peers      INTEGER NOT NULL CHECK (live_peers >= 1),
            models          INTEGER NOT NULL CHECK (models >= 0),
            bytes_in        INTEGER NOT NULL CHECK (bytes_in >= 0),
            bytes_out       INTEGER NOT NULL CHECK (bytes_out >= 0),
            average_sha256  TEXT,
            PRIMARY KEY (run, peer, round)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE events (
            id       INTEGER PRIMARY KEY,
            run      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            at_unix  REAL    NOT NULL,
            source   TEXT    NOT NULL,                  -- which peer says so
            kind     TEXT    NOT NULL,
            text     TEXT    NOT NULL
        ) STRICT""",
        "CREATE INDEX events_of_a_run ON events (run, id)",
    ),
)

GOSSIP_SCHEMA = Schema(
    title="record of gossip runs (gossip.db)",
    application_id=0x74_72_61_67,  # "trag" in ASCII, for trioactor, gossip
    migrations=GOSSIP_MIGRATIONS,
)
