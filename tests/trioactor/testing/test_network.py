"""The virtual network in virtual time: names and places, speed, and everything that can go wrong."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio
from trio.testing import MockClock

from trioactor.testing import Link, Network, SimulationError, drawn_link

EXACT = Link(latency_seconds=1.0, jitter_seconds=0.0)


@dataclass
class Line:
    """A connection from host "a" to host "b", and the network that it is on."""

    network: Network
    a: trio.SocketStream
    b: trio.SocketStream

    async def crosses(self, text: bytes = b"hello") -> float:
        """Send from a to b, and return how long it took."""
        began = trio.current_time()
        await self.a.send_all(text)
        got = b""
        while len(got) < len(text):
            piece = await self.b.receive_some()
            assert piece, "the connection has ended"
            got += piece
        assert got == text
        return trio.current_time() - began


async def listener(network: Network, name: str = "b", port: int = 7000) -> trio.SocketListener:
    with network.at(name):
        return (await trio.open_tcp_listeners(port, host=name))[0]


async def dial(network: Network, one: str = "a", other: str = "b", port: int = 7000) -> trio.SocketStream:
    with network.at(one):
        return await trio.open_tcp_stream(other, port)


@asynccontextmanager
async def line(link: Link = EXACT, seed: object = 0) -> AsyncIterator[Line]:
    async with Network(link=link, seed=seed) as network:
        server = await listener(network)
        a = await dial(network)
        yield Line(network, a, await server.accept())


def reason(error: trio.BrokenResourceError) -> int | None:
    assert isinstance(error.__cause__, OSError)
    return error.__cause__.errno


# --- names and places -------------------------------------------------------------------------------


async def test_hosts_are_found_by_name_and_by_address(autojump_clock: MockClock) -> None:
    async with Network() as network:
        server = await listener(network)
        ip = network.host("b").ip

        for host in ("b", ip):
            stream = await dial(network, "a", host)
            assert stream.socket.getpeername() == (ip, 7000)
            accepted = await server.accept()
            assert accepted.socket.getpeername()[0] == network.host("a").ip
            assert (await trio.socket.getnameinfo(stream.socket.getpeername(), 0))[0] == "b"


async def test_the_name_of_a_host_that_is_not_there_is_not_known(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.host("b")
        with pytest.raises(socket.gaierror, match="no host 'nowhere' on the virtual network; there are: b"):
            await trio.open_tcp_stream("nowhere", 1)
        with pytest.raises(OSError, match="all attempts") as caught:
            await trio.open_tcp_stream("192.0.2.1", 1)

    assert f"{errno.EHOSTUNREACH}" in repr(caught.value.__cause__)


@pytest.mark.parametrize("name", ["", "1", "B", "a b", "localhost", "-a", "1.2.3.4"])
def test_a_host_name_is_one_that_programs_can_dial(name: str) -> None:
    with pytest.raises(ValueError, match="one letter at least"):
        Network().host(name)


async def test_a_port_of_one_host_is_not_one_of_another(autojump_clock: MockClock) -> None:
    async with Network() as network:
        await listener(network, "a")
        await listener(network, "b")
        with pytest.raises(OSError, match="not an address of host 'a'"), network.at("a"):
            await trio.open_tcp_listeners(7001, host="b")


async def test_loopback_is_the_host_itself(autojump_clock: MockClock) -> None:
    async with Network() as network:
        with network.at("a"):
            server = (await trio.open_tcp_listeners(7000, host="127.0.0.1"))[0]
            stream = await trio.open_tcp_stream("localhost", 7000)
            await server.accept()
        assert stream.socket.getpeername() == ("127.0.0.1", 7000)
        with pytest.raises(OSError, match="all attempts"):  # for itself only
            await dial(network, "b", "a")


async def test_a_listener_on_all_addresses_is_reached_from_everywhere(autojump_clock: MockClock) -> None:
    async with Network() as network:
        with network.at("a"):
            await trio.open_tcp_listeners(7000)
            await trio.open_tcp_stream("127.0.0.1", 7000)
        await dial(network, "b", "a")


async def test_a_task_is_where_the_task_is_that_its_nursery_belongs_to(autojump_clock: MockClock) -> None:
    """Also when somebody on another host has started it: who owns it counts, not who called."""
    places: dict[str, str] = {}

    async def look(who: str) -> None:
        places[who] = network.here()[0].name

    async with Network() as network, trio.open_nursery() as outer:
        with network.at("a"):
            async with trio.open_nursery() as inner:
                with network.at("b"):
                    outer.start_soon(look, "of outer, started on b")
                    inner.start_soon(look, "of inner, started on b")
                    await look("called on b")
                    await trio.sleep(1)
                await look("called on a")
        await look("called outside")

    assert places == {
        "called on b": "b",
        "called on a": "a",
        "called outside": "main",
        "of inner, started on b": "b",  # the nursery's task was on b when it looked
        "of outer, started on b": "b",
    }


async def test_sockets_are_virtual_only_inside_the_block(autojump_clock: MockClock) -> None:
    async with Network():
        inside = trio.socket.socket()
    outside = trio.socket.socket()
    outside.close()

    assert "Virtual" in repr(inside)
    assert "Virtual" not in repr(outside)


async def test_a_network_is_entered_once(autojump_clock: MockClock) -> None:
    network = Network()
    async with network:
        pass
    with pytest.raises(RuntimeError, match="make another"):
        await network.__aenter__()


async def test_what_fails_in_the_block_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Network():
            raise ZeroDivisionError


# --- time -------------------------------------------------------------------------------------------


async def test_a_connection_takes_a_round_trip_and_a_message_half_of_one(autojump_clock: MockClock) -> None:
    async with Network(link=EXACT) as network:
        server = await listener(network)
        began = trio.current_time()
        a = await dial(network)

        assert trio.current_time() - began == 2
        assert await Line(network, a, await server.accept()).crosses() == 1


async def test_each_direction_has_a_link_of_its_own(autojump_clock: MockClock) -> None:
    async with line() as a_to_b:
        a_to_b.network.set_link("b", "a", Link(latency_seconds=5.0, jitter_seconds=0.0), one_way=True)
        b_to_a = Line(a_to_b.network, a_to_b.b, a_to_b.a)

        assert await a_to_b.crosses() == 1
        assert await b_to_a.crosses() == 5


async def test_jitter_delays_and_never_changes_the_order(autojump_clock: MockClock) -> None:
    async with line(Link(latency_seconds=0.1, jitter_seconds=10.0)) as pair:
        times = set()
        for number in range(50):
            await pair.a.send_all(bytes([number]))
        for number in range(50):
            assert await pair.b.receive_some(1) == bytes([number])
            times.add(trio.current_time())

    assert len(times) > 3


async def test_bandwidth_is_shared_by_the_connections_of_a_direction(autojump_clock: MockClock) -> None:
    """1,000 bytes a second: two times 2,000 bytes take four seconds, and the buffers are large."""
    async with line(replace(EXACT, bytes_per_second=1000, buffer_bytes=10_000)) as pair:
        server = await listener(pair.network, port=7001)
        second = Line(pair.network, await dial(pair.network, port=7001), await server.accept())
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.crosses, bytes(2000))
            nursery.start_soon(second.crosses, bytes(2000))

        assert trio.current_time() - began == pytest.approx(4 + 1)


async def test_a_sender_waits_until_its_bytes_are_read_when_the_buffer_is_full(
    autojump_clock: MockClock,
) -> None:
    async with line(replace(EXACT, buffer_bytes=100)) as pair:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.a.send_all, bytes(250))
            await trio.sleep(50)
            assert nursery.child_tasks
            received = 0
            while received < 250:
                received += len(await pair.b.receive_some())

        assert trio.current_time() == pytest.approx(
            3 + 50 + 2
        )  # the handshake, and two crossings for the rest


async def test_short_sends_take_a_part_of_what_they_are_given(autojump_clock: MockClock) -> None:
    async with line(replace(EXACT, short_sends=0.9)) as pair:
        sizes = {await pair.a.socket.send(bytes(1000)) for _ in range(20)}

    assert min(sizes) < 500
    assert all(1 <= size <= 1000 for size in sizes)


async def test_a_lost_segment_comes_late(autojump_clock: MockClock) -> None:
    """0.2 s for the first retransmission, 0.4 s more for the second, and so on: RFC 6298."""
    async with line(replace(EXACT, loss=0.5)) as pair:
        delays = Counter([round(await pair.crosses() - 1, 6) for _ in range(200)])

    assert set(delays) <= {round(0.2 * (2**lost - 1), 6) for lost in range(20)}
    assert 70 < delays[0.0] < 130
    assert 30 < delays[0.2] < 70


async def test_a_link_may_reset_connections_by_chance(autojump_clock: MockClock) -> None:
    async with line() as pair:
        pair.network.set_link("a", "b", replace(EXACT, resets=0.2))
        with pytest.raises(trio.BrokenResourceError):
            for _ in range(1000):
                await pair.crosses()

        assert pair.network.trace.counts["cut off"] == 1


async def test_a_link_that_is_disturbed_is_as_before_when_it_is_calm_again(autojump_clock: MockClock) -> None:
    async with line() as pair:
        pair.network.disturb("a", "b", Link(latency_seconds=7.0, jitter_seconds=0.0))
        assert await pair.crosses() == 7
        pair.network.calm("a", "b")
        assert await pair.crosses() == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"latency_seconds": -1}, "nothing below 0"),
        ({"loss": 1.0}, "probability below 1"),
        ({"bytes_per_second": 0}, "use a partition"),
        ({"jitter_seconds": float("nan")}, "jitter_seconds=nan"),
    ],
)
def test_a_link_that_cannot_be_says_why(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Link(**settings)  # type: ignore[arg-type]


def test_drawn_links_differ_and_are_all_possible() -> None:
    import random

    drawn = {drawn_link(random.Random(seed)) for seed in range(200)}

    assert len(drawn) == 200
    assert {link.resets > 0 for link in drawn} == {True, False}


# --- partitions -------------------------------------------------------------------------------------


async def test_what_a_partition_loses_comes_at_a_retransmission_after_it_has_healed(
    autojump_clock: MockClock,
) -> None:
    async with line() as pair:
        pair.network.partition(["a"], ["b"])
        lost_at = trio.current_time() + 1
        await pair.a.send_all(b"hello")
        with trio.move_on_after(5):
            await pair.b.receive_some()
            raise AssertionError("it came through a partition")
        pair.network.heal()

        assert await pair.b.receive_some() == b"hello"
        assert trio.current_time() - lost_at == pytest.approx(6.2)  # 0.2 + 0.4 + 0.8 + 1.6 + 3.2


async def test_a_one_way_partition_lets_the_other_way_through(autojump_clock: MockClock) -> None:
    async with line() as pair:
        pair.network.partition(["a"], ["b"], one_way=True)
        back = Line(pair.network, pair.b, pair.a)

        assert await back.crosses() == 1
        with trio.move_on_after(100):
            await pair.crosses()
            raise AssertionError("it came through")


async def test_hosts_in_no_group_are_not_concerned(autojump_clock: MockClock) -> None:
    async with Network(link=EXACT) as network:
        await listener(network, "b")
        network.partition(["a"], ["c"])
        await dial(network, "a", "b")


async def test_partitions_that_overlap_are_healed_one_by_one(autojump_clock: MockClock) -> None:
    async with line() as pair:
        first = pair.network.partition(["a"], ["b"])
        second = pair.network.partition(["a", "c"], ["b"])
        first.heal()
        first.heal()
        with trio.move_on_after(10) as scope:
            await pair.crosses()
        assert scope.cancelled_caught
        second.heal()

        with trio.fail_after(20):
            assert await pair.b.receive_some() == b"hello"


async def test_healing_among_some_leaves_the_others_cut(autojump_clock: MockClock) -> None:
    async with line() as pair:
        server = await listener(pair.network, "c")
        third = Line(pair.network, await dial(pair.network, "a", "c"), await server.accept())
        pair.network.partition(["a"], ["b", "c"])
        pair.network.heal(["a", "b"])

        await pair.crosses()
        with trio.move_on_after(100) as scope:
            await third.crosses()
        assert scope.cancelled_caught


async def test_a_connection_through_a_partition_times_out_in_the_end(autojump_clock: MockClock) -> None:
    async with line(replace(EXACT, patience_seconds=30)) as pair:
        pair.network.partition(["a"], ["b"])
        await pair.a.send_all(b"hello")
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await pair.a.receive_some()

        assert reason(caught.value) == errno.ETIMEDOUT
        assert trio.current_time() - began == pytest.approx(31)
        pair.network.heal()  # b learns of it when it says something
        await pair.b.send_all(b"are you there?")
        with pytest.raises(trio.BrokenResourceError):
            await pair.b.receive_some()


async def test_dialling_through_a_partition_works_when_it_has_healed_or_times_out(
    autojump_clock: MockClock,
) -> None:
    async with Network(link=replace(EXACT, connect_seconds=20)) as network:
        await listener(network)
        network.partition(["a"], ["b"])
        with pytest.raises(OSError, match="all attempts") as caught:
            await dial(network)
        assert trio.current_time() == pytest.approx(20)
        assert f"TimeoutError({errno.ETIMEDOUT}" in repr(caught.value.__cause__)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, network)
            await trio.sleep(5)
            network.heal()
        assert trio.current_time() - 20 == pytest.approx(
            1 + 7 + 1
        )  # sent, again after 1, 3 and 7 s, and back


async def test_an_acknowledgement_that_is_cut_off_keeps_the_sender_waiting(autojump_clock: MockClock) -> None:
    async with line(replace(EXACT, buffer_bytes=10)) as pair:
        pair.network.partition(["b"], ["a"], one_way=True)
        assert await pair.crosses(bytes(10)) == 1  # read there, and nobody here knows
        with trio.move_on_after(100) as scope:
            await pair.a.send_all(b"more")
        assert scope.cancelled_caught
        pair.network.heal()

        await pair.a.send_all(b"more")


async def test_a_group_is_no_string(autojump_clock: MockClock) -> None:
    async with Network() as network:
        with pytest.raises(SimulationError, match="a list of host names"):
            network.partition("ab", ["c"])


# --- stalls, resets, black holes ----------------------------------------------------------------------


async def test_what_a_stall_holds_up_comes_at_once_when_it_ends(autojump_clock: MockClock) -> None:
    async with line() as pair:
        pair.network.stall("b")
        for number in range(5):
            await pair.a.send_all(bytes([number]))
            await trio.sleep(1)
        await trio.sleep(10)
        before = trio.current_time()
        pair.network.resume("b")

        assert await pair.b.receive_some() == bytes(range(5))
        assert trio.current_time() == before


async def test_a_stalled_host_is_not_refused_and_not_gone(autojump_clock: MockClock) -> None:
    async with Network(link=EXACT) as network:
        await listener(network)
        network.stall("b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, network)
            await trio.sleep(30)
            network.resume("b")

        assert trio.current_time() == 31


async def test_a_reset_hits_both_ends_at_once(autojump_clock: MockClock) -> None:
    async with line() as pair:
        assert pair.network.reset("a", "b") == 1

        for stream in (pair.a, pair.b):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            assert reason(caught.value) == errno.ECONNRESET
        assert pair.network.reset("a", "b") == 0


async def test_a_black_hole_swallows_the_connection_and_no_other(autojump_clock: MockClock) -> None:
    async with line() as pair:
        server = await listener(pair.network, port=7001)
        assert pair.network.black_hole("a", "b") == 1
        second = Line(pair.network, await dial(pair.network, port=7001), await server.accept())

        assert await second.crosses() == 1
        with trio.move_on_after(100) as scope:
            await pair.crosses()
        assert scope.cancelled_caught


async def test_of_a_half_open_connection_one_end_knows_and_the_other_learns_when_it_speaks(
    autojump_clock: MockClock,
) -> None:
    async with line() as pair:
        assert pair.network.half_open("a", "b") == 1

        with pytest.raises(trio.BrokenResourceError):
            await pair.a.receive_some()
        with trio.move_on_after(1000) as scope:
            await pair.b.receive_some()
        assert scope.cancelled_caught
        await pair.b.send_all(b"hello?")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await pair.b.receive_some()
        assert reason(caught.value) == errno.ECONNRESET


# --- crashes ------------------------------------------------------------------------------------------


async def test_the_peers_of_a_crashed_program_see_a_reset(autojump_clock: MockClock) -> None:
    async with line() as pair:
        pair.network.crash("a")

        with pytest.raises(trio.BrokenResourceError) as caught:
            await pair.b.receive_some()
        assert reason(caught.value) == errno.ECONNRESET


async def test_a_crashed_program_listens_no_more_and_its_machine_refuses(autojump_clock: MockClock) -> None:
    async with line() as pair:
        pair.network.crash("b")

        with pytest.raises(OSError, match="all attempts") as caught:
            await dial(pair.network)
        assert "ConnectionRefusedError" in repr(caught.value.__cause__)
        await listener(pair.network)
        await dial(pair.network)


async def test_a_machine_without_power_answers_nothing(autojump_clock: MockClock) -> None:
    async with line(replace(EXACT, connect_seconds=10)) as pair:
        pair.network.crash("b", silently=True)
        await pair.a.send_all(b"hello?")

        with trio.move_on_after(100) as scope:
            await pair.a.receive_some()
        assert scope.cancelled_caught
        with pytest.raises(OSError, match="all attempts") as caught:
            await dial(pair.network)
        assert "TimeoutError" in repr(caught.value.__cause__)


@pytest.mark.parametrize("why", ["power", "patience"])
async def test_nothing_arrives_behind_bytes_that_are_lost_for_good(
    autojump_clock: MockClock, why: str
) -> None:
    """What the sender will never send again leaves a hole in the stream, and no program reads past a hole."""
    async with line(replace(EXACT, patience_seconds=1)) as pair:
        pair.network.partition(["a"], ["b"])
        await pair.a.send_all(b"one")  # is lost after a second, and given up after two
        await trio.sleep(1.5)
        await pair.a.send_all(b"two")
        if why == "power":
            await trio.sleep(0.2)
            pair.network.crash("a", silently=True)
        else:
            with pytest.raises(trio.BrokenResourceError):
                await pair.a.receive_some()
        pair.network.heal()

        with trio.move_on_after(100) as scope:
            assert await pair.b.receive_some() == b"", "two without one"
        assert scope.cancelled_caught


async def test_a_machine_that_is_on_again_resets_the_connections_of_its_former_life(
    autojump_clock: MockClock,
) -> None:
    async with line() as pair:
        pair.network.crash("b", silently=True)
        await pair.a.send_all(b"hello?")
        await trio.sleep(20)
        pair.network.switch_on("b")
        pair.network.switch_on("b")

        with pytest.raises(trio.BrokenResourceError) as caught:
            await pair.a.receive_some()
        assert reason(caught.value) == errno.ECONNRESET


async def test_the_sockets_of_a_dead_host_are_dead(autojump_clock: MockClock) -> None:
    async with line() as pair:
        with pair.network.at("a"):
            pair.network.crash("a")
            with pytest.raises(OSError, match="host 'a' has crashed"):
                trio.socket.socket()
            with pytest.raises(trio.BrokenResourceError, match="host 'a' has crashed"):
                await pair.a.send_all(b"x")
            await pair.a.aclose()
        with pair.network.at("a"):  # another task, in the next life
            trio.socket.socket()


async def test_a_reset_that_gets_lost_leaves_the_other_end_half_open(autojump_clock: MockClock) -> None:
    async with line() as pair:
        pair.network.partition(["a"], ["b"])
        pair.network.crash("a")
        await trio.sleep(5)
        pair.network.heal()

        with trio.move_on_after(1000) as scope:
            await pair.b.receive_some()
        assert scope.cancelled_caught


# --- the trace ----------------------------------------------------------------------------------------


async def test_the_trace_says_what_was_sent_or_only_how_much(autojump_clock: MockClock) -> None:
    digests = []
    for shows, text in [(True, b"one"), (True, b"two"), (False, b"one"), (False, b"two")]:
        async with Network(link=EXACT, shows_contents=shows) as network:
            began = trio.current_time()
            network.trace.record(0, "began")
            server = await listener(network)
            pair = Line(network, await dial(network), await server.accept())
            await pair.crosses(text)
        lines = [line.split(" ", 1)[1] for line in network.trace.last]
        digests.append(tuple(lines))
        assert trio.current_time() - began == pytest.approx(3 + 1)

    assert digests[0] != digests[1]
    assert digests[2] == digests[3]
