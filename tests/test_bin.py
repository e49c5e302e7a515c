"""The launchers and their environment, on small checkouts of our own.

Each checkout has the real scripts of bin/, a project file that asks for wheels written here, and a package
`demo` that says what it sees. Nothing comes from the network. The folder `tools` is all that is on the PATH.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What the launchers take from the system, beside a shell and Python.
TOOLS = "awk cat date dirname env find grep mkdir mv readlink rm sed sh tail"

DEMO = """
import importlib.util, json, os, sys
print(json.dumps({
    "arguments": sys.argv[1:],
    "folder": os.getcwd(),
    "pid": os.getpid(),
    "installed": [
        name for name in ("first", "second", "digital", "secure", "network") if importlib.util.find_spec(name)
    ],
    "shadowed": importlib.util.find_spec("shadow") is not None,
}))
"""


@dataclass(frozen=True)
class Answer:
    """What a launcher did: its status, what `demo` printed, and the launcher's own lines."""

    status: int
    demo: dict[str, object]
    lines: list[str]


@dataclass(frozen=True)
class Checkout:
    """A folder that looks like a clone of the project, and the surroundings that its launchers see."""

    root: Path
    tools: Path
    wheels: Path

    def require(self, *packages: str) -> None:
        """Write the project file, so that the main job needs these packages."""
        text = f"""
        [project]
        name = "say"
        dependencies = {json.dumps(packages)}

        [project.optional-dependencies]
        digits = ["digital"]
        tls = ["secure"]
        prep = ["network"]
        test = ["pytest"]
        all = ["say[digits, tls]"]
        """
        (self.root / "pyproject.toml").write_text(textwrap.dedent(text))

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        launcher: Path | None = None,
    ) -> subprocess.Popen[str]:
        surroundings = {
            "PATH": str(self.tools),
            "HOME": str(self.wheels),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
        }
        return subprocess.Popen(
            [launcher or self.root / "bin" / "say", *arguments],
            cwd=cwd or self.root.parent,
            env={**surroundings, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        launcher: Path | None = None,
    ) -> Answer:
        return answer(self.start(*arguments, env=env, cwd=cwd, launcher=launcher))


def answer(process: subprocess.Popen[str]) -> Answer:
    out, err = process.communicate(timeout=60)
    return Answer(process.returncode, json.loads(out) if out else {}, err.splitlines())


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def write_wheel(folder: Path, name: str) -> None:
    """Write the smallest wheel that pip takes: one empty module."""
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(
            f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n"
        )


def make_checkout(folder: Path) -> Checkout:
    checkout = Checkout(folder / "a checkout", folder / "tools", folder / "wheels")
    for path in (checkout.root, checkout.tools, checkout.wheels):
        path.mkdir()
    shutil.copytree(ROOT / "bin", checkout.root / "bin")
    write_program(
        checkout.root / "bin" / "say", 'exec "$(dirname "$(readlink -f "$0")")/_role" demo hello "$@"'
    )
    for package in ("demo", "prep"):
        (checkout.root / package).mkdir()
        (checkout.root / package / "__main__.py").write_text(DEMO)
    checkout.require("first")
    for name in ("first", "second", "digital", "secure", "network", "pytest"):
        write_wheel(checkout.wheels, name)
    for tool in TOOLS.split():
        where = shutil.which(tool)
        assert where is not None, f"this machine has no {tool}"
        (checkout.tools / tool).symlink_to(where)
    write_program(checkout.tools / "python3", f'exec {Path(sys.executable).resolve()} "$@"')
    return checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout without an environment."""
    return make_checkout(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, list[Answer]]:
    """A checkout in which two launchers were started at the same time, and what each of them did."""
    checkout = make_checkout(tmp_path_factory.mktemp("made"))
    return checkout, [answer(process) for process in (checkout.start("A"), checkout.start("B"))]


@pytest.fixture
def ready(made: tuple[Checkout, list[Answer]]) -> Iterator[Checkout]:
    """A checkout whose environment is complete. What a test changes of the project file is changed back."""
    checkout, _ = made
    checkout.require("first")
    yield checkout
    checkout.require("first")


# --- it is made once ----------------------------------------------------------------------------


def test_the_first_call_makes_the_environment_and_two_at_once_make_one(
    made: tuple[Checkout, list[Answer]],
) -> None:
    _, answers = made

    assert [given.status for given in answers] == [0, 0]
    assert [given.demo["arguments"] for given in answers] == [["hello", "A"], ["hello", "B"]]
    assert all(given.demo["installed"] == ["first"] for given in answers)
    lines = sorted(line for given in answers for line in given.lines)
    assert [line.split(" (")[0] for line in lines] == [
        "Another launcher is making the environment; waiting for it ...",
        f"Making the environment in .venv with Python {sys.version.split()[0]}",
        lines[2],
    ]
    assert lines[2].startswith("The environment is ready after ")


def test_the_next_call_says_nothing_and_starts_no_python_but_the_program(ready: Checkout) -> None:
    ready.call()
    without_python = ready.root.parent / "tools without python"
    shutil.copytree(ready.tools, without_python, symlinks=True)
    (without_python / "python3").unlink()
    pip = next((ready.root / ".venv" / "lib").glob("python*/site-packages/pip"))
    hidden = pip.rename(pip.with_name("hidden"))
    try:
        given = ready.call(env={"PATH": str(without_python)})
    finally:
        hidden.rename(pip)

    assert (given.status, given.lines, given.demo["installed"]) == (0, [], ["first"])


def test_a_changed_project_file_is_noticed(ready: Checkout) -> None:
    ready.require("first", "second")

    given = ready.call()

    assert (given.status, given.demo["installed"]) == (0, ["first", "second"])
    assert given.lines[0] == "Completing the environment in .venv ..."
    assert ready.call().lines == []


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--source", "digits", "--rounds", "3"), {}),
        (("--rounds", "3", "--source=digits"), {}),
        ((), {"FEDERATION_SOURCE": "digits"}),
    ],
    ids=["two words", "one word", "environment"],
)
def test_a_source_of_data_brings_its_packages(
    ready: Checkout, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    given = ready.call(*arguments, env=environment)

    assert given.status == 0
    assert given.demo["arguments"] == ["hello", *arguments]
    assert "digital" in str(given.demo["installed"])
    assert ready.call(*arguments, env=environment).lines == []


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("--rounds", "3", "--tls"), {}), (("--source=digits",), {"FEDERATION_TLS": "true"})],
    ids=["flag", "environment, beside a source"],
)
def test_certificates_bring_their_packages(
    ready: Checkout, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    (ready.root / ".venv" / "installed-tls").unlink(missing_ok=True)

    given = ready.call(*arguments, env=environment)

    assert given.status == 0
    assert any('with what "tls" needs' in line for line in given.lines)
    assert "secure" in str(given.demo["installed"])
    assert ready.call(*arguments, env=environment).lines == []


def test_other_words_bring_none(ready: Checkout) -> None:
    """The flag goes before the environment, and a word that reads like it is no flag."""
    ready.call()
    for stamp in ("installed-digits", "installed-tls"):
        (ready.root / ".venv" / stamp).unlink(missing_ok=True)

    given = ready.call(
        "--source",
        "synthetic",
        "digits",
        "--tls-ca",
        env={"FEDERATION_SOURCE": "digits", "FEDERATION_TLS": "0"},
    )

    assert (given.status, given.lines) == (0, [])


def test_a_trained_network_brings_its_packages_and_nothing_else_does(ready: Checkout) -> None:
    """They are large: not for help, not for a look at tiles, not for the extractor that needs none."""
    ready.call()
    extract, prepare = (ready.root / "bin" / name for name in ("extract-features", "prepare"))
    for launcher, arguments in (
        (extract, ["--help"]),
        (extract, ["--extractor", "patches"]),
        (extract, ["--extractor=patches"]),
        (prepare, ["--source", "eurosat", "--preview", "sheet.png"]),
        (prepare, ["--samples", "50"]),
        (ready.root / "bin" / "say", ["--source", "eurosat"]),
    ):
        given = ready.call(*arguments, launcher=launcher)
        assert (given.status, given.lines) == (0, [])
        assert "network" not in str(given.demo["installed"])

    given = ready.call("--source=eurosat", launcher=prepare)

    assert given.lines[0] == (
        'Completing the environment in .venv with what "prep" needs ... '
        "PyTorch is large: some minutes, some 6 GB."
    )
    assert "network" in str(given.demo["installed"])
    assert ready.call("--images=photos", launcher=extract).lines == []


def test_all_tests_bring_all_extras(ready: Checkout) -> None:
    """An extra that asks for others of the project brings what these ask for."""
    for stamp in (ready.root / ".venv").glob("installed-*"):
        stamp.unlink()

    given = ready.call("--all", "tests/some", launcher=ready.root / "bin" / "test")

    assert given.status == 0
    assert [line for line in given.lines if line.startswith("Completing")] == [
        'Completing the environment in .venv with what "test" needs ...',
        'Completing the environment in .venv with what "all" needs ... '
        "PyTorch is large: some minutes, some 6 GB.",
    ]
    wanted = (ready.root / ".venv" / "requirements-all.txt").read_text().split()
    assert wanted == ["first", "digital", "secure"]
    assert ready.call("--all", launcher=ready.root / "bin" / "test").lines == []


# --- the program runs as if it had been called by itself ----------------------------------------


def test_what_takes_long_runs_where_it_was_called_too(ready: Checkout, tmp_path: Path) -> None:
    """So `bin/simulate --keep FILE` means a file in the folder that one stands in."""
    tool = ready.root / "bin" / "tool"
    write_program(tool, 'exec "$(dirname "$(readlink -f "$0")")/_tool" demo "$@"')

    given = ready.call("--keep", "file", launcher=tool, cwd=tmp_path)

    assert given.demo["arguments"] == ["--keep", "file"]
    assert given.demo["folder"] == str(tmp_path)


def test_a_launcher_works_from_any_folder_and_through_a_link(ready: Checkout, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(ready.root / "bin" / "say")
    (tmp_path / "shadow.py").touch()

    given = ready.call("relative/path", cwd=tmp_path, launcher=link)

    assert given.demo["arguments"] == ["hello", "relative/path"]
    assert given.demo["folder"] == str(tmp_path)
    assert given.demo["shadowed"] is False, "the caller's folder must not shadow our packages"


def test_the_launcher_becomes_the_program_so_that_signals_reach_it(ready: Checkout) -> None:
    process = ready.start()

    assert answer(process).demo["pid"] == process.pid


# --- an environment that cannot be used is made anew --------------------------------------------


def test_a_copied_checkout_is_noticed_and_a_signal_ends_all_that_was_started(ready: Checkout) -> None:
    copy = ready.root.with_name("copy")
    shutil.copytree(ready.root, copy, symlinks=True)
    pipe = ready.root.parent / "pipe"
    os.mkfifo(pipe)
    with_uv = ready.root.parent / "tools with a slow uv"
    shutil.copytree(ready.tools, with_uv, symlinks=True)
    write_program(with_uv / "uv", f'cat "{pipe}" & wait')

    process = ready.start(launcher=copy / "bin" / "say", env={"PATH": str(with_uv)})
    with pipe.open("wb", buffering=0) as writer:  # opens once uv's child reads
        process.send_signal(signal.SIGTERM)
        given = answer(process)
        watch = select.poll()
        watch.register(writer, select.POLLERR)
        readers_gone = watch.poll(10_000)

    assert given.status == 128 + signal.SIGTERM
    first, last = given.lines
    assert first.endswith("The old one goes: it was made in another folder.")
    assert last.startswith("Stopped while the environment was being made")
    assert readers_gone, "the child of uv outlived the launcher"


def test_an_installation_that_was_killed_is_not_taken_for_a_finished_one(ready: Checkout) -> None:
    """The lock of the dead is no lock, what is there by half goes, and a broken uv is no obstacle."""
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(30)
        host, port = index.getsockname()
        url = f"http://{host}:{port}/simple"
        ready.require("first", "absent")
        process = ready.start(env={"PIP_INDEX_URL": url, "PIP_NO_INDEX": "0", "PIP_RETRIES": "0"})
        asked_by_pip, _ = index.accept()
        process.kill()
        asked_by_pip.close()  # an orphan now, it gives up
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    ready.require("first", "second")
    with_uv = ready.root.parent / "tools with a broken uv"
    shutil.copytree(ready.tools, with_uv, symlinks=True)
    write_program(with_uv / "uv", "echo 'error: out of order'; exit 1")

    given = ready.call(env={"PATH": str(with_uv)})

    *_, making, no_venv, no_packages, done = given.lines  # before them, perhaps, that it waits for the orphan
    assert making.endswith("The old one goes: its installation was interrupted.")
    assert no_venv == "uv could not make it (out of order); going on with venv and pip ..."
    assert no_packages == "uv could not install the packages (out of order); going on with pip ..."
    assert done.startswith("The environment is ready")
    assert (given.status, given.demo["installed"]) == (0, ["first", "second"])


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Checkout) -> None:
    mine = checkout.root / ".venv" / "mine"
    mine.parent.mkdir()
    mine.touch()

    given = checkout.call()

    assert given.status == 2
    assert given.lines == [
        f"error: {mine.parent} is no Python environment; move it away, then run this again"
    ]
    assert mine.exists()


# --- one clear line when it cannot be made ------------------------------------------------------


def test_without_a_network_it_says_so(ready: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    ready.require("first", "absent")

    given = ready.call(
        env={"PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_NO_INDEX": "0", "PIP_RETRIES": "1"}
    )

    log = ready.root / ".venv" / "install.log"
    assert given.status == 2
    assert given.lines == [
        "Completing the environment in .venv ...",
        "error: the packages cannot be installed: the package index cannot be reached; is there a network? "
        f"(details: {log})",
    ]
    assert "pip install" in log.read_text()


def test_a_package_that_is_not_there_is_named(ready: Checkout) -> None:
    ready.require("first", "absent")

    given = ready.call()

    assert given.status == 2
    assert "the packages cannot be installed: No matching distribution found for absent" in given.lines[-1]


def test_a_python_that_is_too_old_is_named_with_the_fix(checkout: Checkout) -> None:
    write_program(checkout.tools / "python3", "echo 3.9.18")

    given = checkout.call()

    assert given.status == 2
    assert given.lines == [
        "error: no Python 3.11 or later (python3 is 3.9.18); install one, or name it: PYTHON=/path/to/python3"
    ]


def test_without_any_python_it_says_so(checkout: Checkout) -> None:
    (checkout.tools / "python3").unlink()

    given = checkout.call()

    assert given.status == 2
    assert given.lines == [
        "error: no Python 3.11 or later (python3 is not there or does not run); "
        "install one, or name it: PYTHON=/path/to/python3"
    ]


def test_a_python_without_venv_is_named_with_the_package_to_install(checkout: Checkout) -> None:
    """As on Debian, where ensurepip is a package of its own."""
    real = checkout.tools / "python3"
    real.rename(checkout.tools / "real")
    write_program(real, f'case "$*" in *ensurepip*) exit 1 ;; esac; exec "{checkout.tools}/real" "$@"')

    given = checkout.call()

    assert given.status == 2
    [line] = given.lines
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert line.endswith(
        f"has no venv with ensurepip; on Debian or Ubuntu: sudo apt install python{minor}-venv"
    )


def test_a_python_named_by_the_caller_is_the_only_one_tried(checkout: Checkout) -> None:
    given = checkout.call(env={"PYTHON": "/no/such/python"})

    assert given.status == 2
    assert "(/no/such/python is not there or does not run)" in given.lines[0]


def test_the_oldest_python_is_the_one_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["requires-python"] == ">=3.11"
    assert "no Python 3.11 or later" in (ROOT / "bin" / "_environment").read_text()
