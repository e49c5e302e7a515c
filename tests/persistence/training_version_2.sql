-- training.db as version 2 of the schema had it, with one of everything in it.

CREATE TABLE runs (
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
    model_sha256  TEXT,                         -- of the final model
    mode TEXT NOT NULL DEFAULT 'rounds',
    strategy TEXT NOT NULL DEFAULT 'fedavg',
    strategy_parameters TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE rounds (
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
) STRICT, WITHOUT ROWID;

CREATE TABLE weights (
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
) STRICT;

CREATE TABLE worker_updates (
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
    staleness  INTEGER CHECK (staleness >= 0),
    train_seconds REAL CHECK (train_seconds >= 0),
    PRIMARY KEY (run, round, position),
    FOREIGN KEY (run, round) REFERENCES rounds (run, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluations (
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
) STRICT, WITHOUT ROWID;

CREATE TABLE baselines (
    run        INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    worker     TEXT    NOT NULL,                -- who trained alone, with the budget of the run
    region     TEXT    NOT NULL,                -- whose samples it was scored on
    samples    INTEGER NOT NULL CHECK (samples >= 1),
    loss       REAL,
    accuracy   REAL    NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
    PRIMARY KEY (run, worker, region)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id       INTEGER PRIMARY KEY,
    run      INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    at_unix  REAL    NOT NULL,
    source   TEXT    NOT NULL,                  -- which role or worker it is about
    kind     TEXT    NOT NULL,
    round    INTEGER,
    text     TEXT    NOT NULL
) STRICT;

CREATE TABLE region_scores (
    run        INTEGER NOT NULL,
    round      INTEGER NOT NULL,
    worker     TEXT    NOT NULL,                -- on whose region, and who says so
    samples    INTEGER NOT NULL CHECK (samples >= 1),
    loss       REAL,
    accuracy   REAL    NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
    per_class  TEXT    NOT NULL,                -- JSON object: class name to accuracy or null
    PRIMARY KEY (run, round, worker),
    FOREIGN KEY (run, round) REFERENCES rounds (run, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX events_of_a_run ON events (run, id);

PRAGMA application_id = 0x74726163;
PRAGMA user_version = 2;
PRAGMA journal_mode = WAL;

INSERT INTO runs (id, name, created_unix, settings, seed, source, synthetic, status, mode, strategy, strategy_parameters)
VALUES (1, 'first', 1700000000.0, '{"rounds": 3}', 7, 'synthetic', 1, 'running', 'buffered', 'krum', '{"byzantine": 1}');
INSERT INTO rounds (run, number, status, started_unix, ended_unix, seconds, train_loss, train_accuracy, model_sha256)
VALUES (1, 1, 'committed', 1700000001.0, 1700000001.5, 0.5, 0.75, 0.5, 'aa');
INSERT INTO weights (run, round, kind, name, dtype, shape, data)
VALUES (1, 1, 'model', 'b', 'float32', '[2]', x'0000803f00000040');
INSERT INTO worker_updates (run, round, position, worker, outcome, samples, loss, accuracy, seconds, bytes_in, bytes_out, staleness, train_seconds)
VALUES (1, 1, 0, 'A', 'accepted', 100, 0.75, 0.5, 0.25, 8, 8, 1, 0.125);
INSERT INTO evaluations (run, round, model, region, samples, loss, accuracy, per_class, confusion)
VALUES (1, 1, 'global', 'D', 4, 1.25, 0.5, '{"Forest": 0.5}', '[[2]]');
INSERT INTO region_scores (run, round, worker, samples, loss, accuracy, per_class)
VALUES (1, 1, 'A', 8, 0.5, 0.75, '{"Forest": 0.75}');
INSERT INTO baselines (run, worker, region, samples, loss, accuracy)
VALUES (1, 'A', 'D', 4, 2.0, 0.25);
INSERT INTO events (run, at_unix, source, kind, text)
VALUES (1, 1700000000.0, 'A', 'joined', 'A is there');
