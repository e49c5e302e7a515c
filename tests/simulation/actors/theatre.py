"""The real side of the actor machine: a program of orders, played on real systems inside one `trio.run`.

A program is a list of `Order`s with what the model expects to be seen after each. It is played twice:

- *settled*: after each order everything runs until nothing can, and what is seen must be what the model says;
- *hurried*: the orders come one upon the other, so that they meet each other half-way. No model can say what
  comes of that, but the laws hold: the accounts balance at every instant, every call ends, each sender's
  letters are handled in their order, and after `post_stop` nothing is handled.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioactor import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    DeliveryError,
    HealthAck,
    HealthPing,
    Ledger,
    MailboxSettings,
    NameTaken,
    PeerDown,
    Rejected,
    Reply,
    StashFull,
    message,
)
from trioactor.envelope import Envelope
from trioactor.mailbox import WhenFull
from trioactor.middleware import CallNext
from trioactor.testing import Auditor, assert_accounted

# Virtual seconds: more than all orders together let pass.
POST_STOP_SECONDS = 10_000


@dataclass(frozen=True)
class Order:
    """What the machine does: a method of `Theatre` and its arguments."""

    what: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.what}{self.arguments}"


@message("machine.letter")
class Letter:
    """See the table in `model.py`."""

    kind: str
    number: int
    path: tuple[int, ...] = ()


class Boom(Exception):
    """What the kind "fail" raises."""


class Player(Actor):
    """Does what letters say."""

    def __init__(self, theatre: Theatre) -> None:
        self.theatre = theatre
        self.life: list[str] = []
        self.diary: list[int] = []
        self.in_turn: list[int] = []  # the same without "open", which overtakes what is stashed, and relays
        self.owed: list[tuple[Reply, int]] = []
        self.gate = trio.Event()

    async def pre_start(self) -> None:
        self.life.append("pre_start")

    async def post_stop(self) -> None:
        await trio.lowlevel.checkpoint()
        self.life.append("post_stop")

    async def receive(self, message: Letter) -> str:
        assert self.life == ["pre_start"], "a letter is handled outside of the life of its actor"
        if message.kind == "hold":
            self.gate = trio.Event()
            await self.gate.wait()
        self.diary.append(message.number)
        if message.kind not in ("relay", "open"):
            self.in_turn.append(message.number)
        match message.kind:
            case "reject":
                raise Rejected("as told")
            case "fail":
                raise Boom
            case "shut":
                self.context.become(self.receive_shut)
            case "stop":
                self.context.stop()
            case "later":
                assert self.context.in_hand is not None
                if self.context.in_hand.reply_to is not None:
                    self.owed.append((self.context.reply_later(), message.number))
            case "relay" if message.path:
                return await self.relay(message)
        return str(message.number)

    async def relay(self, message: Letter) -> str:
        target, *rest = message.path
        ref = self.theatre.refs.get(target)
        if ref is None:
            return "nobody"  # only when hurried
        question: Any = Letter("relay", message.number, tuple(rest))
        try:
            return str(await ref.ask(question))
        except DeliveryError as error:
            return type(error).__name__

    async def receive_shut(self, message: Letter) -> str:
        if message.kind == "open":
            self.context.unbecome()
            self.context.unstash_all()
            self.diary.append(message.number)
            return str(message.number)
        try:
            self.context.stash()
        except StashFull as error:
            raise Rejected(str(error)) from error
        return "ignored"


@dataclass(eq=False)
class Call:
    """A call that the machine has made."""

    what: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    outcome: str = "pending"


@dataclass(eq=False)
class House:
    """A system and the block that it lives in."""

    system: ActorSystem
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    opened: trio.Event = field(default_factory=trio.Event)
    closing: trio.Event = field(default_factory=trio.Event)
    end: str | None = None

    async def stand(self) -> None:
        """Be open until told to close."""
        try:
            with self.scope:
                async with self.system:
                    self.opened.set()
                    await self.closing.wait()
                self.end = "left"
        except* Boom:
            self.end = "failed"
        if self.end is None:
            self.end = "cancelled"


async def pass_through(envelope: Envelope, call_next: CallNext) -> Any:
    """A middleware that makes another envelope."""
    return await call_next(envelope.with_changes(headers={"passed": True}))


class Theatre:
    """Plays orders on real systems. Actors and calls go by the numbers that the model has given them.

    Args:
        nursery: Where systems and calls live.
        clock: Moved by orders alone.
        auditor: Watches every system.
        senders: How many tasks send all that is told; each waits until one letter is in before it sends the
            next. 0: each letter has a task of its own.
    """

    def __init__(self, nursery: trio.Nursery, clock: MockClock, auditor: Auditor, senders: int) -> None:
        self.nursery = nursery
        self.clock = clock
        self.auditor = auditor
        self.houses: list[House] = []
        self.everybody: list[Player] = []
        self.players: dict[int, Player] = {}
        self.refs: dict[int, ActorRef] = {}
        self.calls: dict[int, Call] = {}
        self.sent_by: dict[int, int] = {}  # which task has sent the letter of that number
        self._senders: list[trio.MemorySendChannel[Callable[[], Awaitable[None]]]] = []
        for _ in range(senders):
            channel, letters = trio.open_memory_channel[Callable[[], Awaitable[None]]](math.inf)
            self._senders.append(channel)
            nursery.start_soon(self._send_all, letters)

    async def play(self, order: Order) -> None:
        """Do one thing."""
        done = getattr(self, order.what)(*order.arguments)
        if done is not None:
            await done

    def seen(self) -> dict[str, Any]:
        """What the model calls a snapshot."""
        return {
            "ledgers": [_counts(house.system) for house in self.houses],
            "ends": [house.end for house in self.houses],
            "actors": [
                (self.refs[n].actor_id, player.life[-1] == "post_stop", player.life, player.diary)
                for n, player in self.players.items()
            ],
            "operations": [call.outcome for call in self.calls.values()],
        }

    # --- orders ---------------------------------------------------------------------------------

    async def open(self, send: bool, receive: bool) -> None:
        chain = [pass_through]
        system = ActorSystem(
            "theatre", send=chain * send, receive=chain * receive, post_stop_seconds=POST_STOP_SECONDS
        )
        house = House(system)
        self.auditor.systems.append(house.system)
        self.houses.append(house)
        self.nursery.start_soon(house.stand)
        await house.opened.wait()

    async def spawn(
        self, number: int, parent: int | None, name: str, capacity: int, when_full: WhenFull
    ) -> None:
        player = Player(self)
        home = self.houses[-1].system if parent is None else self.players[parent].context
        try:
            ref = await home.actor_of(lambda: player, name, mailbox=MailboxSettings(capacity, when_full))
        except (NameTaken, ActorStopped):  # the second only when hurried
            return
        self.everybody.append(player)
        self.players[number], self.refs[number] = player, ref

    async def spawn_broken(self, name: str) -> None:
        class Broken(Player):
            async def pre_start(self) -> None:
                await trio.lowlevel.checkpoint()
                raise Boom

        try:
            await self.houses[-1].system.actor_of(lambda: Broken(self), name)
        except (Boom, NameTaken, ActorStopped):
            return
        raise AssertionError("it should not have started")

    def tell(self, call: int, to: int, kind: str, number: int, path: tuple[int, ...]) -> None:
        ref, made = self.refs[to], self._call(call, "tell")

        async def tell() -> None:
            await self._run_call(made, lambda: ref.tell(Letter(kind, number, path)), "sent")

        if self._senders:
            self.sent_by[number] = number % len(self._senders)
            self._senders[self.sent_by[number]].send_nowait(tell)
        else:
            self.nursery.start_soon(tell)

    def tell_nowait(self, call: int, to: int, kind: str, number: int, path: tuple[int, ...]) -> None:
        ref, made = self.refs[to], self._call(call, "tell_nowait")
        self.sent_by[number] = -1
        try:
            ref.tell_nowait(Letter(kind, number, path))
            made.outcome = "sent"
        except DeliveryError as error:
            made.outcome = type(error).__name__

    def ask(
        self, call: int, to: int, kind: str, number: int, path: tuple[int, ...], deadline: float | None
    ) -> None:
        question: Any = HealthPing() if kind == "ping" else Letter(kind, number, path)
        made = self._start_call(call, "ask", partial(self.refs[to].ask, question))
        if deadline is not None:
            made.scope.deadline = self.clock.current_time() + deadline

    def stop(self, call: int, actor: int) -> None:
        self._start_call(call, "stop", self.refs[actor].stop, "ended")

    def kill(self, call: int, actor: int) -> None:
        self._start_call(call, "kill", self.refs[actor].kill, "ended")

    def watch(self, call: int, actor: int) -> None:
        ref = self.refs[actor]

        async def wait() -> None:
            with suppress(PeerDown):
                async with ref.watch():
                    await trio.sleep_forever()

        self._start_call(call, "watch", wait, "ended")

    def release(self, actor: int) -> None:
        self.players[actor].gate.set()

    def answer(self, actor: int) -> None:
        owed, self.players[actor].owed = self.players[actor].owed, []
        for reply, number in owed:
            reply.send(number)

    def cancel(self, call: int) -> None:
        self.calls[call].scope.cancel()

    def advance(self, seconds: float) -> None:
        self.clock.jump(seconds)

    def drain(self, call: int) -> None:
        self._start_call(call, "drain", self.houses[-1].system.drain, "dry")

    def leave(self) -> None:
        self.houses[-1].closing.set()

    def cancel_era(self) -> None:
        self.houses[-1].scope.cancel()

    # --- calls ----------------------------------------------------------------------------------

    def _call(self, number: int, what: str) -> Call:
        call = self.calls[number] = Call(what)
        return call

    def _start_call(
        self, number: int, what: str, function: Callable[[], Awaitable[Any]], outcome: str | None = None
    ) -> Call:
        call = self._call(number, what)
        self.nursery.start_soon(self._run_call, call, function, outcome)
        return call

    @staticmethod
    async def _run_call(call: Call, function: Callable[[], Awaitable[Any]], outcome: str | None) -> None:
        with call.scope:
            try:
                result = await function()
            except DeliveryError as error:
                call.outcome = type(error).__name__
            else:
                call.outcome = outcome or ("ack" if isinstance(result, HealthAck) else f"= {result}")
        if call.scope.cancelled_caught:
            call.outcome = "too slow" if trio.current_time() >= call.scope.deadline else "cancelled"

    @staticmethod
    async def _send_all(letters: trio.MemoryReceiveChannel[Callable[[], Awaitable[None]]]) -> None:
        async for send in letters:
            await send()


def _counts(system: ActorSystem) -> dict[str, int]:
    ledger = system.ledger()
    return {name: n for name in Ledger.__slots__ if (n := getattr(ledger, name))}


# --- programs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """An order, and what is to be seen after it."""

    order: Order
    expected: dict[str, list[Any]]


def play_settled(scenes: list[Scene]) -> None:
    """Play a program, and compare after each order. Raises AssertionError at the first difference."""

    async def play(theatre: Theatre) -> None:
        for scene in scenes:
            await theatre.play(scene.order)
            await wait_all_tasks_blocked()
            _compare(scene, theatre.seen())

    _run(play, senders=0)


def _compare(scene: Scene, seen: dict[str, list[Any]]) -> None:
    for part, expected in scene.expected.items():
        assert len(seen[part]) == len(expected), f"after {scene.order}: {part} are {seen[part]}"
        for number, (wanted, found) in enumerate(zip(expected, seen[part], strict=True)):
            assert wanted in (found, "?"), f"after {scene.order}: {part}[{number}] is {found}, not {wanted}"


def play_hurried(scenes: list[Scene]) -> None:
    """Play a program without waiting for what comes of an order, and check the laws."""

    async def play(theatre: Theatre) -> None:
        for scene in scenes:
            with suppress(KeyError, RuntimeError):  # an actor that has not started, a system that has fallen
                await theatre.play(scene.order)
            await trio.lowlevel.checkpoint()
        for house in theatre.houses:
            house.scope.cancel()
        await wait_all_tasks_blocked()
        for number, call in theatre.calls.items():
            assert call.what == "drain" or call.outcome != "pending", (
                f"call {number}, {call.what}, never ends"
            )

    theatre = _run(play, senders=2)
    for player in theatre.everybody:
        _check_order(theatre, player)


def _check_order(theatre: Theatre, player: Player) -> None:
    """Letters are numbered in the order of their sending. "open" alone does not wait for its turn."""
    assert len(set(player.diary)) == len(player.diary), f"a letter was handled twice: {player.diary}"
    for sender in set(theatre.sent_by.values()):
        numbers = [n for n in player.in_turn if theatre.sent_by.get(n) == sender]
        assert numbers == sorted(numbers), f"what sender {sender} sent was handled in the order {numbers}"


def _run(play: Callable[[Theatre], Awaitable[None]], senders: int) -> Theatre:
    clock, auditor = MockClock(), Auditor()

    async def main() -> Theatre:
        async with trio.open_nursery() as nursery:
            theatre = Theatre(nursery, clock, auditor, senders)
            await play(theatre)
            for house in theatre.houses:
                house.scope.cancel()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return theatre

    theatre = trio.run(main, clock=clock, instruments=[auditor])
    auditor.check()
    for house in theatre.houses:
        assert_accounted(house.system, ended=True)
    for player in theatre.everybody:
        assert player.life == ["pre_start", "post_stop"], player.life
    return theatre
