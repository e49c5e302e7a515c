"""A process that commits rounds until it is killed.

    python -m tests.persistence.writer DB ROUNDS [STATEMENT]

Prints the number of each round once `commit_round` has returned. With STATEMENT it kills itself just
before that SQL statement of its next commit. What the disk refuses ends it with a line and status 1.
"""

from __future__ import annotations

import os
import signal
import sys

from persistence import DatabaseError, RoundPersistence
from tests.persistence.samples import commit, new_run


def main(path: str, rounds: int, fatal_statement: int | None = None) -> None:
    with RoundPersistence(path) as record:
        known = record.find_run("first")
        run_id = known.id if known else record.create_run(new_run()).id
        if fatal_statement is not None:
            die_before(record, fatal_statement)
        for number in range(record.last_committed_round(run_id) + 1, rounds + 1):
            commit(record, run_id, number)
            print(number, flush=True)


def die_before(record: RoundPersistence, fatal_statement: int) -> None:
    """Count the statements of the next transaction, and end as `kill -9` ends a process."""
    count = 0

    def on_statement(sql: str) -> None:
        nonlocal count
        count += sql.startswith("BEGIN IMMEDIATE") or count > 0
        if count == fatal_statement:
            os.kill(os.getpid(), signal.SIGKILL)

    record.database._connection.set_trace_callback(on_statement)


if __name__ == "__main__":
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
    except DatabaseError as error:
        sys.exit(str(error))
