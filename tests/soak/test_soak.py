"""What a soak judges, on figures made for it, and the slow link on a virtual clock; `bin/soak` soaks."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock

from tests.soak.cast import free_port
from tests.soak.relay import Relay
from tests.soak.verdict import Bounds, Sample, Soaked, bytes_a_round, leaks, stuck_seconds, table

LEVEL = {"memory_mib": 100.0, "handles": 50, "tasks": 80, "threads": 10}


def soaked(**rising: float) -> Soaked:
    """Return a soak of 100 s, in the second half of which some measures rise by so much a second."""
    done = Soaked(calm_from=50.0)
    for second in range(101):
        grown = {
            name: type(level)(level + rising.get(name, 0.0) * max(second - 50, 0))
            for name, level in LEVEL.items()
        }
        written = rising.get("database_mib", 2.0) if second > 75 else 2.0
        before = done.samples[-1].database_mib if done.samples else 0.0
        done.samples.append(
            Sample(
                seconds=float(second),
                mode="gossip",
                processes=4,
                rounds=second,
                database_mib=before + written,
                memory_mib=grown["memory_mib"],
                handles=int(grown["handles"]),
                tasks=int(grown["tasks"]),
                threads=int(grown["threads"]),
            )
        )
    return done


def test_a_soak_in_which_nothing_grows_is_praised_by_silence() -> None:
    assert list(leaks(soaked(), Bounds())) == []


@pytest.mark.parametrize(
    ("measure", "each_second"), [("memory_mib", 1.0), ("handles", 1.0), ("tasks", 3.0), ("threads", 0.5)]
)
def test_what_grows_when_nobody_is_killed_is_a_leak(measure: str, each_second: float) -> None:
    (found,) = leaks(soaked(**{measure: each_second}), Bounds())

    assert f"gossip: {measure} rose" in found


def test_a_record_that_grows_faster_than_its_rounds_is_found() -> None:
    (found,) = leaks(soaked(database_mib=8.0), Bounds())

    assert "a round wrote" in found


def test_what_came_back_before_killing_ended_is_no_leak() -> None:
    """A process that has just been started is small; it counts only what comes after."""
    done = soaked()
    small = [one for one in done.samples if one.seconds < 50]
    done.samples[: len(small)] = [
        Sample(
            seconds=one.seconds,
            mode=one.mode,
            memory_mib=10.0,
            handles=5,
            tasks=5,
            threads=1,
            processes=1,
            database_mib=0.0,
            rounds=0,
        )
        for one in small
    ]

    assert list(leaks(done, Bounds())) == []


def test_the_longest_time_without_a_round_is_told() -> None:
    done = soaked()
    still = [one for one in done.samples if not 20 < one.seconds < 45]

    assert stuck_seconds(still) == 25.0


def test_a_short_time_says_nothing_of_what_a_round_writes() -> None:
    """The log of SQLite is emptied in steps of megabytes."""
    assert bytes_a_round(soaked().samples[:3]) is None


def test_the_table_is_short_however_long_the_soak_was() -> None:
    head, *lines = table(soaked(), lines=5)

    assert len(lines) == 5
    assert all(len(line) == len(head) for line in lines)
    assert [line[1] for line in (lines[0], lines[-1])] == ["0", "100"]


async def test_the_slow_link_delays_each_way_and_limits_the_rate(autojump_clock: MockClock) -> None:
    async def echo(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    relay = partial(Relay, bytes_per_second=100_000.0, delay_seconds=2.0)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
        link = relay(listeners[0].socket.getsockname()[1])
        port = await nursery.start(link.serve, "127.0.0.1", 0)
        before = trio.current_time()
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(bytes(200_000))
            received = 0
            while received < 200_000:
                received += len(await stream.receive_some())
            taken = trio.current_time() - before
        nursery.cancel_scope.cancel()

    assert taken >= 2 * 2.0 + 0.95 * 200_000 / 100_000.0  # there, back, and the rate up to the last piece
    assert link.connections == 1


async def test_who_dials_somebody_who_is_away_is_hung_up_on() -> None:
    link = Relay(free_port(), bytes_per_second=1e6, delay_seconds=0.0)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(link.serve, "127.0.0.1", 0)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            try:
                said = await stream.receive_some()
            except trio.BrokenResourceError:
                said = b""
        nursery.cancel_scope.cancel()

    assert said == b""
