"""Training on Ray, for those who have outgrown one machine, and how a trio program talks to it.

Ray's calls block, so they run in threads; that a task is done, Ray says by a callback in a thread of its own,
which wakes the trio task that waits. Cancelling that one cancels the Ray task, by force: its process ends.

The samples are put into the object store once; the processes of a machine share what is there. A process, or
a machine, that is lost has its piece of work trained again elsewhere, by Ray's own retries: the bytes are the
same, since all chance in it comes from the seed, the worker and the round.

A cluster whose head does not answer for `LOST_SECONDS` is lost, and ends the run with an error: Ray itself
would go on for a minute and then end this process. What is committed by then is in the record, to be resumed.
Ray's own farewell takes some 5 s more then.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import trio
from threadpoolctl import threadpool_limits

from federation.errors import SettingsError
from federation.offload import in_thread, in_thread_left_behind
from federation.programs import leaves_of
from federation.simulation.assignment import Answers, Work
from federation.simulation.config import SimulationConfig
from federation.simulation.data import Shards
from federation.simulation.engine import Bench, Engine, EngineFailed, in_pieces, one_failure, trainer_for
from federation.simulation.pool import cores
from federation.simulation.trainer import Trainer

logger = logging.getLogger(__name__)

# How often Ray tries a piece of work again whose process or machine was lost.
RETRIES = 3

# A socket's path has 107 bytes at most (unix(7)), of which Ray takes some 65 below its folder.
LONGEST_FOLDER = 40

# How often, and how long apart, a task is told that it is cancelled.
CANCEL_TRIES = 5
CANCEL_SECONDS = 1.0

# What is set even where the user has set it: it holds all that the user's did, as Python has read it.
OURS = ("PYTHONPATH",)

# How the command line of the process names itself that adds machines to a cluster, in clouds that have them.
MONITOR = b"monitor.py"

# How long a cluster may take to accept a connection.
REACH_SECONDS = 10.0

# How often the head of a cluster is asked whether it is there while it trains, and how long it may be gone:
# it may be restarted, and work that is under way goes on without it. Ray ends the process after 60 s.
LOOK_SECONDS = 1.0
LOST_SECONDS = 10.0


@asynccontextmanager
async def open_ray(bench: Bench, shards: Shards, config: SimulationConfig) -> AsyncIterator[Engine]:
    """Connect to a cluster, or start one here; leave or end it behind the block.

    Args:
        bench: What trains there.
        shards: The samples of all workers.
        config: The settings; of them the address, the number of processes and the workspace.

    Raises:
        SettingsError: Ray is not installed; the text says how to get it.
        EngineFailed: There is no cluster at the address, or none could be started.
    """
    with ExitStack() as surroundings:
        if config.ray_address is None:
            folder = surroundings.enter_context(_folder_for(config.workspace))
            surroundings.enter_context(_environment(_for_a_cluster_here()))
        try:
            await in_thread(lambda _: importlib.import_module("ray"))  # takes a second
        except ImportError as error:
            raise SettingsError(
                "--engine ray: it needs the package ray, which is not installed here; get it with "
                "pip install 'trioactor[ray]'"
            ) from error
        try:
            if config.ray_address is None:
                slots: int = config.processes or cores()
                await in_thread(lambda _: _start(folder, slots))
            else:
                await _reach(config.ray_address)
                there = await in_thread(lambda _: _connect(str(config.ray_address)))
                slots = config.processes or there
            head = Head(await in_thread(lambda _: _address_of_head()))
            yield RayEngine(bench, await in_thread(lambda _: _put(shards)), slots, head)
        finally:
            with trio.CancelScope(shield=True):
                await in_thread(lambda _: _leave())


class Head:
    """The head of a cluster, as it looks from here.

    Args:
        address: Its "HOST:PORT".

    Attributes:
        is_lost: Whether it was gone for too long.
    """

    def __init__(self, address: str) -> None:
        self.is_lost = False
        self._address = address
        self._asked_at = -math.inf
        self._gone_since: float | None = None

    async def watch(self) -> None:
        """Ask again and again whether it is there.

        Raises:
            EngineFailed: It has not been for too long.
        """
        while True:
            await trio.sleep_until(self._asked_at + LOOK_SECONDS)
            why = await _why_unreachable(self._address)
            now = self._asked_at = trio.current_time()
            if not why:
                self._gone_since = None
            elif self._gone_since is None:
                self._gone_since = now
            elif now - self._gone_since >= LOST_SECONDS:
                self.is_lost = True
                raise EngineFailed(
                    f"--engine ray: the cluster is gone: its head at {self._address} has not answered for "
                    f"{now - self._gone_since:.0f} s ({why}); go on with --resume when it runs again, or "
                    "with --resume and another --engine"
                )


class RayEngine:
    """Trains on a cluster; see `Engine`.

    Args:
        bench: What trains there.
        held: Where in the object store the samples are.
        slots: How many pieces of work a round is cut into at least.
        head: Of the cluster.
    """

    def __init__(self, bench: Bench, held: Any, slots: int, head: Head) -> None:
        import ray

        self._bench = bench
        self._held = held
        self._slots = slots
        self._head = head
        self._train_there = ray.remote(max_retries=RETRIES)(train_on_ray)

    async def train(self, work: Work, places: Sequence[int]) -> list[Answers]:
        """See `Engine`."""
        parts: list[Answers] = []
        with one_failure():
            async with trio.open_nursery() as watching:
                watching.start_soon(self._head.watch)
                # What asks a cluster that is gone may never come back: it is left behind then.
                pieces = list(in_pieces(places, self._slots))
                tasks = await in_thread_left_behind(lambda _: self._submit(work, pieces))
                async with trio.open_nursery() as nursery:
                    for task in tasks:
                        nursery.start_soon(self._collect, task, parts)
                watching.cancel_scope.cancel()
        return parts

    def _submit(self, work: Work, pieces: Sequence[Sequence[int]]) -> list[Any]:
        """Blocking."""
        import ray

        given = ray.put(work)  # once, however many pieces there are
        # Inside a tuple a reference is handed on as it is: only a process that is new to the work fetches it.
        return [self._train_there.remote(self._bench, (self._held,), given, piece) for piece in pieces]

    async def _collect(self, task: Any, parts: list[Answers]) -> None:
        from ray.exceptions import RayError

        done, token = trio.Event(), trio.lowlevel.current_trio_token()
        future = task.future()

        def tell(_future: object) -> None:  # in a thread of Ray's
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        future.add_done_callback(tell)
        try:
            await done.wait()
        except trio.Cancelled:
            if not self._head.is_lost:
                with trio.CancelScope(shield=True):
                    await _end(task, done)
            raise
        try:
            parts.extend(future.result())
        except RayError as error:
            raise EngineFailed(
                f"--engine ray: a piece of work failed for good: {_in_a_line(error)}"
            ) from error


def train_on_ray(bench: Bench, held: tuple[Any], work: Work, piece: Sequence[int]) -> list[Answers]:
    """Train a piece of work. Runs in a process of the cluster, which makes its trainer once."""
    return _trainer_here(bench, held).train(work, piece)


@lru_cache(maxsize=1)
def _trainer_here(bench: Bench, held: tuple[Any]) -> Trainer:
    import ray

    threadpool_limits(limits=1, user_api="blas")  # for good: see `federation.learning.one_blas_thread`
    return trainer_for(bench, ray.get(held[0]))


async def _end(task: Any, done: trio.Event) -> None:
    """Cancel a task, and see that it has ended: what is just being started may miss being told so."""
    for _ in range(CANCEL_TRIES):
        await in_thread(lambda _: _cancel(task))
        with trio.move_on_after(CANCEL_SECONDS):
            await done.wait()
            return
    logger.warning("a task on Ray has not ended although it was cancelled; it ends with its cluster")


async def _reach(address: str) -> None:
    """See that something answers at an address: Ray itself would try for minutes.

    Raises:
        EngineFailed: Nothing does.
    """
    why = await _why_unreachable(address)
    if why:
        raise _unusable(address, why)


async def _why_unreachable(address: str) -> str:
    """Return why nothing accepts a connection at an address; empty where something does, or it names none."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not host or not port.isdigit():  # "auto", say
        return ""
    with trio.move_on_after(REACH_SECONDS):
        try:
            await (await trio.open_tcp_stream(host.strip("[]"), int(port))).aclose()
            return ""
        except OSError as error:
            return _in_a_line(next(leaves_of(error.__cause__ or error)))  # what the first attempt met
        except (UnicodeError, OverflowError) as error:  # of a host that no machine is called, and of a port
            return _in_a_line(error)
    return f"no answer within {REACH_SECONDS:g} s"


