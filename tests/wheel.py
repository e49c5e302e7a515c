"""`python -m tests.wheel`: the wheel and the sdist install into empty environments and run both modes there.

Needs the package index, and takes a minute or two. Nothing of the checkout is in reach of what is installed:
it runs in an empty folder, with an environment of its own, and without PYTHONPATH.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

from trioactor.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("trioactor", "federation", "gossip", "persistence", "prep")
RUNS = (
    ("start-provider-mode", "--rounds", "2", "--plain"),
    ("start-gossip-mode", "--rounds", "2", "--plain"),
    ("report",),
    ("check",),
)


def main() -> None:
    """Build, install and run; ends with status 1 at the first thing that is not as it must be."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        folder = Path(name)
        wheel, sdist = _build(folder)
        _look_into(wheel, sdist)
        for archive in wheel, sdist:
            began = time.monotonic()
            place = folder / archive.name
            _install(archive, place)
            for run in RUNS if archive is wheel else RUNS[:1]:
                _run(place, *run)
            print(f"{archive.name}: installed and run in {time.monotonic() - began:.0f} s")


def _build(folder: Path) -> tuple[Path, Path]:
    """Build from what git would ship, so that nothing lying about gets in."""
    source, out = folder / "source", folder / "dist"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for path in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / path).is_file():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes((ROOT / path).read_bytes())
    _do([sys.executable, "-m", "build", "--outdir", str(out), str(source)], folder)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def _look_into(wheel: Path, sdist: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    strangers = {name.split("/")[0] for name in names} - {*PACKAGES, f"trioactor-{VERSION}.dist-info"}
    assert not strangers, f"the wheel also has {strangers}"
    for package in PACKAGES:
        assert f"{package}/py.typed" in names, f"the wheel lacks {package}/py.typed"
    assert "trioactor/wire.cddl" in names, "the wheel lacks trioactor/wire.cddl"
    with tarfile.open(sdist) as archive_of_source:
        inside = {name.partition("/")[2] for name in archive_of_source.getnames()}
    for needed in ("pyproject.toml", "README.md", "LICENSE"):
        assert needed in inside, f"the sdist lacks {needed}"


def _install(archive: Path, place: Path) -> None:
    place.mkdir()
    _do([sys.executable, "-m", "venv", str(place / "venv")], place)
    pip = [str(place / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    _do([*pip, "--disable-pip-version-check", str(archive)], place)


def _run(place: Path, launcher: str, *flags: str) -> None:
    workspace = ["--workspace", str(place / "workspace")]
    _do([str(place / "venv" / "bin" / f"trioactor-{launcher}"), *flags, *workspace], place)


def _do(command: list[str], folder: Path) -> None:
    """Run a command in a folder, with nothing of ours in reach."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("PYTHON", "FEDERATION_"))}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
