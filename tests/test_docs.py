"""What the documents say is so: commands exist, flags exist, code runs, links lead somewhere."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest

from tests.extras import need
from tests.test_layers import DEDICATED

ROOT = Path(__file__).resolve().parent.parent
LAUNCHERS = sorted(path for path in (ROOT / "bin").iterdir() if not path.name.startswith("_"))
PACKAGES = ["trioactor", "persistence", "federation", "gossip", "prep"]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *(path for package in PACKAGES for path in (ROOT / package).rglob("*.md")),
    )
)


def read(document: str) -> str:
    """Return a document's text without its comments."""
    return re.sub(r"<!--.*?-->", "", (ROOT / document).read_text(), flags=re.DOTALL)


def blocks(document: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each fenced block."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", read(document), flags=re.DOTALL | re.MULTILINE)


def commands(document: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each launcher that a document calls, in a block or in a sentence, with its flags."""
    for line in read(document).replace("\\\n", " ").splitlines():
        for launcher, rest in re.findall(r"(?<![\w/])bin/([\w-]+)((?: +[^\s`|#;&]+)*)", line):
            yield launcher, re.findall(r"(?<=\s)--[\w-]+", f" {rest}")


def program_of(launcher: Path) -> list[str]:
    """Return what a launcher hands to `python -m`: the package, and for a role its command."""
    found = re.search(r'(?:/_role"|/_tool"| -m) ([\w. -]+) "\$@"$', launcher.read_text(), flags=re.MULTILINE)
    assert found, f"{launcher} does not end in a program"
    return found[1].split()


def command_of(launcher: Path) -> click.Command | None:
    """Return the click command that a launcher ends in; None for pytest."""
    package, *names = program_of(launcher)
    if package == "pytest":
        return None
    command: click.Command = importlib.import_module(f"{package}.__main__").main
    for name in names:
        assert isinstance(command, click.Group)
        assert name in command.commands, f"{launcher.name}: python -m {package} has no command {name!r}"
        command = command.commands[name]
    return command


def options_of(command: click.Command) -> Iterator[click.Option]:
    """Yield the options of a command and of those below it."""
    yield from (option for option in command.params if isinstance(option, click.Option))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from options_of(below)


# --- launchers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.name)
def test_a_launcher_has_its_row_in_the_readme(launcher: Path) -> None:
    rows = re.findall(rf"^\| `bin/{launcher.name}`.*?\|(.*)\|$", read("README.md"), flags=re.MULTILINE)

    assert rows, f"README.md has no table row for bin/{launcher.name}"
    assert len(rows[0].split()) >= 3, f"the row of bin/{launcher.name} does not say what it is for"


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.name)
def test_a_launcher_answers_for_help(launcher: Path, tmp_path: Path) -> None:
    """From any folder, with a comment on its second line that says what it is."""
    command = [str(launcher)]
    if launcher.name == "benchmark":  # its environment has more than that of the tests: no installing here
        command = [sys.executable, "-m", *program_of(launcher)]
    done = subprocess.run(
        [*command, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    assert f"bin/{launcher.name}" in launcher.read_text().splitlines()[1]


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.name)
def test_every_flag_says_what_it_is_for(launcher: Path) -> None:
    command = command_of(launcher)
    if command is None:
        assert launcher.name == "test"  # its flags are pytest's
        return

    assert command.help
    assert not [option.name for option in options_of(command) if not option.help]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_commands_of_a_document_exist_with_their_flags(document: str) -> None:
    known = {launcher.name: launcher for launcher in LAUNCHERS}
    for name, flags in commands(document):
        assert name in known or (ROOT / "bin" / name).exists(), f"{document} calls bin/{name}"
        command = command_of(known[name]) if name in known else None
        if command is not None:
            there = {
                "--help",
                *(flag for option in options_of(command) for flag in (*option.opts, *option.secondary_opts)),
            }
            assert set(flags) <= there, f"{document}: bin/{name} has no {set(flags) - there}"


# --- documents ----------------------------------------------------------------------------------


def test_the_code_of_the_readme_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    """A `python` block is a program; a `text` block right behind it is what it prints."""
    pages = [*blocks("README.md"), ("", "")]
    programs = [(text, following) for (language, text), following in pairwise(pages) if language == "python"]
    assert programs
    for source, (language, expected) in programs:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert language != "text" or done.stdout == expected


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)", read(document))
    broken = [
        target
        for target in targets
        if "://" not in target and not (ROOT / document).parent.joinpath(target).exists()
    ]

    assert not broken


NAMED = r"`([\w/]+\.(?:py|md))(?::(\w+))?`"


def test_the_way_through_the_code_leads_along_files_and_functions_that_are_there() -> None:
    files = [*ROOT.glob("*.md")]
    files += [path for folder in (*PACKAGES, "tests") for path in (ROOT / folder).rglob("*.*")]
    for name, function in re.findall(NAMED, read("CONTRIBUTING.md")):
        there = [path for path in files if f"/{path.relative_to(ROOT)}".endswith(f"/{name}")]
        assert there, f"CONTRIBUTING.md names {name}"
        defined = rf"(def|class) {function}\b" if function else ""
        assert any(re.search(defined, path.read_text()) for path in there), (
            f"CONTRIBUTING.md names {function}"
        )


@pytest.mark.parametrize(
    "package", [*PACKAGES, "trioactor/testing", "federation/learning", "federation/simulation"]
)
def test_a_package_says_what_it_is_what_it_is_not_and_where_to_go_on(package: str) -> None:
    """In words, and in modules that are there."""
    said = importlib.import_module(package.replace("/", ".")).__doc__
    assert said is not None

    assert re.search(r"\bno(t|thing)?\b", said), f"{package} does not say what it is not"
    assert [name for name, _ in re.findall(NAMED, said) if not (ROOT / package / name).exists()] == []
    assert len(re.findall(NAMED, said)) > 4, f"{package} does not say where to go on"


def test_the_changelog_says_what_is_new() -> None:
    section = read("CHANGELOG.md").split("\n## ")[1]

    assert section.startswith("Unreleased\n")
    assert re.search(
        r"^### (Added|Changed|Deprecated|Removed|Fixed|Security)\n\n- ", section, flags=re.MULTILINE
    )


def modules() -> list[str]:
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    )


@pytest.mark.parametrize("module", modules())
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    if module in DEDICATED:
        need(DEDICATED[module])
    assert doctest.testmod(importlib.import_module(module)).failed == 0
