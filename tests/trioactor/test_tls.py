"""TLS: who is let in, who is not, and what both sides are told."""

from __future__ import annotations

import logging
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.trioactor.cast import Clerk, Note, Read
from tests.trioactor.certificates import LONG_AGO, Authority, Files
from trioactor import ActorSystem, NotDelivered
from trioactor.connection import Peer
from trioactor.errors import CannotUseCertificate

WORDS = (Note, Read)


@asynccontextmanager
async def hub(files: Files | None, **settings: object) -> AsyncIterator[tuple[ActorSystem, int]]:
    """A listening system with a clerk; no files: plaintext."""
    async with ActorSystem("hub", vocabulary=WORDS, **settings) as system:  # type: ignore[arg-type]
        if files is not None:
            system.enable_ssl(files.certfile, files.keyfile, files.ca_cert)
        await system.actor_of(Clerk, "clerk")
        _, port = await system.listen("127.0.0.1")
        yield system, port


async def ask_from(files: Files | None, port: int, host: str = "127.0.0.1") -> list[int]:
    """Ask the clerk from a system of its own."""
    async with ActorSystem("site", vocabulary=WORDS) as system:
        if files is not None:
            system.enable_ssl(files.certfile, files.keyfile, files.ca_cert)
        with trio.fail_after(5):
            diary = await system.ref(host, port, "clerk").ask(Read())
    return diary


async def test_both_sides_with_a_certificate_speak(good: Files) -> None:
    async with hub(good) as (_, port):
        assert await ask_from(good, port) == []
        assert await ask_from(good, port, "localhost") == []


@pytest.fixture
def stranger(authority: Authority, tmp_path: Path) -> Files:
    """A certificate that somebody else has signed, of someone who trusts us."""
    return Authority(tmp_path, "stranger").issue("127.0.0.1", file="strange", trusts=authority)


@pytest.fixture
def expired(authority: Authority) -> Files:
    return authority.issue("127.0.0.1", file="expired", expires=LONG_AGO)


@pytest.fixture
def misnamed(authority: Authority) -> Files:
    return authority.issue("elsewhere.example", file="misnamed")


