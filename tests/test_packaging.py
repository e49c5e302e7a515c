"""The project as a package: its version stands in one place, and each launcher is a command of it.

That a wheel installs into an empty environment and runs there is shown by `python -m tests.wheel`.
"""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trioactor.version import VERSION

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS: dict[str, str] = PROJECT["scripts"]
ROLE = re.compile(r'/_role" ([\w.]+) ([\w-]+) "\$@"$', re.MULTILINE)
LAUNCHED = {
    path.name: found[1]
    for path in (ROOT / "bin").iterdir()
    if not path.name.startswith("_") and (found := ROLE.search(path.read_text()))
}
ONE_OF_EACH = {function: script for script, function in SCRIPTS.items()}


def test_each_launcher_of_a_role_is_a_command_of_the_package() -> None:
    wanted = {f"trioactor-{name}": f"{package}.__main__:console" for name, package in LAUNCHED.items()}

    assert wanted == SCRIPTS


@pytest.mark.parametrize("script", ONE_OF_EACH.values())
def test_a_command_of_the_package_is_called_by_its_name(script: str, tmp_path: Path) -> None:
    """As an installer writes it: a file of that name which calls the function."""
    module, function = SCRIPTS[script].split(":")
    file = tmp_path / script
    file.write_text(f"from {module} import {function}\n{function}()\n")

    done = subprocess.run(
        [sys.executable, str(file), "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: {script} ")


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert importlib.import_module("trioactor").__version__ == VERSION
    elsewhere = [
        path
        for package in ("trioactor", "federation", "gossip", "persistence", "prep")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "version.py" and f'"{VERSION}"' in path.read_text()
    ]
    assert elsewhere == []
