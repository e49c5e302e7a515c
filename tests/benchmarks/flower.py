"""Flower beside ours: the same training, simulated on Ray and deployed on this machine.

Flower lives in an environment of its own, `.venv-flower`, which `bin/benchmark peers` makes: its versions
of common libraries are not ours. Where it is not there, its rows are left out. Telemetry and the look for
updates are off, and its home is a temporary folder.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.processes import ROOT
from tests.benchmarks.tree import Tree

ENVIRONMENT = ROOT / ".venv-flower"
REQUIREMENTS = ("flwr[simulation]>=1.42", "numpy>=1.26", "threadpoolctl>=3.5")  # the last two are ours

APP = """
[project]
name = "beside"
version = "1.0.0"
description = "The job of a benchmark"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "nobody"

[tool.flwr.app.components]
serverapp = "beside.parts:server_app"
clientapp = "beside.parts:client_app"
"""
PARTS = """
from tests.benchmarks.flower_app import client_app, server_app

__all__ = ["client_app", "server_app"]
"""
HOME = """
[superlink]
default = "here"

[superlink.here]
address = "127.0.0.1:{port}"
insecure = true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What Flower is to do.

    Attributes:
        names: Of the workers; with seed and round they are where a worker's chance comes from.
        fraction: Of the workers that train in a round.
        score_workers: Whether a worker scores what it has trained on its own samples, as ours do.
        cores: How many Ray may use.
    """

    names: tuple[str, ...]
    rounds: int
    epochs: int
    batch_size: int
    learning_rate: float
    features: int
    classes: int
    mu: float = 0.0
    seed: int = 0
    fraction: float = 1.0
    score_workers: bool = True
    cores: int = 2


@dataclass(frozen=True, slots=True)
class Done:
    """How it went.

    Attributes:
        round_seconds: From the end of one scored round to that of the next; the first from the initial score.
        start_seconds: From the command to the first finished round.
        total_seconds: From the command to its end.
        peak_bytes: Most memory of all its processes at once (PSS: shared pages are counted once).
        accuracy: Of the last model, 0 to 1.
    """

    round_seconds: tuple[float, ...]
    start_seconds: float
    total_seconds: float
    peak_bytes: int
    accuracy: float


def python() -> Path | None:
    """Return Flower's Python, None where there is none."""
    found = ENVIRONMENT / "bin" / "python"
    return found if found.exists() and any(ENVIRONMENT.glob("lib/*/site-packages/flwr")) else None


def install() -> None:
    """Make Flower's environment, or complete it.

    Raises:
        subprocess.CalledProcessError: It cannot be made; what failed has said why.
    """
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    subprocess.run([*pip, *REQUIREMENTS], check=True)


def versions() -> dict[str, str]:
    """Return the versions of what is in Flower's environment: flwr and ray."""
    found = {}
    for name in "flwr", "ray":
        for folder in ENVIRONMENT.glob(f"lib/*/site-packages/{name}-*.dist-info"):
            found[name] = folder.name.removeprefix(f"{name}-").removesuffix(".dist-info")
    return found


def write_job(
    folder: Path, job: Job, parts: tuple[np.ndarray[Any, Any], ...], judge: tuple[np.ndarray[Any, Any], ...]
) -> None:
    """Write what Flower's processes read.

    Args:
        folder: Made if it is not there.
        job: What to do.
        parts: X (workers, samples, features) float32 and y (workers, samples) int64.
        judge: X (samples, features) and y (samples,) that each round is scored on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(("X", "y", "judge_X", "judge_y"), (*parts, *judge), strict=True):
        np.save(folder / f"{name}.npy", array)
    (folder / "job.json").write_text(json.dumps(asdict(job)))


def simulated(folder: Path) -> Done:
    """Run the job in Flower's simulation, on Ray.

    Raises:
        RuntimeError: It has failed; the end of its log is in the message.
    """
    began = time.time()
    with _logged(folder, "simulation.log", "python", "-m", "tests.benchmarks.flower_app") as process:
        tree = Tree([process.pid])
        while process.poll() is None:
            tree.look()
            time.sleep(0.2)
        if process.returncode:
            raise RuntimeError(f"Flower's simulation failed: {_end_of(folder / 'simulation.log')}")
    return _figures(folder, began, tree)


def deployed(folder: Path) -> Done:
    """Run the job on a SuperLink and as many SuperNodes as there are workers, without TLS, by its defaults.

    Raises:
        RuntimeError: It has failed; the end of its log is in the message.
    """
    names = json.loads((folder / "job.json").read_text())["names"]
    app, (port, *ports) = folder / "app", _free_ports(1 + len(names))
    (app / "beside").mkdir(parents=True, exist_ok=True)
    (app / "pyproject.toml").write_text(APP)
    (app / "beside" / "__init__.py").touch()
    (app / "beside" / "parts.py").write_text(PARTS)
    (folder / "home").mkdir(exist_ok=True)
    (folder / "home" / "config.toml").write_text(HOME.format(port=port))
    address = f"127.0.0.1:{port}"
    with ExitStack() as stack:
        link = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation"]
        started = [stack.enter_context(_logged(folder, "link.log", *link, "--port", str(port)))]
        _wait_for(port)
        for place, own in enumerate(ports):
            node = ["flower-supernode", "--insecure", "--superlink", address, "--port", str(own)]
            config = f"partition-id={place} num-partitions={len(names)}"
            started.append(
                stack.enter_context(_logged(folder, f"node-{place}.log", *node, "--node-config", config))
            )
        tree = Tree([process.pid for process in started])
        began = time.time()
        run = stack.enter_context(_logged(folder, "run.log", "flwr", "run", str(app), "here", "--stream"))
        while run.poll() is None and not (folder / "figures.json").exists():
            tree.look()
            time.sleep(0.5)
        if not (folder / "figures.json").exists():
            raise RuntimeError(f"Flower's deployment failed: {_end_of(folder / 'run.log')}")
        return _figures(folder, began, tree)


def _figures(folder: Path, began: float, tree: Tree) -> Done:
    figures = json.loads((folder / "figures.json").read_text())
    (folder / "figures.json").unlink()
    ended: Sequence[float] = figures["ended"]
    lengths = [after - before for before, after in zip([figures["began"], *ended], ended, strict=False)]
    return Done(
        tuple(lengths), ended[0] - began, time.time() - began, tree.peak_bytes, float(figures["accuracy"])
    )


@contextmanager
def _logged(folder: Path, log: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start one of Flower's commands; at the end it is gone, and so is what it has started."""
    binaries = ENVIRONMENT / "bin"
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {
        **os.environ,
        **quiet,
        "TRIOACTOR_FLOWER_JOB": str(folder),
        "FLWR_HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    with (folder / log).open("wb") as output:
        process = subprocess.Popen(
            [str(binaries / command[0]), *command[1:]],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        tree = Tree([process.pid])
        try:
            yield process
        finally:
            tree.end()
            process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"Flower's SuperLink does not listen at port {port} after 30 s")


def _end_of(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").split()[-40:])