def _unusable(address: str, why: str) -> EngineFailed:
    return EngineFailed(
        f"--ray-address {address}: the cluster cannot be used ({why}); see with `ray status` whether it "
        "runs, or leave the flag out to start one here"
    )


# --- the cluster; all of it blocks --------------------------------------------------------------


def _start(folder: Path, slots: int) -> None:
    import ray

    try:
        ray.init(
            num_cpus=slots,
            include_dashboard=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=str(folder),
        )
    except Exception as error:  # whatever keeps it from starting
        raise EngineFailed(f"--engine ray: no cluster could be started here: {_in_a_line(error)}") from error


def _connect(address: str) -> int:
    """Connect to a cluster that runs; return how many cores it has."""
    import ray

    import federation
    import persistence
    import trioactor

    try:
        ray.init(
            address=address,
            configure_logging=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            # The cluster has Python and NumPy; what it is to run comes along.
            runtime_env={"py_modules": [federation, persistence, trioactor]},
        )
        return max(1, int(ray.cluster_resources().get("CPU", 1)))
    except Exception as error:  # whatever keeps us from it
        raise _unusable(address, _in_a_line(error)) from error


def _address_of_head() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _put(shards: Shards) -> Any:
    import ray

    return ray.put(shards)


def _cancel(task: Any) -> None:
    import ray

    ray.cancel(task, force=True)


