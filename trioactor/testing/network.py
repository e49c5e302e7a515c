"""`Network`: hosts with names, the links between them, and everything that can go wrong with those.

    network = Network(seed=7, link=Link(latency_seconds=0.02))
    async with network:                     # trio's sockets are virtual inside
        with network.at("a"):               # this task is on host "a" now
            listeners = await trio.open_tcp_listeners(7000, host="a")
        with network.at("b"):
            stream = await trio.open_tcp_stream("a", 7000)

What runs inside is unchanged code: `trio.open_tcp_stream`, `open_tcp_listeners`, `serve_tcp`,
`SSLStream` and all that is built on `trio.socket`. Run it under `trio.testing.MockClock` with
`autojump_threshold=0`, and no second of it takes a second.
"""

from __future__ import annotations

import ipaddress
import random
import re
import socket as stdlib_socket
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

import trio

from trioactor.testing.agenda import Agenda
from trioactor.testing.errors import SimulationError, bare
from trioactor.testing.hooks import virtual_sockets
from trioactor.testing.hosts import LOCAL, Host
from trioactor.testing.links import LOOPBACK, Link
from trioactor.testing.path import Path
from trioactor.testing.tcp import Endpoint
from trioactor.testing.trace import Trace

# Where a task is that is on no host in particular: the test itself, mostly.
OUTSIDE = "main"

NETWORK_TASK = "virtual network"

SUBNET = ipaddress.ip_network("10.0.0.0/16")

_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


