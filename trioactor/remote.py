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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import trio

from trioactor.codec import TOKEN_BYTES, Codec, Refs
from trioactor.complaints import Complaints
from trioactor.connection import Counts, Greeted, in_words, shake_hands
from trioactor.door import Door
from trioactor.errors import CannotListen, RemoteError
from trioactor.frames import MAX_ID_CHARACTERS, PROTOCOL, Hello
from trioactor.limits import Limits
from trioactor.link import Address, Link, LinkHome, RemoteTarget
from trioactor.ports import holder_of
from trioactor.ref import ActorRef
from trioactor.shapes import Mismatch, RefShape, Shape
from trioactor.tls import Certificates, Contexts, raise_if_tls_failed
from trioactor.turns import Turns
from trioactor.unfinished import Unfinished
from trioactor.unread import Unread
from trioactor.vocabulary import Hook, Vocabulary

# So many addresses are remembered, with the pauses between attempts to reach them. Peers say addresses, their
# own and others', and each takes 5 KiB: one that says ever new ones is not to fill the memory.
KNOWN_LINKS = 4096

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


@contextmanager
def _impossible_addresses_refused() -> Iterator[None]:
    """Have an address that no machine can have be one that cannot be reached, and no fault of the program.

    What peers say of their address and of others' is dialled, and they may say anything.
    """
    try:
        yield
    except (UnicodeError, OverflowError) as error:
        raise OSError(f"no machine can have that address ({error})") from None