def _leave() -> None:
    import ray

    _end_monitor()
    ray.shutdown()


def _end_monitor() -> None:
    """End the process of a cluster of ours that would scale it, without a word.

    Asked in Ray's way it does not end, and Ray waits a second before it uses force. It holds nothing.
    """
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "cmdline").read_bytes().split(b"\0") if parent == os.getpid() else []
            if any(word.endswith(MONITOR) for word in words):
                os.kill(int(path.name), signal.SIGKILL)


def _for_a_cluster_here() -> dict[str, str]:
    """Return what Ray is told by the environment of a cluster that is ours alone."""
    return {
        "RAY_USAGE_STATS_ENABLED": "0",  # no report to its makers
        "RAY_BACKEND_LOG_LEVEL": "fatal",  # what fails comes back as an error, and is said once
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # keeps other users out; else it is left in the home folder
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),  # its processes import what we do
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these variables in the environment within the block, but those that the user has set.

    Behind it, what Ray has left there is gone as well.
    """

    def of_ray() -> dict[str, str]:
        names = (*values, "PYTHONBREAKPOINT")
        return {name: value for name, value in os.environ.items() if name in names or name[:4] == "RAY_"}

    before = of_ray()
    os.environ.update({name: value for name, value in values.items() if name not in before or name in OURS})
    try:
        yield
    finally:
        for name in of_ray():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _folder_for(workspace: Path) -> Iterator[Path]:
    """Make the folder of a cluster's sockets and logs, in the workspace if its path is short enough."""
    folder = (workspace / "ray").absolute()
    short = len(os.fsencode(folder)) <= LONGEST_FOLDER
    path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=None if not short else _made(folder)))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # another one's cluster may have its folder there
            folder.rmdir()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _in_a_line(error: BaseException) -> str:
    """Return the last line of what Ray says; before it there may be pages of traceback."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
