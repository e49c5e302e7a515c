"""Processes as actors: real processes, Python's own as the program."""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trioactor import ActorSystem
from trioactor.process import (
    MAX_LINE_BYTES,
    CannotStart,
    Command,
    LineSplitter,
    ProcessActor,
    ProcessFailed,
    ProcessStatus,
    SendSignal,
)
from trioactor.supervision import Backoff, ChildSpec, Supervisor

PATIENCE_SECONDS = 20  # of a machine that is busy with other things; nothing waits for it to pass


def python(program: str, **settings: object) -> Command:
    return Command([sys.executable, "-u", "-c", program], **settings)  # type: ignore[arg-type]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Lines:
    """What a process wrote, and a way to wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._news = trio.Event()

    def __call__(self, channel: str, line: str) -> None:
        self.seen.append((channel, line))
        self._news.set()
        self._news = trio.Event()

    async def wait_for(self, wanted: Callable[[list[tuple[str, str]]], bool]) -> None:
        with trio.fail_after(PATIENCE_SECONDS):
            while not wanted(self.seen):
                await self._news.wait()


SLEEPER = "import time; print('up'); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"


async def test_what_a_process_writes_comes_line_by_line() -> None:
    lines = Lines()
    program = (
        "import sys; print('one'); print('two'); print('wrong', file=sys.stderr); print('no end', end='')"
    )
    async with ActorSystem() as system:
        ref = await system.actor_of(lambda: ProcessActor(python(program), lines), "p")
        with trio.fail_after(PATIENCE_SECONDS):
            ended = trio.Event()
            ref.on_down(lambda _: ended.set())
            await ended.wait()
    stdout = [line for channel, line in lines.seen if channel == "stdout"]
    assert stdout == ["one", "two", "no end"]
    assert ("stderr", "wrong") in lines.seen


async def test_stopping_the_actor_ends_the_process() -> None:
    lines = Lines()
    async with ActorSystem() as system:
        ref = await system.actor_of(lambda: ProcessActor(python(SLEEPER), lines), "p")
        pid = (await ref.ask(ProcessStatus())).pid
        await lines.wait_for(lambda seen: ("stdout", "up") in seen)
        assert is_running(pid)
        await ref.stop()
        assert not is_running(pid)


async def test_a_process_that_ignores_the_request_to_end_is_ended_by_force() -> None:
    lines = Lines()
    async with ActorSystem() as system:
        ref = await system.actor_of(lambda: ProcessActor(python(DEAF, grace_seconds=0.2), lines), "p")
        pid = (await ref.ask(ProcessStatus())).pid
        await lines.wait_for(lambda seen: ("stdout", "up") in seen)
        await ref.stop()
        assert not is_running(pid)


async def test_cancelling_the_block_leaves_no_process() -> None:
    lines = Lines()
    pid = 0
    with trio.CancelScope() as scope:
        async with ActorSystem() as system:
            ref = await system.actor_of(lambda: ProcessActor(python(SLEEPER), lines), "p")
            pid = (await ref.ask(ProcessStatus())).pid
            scope.cancel()
    assert pid
    assert not is_running(pid)


async def test_a_bad_end_is_the_failure_of_the_actor_with_the_last_words() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem() as system:
            program = "import sys; print('no disk', file=sys.stderr); sys.exit(3)"
            await system.actor_of(lambda: ProcessActor(python(program)), "p")
            await trio.sleep(PATIENCE_SECONDS)
    assert caught.group_contains(ProcessFailed, match="status 3: no disk")


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGRTMIN + 1, f"signal {signal.SIGRTMIN + 1}")]
)
def test_the_signal_that_ended_a_process_is_named_where_it_has_a_name(number: int, name: str) -> None:
    assert str(ProcessFailed("worker", -number, ["last"])) == f"process 'worker' was ended by {name}: last"


async def test_a_good_end_stops_the_actor() -> None:
    async with ActorSystem() as system:
        ref = await system.actor_of(lambda: ProcessActor(python("pass")), "p")
        ended = trio.Event()
        ref.on_down(lambda _: ended.set())
        with trio.fail_after(PATIENCE_SECONDS):
            await ended.wait()
        assert system.find("p") is None


async def test_statuses_can_be_declared_good() -> None:
    async with ActorSystem() as system:
        command = python("raise SystemExit(3)", ok_statuses=frozenset({0, 3}))
        ref = await system.actor_of(lambda: ProcessActor(command), "p")
        ended = trio.Event()
        ref.on_down(lambda _: ended.set())
        with trio.fail_after(PATIENCE_SECONDS):
            await ended.wait()


async def test_whoever_wants_to_know_is_told_the_status_of_each_end() -> None:
    """Also of those that count as failures; not when it was we who ended it."""
    statuses: list[int] = []
    lives = iter(["raise SystemExit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", SLEEPER])
    lines = Lines()
    make = lambda: ProcessActor(python(next(lives)), lines, statuses.append)
    spec = ChildSpec(make, "p")
    async with ActorSystem() as system:
        await system.actor_of(lambda: Supervisor([spec], backoff=Backoff(first_seconds=0.01)), "sup")
        await lines.wait_for(lambda seen: ("stdout", "up") in seen)
    assert statuses == [3, -signal.SIGKILL]


async def test_a_process_is_in_a_group_of_its_own_unless_it_is_told_otherwise() -> None:
    """Ctrl-C goes to the whole group in the foreground; ours is to end its processes in good order."""
    program = "import os; print(os.getpgid(0))"
    for own_group in (True, False):
        lines = Lines()
        async with ActorSystem() as system:
            command = python(program, own_group=own_group)
            await system.actor_of(partial(ProcessActor, command, lines), "p")
            await lines.wait_for(bool)
        assert (lines.seen[0][1] != str(os.getpgid(0))) == own_group


async def test_a_program_that_does_not_exist_fails_the_start() -> None:
    async with ActorSystem() as system:
        with pytest.raises(CannotStart, match="cannot start 'nothing-here'"):
            await system.actor_of(lambda: ProcessActor(Command(["/nothing-here"])), "p")


async def test_a_killed_process_comes_back_under_its_supervisor() -> None:
    lines = Lines()
    spec = ChildSpec(lambda: ProcessActor(python(SLEEPER), lines), "p")
    async with ActorSystem() as system:
        await system.actor_of(lambda: Supervisor([spec], backoff=Backoff(first_seconds=0.01)), "sup")
        ref = system.find("sup/p")
        assert ref is not None
        first = (await ref.ask(ProcessStatus())).pid
        await lines.wait_for(lambda seen: len(seen) == 1)
        await ref.tell(SendSignal(signal.SIGKILL))
        await lines.wait_for(lambda seen: len(seen) == 2)
        second = (await ref.ask(ProcessStatus())).pid
        assert first != second
        assert not is_running(first)
    assert not is_running(second)


async def test_a_grandchild_that_holds_the_pipes_does_not_hold_up_the_end() -> None:
    lines = Lines()
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid)"
    )
    async with ActorSystem() as system:
        ref = await system.actor_of(lambda: ProcessActor(python(program, grace_seconds=0.2), lines), "p")
        ended = trio.Event()
        ref.on_down(lambda _: ended.set())
        with trio.fail_after(PATIENCE_SECONDS):
            await ended.wait()
    os.kill(int(lines.seen[0][1]), signal.SIGKILL)


async def test_a_process_that_watches_its_stdin_ends_with_a_killed_parent(tmp_path: Path) -> None:
    """kill -9 of the program with the actors: the process under it notices the end of its stdin."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import os, trio\n"
        "from trioactor.process import end_with_parent\n"
        "print('worker', os.getpid(), flush=True)\n"
        "trio.run(end_with_parent)\n"
    )
    parent = (
        "import sys, trio\n"
        "from trioactor import ActorSystem\n"
        "from trioactor.process import Command, ProcessActor\n"
        "async def main():\n"
        "    async with ActorSystem() as system:\n"
        f"        command = Command([sys.executable, {str(worker)!r}])\n"
        "        show = lambda _, line: print(line, flush=True)\n"
        "        await system.actor_of(lambda: ProcessActor(command, show), 'p')\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    lines = Lines()
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    async with ActorSystem() as system:
        command = python(parent, environment=environment, ok_statuses=frozenset({-signal.SIGKILL}))
        ref = await system.actor_of(lambda: ProcessActor(command, lines), "parent")
        await lines.wait_for(lambda seen: any(line.startswith("worker") for _, line in seen))
        worker_pid = int(lines.seen[0][1].split()[1])
        assert is_running(worker_pid)
        await ref.tell(SendSignal(signal.SIGKILL))
        with trio.fail_after(PATIENCE_SECONDS):
            while is_running(worker_pid):  # noqa: ASYNC110  # only the kernel knows when
                await trio.sleep(0.01)


@given(
    st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=30)), st.integers(1, 7)
)
def test_lines_survive_any_chunking(lines: list[str], size: int) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    splitter = LineSplitter()
    seen: list[str] = []
    for start in range(0, len(data), size):
        seen += splitter.feed(data[start : start + size])

    assert seen + splitter.rest() == lines


def test_a_line_without_end_is_handed_on_in_pieces() -> None:
    splitter = LineSplitter()

    pieces = splitter.feed(b"x" * (2 * MAX_LINE_BYTES + 5))

    assert [len(piece) for piece in [*pieces, *splitter.rest()]] == [MAX_LINE_BYTES, MAX_LINE_BYTES, 5]
