"""`python -m persistence report`, as people and scripts call it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from persistence import RoundPersistence
from persistence.__main__ import main
from tests.persistence.samples import keep_a_run, sha

ROOT = Path(__file__).parents[2]


def report(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)], env=env)


def test_the_latest_run_of_the_workspace_is_shown(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_a_run(tmp_path / "training.db", name="older", rounds=1)
    keep_a_run(tmp_path / "training.db", name="newer", rounds=2)

    for result in (
        report("--workspace", tmp_path),
        report("--db", path),
        report(env={"FEDERATION_WORKSPACE": str(tmp_path)}),
    ):
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith("newer  finished\n")
        assert "after round 2" in result.stdout

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    keep_a_run_in_the_default_workspace()
    assert report().stdout.startswith("default  finished\n")


def keep_a_run_in_the_default_workspace() -> None:
    Path("workspace").mkdir()
    keep_a_run(Path("workspace/training.db"), name="default", rounds=1)


def test_json_on_stdout_is_json_and_nothing_else(path: Path, tmp_path: Path) -> None:
    keep_a_run(path)

    result = report("--db", path, "--json", "--plot", tmp_path / "x.png")

    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert len(told["rounds"]) == 3
    assert told["model_sha256"] == sha(3)
    assert result.stderr == f"the picture is in {tmp_path / 'x.png'}\n"
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_the_list_names_every_run(path: Path) -> None:
    keep_a_run(path, name="one", rounds=1)
    keep_a_run(path, name="two", rounds=1, status="failed")

    assert [line.split()[:2] for line in report("--db", path, "--list").stdout.split("\n")[3:5]] == [
        ["1", "one"],
        ["2", "two"],
    ]
    told = json.loads(report("--db", path, "--list", "--json").stdout)
    assert [(one["run"], one["status"]) for one in told] == [("one", "finished"), ("two", "failed")]


def test_a_running_run_is_shown_while_its_writer_is_open(path: Path) -> None:
    keep_a_run(path, rounds=1, status="running")
    with RoundPersistence(path):
        assert report("--db", path).stdout.startswith("first  running\n")


def test_a_failed_run_is_reported_with_success(path: Path) -> None:
    """The report did what was asked; that the run failed is in its text."""
    keep_a_run(path, rounds=1, status="failed")
    result = report("--db", path)
    assert result.exit_code == 0
    assert result.stdout.startswith("first  failed: no update was accepted\n")


def make_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url)")


def make_newer(path: Path) -> None:
    RoundPersistence(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")


def make_damaged(path: Path) -> None:
    keep_a_run(path, rounds=40)
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)  # the header is whole, the rest is gone
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no such file. No run yet: bin/start-provider-mode makes one"),
        (
            lambda path: path.touch(),
            "there is nothing in it yet. No run yet: bin/start-provider-mode makes one",
        ),
        (lambda path: path.write_text("Dear diary"), "this file is no SQLite database; give another path"),
        (lambda path: path.mkdir(), "this is a folder; give the path of a file in it"),
        (make_foreign, "made by another program"),
        (make_newer, "its schema has version 99, this program knows versions up to 2; update this program"),
        (make_damaged, "this database is damaged"),
        (lambda path: RoundPersistence(path).close(), "there is no run in"),
        (lambda path: keep_a_run(path, name="frist"), "did you mean frist?"),
    ],
    ids=["missing", "empty", "text", "folder", "foreign", "newer", "damaged", "no run", "unknown run"],
)
def test_what_cannot_be_reported_is_one_clear_line(path: Path, make: object, said: str) -> None:
    make(path)  # type: ignore[operator]  # each makes another file

    result = report("--db", path, "first")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--jsno",), "Did you mean '--json'?"),
        (("--list", "first"), "--list shows all runs; leave out RUN, --by, --csv and --plot"),
        (("--list", "--plot", "x.png"), "--list shows all runs; leave out RUN, --by, --csv and --plot"),
        (("--list", "--format", "csv"), "--list shows all runs; leave out RUN, --by, --csv and --plot"),
        (("--json", "--csv", "-"), "one form at a time goes to stdout"),
        (("--json", "--format", "table"), "one form at a time goes to stdout"),
        (("--by", "wroker"), "'wroker' is not one of 'round', 'worker', 'region', 'class'"),
    ],
)
def test_wrong_usage_is_told_with_the_fix(path: Path, arguments: tuple[str, ...], said: str) -> None:
    keep_a_run(path)
    result = report("--db", path, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_csv_goes_into_a_file_or_to_stdout(path: Path, tmp_path: Path) -> None:
    keep_a_run(path)
    file = tmp_path / "by worker.csv"

    result = report("--db", path, "--csv", file, "--by", "worker")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"the CSV is in {file}\n"
    assert file.read_text().startswith("database,run,round,worker,outcome,")
    for flags in (("--csv", "-"), ("--format", "csv")):
        assert report("--db", path, *flags, "--by", "worker").stdout == file.read_text()


def test_csv_that_cannot_be_written_is_one_clear_line(path: Path, tmp_path: Path) -> None:
    keep_a_run(path)
    result = report("--db", path, "--csv", tmp_path / "nowhere" / "x.csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("x.csv: cannot be written: No such file or directory; give another path\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_csv_on_a_full_disk_is_one_clear_line(path: Path) -> None:
    keep_a_run(path)
    result = report("--db", path, "--csv", "/dev/full")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: --csv /dev/full: cannot be written: No space left on device; give another path\n"
    )


def test_one_side_of_a_run_is_shown(path: Path) -> None:
    keep_a_run(path)
    assert "took part" in report("--db", path, "--by", "worker").stdout
    assert "most often taken for" in report("--db", path, "--by", "class").stdout


def test_several_runs_are_compared(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    keep_a_run(path, name="one")
    keep_a_run(other, name="two", rounds=2)

    result = report(f"{path}:one", f"{other}:two")

    assert (result.exit_code, result.stderr) == (0, "")
    said = "".join(result.stdout.split())  # a long path goes on in the next line
    assert said.startswith(f"Aonefinishedsyntheticdatain{path}Btwofinishedsyntheticdatain{other}")
    told = json.loads(report("--db", path, "--db", other, "--json").stdout)
    assert [one["run"] for one in told["runs"]] == ["one", "two"]
    text = report("--db", path, "--db", other, "two", "one", "--csv", "-").stdout
    assert [line.split(",")[1] for line in text.splitlines()[1:]] == ["two"] * 2 + ["one"] * 3


def test_runs_of_several_records_are_listed(path: Path, tmp_path: Path) -> None:
    keep_a_run(path, name="one")
    keep_a_run(tmp_path / "other.db", name="two")
    told = json.loads(report("--db", path, "--db", tmp_path / "other.db", "--list", "--json").stdout)
    assert [(one["run"], Path(one["database"]).name) for one in told] == [
        ("one", "training.db"),
        ("two", "other.db"),
    ]


def test_the_examples_of_the_help_are_flags_that_exist(path: Path, tmp_path: Path) -> None:
    shown = report("--help").stdout
    examples = [line.split() for line in shown.splitlines() if line.strip().startswith("bin/report ")]
    known = {flag for option in main.commands["report"].params for flag in option.opts}

    assert len(examples) >= 6
    assert {word for words in examples for word in words if word.startswith("--")} <= known


def test_a_picture_that_cannot_be_written_is_one_clear_line(path: Path, tmp_path: Path) -> None:
    keep_a_run(path)
    nowhere = report("--db", path, "--plot", tmp_path / "nowhere" / "x.png")
    assert (nowhere.exit_code, nowhere.stdout) == (2, "")
    assert nowhere.stderr.endswith("x.png: cannot be written: No such file or directory; give another path\n")

    unknown = report("--db", path, "--plot", tmp_path / "x.txt")
    assert unknown.exit_code == 2
    assert "Format 'txt' is not supported (supported formats: " in unknown.stderr


@pytest.mark.parametrize("no_color", [False, True])
def test_colours_are_for_terminals_that_want_them(path: Path, no_color: bool) -> None:
    keep_a_run(path)
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    env = {**clean, "TERM": "xterm-256color", "FORCE_COLOR": "1", **({"NO_COLOR": "1"} if no_color else {})}
    done = subprocess.run(
        [sys.executable, "-m", "persistence", "report", "--db", path],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("\x1b[32m" in done.stdout) is not no_color


def test_a_pipe_that_is_closed_early_is_no_traceback(path: Path) -> None:
    keep_a_run(path, rounds=300)
    done = subprocess.run(
        f"'{sys.executable}' -m persistence report --db '{path}' --json | head -n 2",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == '{\n  "run": "first",\n'
    assert done.stderr == ""