class Remote:
    """The network side of one system.

    Args:
        home: The system.
        nursery: Where its tasks run; cancelling it ends all connections.
        limits: What is taken from peers.

    Attributes:
        counts: What peers did wrong.
        unfinished: The memory that incomplete messages take.
        unread: The memory that answers take until peers read them.
        turns: Who of the readers goes on.
        complaints: What the log is told of peers.
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
        # Peers that can be dialled; who was asked for longest ago stands first.
        self._links: dict[Address, Link] = {}
        # Peers that came to us, and their links when they call back; in the order of their coming.
        self._visitors: dict[Link, None] = {}
        self._listening: dict[Address, trio.CancelScope] = {}
        self.counts = Counts()
        self.unfinished = Unfinished(self.limits.unfinished_bytes)
        self.unread = Unread(self.limits.unread_bytes)
        self.turns = Turns()
        self.complaints = Complaints(home.log, nursery)
        self._door = Door(self.limits)
        self._tls: Contexts | None = None
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

    @property
    def verified(self) -> bool:
        """Whether peers must show a certificate that our authority has signed."""
        return self._tls is not None and self._tls.verified

    # --- TLS --------------------------------------------------------------------------------------------

    def enable_ssl(self, certfile: str, keyfile: str, ca_cert: str | None = None) -> None:
        """Encrypt all connections from now on, and refuse those that are not.

        The files are read again for new connections when they have changed, so certificates can be
        replaced while the system runs.

        Args:
            certfile: Our certificate, PEM, followed by those between it and the authority.
            keyfile: Its private key, PEM, not encrypted.
            ca_cert: The authority that must have signed the certificates of all peers. Without it the
                bytes are encrypted, but any peer is taken, and anybody between can be one.

        Raises:
            CannotUseCertificate: A file is missing, or is not what it should be.
            RuntimeError: A listener is open or a peer was called already, in plaintext.
        """
        if self._listening or any(link.state != "idle" for link in self._links.values()):
            raise RuntimeError("enable_ssl comes before listen, and before the first message to a far actor")
        self._tls = Contexts(Certificates(certfile, keyfile, ca_cert))
        if ca_cert is None:
            self.home.log.warning(
                "TLS without ca_cert: connections are encrypted, but peers are not verified"
            )

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
            with _impossible_addresses_refused():
                listeners = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {host}:{port}: {in_words(error)}{holder_of(port)}"
            ) from error
        for unused in listeners[1:] if port == 0 else ():  # each has a port of its own
            await unused.aclose()
        if port == 0:
            del listeners[1:]
        if not self._listening:
            self.nursery.start_soon(self._door.keep, name="door")
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
            self._turn_away((host, port), "too many are connected, or too many from there", offends=False)
            await trio.aclose_forcefully(stream)
            return
        self._guests[host] += 1
        deadline = trio.current_time() + limits.handshake_seconds
        try:
            if await self._door.let_in(host):
                await self._be_host(stream, (host, port), deadline)
            else:
                self._turn_away((host, port), "too many come at a time", offends=False)
        except Exception:  # the fence
            self.home.log.exception("the connection from %s:%d failed", host, port)
        finally:
            self._guests[host] -= 1
            if not self._guests[host]:
                del self._guests[host]
            await trio.aclose_forcefully(stream)

    async def _be_host(self, stream: trio.abc.Stream, seen_at: Address, deadline: float) -> None:
        try:
            with trio.fail_at(deadline):
                greeted = await self._greet(stream, seen_at, dialled=False)
        except trio.TooSlowError:
            self._turn_away(seen_at, f"no hello came within {self.limits.handshake_seconds:g} s")
        except (RemoteError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._turn_away(seen_at, in_words(error))
        else:
            link = self._link_for(greeted)
            self.enlist(link)
            try:
                await link.serve(greeted)
            finally:
                self.strike(link)

    def _turn_away(self, address: Address, reason: str, *, offends: bool = True) -> None:
        self.counts.turned_away += 1
        if offends:
            self.note_offence(address)
        self.complaints.write(address, "was turned away", reason)

    def note_offence(self, address: Address) -> None:
        """See `Surroundings`."""
        self._door.note_offence(address[0])

    async def _greet(self, stream: trio.abc.Stream, address: Address, *, dialled: bool) -> Greeted:
        """Do the handshakes, TLS first. Raises what `shake_hands` and `Contexts.wrap` raise."""
        identity: tuple[str, ...] = ()
        if self._tls is not None:
            stream = secure = await self._tls.wrap(stream, address[0] if dialled else None)
            identity = secure.names()
        try:
            return await shake_hands(stream, self._greeter, self.limits, self._hello(), address, identity)
        except trio.BrokenResourceError as error:
            raise_if_tls_failed(error)
            raise

    def _link_for(self, greeted: Greeted) -> Link:
        """Return the link for a peer that came to us: the one that it has, or one for this visit.

        A peer says where it listens. It is believed when it comes from there (with mutual TLS: when its
        certificate has that address) and its link is not in use: then what is sent to that address goes
        over the connection that it made.
        """
        if greeted.hello.address is None:
            return Link(self, None, greeted.address)
        host, port = greeted.hello.address
        address = (greeted.address[0] if host in EVERYWHERE else host), port
        vouched = not self.verified or address[0] in greeted.identity
        if address[0] != greeted.address[0] or not vouched:
            return Link(self, address, greeted.address)
        known = self._known(address)
        if known.connection is None and known.state != "connecting":
            return known
        if known.connection is not None and known.connection.peer.incarnation != greeted.hello.incarnation:
            known.connection.ask_for_life()  # the system there was started again, so it should be over
        return Link(self, address, greeted.address)

    def _known(self, address: Address) -> Link:
        """Return the link to an address: the one that there is, or a new one."""
        link = self._links.pop(address, None)
        if link is None:
            link = Link(self, address)
            if len(self._links) >= KNOWN_LINKS:
                self._forget_one()
        self._links[address] = link
        return link

    def _forget_one(self) -> None:
        """Forget the link that was asked for longest ago, of those over which nothing goes just now.

        A ref that somebody holds keeps its link; a new ref to that address then has another.
        """
        for address, link in self._links.items():
            if link.connection is None and link not in self._visitors:
                del self._links[address]
                return

    # --- far actors -------------------------------------------------------------------------------------

    def target(self, host: str, port: int, actor_id: str) -> RemoteTarget:
        """Return the far actor at an address. Nothing is dialled before something is to be said.

        Raises:
            ValueError: No actor can have that id.
        """
        if not 0 < len(actor_id) <= MAX_ID_CHARACTERS:
            raise ValueError(
                f"actor_id {actor_id!r:.100} has {len(actor_id):,} characters; use 1 to {MAX_ID_CHARACTERS:,}"
            )
        return RemoteTarget(self._known((host, port)), actor_id)

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

    def enlist(self, link: Link) -> None:
        """See `Exchange`."""
        self._visitors[link] = None

    def strike(self, link: Link) -> None:
        """See `Exchange`. What has come for it meanwhile has enlisted it anew: see `state`."""
        if link.state != "connecting":
            self._visitors.pop(link, None)

    async def call(self, address: Address) -> Greeted:
        """See `Exchange`."""
        with _impossible_addresses_refused():
            stream = await trio.open_tcp_stream(*address)
        try:
            return await self._greet(stream, address, dialled=True)
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
            tells=True,
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
