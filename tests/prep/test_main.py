import errno
import io
import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import prep
from federation.learning import write_archive
from prep.__main__ import main
from prep.terminal import progress_shown

PROJECT = Path(prep.__file__).parents[1]


def run(*flags: str) -> Result:
    return CliRunner().invoke(main, ["prepare", *flags])


def test_it_says_what_it_made_and_where(tmp_path: Path) -> None:
    result = run("--samples=50", f"--workspace={tmp_path}")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == [
        "made:",
        "50 synthetic tiles, drawn by a program; 512 features each (patches), seed 0",
    ]
    assert "region A     12 samples  Forest, HerbaceousVegetation, Pasture; haze 0.4" in result.stdout
    assert "region D     10 samples  all classes, for evaluation" in result.stdout
    assert result.stdout.splitlines()[-1] == f"in {tmp_path / 'dataset'}"


def test_progress_goes_to_stderr_in_plain_lines(tmp_path: Path) -> None:
    result = run("--samples=80", f"--workspace={tmp_path}")

    assert result.stderr.splitlines() == [
        f"drawing synthetic tiles: {done} of 80" for done in (0, 20, 40, 60, 80)
    ]
    assert "drawing" not in result.stdout


def test_a_second_time_it_says_that_all_is_there(tmp_path: Path) -> None:
    run("--samples=50", f"--workspace={tmp_path}")

    result = run("--samples=50", f"--workspace={tmp_path}")

    assert result.exit_code == 0
    assert result.stdout.startswith("already there, with these settings:\n50 synthetic tiles")
    assert result.stderr == ""


def test_digits_are_prepared_with_one_flag(tmp_path: Path) -> None:
    result = run("--source=digits", f"--workspace={tmp_path}")

    assert result.exit_code == 0
    assert "1,797 handwritten digits; 64 features each (pixels), seed 0" in result.stdout
    assert f"in {tmp_path / 'digits' / 'dataset'}" in result.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--samples=10"], "10 is not in the range x>=50"),
        (["--samples=many"], "'many' is not a valid integer range"),
        (["--source=mnist"], "'mnist' is not one of 'synthetic', 'digits'"),
        (["--source=digits", "--samples=50"], "the digits are 1,797, as they are"),
        (["--workspace=FILE"], "is a file"),
        (["--sample=50"], "No such option '--sample'. Did you mean '--samples'?"),
    ],
)
def test_wrong_usage_is_named_and_ends_with_2(tmp_path: Path, flags: list[str], words: str) -> None:
    file = tmp_path / "file"
    file.touch()

    result = run(*[flag.replace("FILE", str(file)) for flag in flags])

    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == [file]


def test_data_in_the_way_is_named_and_ends_with_2(tmp_path: Path) -> None:
    run("--samples=50", f"--workspace={tmp_path}")
    path = tmp_path / "eurosat_features.npz"
    write_archive(path, {"features": np.zeros((2, 3), np.float32), "labels": np.array([0, 1])})

    result = run("--samples=60", f"--workspace={tmp_path}")

    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {path} says nothing of its source")


def test_a_workspace_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, which a test cannot have for real: root may write to any folder."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    result = run("--samples=50", f"--workspace={tmp_path}")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: cannot write to {tmp_path}: No space left on device"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_settings_can_come_from_the_environment(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["prepare"], env={"FEDERATION_SAMPLES": "50", "FEDERATION_WORKSPACE": str(tmp_path)}
    )

    assert result.exit_code == 0
    assert (tmp_path / "dataset" / "region_D.npz").exists()


def test_in_a_terminal_there_is_a_bar_and_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    written = {}
    for no_color in ("", "1"):
        monkeypatch.setenv("NO_COLOR", no_color)
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        with progress_shown("drawing synthetic tiles", console) as progress:
            progress(0, 10)
            progress(10, 10)
        assert isinstance(console.file, io.StringIO)
        written[no_color] = console.file.getvalue()

    assert "10/10" in written[""]
    assert "\x1b[38;5;" in written[""] or "\x1b[3" in written[""]
    assert "10/10" in written["1"]
    assert "\x1b[38;5;" not in written["1"]


def test_the_command_works_in_a_terminal(tmp_path: Path) -> None:
    """A real one: the bar on stderr, the result on stdout, nothing of the one in the other."""
    master, slave = pty.openpty()
    finished = subprocess.run(
        [sys.executable, "-m", "prep", "prepare", "--samples=50", f"--workspace={tmp_path}"],
        cwd=PROJECT,
        env={"TERM": "xterm", "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
        check=True,
    )
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)

    assert "drawing synthetic tiles" in shown
    assert "/50" in shown
    assert finished.stdout.startswith("made:\n50 synthetic tiles")
    assert "\x1b" not in finished.stdout


def test_the_launcher_is_there_and_can_be_run() -> None:
    launcher = PROJECT / "bin" / "prepare"

    assert launcher.stat().st_mode & stat.S_IXUSR
    assert launcher.read_text().splitlines()[-1].endswith('/_role" prep prepare "$@"')


def test_ctrl_c_says_what_became_of_the_data(tmp_path: Path) -> None:
    """Sent once it draws; it ends with 130, one line, and nothing half done."""
    with subprocess.Popen(
        [sys.executable, "-m", "prep", "prepare", "--samples=100000", f"--workspace={tmp_path}"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "drawing synthetic tiles: 0 of 100,000\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()

    assert process.returncode == 130
    assert output == ""
    assert errors == "stopped; the data is as it was, run the same command again to make it\n"
    assert list(tmp_path.iterdir()) == []