@pytest.mark.parametrize(
    ("server", "client", "asker_reads", "server_logs"),
    [
        ("good", "stranger", "does not know the authority", "certificate is refused: unable to get local"),
        ("good", "expired", "our certificate has expired", "certificate is refused: certificate has expired"),
        ("stranger", "good", "certificate is refused: unable to get", "does not know the authority"),
        ("expired", "good", "certificate is refused: certificate has expired", "our certificate has expired"),
        ("misnamed", "good", "not valid for '127.0.0.1'", "our certificate is not the one"),
        ("good", None, "this system takes TLS only; call enable_ssl", "does not speak TLS; call enable_ssl"),
        (None, "good", "does not speak TLS; call enable_ssl", "the peer speaks TLS and this side does not"),
    ],
)
async def test_who_does_not_fit_is_refused_and_both_sides_say_why(
    server: str | None,
    client: str | None,
    asker_reads: str,
    server_logs: str,
    request: pytest.FixtureRequest,
    good: Files,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And the listener goes on."""
    servers = request.getfixturevalue(server) if server else None
    clients = request.getfixturevalue(client) if client else None
    async with hub(servers) as (system, port):
        with pytest.raises(NotDelivered, match=r"the handshake with 127.0.0.1") as refused:
            await ask_from(clients, port)
        with trio.fail_after(5):
            while "turned away" not in caplog.text:  # noqa: ASYNC110  # logs have no events
                await trio.sleep(0.001)

        assert asker_reads in str(refused.value)
        assert server_logs in caplog.text
        if servers == good:
            assert await ask_from(good, port) == []
        assert system.network_counts.turned_away == 1


async def test_a_client_without_certificate_is_told_that_one_is_needed(
    good: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program, with Python's own TLS."""
    async with hub(good) as (_, port):
        context = ssl.create_default_context(cafile=good.ca_cert)
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
        with pytest.raises(trio.BrokenResourceError) as broken, trio.fail_after(5):
            while True:
                await stream.receive_some()
        await trio.aclose_forcefully(stream)

    assert "certificate required" in str(broken.value.__cause__)
    assert "the peer shows no certificate, and this side asks for one" in caplog.text


async def test_tls_1_3_is_spoken_and_1_1_is_refused(good: Files) -> None:
    async with hub(good) as (_, port):
        context = ssl.create_default_context(cafile=good.ca_cert)
        context.load_cert_chain(good.certfile, good.keyfile)
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
        await stream.do_handshake()
        assert stream.version() == "TLSv1.3"
        await trio.aclose_forcefully(stream)

        context.maximum_version = ssl.TLSVersion.TLSv1_2
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
        await stream.do_handshake()
        assert stream.version() == "TLSv1.2"
        await trio.aclose_forcefully(stream)

        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        await trio.aclose_forcefully(stream)


async def test_without_an_authority_bytes_are_encrypted_and_the_log_says_that_nobody_is_verified(
    authority: Authority, stranger: Files, caplog: pytest.LogCaptureFixture
) -> None:
    trusting = authority.issue("nowhere.example", file="trusting")
    async with ActorSystem("hub", vocabulary=WORDS) as system:
        system.enable_ssl(trusting.certfile, trusting.keyfile)
        await system.actor_of(Clerk, "clerk")
        _, port = await system.listen("127.0.0.1")
        async with ActorSystem("site", vocabulary=WORDS) as site:
            site.enable_ssl(stranger.certfile, stranger.keyfile)
            assert await site.ref("127.0.0.1", port, "clerk").ask(Read()) == []

    assert "peers are not verified" in caplog.text


async def test_what_a_peer_may_do_is_decided_by_the_names_in_its_certificate(
    authority: Authority, good: Files
) -> None:
    seen: list[tuple[Peer, str, str]] = []

    def authorize(peer: Peer, actor_id: str, wire_name: str) -> bool:
        seen.append((peer, actor_id, wire_name))
        return wire_name != "tests.note" and "boss.example" in peer.identity

    boss = authority.issue("boss.example", file="boss")
    async with hub(good, authorize=authorize) as (system, port):
        assert await ask_from(boss, port) == []
        with pytest.raises(NotDelivered, match=r"localhost or 127.0.0.1 may not send tests.read to 'clerk'"):
            await ask_from(good, port)
        async with ActorSystem("site", vocabulary=WORDS) as site:
            site.enable_ssl(boss.certfile, boss.keyfile, boss.ca_cert)
            far = site.ref("127.0.0.1", port, "clerk")
            await far.tell(Note(1))
            assert await far.ask(Read()) == [], "the tell was refused"
            assert system.network_counts.refused == {"NotAuthorized": 2}
    peer, actor_id, wire_name = seen[0]
    assert (peer.system, peer.identity, actor_id, wire_name) == (
        "site",
        ("boss.example",),
        "clerk",
        "tests.read",
    )


async def test_stop_kill_and_watch_need_authority_too(good: Files) -> None:
    asked: list[str] = []

    def authorize(_peer: Peer, _actor_id: str, wire_name: str) -> bool:
        asked.append(wire_name)
        return False

    async with hub(good, authorize=authorize) as (hub_system, port):
        async with ActorSystem("site", vocabulary=WORDS) as site:
            site.enable_ssl(good.certfile, good.keyfile, good.ca_cert)
            far = site.ref("127.0.0.1", port, "clerk")
            for end in (far.stop, far.kill):
                with pytest.raises(NotDelivered, match="may not send trioactor"):
                    await end()
            reasons: list[str] = []
            far.on_down(reasons.append)
            with trio.fail_after(5):
                while not reasons:  # noqa: ASYNC110
                    await trio.sleep(0.001)
        assert hub_system.find("clerk") is not None

    assert asked == ["trioactor.stop", "trioactor.kill", "trioactor.watch"]
    assert "may not send trioactor.watch to 'clerk'" in reasons[0]


async def test_replaced_certificates_are_used_for_new_connections(
    authority: Authority, tmp_path: Path
) -> None:
    first = authority.issue("127.0.0.1", file="first")
    second = authority.issue("127.0.0.1", "second.example", file="second")
    present = Files(str(tmp_path / "now.pem"), str(tmp_path / "now.key"), first.ca_cert)

    def put(files: Files, *, key: bool = True) -> None:
        for source, target in [(files.certfile, present.certfile), (files.keyfile, present.keyfile)][
            : 1 + key
        ]:
            shutil.copy(source, f"{target}.new")
            os.replace(f"{target}.new", target)

    async def names() -> list[str]:
        context = ssl.create_default_context(cafile=first.ca_cert)
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
        await stream.do_handshake()
        found = [name for _, name in stream.getpeercert()["subjectAltName"]]
        await trio.aclose_forcefully(stream)
        return found

    put(first)
    async with hub(present) as (_, port):
        assert await names() == ["127.0.0.1"]

        put(second, key=False)
        assert await names() == ["127.0.0.1"], "the key does not fit yet, so all is as it was"

        put(second)
        assert await names() == ["127.0.0.1", "second.example"] or await names() == [
            "second.example",
            "127.0.0.1",
        ]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda files: Files("nowhere.pem", files.keyfile, files.ca_cert), "nowhere.pem.*no such file"),
        (lambda files: Files(files.certfile, "nowhere.key", files.ca_cert), "nowhere.key.*no such file"),
        (lambda files: Files(files.certfile, files.keyfile, "nowhere.pem"), "authority nowhere.pem: no such"),
        (lambda files: Files(files.keyfile, files.keyfile, files.ca_cert), "cannot use the certificate"),
        (lambda files: Files(files.certfile, files.keyfile, __file__), "cannot use the authority"),
    ],
)
async def test_files_that_cannot_be_used_are_named_at_once(
    system: ActorSystem, good: Files, spoil: object, complaint: str
) -> None:
    files = spoil(good)  # type: ignore[operator]
    with pytest.raises(CannotUseCertificate, match=complaint):
        system.enable_ssl(files.certfile, files.keyfile, files.ca_cert)


async def test_a_key_of_another_certificate_is_named_at_once(
    system: ActorSystem, good: Files, expired: Files
) -> None:
    with pytest.raises(CannotUseCertificate, match="the key does not belong to the certificate"):
        system.enable_ssl(good.certfile, expired.keyfile, good.ca_cert)


async def test_tls_comes_before_everything_else(good: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with ActorSystem("late") as system:
        await system.listen()
        with pytest.raises(RuntimeError, match="enable_ssl comes before listen"):
            system.enable_ssl(good.certfile, good.keyfile, good.ca_cert)