class Network:
    """A virtual network, inside one `trio.run`.

    Args:
        seed: Of all chance on it.
        link: What links are like, unless `set_link` says otherwise.
        trace: Where it writes down what happens.
        shows_contents: Whether the trace tells what was sent, and not only how much. Say False with
            TLS, whose bytes no seed repeats.

    Attributes:
        trace: What happened.
        hosts: By name.
    """

    def __init__(
        self,
        *,
        seed: object = 0,
        link: Link | None = None,
        trace: Trace | None = None,
        shows_contents: bool = True,
    ) -> None:
        self.trace = trace or Trace()
        self.shows_contents = shows_contents
        self.hosts: dict[str, Host] = {}
        self._seed = seed
        self._link = link or Link()
        self._links: dict[tuple[str, str], Link] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._by_ip: dict[str, Host] = {}
        self._residents: dict[trio.lowlevel.Task, tuple[Host, int]] = {}
        self._agenda = Agenda()
        self._serials = 0
        self._sockets: AbstractContextManager[None] | None = None
        self._nursery_manager: Any = None

    # --- the block ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._nursery_manager is not None:
            raise RuntimeError("this Network was entered before; make another one")
        self._nursery_manager = trio.open_nursery()
        nursery = await self._nursery_manager.__aenter__()
        nursery.start_soon(self._agenda.run, name=NETWORK_TASK)
        self._nursery = nursery
        self._sockets = virtual_sockets(self)
        self._sockets.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        assert self._sockets is not None
        self._sockets.__exit__(None, None, None)
        self._nursery.cancel_scope.cancel()
        try:
            handled: bool = await self._nursery_manager.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            failure = bare(group)
            raise failure from failure.__cause__
        return handled

    # --- hosts ----------------------------------------------------------------------------------

    def host(self, name: str) -> Host:
        """Return the host of that name; the first time, it is put there and switched on.

        Raises:
            ValueError: The name is not one that programs could dial.
        """
        host = self.hosts.get(name)
        if host is None:
            if not _NAME.fullmatch(name) or name == "localhost":
                raise ValueError(
                    f"host name {name!r}; use lower-case letters, digits, '-' and '.', one letter at least"
                )
            host = self.hosts[name] = Host(self, name, str(SUBNET[len(self.hosts) + 1]))
            self._by_ip[host.ip] = host
        return host

    @contextmanager
    def at(self, name: str) -> Iterator[Host]:
        """Have this task be on a host, for the length of the block, and all tasks below it.

        It is the tree of nurseries that counts, not who called `start_soon`: a task is where the task is
        that its nursery belongs to.
        """
        host = self.host(name)
        task = trio.lowlevel.current_task()
        before = self._residents.get(task)
        self._residents[task] = host, host.life
        try:
            yield host
        finally:
            if before is None:
                del self._residents[task]
            else:
                self._residents[task] = before

    def here(self) -> tuple[Host, int]:
        """Return the host that the present task is on, and the life of that host that it belongs to."""
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        while task is not None:
            resident = self._residents.get(task)
            if resident is not None:
                return resident
            task = task.parent_nursery.parent_task if task.parent_nursery is not None else None
        host = self.host(OUTSIDE)
        return host, host.life

    def host_at(self, ip: str) -> Host | None:
        """Return the host of that IP address, None when there is none."""
        return self._by_ip.get(ip)

    def ip_of(self, name: str) -> str:
        """Return the IP address of a host; what is an IP address already is returned as it is.

        Raises:
            socket.gaierror: There is no such host.
        """
        if name == "localhost":
            return LOCAL
        if name in self.hosts:
            return self.hosts[name].ip
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            known = ", ".join(self.hosts) or "none yet"
            raise stdlib_socket.gaierror(
                stdlib_socket.EAI_NONAME, f"no host {name!r} on the virtual network; there are: {known}"
            ) from None

    # --- links ----------------------------------------------------------------------------------

    def set_link(self, one: str, other: str, link: Link, *, one_way: bool = False) -> None:
        """Say what the link between two hosts is like, from now on.

        Args:
            one: A host.
            other: Another one.
            link: What it is like.
            one_way: Only from the first to the second.
        """
        for pair in [(one, other)] if one_way else [(one, other), (other, one)]:
            self._links[pair] = link
            if pair in self._paths:
                self._paths[pair].usual_link = link

    def disturb(self, one: str, other: str, link: Link) -> None:
        """Have the way from the first host to the second be like this, until `calm`."""
        self.note("disturb", f"{one}>{other}")
        self.path(one, other).disturbance = link

    def calm(self, one: str, other: str) -> None:
        """Have the way from the first host to the second be again as `set_link` says."""
        self.path(one, other).disturbance = None

    def path(self, origin: str, destination: str) -> Path:
        """Return the way from one host to another."""
        pair = origin, destination
        path = self._paths.get(pair)
        if path is None:
            default = LOOPBACK if origin == destination else self._link
            rng = random.Random(f"{self._seed}/{origin}>{destination}")  # noqa: S311  # a simulation's chance
            link = self._links.get(pair, default)
            path = Path(self._agenda, rng, link, self.host(origin), self.host(destination))
            self._paths[pair] = path
        return path

    def _between(self, one: Collection[str], other: Collection[str], one_way: bool) -> Iterator[Path]:
        for a in one:
            for b in other:
                yield self.path(a, b)
                if not one_way:
                    yield self.path(b, a)

    # --- what can go wrong ------------------------------------------------------------------------

    def partition(self, *groups: Collection[str], one_way: bool = False) -> Partition:
        """Cut the links between the groups: what is sent is lost, and nobody is told.

        TCP sends it again when the cut is healed, or gives up after `Link.patience_seconds`. Hosts that
        are in no group are not concerned.

        Args:
            groups: Host names.
            one_way: Only what goes from an earlier group to a later one is lost.

        Returns:
            What `heal()` of ends this partition, and no other.
        """
        ordered = [_in_order(group) for group in groups]
        arrow = " > " if one_way else " | "
        self.note("one-way partition" if one_way else "partition", arrow.join(map(",".join, ordered)))
        paths = [
            path
            for position, one in enumerate(ordered)
            for other in ordered[position + 1 :]
            for path in self._between(one, other, one_way)
        ]
        return Partition(paths)

    def stall(self, *names: str) -> None:
        """Freeze hosts as seen from outside: what goes in or out waits, and arrives after `resume`."""
        for name in names:
            self.note("stall", name)
            self.host(name).stalled = True

    def resume(self, *names: str) -> None:
        """End the stall of hosts."""
        for name in names:
            self.note("resume", name)
            self.host(name).stalled = False
        self._go_on()

    def heal(self, among: Collection[str] | None = None) -> None:
        """End all partitions and stalls. Connections that were reset or forgotten stay so.

        Args:
            among: Only of these hosts and the links between them; by default of all.
        """
        names = _in_order(self.hosts if among is None else among)
        self.note("heal", ",".join(names))
        for name in names:
            self.host(name).stalled = False
        for (origin, destination), path in self._paths.items():
            if origin in names and destination in names:
                path.cuts.clear()
        self._go_on()

    def _go_on(self) -> None:
        """Have everything go on that can, on all paths."""
        for path in list(self._paths.values()):
            path.go_on()

    def reset(self, one: str, other: str) -> int:
        """Reset all connections between two hosts, at once at both ends; return how many there were."""
        ends = self.connections(one, other)
        for end in ends:
            end.cut_off()
        return len(ends)

    def black_hole(self, one: str, other: str) -> int:
        """Have the network forget the connections between two hosts: what is sent is lost for ever.

        Neither end is told; new connections work. So it is when a box on the way loses its state.

        Returns:
            How many there were.
        """
        ends = self.connections(one, other)
        for end in ends:
            end.fall_silent()
        return len(ends)

    def half_open(self, one: str, other: str) -> int:
        """Break the connections between two hosts at the end of the first only.

        The second goes on as if they stood, until it sends something and is answered with a reset.

        Returns:
            How many there were.
        """
        ends = self.connections(one, other)
        for end in ends:
            end.lose_state()
        return len(ends)

    def connections(self, one: str, other: str) -> list[Endpoint]:
        """Return the ends at the first host of its standing connections with the second."""
        return self.host(one).connections_with(other)

    def crash(self, name: str, *, silently: bool = False) -> None:
        """End what runs on a host, as the network sees it.

        Args:
            name: The host.
            silently: The machine loses its power: it answers nothing until `switch_on`. Otherwise only
                its programs die, and their peers see their connections reset.
        """
        host = self.host(name)
        self.note("power cut" if silently else "crash", name)
        if silently:
            host.lose_power()
        else:
            host.reset_all()

    def switch_on(self, name: str) -> None:
        """Switch a host on again. What it gets for connections of its former life, it answers with resets."""
        host = self.host(name)
        if host.on:
            return
        self.note("switched on", name)
        host.on = True
        self._go_on()

    # --- for hosts and sockets --------------------------------------------------------------------

    def fresh_serial(self) -> int:
        """Return a number that nothing on this network has."""
        self._serials += 1
        return self._serials

    def note(self, kind: str, detail: str = "") -> None:
        """Write into the trace."""
        self.trace.record(trio.current_time(), kind, detail)


class Partition:
    """A cut through the network. `heal()` ends it."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        for path in paths:
            path.cuts.add(self)

    def heal(self) -> None:
        """Let through again what this partition has cut, and no other cuts. Twice is the same as once."""
        for path in self._paths:
            if self in path.cuts:
                path.cuts.remove(self)
                path.go_on()


def _in_order(group: Collection[str]) -> list[str]:
    if isinstance(group, str):
        raise SimulationError(f"partition({group!r}, ...): a group is a list of host names")
    return sorted(group)
