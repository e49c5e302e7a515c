"""What the tests of the record share: an open record, and a user who is not root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from persistence import RoundPersistence
from tests.persistence.samples import new_run

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "training.db"


@pytest.fixture
def record(path: Path) -> Iterator[RoundPersistence]:
    with RoundPersistence(path) as opened:
        yield opened


@pytest.fixture
def run_id(record: RoundPersistence) -> int:
    return record.create_run(new_run()).id


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are for one user only."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


@pytest.fixture
def as_a_user() -> Callable[[], AbstractContextManager[None]]:
    """Within this block permissions count: root, who stands above them, steps down."""

    @contextmanager
    def step_down() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    return step_down


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"no mount here: {made.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
