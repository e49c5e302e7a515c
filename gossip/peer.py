"""`GossipPeer`: one site of a network with nobody in charge.

It restores its snapshot, asks others what they know of it, and begins a life; then it gossips and trains in
two loops, and a third follows what it knows with the average and the disk. The rules are elsewhere, without
I/O: `view.py` (what is said to whom), `pace.py` (when to train), `agreement.py` (when all are done). Here
messages and time are moved.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

import trio

from federation.learning import LearningError
from gossip.agreement import Agreement
from gossip.birth import ask_around, sighting_before_life
from gossip.errors import IdentityError
from gossip.identity import Identity, life_of
from gossip.keeper import Keeper
from gossip.learner import Learner
from gossip.membership import Membership, MembershipMessage
from gossip.messages import (
    GossipDelta,
    GossipEqual,
    GossipSighting,
    GossipState,
    GossipStateRequest,
    GossipSurvey,
)
from gossip.outgoing import Address, Outgoing
from gossip.ownership import certificate_name, namesake_claim
from gossip.plan import Over, Plan, World
from gossip.signals import Signal
from gossip.standing import Standing
from gossip.store import PeerStore, Remembered
from gossip.trainer import Trainer
from gossip.view import ExchangeMessage, View
from persistence import GossipEventRow
from trioactor import Actor, Arrived, MailboxFull, Rejected, Request, message
from trioactor.errors import DeliveryError

logger = logging.getLogger(__name__)


@message("gossip.leave")
class Leave(Request[None]):
    """Say goodbye to the others, save what you know, and end. For the peer's own program only.

    Attributes:
        reason: Who wants it, in words.
    """

    reason: str


Handled: TypeAlias = "ExchangeMessage | MembershipMessage | GossipSurvey | GossipStateRequest | Leave"


class GossipPeer(Actor):
    """One peer.

    A peer that crashes, as an actor or as a process, begins another life with what is on its disk. One that
    cannot go on under its name, or cannot train, ends by itself and says why (`World.on_over`).

    Args:
        plan: What it is to do.
        learner: What it learns with.
        world: What it needs of the world.
    """

    def __init__(self, plan: Plan, learner: Learner, world: World) -> None:
        self._plan = plan
        self._learner = learner
        self._world = world
        self._standing = Standing(plan.peer, learner.samples)
        self._agreement = Agreement(world.rng)
        self._woken = Signal()
        self._acts_at = 0.0
        self._over: Over | None = None
        self._question: GossipSurvey | None = None  # what we ask of others before this life
        # From pre_start on:
        self._store: PeerStore
        self._remembered: Remembered
        # From the beginning of its life on:
        self._view: View | None = None
        self._keeper: Keeper
        self._trainer: Trainer
        self._events: list[GossipEventRow] = []

    # --- begin and end --------------------------------------------------------------------------

    async def pre_start(self) -> None:
        """Open the disk; the life begins in the background, so that others can ask us meanwhile."""
        self._store = await self._world.offload(lambda _should_stop: self._world.open_store())
        self._remembered = await self._world.offload(lambda _should_stop: self._store.load())
        self._standing.take_up(self._remembered.round, self._remembered.metrics, self._plan.rounds)
        self.context.start_soon(self._live)

    async def post_stop(self) -> None:
        """Save what is known, and tell why it is over, if it ended by itself."""
        lost_name = self._over is not None and self._over.kind == "name lost"
        try:
            if self._view is not None and not lost_name:
                await self._keeper.save()
                await self._keep_events()
                if self._over is not None and self._over.kind == "converged":
                    self._store.finish(self._standing.sha256, self._world.now_unix())
        finally:
            self._store.close()
        if self._over is not None:
            self._world.on_over(self._over)

    def _end(self, kind: str, reason: str) -> None:
        if self._over is None:
            self._over = Over(kind, reason)
            self.context.stop()

    async def _live(self) -> None:
        try:
            self._begin(*await self._be_born())
        except IdentityError as error:
            self._end("name lost", str(error))
            return
        self.context.start_soon(self._keeper.follow)
        self.context.start_soon(self._gossip)
        self.context.start_soon(self._learn)
        self.context.start_soon(self._report)

    async def _be_born(self) -> tuple[Identity, View]:
        plan, world = self._plan, self._world
        identity = Identity(plan.peer, self._store, world.rng)
        seeds = await world.offload(lambda _should_stop: world.find_seeds())
        known = [info.address for info in self._remembered.peers if not info.gone]
        self._question = GossipSurvey(plan.peer, identity.salt)
        sightings = await ask_around(
            self._question,
            plan.address,
            list(dict.fromkeys([*seeds, *known])),
            lambda address, question: world.ref_to(address).ask(question),
            remembered=identity.remembered,
            timing=plan.timing,
            notary=world.notary,
        )
        clock = identity.begin(sightings)
        membership = Membership(
            identity,
            *plan.address,
            now=trio.current_time(),
            rng=world.rng,
            timing=plan.timing,
            seeds=seeds,
            notary=world.notary,
            remembered=self._remembered.peers,
        )
        view = View(identity, clock, membership, rng=world.rng, timing=plan.timing, notary=world.notary)
        view.models.restore(self._remembered.models)
        return identity, view

    def _begin(self, identity: Identity, view: View) -> None:
        logger.info(
            "peer %s begins its life %d at %s:%d; its disk has %d models, and %d rounds trained",
            self._plan.peer,
            life_of(identity.replica.incarnation),
            *self._plan.address,
            len(self._remembered.models),
            self._remembered.round,
        )
        self._keeper = Keeper(view, self._learner, self._standing, self._store, self._world, self._remembered)
        self._trainer = Trainer(
            self._plan,
            self._learner,
            view,
            self._keeper,
            self._standing,
            self._world,
            self._send_and_note,
        )
        self._view = view
        self._keeper.touch()  # the new life is to be seen in the snapshot

    # --- messages -------------------------------------------------------------------------------

    async def receive(self, message: Handled) -> GossipSighting | GossipState | None:
        """Handle one message."""
        match message:
            case GossipSurvey():
                return self._answer(message)
            case GossipStateRequest():
                return self._state()
            case Leave(reason=reason):
                if self._view is not None:
                    self._send(self._view.membership.leave())
                self._end("left", reason)
            case _:
                self._take(message)
        return None

    def _answer(self, survey: GossipSurvey) -> GossipSighting:
        if survey == self._question:
            raise Rejected("you ask yourself: this address is one of your own")
        sighting = self._sighting_of(survey)
        notary = self._world.notary
        if survey.peer != self._plan.peer or notary is None:
            return sighting
        return replace(sighting, proof=notary.seal(namesake_claim(survey)))

    def _sighting_of(self, survey: GossipSurvey) -> GossipSighting:
        if self._view is not None:
            return self._view.sighting_of(survey)
        stored = self._store.load_identity()
        time = 0 if stored is None else max(stored.lease_end - 1, 0)
        models = [info for info, _ in self._remembered.models]
        return sighting_before_life(self._plan.peer, survey, self._remembered.peers, models, time)

    def _take(self, message: ExchangeMessage | MembershipMessage) -> None:
        if self._view is None:
            return  # who is not born yet has nothing to say; it will be asked again
        if isinstance(message, GossipEqual | GossipDelta):
            self._trainer.see_comparison()
        self._act(lambda view, now: view.on_message(message, now, self._sender_of(message.sender)))

    def _sender_of(self, said: str) -> str | None:
        """Return who sent the message in hand, by the certificate; None where nobody vouches for it."""
        envelope = self.context.in_hand
        if not isinstance(envelope, Arrived) or not envelope.peer.identity:
            return None
        return said if certificate_name(said) in envelope.peer.identity else envelope.peer.identity[0]

    def _act(self, act: Callable[[View, float], list[Outgoing]]) -> None:
        """Let the view do something, and do what comes of it."""
        assert self._view is not None
        try:
            out = act(self._view, trio.current_time())
        except IdentityError as error:
            self._end("name lost", str(error))
            return
        self._send_and_note(out)
        if self._view.membership.next_tick_at() < self._acts_at:
            self._woken.fire()

    def _send_and_note(self, out: list[Outgoing]) -> None:
        assert self._view is not None
        self._send(out)
        models = self._view.models.take_changed()
        if models:
            self._keeper.note(models)
            self._trainer.hear(models)
        changes = self._view.membership.take_changes()
        for change in changes:
            said = f"{change.peer} {'has left' if change.status == 'left' else f'is {change.status}'}"
            logger.info("%s", said)
            if change.status in ("dead", "left"):
                self._send(self._view.lose(change.peer, trio.current_time()))
            self._events.append(
                GossipEventRow(
                    at_unix=self._world.now_unix(),
                    source=self._plan.peer,
                    kind=change.status,
                    text=said,
                )
            )
        if changes:
            self._woken.fire()
            self._trainer.see_change()
            self._keeper.touch()

    def _send(self, out: list[Outgoing]) -> None:
        for to, what in out:
            address = self._address_of(to)
            if address is not None:
                with suppress(MailboxFull):  # as good as lost on the way: the protocol asks again
                    self._world.ref_to(address).tell_nowait(what)

    def _address_of(self, to: str | Address) -> Address | None:
        assert self._view is not None
        if not isinstance(to, str):
            return to
        info = self._view.membership.roster.get(to)
        return None if info is None else info.address

    # --- gossip ---------------------------------------------------------------------------------

    async def _gossip(self) -> None:
        """Do what is due: a round of the exchange, a repetition, a look after a peer."""
        assert self._view is not None
        view, timing, rng = self._view, self._plan.timing, self._world.rng
        round_at = trio.current_time() + rng.uniform(0, timing.round_seconds)
        tick_at = trio.current_time() + timing.retry_seconds
        alone = True
        while self._over is None:
            if alone and view.membership.live:  # there is somebody to compare with: why wait
                round_at = trio.current_time()
            alone = not view.membership.live
            self._acts_at = min(round_at, tick_at, view.membership.next_tick_at())
            await self._woken.wait_until(self._acts_at)
            now = trio.current_time()
            if now >= view.membership.next_tick_at():
                self._act(lambda view, now: view.membership.tick(now))
            if now >= tick_at:
                tick_at = now + timing.retry_seconds
                self._act(lambda view, now: view.tick(now))
            if now >= round_at:
                round_at = now + timing.round_seconds * rng.uniform(0.9, 1.1)
                seeds = await self._world.offload(lambda _should_stop: self._world.find_seeds())
                view.membership.set_seeds(seeds)
                self._act(lambda view, now: view.start_round(now))
                await self._keep_events()

    async def _keep_events(self) -> None:
        events, self._events = self._events, []
        if events:
            await self._keeper.write(lambda store: store.add_events(events))

    # --- learning -------------------------------------------------------------------------------

    async def _learn(self) -> None:
        try:
            await self._trainer.train()
        except LearningError as error:
            self._end("failed", str(error))
            return
        ahead = "waits for all to agree" if self._plan.until_converged else "serves until it is told to stop"
        logger.info("all %d rounds are trained; the peer %s", self._plan.rounds, ahead)
        if self._plan.until_converged:
            await self._agree()
            self._end("converged", f"all live peers hold the average {self._standing.sha256}")

    async def _agree(self) -> None:
        """Return when all live peers have finished with the same average."""
        assert self._view is not None
        while True:
            await self._keeper.until_settled()
            asked = self._agreement.to_ask(self._view.membership.live, self._standing.sha256)
            if not asked:
                return
            with trio.move_on_after(self._plan.timing.ack_seconds):
                async with trio.open_nursery() as nursery:
                    for peer in asked:
                        nursery.start_soon(self._ask_state, peer)
            if self._agreement.missing(self._view.membership.live, self._standing.sha256):
                await trio.sleep(self._plan.timing.ack_seconds)

    async def _ask_state(self, peer: str) -> None:
        address = self._address_of(peer)
        if address is not None:
            with suppress(DeliveryError):  # it is asked again, or found to be dead
                state = await self._world.ref_to(address).ask(GossipStateRequest())
                self._agreement.hear(peer, state)

    # --- reports --------------------------------------------------------------------------------

    def _state(self) -> GossipState:
        membership = None if self._view is None else self._view.membership
        return self._standing.to_state(membership, self._world.traffic())

    async def _report(self) -> None:
        """Tell the reporters how we are doing, whenever that has changed and now and then."""
        world = self._world
        while True:
            addresses = await world.offload(lambda _should_stop: world.find_reporters())
            state = self._state()
            for address in addresses:
                with suppress(MailboxFull):  # it is slow or gone; the next report says more anyway
                    world.reporter_at(address).tell_nowait(state)
            await self._keeper.settled.wait_until(trio.current_time() + self._plan.report_seconds)
