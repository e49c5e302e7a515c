"""What lies in a workspace: addresses, run folders, running processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from trio.testing import MockClock

from federation.__main__ import main
from federation.cleanup import clean_up
from federation.config import Address
from federation.errors import SettingsError, Unreachable
from federation.workspace import (
    Whereabouts,
    address_file,
    all_registered,
    make_writable,
    new_run_folder,
    reachable_host,
    read_address,
    registered,
    started_ticks,
    wait_for_address,
)

NOON = datetime(2026, 11, 24, 12, 0, 0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="file/inside: it cannot be written"):
        make_writable(tmp_path / "file" / "inside")


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    make_writable(tmp_path / "a" / "b")

    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_an_address_is_there_for_as_long_as_the_provider(tmp_path: Path) -> None:
    path = tmp_path / "address.json"
    where = Whereabouts(Address("127.0.0.1", 7000), ("12ab", "34cd"))
    with address_file(path, where, "run"):
        assert read_address(path) == where

    assert read_address(path) is None


def test_the_address_of_a_later_provider_stays(tmp_path: Path) -> None:
    path = tmp_path / "address.json"
    with address_file(path, Whereabouts(Address("127.0.0.1", 7000)), "run"):
        path.write_text('{"host": "127.0.0.1", "port": 7001}')

    assert read_address(path) == Whereabouts(Address("127.0.0.1", 7001))


NO_ADDRESSES = (b"", b"[]", b'{"host": "x"}', b'{"host": "x", "port": "y"}', b'{"host": "x", "port": 1e999}')


@pytest.mark.parametrize("content", [*NO_ADDRESSES, b"\xff\xfe"])
def test_a_file_that_is_no_address_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "address.json"
    path.write_bytes(content)

    with pytest.raises(SettingsError, match=r"address\.json: this is no address"):
        read_address(path)


def test_an_address_that_cannot_be_written_is_told_with_the_flag(tmp_path: Path) -> None:
    where = Whereabouts(Address("127.0.0.1", 7000))
    with pytest.raises(SettingsError, match=r"cannot be written there .*; give another --provider-file"):
        address_file(tmp_path, where, "run").__enter__()


def test_there_is_nothing_to_clean_up_where_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert trio.run(clean_up, tmp_path / "file") == []


def test_a_folder_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="this is no address"):
        read_address(tmp_path)


async def test_an_address_is_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = tmp_path / "address.json"

    async def write_later() -> None:
        await trio.sleep(5)
        path.write_text('{"host": "::1", "port": 7000}')

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_later)
        assert await wait_for_address(path, 60) == Whereabouts(Address("::1", 7000))
    assert trio.current_time() < 5.1


async def test_an_address_is_not_waited_for_for_ever(tmp_path: Path, autojump_clock: MockClock) -> None:
    with pytest.raises(Unreachable, match="within 3 s; start one with this workspace"):
        await wait_for_address(tmp_path / "address.json", 3)


def test_who_listens_everywhere_is_called_by_the_name_of_the_machine() -> None:
    assert reachable_host("192.0.2.7") == "192.0.2.7"
    assert reachable_host("0.0.0.0") in (socket.gethostname(), "127.0.0.1")


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    first = new_run_folder(tmp_path, "digits", NOON)
    second = new_run_folder(tmp_path, "digits", NOON)

    assert (first.run, second.run) == ("20261124-120000-digits", "20261124-120000-digits-2")
    assert first.log("provider").parent.is_dir()


# --- processes ------------------------------------------------------------------------------


def test_a_running_process_is_found_by_its_id_and_its_start(tmp_path: Path) -> None:
    with registered(tmp_path, "provider"):
        (found,) = all_registered(tmp_path)
        assert (found.pid, found.role) == (os.getpid(), "provider")
        assert found.alive

    assert all_registered(tmp_path) == []


def test_another_process_of_the_same_id_is_not_taken_for_ours(tmp_path: Path) -> None:
    with registered(tmp_path, "provider"):
        path = tmp_path / "processes" / f"{os.getpid()}.json"
        entry = json.loads(path.read_text())
        path.write_text(json.dumps({**entry, "started_ticks": entry["started_ticks"] - 1}))
        (found,) = all_registered(tmp_path)

        assert not found.alive


def test_a_process_that_ended_has_no_start() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        assert started_ticks(process.pid) is None


def sleeper(workspace: Path) -> subprocess.Popen[str]:
    """Start a process that says it runs for the workspace, and does not end when asked to."""
    program = (
        "import signal, sys, time; from pathlib import Path;"
        "from federation.workspace import registered;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "w = registered(Path(sys.argv[1]), 'workers'); w.__enter__(); print('ready', flush=True);"
        "time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(workspace)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


async def reap(process: subprocess.Popen[str]) -> None:
    """Wait for a process, as its own parent does."""
    await trio.to_thread.run_sync(process.wait)


async def test_a_process_that_does_not_end_when_asked_to_is_made_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federation.cleanup.GRACE_SECONDS", 0.2)
    with sleeper(tmp_path) as process:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reap, process)
            done = await clean_up(tmp_path)

        assert process.returncode == -9
    assert done == [f"ended workers (pid {process.pid})"]
    assert all_registered(tmp_path) == []


def test_what_is_stale_is_removed_and_the_record_is_not(tmp_path: Path) -> None:
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes" / "77.json").write_text("half writ")
    (tmp_path / "address.json").touch()
    (tmp_path / "training.db").touch()

    done = trio.run(clean_up, tmp_path)

    assert len(done) == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["training.db"]


async def test_where_nothing_is_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert await clean_up(tmp_path / "none") == []


def test_cleanup_removes_what_says_where_peers_were_but_not_what_another_machine_says(tmp_path: Path) -> None:
    here, elsewhere, named, torn = (tmp_path / "peers" / f"peer-{name}.json" for name in "ABCD")
    in_run = tmp_path / "runs" / "one" / "peers" / "reporter-launcher.json"
    place_file(here, "127.0.0.1", 2**22 + 1)
    place_file(elsewhere, "10.1.2.3", 2**22 + 2)
    place_file(named, "site.example", 2**22 + 3)  # it listened where others can dial, and was registered here
    place_file(in_run, "127.0.0.1", 2**22 + 4)
    torn.write_text('{"host": "127.')
    (tmp_path / "processes").mkdir()
    entry = {"role": "peer", "pid": 2**22 + 3, "started_ticks": 1}
    (tmp_path / "processes" / "some.json").write_text(json.dumps(entry))

    done = trio.run(clean_up, tmp_path)

    assert elsewhere.exists()
    assert not any(path.exists() for path in (here, named, torn, in_run))
    assert f"removed {here}: nobody is there any more" in done


def place_file(path: Path, host: str, pid: int) -> None:
    """Say as a peer of gossip does where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": host, "port": 7001, "pid": pid}) + "\n")


def test_what_cleanup_may_not_remove_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "processes" / "1.json").mkdir(parents=True)  # like a file of somebody else's

    done = CliRunner().invoke(main, ["cleanup", "--workspace", str(tmp_path)])

    assert done.exit_code == 2
    assert f"error: --workspace {tmp_path}: it is not all ours" in done.stderr
