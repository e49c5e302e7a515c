"""Who may say what, by the names in certificates."""

from __future__ import annotations

from typing import Any

import pytest

from federation.authority import RULES, authorize, check_names, roles_in, why_not
from federation.events import EVENTS
from federation.messages import (
    MESSAGES,
    Aggregated,
    CloseRun,
    Evaluated,
    Join,
    ModelAlone,
    Observe,
    Receipt,
    Recorded,
    RegionScored,
    Register,
    RunOpened,
    RunOver,
    StopRun,
    TrainingFailed,
    Welcome,
)
from tests.trioactor.certificates import Authority
from trioactor import Actor, ActorRef, ActorSystem, HealthPing
from trioactor.connection import KILL, STOP, WATCH
from trioactor.envelope import Peer
from trioactor.errors import NotDelivered, Rejected
from trioactor.messages import wire_name_of

ANSWERS = {Welcome, RunOpened, Receipt, Aggregated, Evaluated, Recorded}
WITHIN_ONE_PROGRAM = {"federation.withdraw"}


class Nobody(Actor):
    """Stands for any actor, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def receive(self, message: Any) -> Any:
        self.heard.append(message)
        return Welcome("run") if isinstance(message, Register | Join) else None


async def test_there_is_a_rule_for_every_message_that_is_no_answer() -> None:
    without = {wire_name_of(one) for one in MESSAGES if one not in ANSWERS and one not in RULES}

    assert without <= WITHIN_ONE_PROGRAM, "say in federation/authority.py who may send it"
    assert not ANSWERS & RULES.keys()


def over() -> RunOver:
    return RunOver("finished", "")


def of_worker(worker_id: str) -> TrainingFailed:
    return TrainingFailed(1, worker_id, "a reason")


def score_of(worker_id: str) -> RegionScored:
    return RegionScored(1, worker_id, samples=4, loss=1.0, accuracy=0.5, per_class={})


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (("provider", "127.0.0.1"), over()),
        (("provider",), score_of("A")),  # which passes it on
        (("worker-A",), score_of("A")),
        (("PROVIDER",), over()),
        (("worker-A", "localhost"), of_worker("A")),
        (("worker-a",), of_worker("A")),
        (("worker-A", "worker-B"), of_worker("B")),
        (("workers",), of_worker("lake")),
        (("launcher",), StopRun("enough")),
        (("worker-A",), HealthPing()),
        (("site-1.example", "192.0.2.7"), over()),
        ((), over()),
    ],
)
def test_what_the_certificate_allows(identity: tuple[str, ...], message: Any) -> None:
    assert why_not(message, identity) == ""


@pytest.mark.parametrize(
    ("identity", "message", "words"),
    [
        (("worker-A",), of_worker("B"), "of worker-a, and this needs one of worker-B or workers"),
        (("aggregator",), of_worker("A"), "of aggregator, and this needs one of worker-A or workers"),
        (("worker-A",), score_of("B"), "of worker-a, and this needs one of worker-B or workers"),
        (("evaluator",), score_of("B"), "of evaluator, and this needs one of worker-B or workers"),
        (("worker-A",), over(), "needs one of provider"),
        (("evaluator",), CloseRun("run", "failed", "no"), "needs one of provider"),
        (("worker-A",), StopRun("enough"), "needs one of launcher or provider"),
        (("worker-A", "worker-B"), ModelAlone("C", {}), "of worker-a and worker-b, and"),
        (("provider", "worker-A"), of_worker("B"), "of provider and worker-a, and"),
        (("provider",), Welcome("run"), "only ever an answer, or said within one program"),
    ],
)
def test_what_it_does_not_allow_is_said_with_what_would(
    identity: tuple[str, ...], message: Any, words: str
) -> None:
    assert words in why_not(message, identity)


def test_hosts_are_no_roles() -> None:
    assert roles_in(("worker-A", "worker", "Provider", "localhost", "127.0.0.1")) == {"worker-a", "provider"}


def test_nobody_ends_our_actors_from_afar() -> None:
    peer = Peer("launcher", 1, ("launcher",), ("127.0.0.1", 7000))
    assert [authorize(peer, "provider", order) for order in (STOP, KILL, WATCH)] == [False, False, True]


async def test_an_impostor_is_told_over_tls_that_it_is_one_and_an_honest_worker_is_let_in(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The same, with real certificates on real sockets."""
    authority = Authority(tmp_path_factory.mktemp("certificates"), "ca")

    def secure(system: ActorSystem, *names: str) -> ActorSystem:
        files = authority.issue(*names, file=names[0])
        system.enable_ssl(files.certfile, files.keyfile, files.ca_cert)
        return system

    def register(worker_id: str, actor: ActorRef) -> Register:
        return Register(
            worker_id=worker_id,
            actor=actor,
            num_samples=5,
            num_features=2,
            num_classes=2,
            source="synthetic",
            synthetic=True,
        )

    vocabulary = (*MESSAGES, *EVENTS)
    async with ActorSystem("p", vocabulary=vocabulary, receive=[check_names], authorize=authorize) as system:
        secure(system, "provider", "127.0.0.1")
        nobody = Nobody()
        await system.actor_of(lambda: nobody, "provider")
        address = await system.listen()
        async with ActorSystem("w", vocabulary=vocabulary) as site:
            far = secure(site, "worker-A", "127.0.0.1").ref(*address, "provider")
            me = await site.actor_of(Nobody, "me")
            with pytest.raises(Rejected, match="of worker-a, and this needs one of worker-B or workers"):
                await far.ask(register("B", me))
            with pytest.raises(Rejected, match="needs one of aggregator"):
                await far.ask(Join("aggregator", me))
            with pytest.raises(NotDelivered, match=r"may not send trioactor\.stop"):
                await far.stop()
            await far.tell(over())
            await far.tell(Observe(me))
            assert await far.ask(register("A", me)) == Welcome("run")

        assert [type(one) for one in nobody.heard] == [Observe, Register]
