"""`Remote`: the network side of a system. It listens, dials, and keeps one link per peer.

    remote = Remote(system, nursery)
    host, port = await remote.listen("127.0.0.1", 0)
    far = remote.ref("site-1.example", 7001, "worker-A")

Messages go at most once, and in order per pair of task and actor as long as one connection lives. All
tasks run in the nursery that is handed in; nothing that a peer does raises an exception there.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import trio

from trioactor.codec import TOKEN_BYTES, Codec, Refs
from trioactor.connection import Greeted, in_words, shake_hands
from trioactor.errors import CannotListen, RemoteError
from trioactor.frames import PROTOCOL, Hello
from trioactor.limits import Limits
from trioactor.link import Address, Link, LinkHome, RemoteTarget
from trioactor.ports import holder_of
from trioactor.ref import ActorRef
from trioactor.shapes import Mismatch, RefShape, Shape
from trioactor.vocabulary import Hook, Vocabulary

EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not bound


class LocalHost(LinkHome, Protocol):
    """What the network side needs of its system."""

    @property
    def name(self) -> str:
        """What others call it."""

    @property
    def incarnation(self) -> int:
        """Tells this run of it from others; 63 bits."""

    @property
    def vocabulary(self) -> Mapping[str, type]:
        """The message classes that it knows, by wire name."""


class RefHook:
    """Makes refs travel in messages."""

    kind: type = ActorRef

    def shape(self, annotation: Any) -> Shape:
        """See `Hook`."""
        return RefShape(ActorRef)


class _NoRefs:
    """For the handshake, in which no refs are told."""

    def wire_ref(self, ref: Any) -> list[Any]:
        raise Mismatch("no ref is told in a handshake")

    def ref_of(self, fields: Any) -> Any:
        raise Mismatch("no ref is told in a handshake")


class Remote:
    """The network side of one system.

    Args:
        home: The system.
        nursery: Where its tasks run; cancelling it ends all connections.
        limits: What is taken from peers.
    """

    def __init__(self, home: LocalHost, nursery: trio.Nursery, limits: Limits | None = None) -> None:
        self.home = home
        self.nursery = nursery
        self.limits = limits or Limits()
        self.closing = False
        self._decoders = None
        hooks: list[Hook] = [RefHook()]
        if "numpy" in sys.modules:  # a program that has arrays has imported it; others do without
            from trioactor import arrays

            hooks.append(arrays.ArrayHook())
            self._decoders = arrays.decoders
        self._vocabulary = Vocabulary(home.vocabulary.values(), hooks)
        self._links: dict[Address, Link] = {}  # peers that can be dialled
        self._visitors: dict[Link, None] = {}  # peers that came to us, in the order of their coming
        self._listening: dict[Address, trio.CancelScope] = {}
        self._guests: Counter[str] = Counter()  # accepted connections, by IP address
        self._greeter = self.codec_for(_NoRefs())

    @property
    def queued(self) -> int:
        """How many accepted messages wait for a connection, credit or the writer."""
        return sum(link.outbox.queued for link in self.links)

    @property
    def links(self) -> list[Link]:
        """All links, for those who want to see their state."""
        return list({**dict.fromkeys(self._links.values()), **dict.fromkeys(self._visitors)})

    # --- listening --------------------------------------------------------------------------------------

    async def listen(self, host: str, port: int) -> Address:
        """Accept peers at an address, and return it with its real port.

        Args:
            host: A name or an IP address of this machine; "0.0.0.0" for all of them.
            port: 0 for one that is free.

        Raises:
            CannotListen: The address cannot be bound.
        """
        try:
            listeners = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {host}:{port}: {in_words(error)}{holder_of(port)}"
            ) from error
        for unused in listeners[1:] if port == 0 else ():  # each has a port of its own
            await unused.aclose()
        if port == 0:
            del listeners[1:]
        address = host, listeners[0].socket.getsockname()[1]
        scope = self._listening[address] = trio.CancelScope()
        self.nursery.start_soon(self._accept, listeners, scope, name=f"listener on {host}:{address[1]}")
        return address

    async def _accept(self, listeners: list[trio.SocketListener], scope: trio.CancelScope) -> None:
        with scope:
            await trio.serve_listeners(self._receive, listeners, handler_nursery=self.nursery)

    async def _receive(self, stream: trio.SocketStream) -> None:
        """Take a peer in. Whatever it does, it hurts no other."""
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:  # it has gone already
            await trio.aclose_forcefully(stream)
            return
        limits = self.limits
        if self._guests.total() >= limits.connections or self._guests[host] >= limits.connections_per_address:
            self.home.log.warning("a connection from %s was turned away: there are too many", host)
            await trio.aclose_forcefully(stream)
            return
        self._guests[host] += 1
        try:
            await self._be_host(stream, (host, port))
        except Exception:  # the fence
            self.home.log.exception("the connection from %s:%d failed", host, port)
        finally:
            self._guests[host] -= 1
            if not self._guests[host]:
                del self._guests[host]
            await trio.aclose_forcefully(stream)

    async def _be_host(self, stream: trio.abc.Stream, seen_at: Address) -> None:
        try:
            with trio.fail_after(self.limits.handshake_seconds):
                greeted = await self._greet(stream, seen_at)
        except trio.TooSlowError:
            self.home.log.warning("no hello came from %s:%d in time", *seen_at)
        except (RemoteError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.home.log.warning("%s:%d was turned away: %s", *seen_at, in_words(error))
        else:
            link = self._link_for(greeted)
            self._visitors[link] = None
            try:
                await link.serve(greeted)
            finally:
                self._visitors.pop(link, None)

    async def _greet(self, stream: trio.abc.Stream, address: Address) -> Greeted:
        return await shake_hands(stream, self._greeter, self.limits, self._hello(), address)

    def _link_for(self, greeted: Greeted) -> Link:
        """Return the link for a peer that came to us: the one that it has, or one for this visit.

        A peer says where it listens. It is believed when it comes from there and its link is not in use:
        then what is sent to that address goes over the connection that it made.
        """
        if greeted.hello.address is None:
            return Link(self, None, greeted.address)
        host, port = greeted.hello.address
        address = (greeted.address[0] if host in EVERYWHERE else host), port
        if address[0] != greeted.address[0]:
            return Link(self, address, greeted.address)
        known = self._links.get(address)
        if known is None:
            known = self._links[address] = Link(self, address)
        if known.connection is None and known.state != "connecting":
            return known
        return Link(self, address, greeted.address)

    # --- far actors -------------------------------------------------------------------------------------

    def target(self, host: str, port: int, actor_id: str) -> RemoteTarget:
        """Return the far actor at an address. Nothing is dialled before something is to be said."""
        link = self._links.get((host, port))
        if link is None:
            link = self._links[host, port] = Link(self, (host, port))
        return RemoteTarget(link, actor_id)

    def ref_at(self, address: Address, actor_id: str) -> ActorRef:
        """Return the ref of an actor by its address; a near one, when the address is our own."""
        ref: ActorRef
        if address in self._listening:
            ref = self.home.near_ref(actor_id)
        else:
            ref = self.home.far_ref(self.target(*address, actor_id))
        return ref

    # --- for links ----------------------------------------------------------------------------------------

    def codec_for(self, refs: Refs) -> Codec:
        """See `Exchange`."""
        token = self.home.rng.randbytes(TOKEN_BYTES)
        return Codec(self._vocabulary, self.limits, refs, token, self._decoders)

    async def call(self, address: Address) -> Greeted:
        """See `Exchange`."""
        stream = await trio.open_tcp_stream(*address)
        try:
            return await self._greet(stream, address)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    def _hello(self) -> Hello:
        limits = self.limits
        return Hello(
            protocol=PROTOCOL,
            system=self.home.name,
            incarnation=self.home.incarnation,
            vocabulary=self._vocabulary.fingerprint,
            frame_bytes=limits.frame_bytes,
            message_bytes=limits.message_bytes,
            window=(limits.window_messages, limits.window_bytes),
            silence_seconds=limits.silence_seconds,
            address=self.advertised(),
        )

    def advertised(self) -> Address | None:
        """See `Exchange`."""
        return next(iter(self._listening), None)

    # --- the end --------------------------------------------------------------------------------------------

    async def goodbye(self) -> None:
        """Take no peer in any more, write out what may be sent, and say to all that this system stops."""
        self.closing = True
        for scope in self._listening.values():
            scope.cancel()
        connections = [link.connection for link in self.links if link.connection is not None]
        for connection in connections:
            connection.finish("its system stops")
        with trio.move_on_after(self.limits.goodbye_seconds):
            for connection in connections:
                await connection.ended.wait()
        for connection in connections:
            connection.end("this system stops")
