"""Supervision: the rules by plain calls, the supervisor under a clock that jumps."""

import random
from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trioactor import (
    Actor,
    ActorSystem,
    ChildFailed,
    HandlerFailed,
    HealthCheckFailed,
    Rejected,
    Request,
    message,
)
from trioactor.supervision import (
    Backoff,
    ChildExit,
    ChildSpec,
    Health,
    RestartWindow,
    Strategy,
    Supervisor,
    affected_by,
)


@message("test.fail")
class Fail(Request[None]):
    pass


@message("test.quit")
class Quit(Request[None]):
    pass


@message("test.note")
class Note:
    text: str


@message("test.notes")
class Notes(Request[list[str]]):
    pass


@message("test.hang")
class Hang:
    seconds: float
    stubborn: bool = False


class Diary:
    """What happened, in order, across the lives of all actors of a test."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def child(self, name: str, *, fails_to_start: int = 0) -> Callable[[], Actor]:
        """A factory of actors that write here; the restarts number 1 to `fails_to_start` fail."""
        lives = 0

        def make() -> Actor:
            nonlocal lives
            lives += 1
            return Child(self, name, broken=1 < lives <= 1 + fails_to_start)

        return make


class Child(Actor):
    def __init__(self, diary: Diary, name: str, *, broken: bool = False) -> None:
        self.diary = diary
        self.name = name
        self.broken = broken
        self.notes: list[str] = []

    async def pre_start(self) -> None:
        if self.broken:
            self.diary.lines.append(f"{self.name} cannot start")
            raise RuntimeError("cannot start")
        self.diary.lines.append(f"+{self.name}")

    async def post_stop(self) -> None:
        self.diary.lines.append(f"-{self.name}")

    async def receive(self, message: Fail | Quit | Note | Notes | Hang) -> list[str] | None:
        match message:
            case Fail():
                raise ZeroDivisionError(self.name)
            case Quit():
                self.context.stop()
            case Note(text=text):
                self.notes.append(text)
            case Notes():
                return self.notes
            case Hang(seconds=seconds, stubborn=stubborn):
                with trio.CancelScope(shield=stubborn):
                    await trio.sleep(seconds)
        return None


class Listener(Actor):
    """A parent that keeps what its supervisor reports."""

    def __init__(self, make: Callable[[], Supervisor], heard: list[ChildFailed]) -> None:
        self.make = make
        self.heard = heard

    async def pre_start(self) -> None:
        await self.context.actor_of(self.make, "sup")

    async def receive(self, message: ChildFailed) -> None:
        self.heard.append(message)


async def supervise(system: ActorSystem, make: Callable[[], Supervisor]) -> None:
    await system.actor_of(make, "sup")


async def tell(system: ActorSystem, child: str, said: object) -> None:
    ref = system.find(f"sup/{child}")
    assert ref is not None
    await ref.tell(said)


async def settle(seconds: float = 60.0) -> None:
    """Let virtual time pass until everything has come to rest."""
    await trio.sleep(seconds)


# --- the rules --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "failed", "expected"),
    [
        ("one_for_one", "b", ["b"]),
        ("one_for_all", "b", ["a", "b", "c"]),
        ("rest_for_one", "a", ["a", "b", "c"]),
        ("rest_for_one", "b", ["b", "c"]),
        ("rest_for_one", "c", ["c"]),
    ],
)
def test_a_failure_concerns_whom_the_strategy_says(
    strategy: Strategy, failed: str, expected: list[str]
) -> None:
    assert affected_by(strategy, ["a", "b", "c"], failed) == expected


def test_a_window_bears_so_many_restarts_and_gives_up_with_every_cause() -> None:
    window = RestartWindow(2, 10)
    window.record(0, "a", ValueError("first"))
    window.record(1, "b", ValueError("second"))

    with pytest.raises(ExceptionGroup, match="3 failures within 10 s") as caught:
        window.record(9, "a", ValueError("third"))

    assert [str(cause) for cause in caught.value.exceptions] == ["first", "second", "third"]


@given(st.lists(st.floats(0.01, 100), max_size=40), st.integers(0, 5))
def test_a_window_gives_up_exactly_when_too_many_fall_within_it(gaps: list[float], most: int) -> None:
    window = RestartWindow(most, 10)
    now, times = 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
        too_many = sum(1 for time in times if time > now - 10) > most
        if too_many:
            with pytest.raises(ExceptionGroup):
                window.record(now, "a", ValueError())
            return
        window.record(now, "a", ValueError())


@given(st.integers(1, 10_000), st.integers())
def test_a_backoff_grows_to_its_limit_and_chance_only_shortens_it(restarts: int, seed: int) -> None:
    backoff = Backoff(first_seconds=0.5, factor=2, most_seconds=30, jitter=0.5)
    full = min(30, 0.5 * 2 ** min(restarts - 1, 64))

    assert full / 2 <= backoff.seconds(restarts, random.Random(seed)) <= full


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ChildSpec(Child, "a", restart="always"), "permanent, transient, temporary"),  # type: ignore[arg-type]
        (lambda: Supervisor([], strategy="all"), "one_for_one, one_for_all, rest_for_one"),  # type: ignore[arg-type]
        (lambda: Supervisor([], max_restarts=-1), "at least 0"),
        (lambda: Backoff(jitter=2), "between 0 and 1"),
        (lambda: Health(max_missed=0), "at least 1"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


# --- restarts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
    ],
)
async def test_the_strategy_says_who_is_restarted_and_in_which_order(
    strategy: Strategy, expected: list[str], autojump_clock: MockClock
) -> None:
    """The others are ended in the reverse order of their start, then all are started in order."""
    diary = Diary()
    specs = [ChildSpec(diary.child(name), name) for name in "abc"]
    async with ActorSystem() as system:
        await supervise(system, lambda: Supervisor(specs, strategy=strategy))
        assert diary.lines == ["+a", "+b", "+c"]
        diary.lines.clear()

        await tell(system, "b", Fail())
        await settle()

        assert diary.lines == expected
        diary.lines.clear()
    assert diary.lines == ["-c", "-b", "-a"]
    assert system.ledger().balanced


@pytest.mark.parametrize(
    ("restart", "way", "comes_back"),
    [
        ("permanent", "fail", True),
        ("permanent", "quit", True),
        ("permanent", "kill", True),
        ("permanent", "stop", False),
        ("transient", "fail", True),
        ("transient", "quit", False),
        ("transient", "kill", True),
        ("transient", "stop", False),
        ("temporary", "fail", False),
        ("temporary", "quit", False),
        ("temporary", "kill", False),
        ("temporary", "stop", False),
    ],
)
async def test_the_restart_type_says_which_end_is_final(
    restart: str, way: str, comes_back: bool, autojump_clock: MockClock
) -> None:
    """OTP's table; `ref.stop()` is an order from outside and final, like terminate_child."""
    diary = Diary()
    spec = ChildSpec(diary.child("a"), "a", restart=restart)  # type: ignore[arg-type]
    async with ActorSystem() as system:
        await supervise(system, lambda: Supervisor([spec]))
        ref = system.find("sup/a")
        assert ref is not None

        match way:
            case "fail":
                await ref.tell(Fail())
            case "quit":
                await ref.tell(Quit())
            case "kill":
                await ref.kill()
            case "stop":
                await ref.stop()
        await settle()

        assert diary.lines == (["+a", "-a", "+a"] if comes_back else ["+a", "-a"])
        assert (system.find("sup/a") is not None) == comes_back
    assert system.ledger().balanced


async def test_waiting_messages_survive_a_restart_and_the_failed_one_is_not_retried(
    autojump_clock: MockClock,
) -> None:
    diary = Diary()
    async with ActorSystem() as system:
        await supervise(system, lambda: Supervisor([ChildSpec(diary.child("a"), "a")]))
        ref = system.find("sup/a")
        assert ref is not None
        for said in (Note("before"), Fail(), Note("one"), Note("two")):
            await ref.tell(said)

        assert await ref.ask(Notes()) == ["one", "two"]
        ledger = system.ledger()
    assert (ledger.failed, ledger.handled) == (1, 4)


async def test_what_was_put_aside_survives_too(autojump_clock: MockClock) -> None:
    class Stashing(Child):
        async def receive(self, message: Fail | Quit | Note | Notes | Hang) -> list[str] | None:
            if isinstance(message, Note) and message.text == "later":
                self.context.stash()
                return None
            return await super().receive(message)

    diary = Diary()
    lives = iter([Stashing, Child])
    async with ActorSystem() as system:
        make = lambda: next(lives)(diary, "a")
        await supervise(system, lambda: Supervisor([ChildSpec(make, "a")]))
        ref = system.find("sup/a")
        assert ref is not None
        for said in (Note("later"), Fail(), Note("new")):
            await ref.tell(said)

        assert await ref.ask(Notes()) == ["later", "new"]


async def test_an_asker_gets_the_failure_and_the_supervisor_too(autojump_clock: MockClock) -> None:
    diary = Diary()
    heard: list[ChildFailed] = []
    async with ActorSystem() as system:
        make = lambda: Supervisor([ChildSpec(diary.child("a"), "a")])
        await system.actor_of(lambda: Listener(make, heard), "top")
        ref = system.find("top/sup/a")
        assert ref is not None

        with pytest.raises(HandlerFailed) as caught:
            await ref.ask(Fail())
        await settle()

        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert heard == [ChildFailed("top/sup/a", "ZeroDivisionError: a", 1, "restarted")]


async def test_giving_up_ends_the_block_with_every_cause(autojump_clock: MockClock) -> None:
    diary = Diary()
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem() as system:
            specs = [ChildSpec(diary.child("a"), "a"), ChildSpec(diary.child("b"), "b")]
            await supervise(system, lambda: Supervisor(specs, max_restarts=2))
            for name in ("a", "b", "a"):
                await tell(system, name, Fail())
                await settle(5)
    group = caught.value.exceptions[0]
    assert isinstance(group, ExceptionGroup)
    assert [str(cause) for cause in group.exceptions] == ["a", "b", "a"]
    assert diary.lines.count("+b") == diary.lines.count("-b") == 2
    assert system.ledger().balanced


async def test_failures_far_apart_are_borne_for_ever(autojump_clock: MockClock) -> None:
    diary = Diary()
    async with ActorSystem() as system:
        make = lambda: Supervisor([ChildSpec(diary.child("a"), "a")], max_restarts=1, within_seconds=30)
        await supervise(system, make)
        for _ in range(20):
            await tell(system, "a", Fail())
            await settle(40)
        assert diary.lines.count("+a") == 21


async def test_a_nested_supervisor_that_gives_up_is_restarted_by_the_one_above(
    autojump_clock: MockClock,
) -> None:
    diary = Diary()
    inner = lambda: Supervisor([ChildSpec(diary.child("a"), "a")], max_restarts=0)
    async with ActorSystem() as system:
        await supervise(system, lambda: Supervisor([ChildSpec(inner, "inner")]))
        await tell(system, "inner/a", Fail())
        await settle()
        assert diary.lines == ["+a", "-a", "+a"]
        ref = system.find("sup/inner/a")
        assert ref is not None
        assert await ref.ask(Notes()) == []


async def test_a_restart_that_cannot_start_is_tried_again_and_counts(autojump_clock: MockClock) -> None:
    diary = Diary()
    async with ActorSystem() as system:
        spec = ChildSpec(diary.child("a", fails_to_start=2), "a")
        await supervise(system, lambda: Supervisor([spec], max_restarts=3))
        await tell(system, "a", Fail())
        await settle()
        assert diary.lines == ["+a", "-a", "a cannot start", "a cannot start", "+a"]


async def test_the_wait_before_a_restart_grows(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    class Timed(Child):
        async def pre_start(self) -> None:
            starts.append(trio.current_time())

    backoff = Backoff(first_seconds=1, factor=2, most_seconds=3, jitter=0)
    async with ActorSystem() as system:
        make = lambda: Supervisor(
            [ChildSpec(lambda: Timed(Diary(), "a"), "a")],
            max_restarts=9,
            within_seconds=1000,
            backoff=backoff,
        )
        await supervise(system, make)
        for _ in range(4):
            await tell(system, "a", Fail())
            await settle(20)
    waits = [starts[n + 1] - 20 * n - starts[0] for n in range(4)]
    assert waits == pytest.approx([1, 2, 3, 3])


async def test_messages_wait_while_an_actor_rests(autojump_clock: MockClock) -> None:
    diary = Diary()
    backoff = Backoff(first_seconds=50, most_seconds=50, jitter=0)
    async with ActorSystem() as system:
        await supervise(system, lambda: Supervisor([ChildSpec(diary.child("a"), "a")], backoff=backoff))
        ref = system.find("sup/a")
        assert ref is not None
        await ref.tell(Fail())
        await settle(1)
        await ref.tell(Note("patient"))
        assert system.ledger().queued == 1
        assert await ref.ask(Notes()) == ["patient"]
        assert trio.current_time() >= 50


async def test_a_stop_cuts_the_rest_short(autojump_clock: MockClock) -> None:
    diary = Diary()
    backoff = Backoff(first_seconds=50, most_seconds=50, jitter=0)
    async with ActorSystem() as system:
        await supervise(system, lambda: Supervisor([ChildSpec(diary.child("a"), "a")], backoff=backoff))
        ref = system.find("sup/a")
        assert ref is not None
        await ref.tell(Fail())
        await settle(1)
        with trio.fail_after(1):
            await ref.stop()
        assert system.find("sup/a") is None
        assert diary.lines == ["+a", "-a"]


async def test_leaving_the_block_does_not_wait_for_a_rest(autojump_clock: MockClock) -> None:
    diary = Diary()
    backoff = Backoff(first_seconds=5000, most_seconds=5000, jitter=0)
    async with ActorSystem() as system:
        await supervise(system, lambda: Supervisor([ChildSpec(diary.child("a"), "a")], backoff=backoff))
        await tell(system, "a", Fail())
        await settle(1)
    assert trio.current_time() < 10
    assert system.ledger().balanced


async def test_a_first_start_that_fails_is_the_start_of_the_supervisor_that_fails(
    autojump_clock: MockClock,
) -> None:
    diary = Diary()

    def broken() -> Actor:
        return Child(diary, "b", broken=True)

    async with ActorSystem() as system:
        with pytest.raises(RuntimeError, match="cannot start"):
            await supervise(
                system, lambda: Supervisor([ChildSpec(diary.child("a"), "a"), ChildSpec(broken, "b")])
            )
        assert diary.lines == ["+a", "b cannot start", "-a"]
        assert system.find("sup") is None


async def test_a_supervisor_declines_other_messages(autojump_clock: MockClock) -> None:
    async with ActorSystem() as system:
        ref = await system.actor_of(Supervisor, "sup")
        with pytest.raises(Rejected, match="talk to its children"):
            await ref.ask(Notes())


async def test_children_can_be_added_while_it_runs(autojump_clock: MockClock) -> None:
    diary = Diary()

    class Pool(Supervisor):
        async def receive(self, message: Note) -> None:
            await self.start_child(ChildSpec(diary.child(message.text), message.text))

    async with ActorSystem() as system:
        pool = await system.actor_of(Pool, "sup")
        await pool.tell(Note("a"))
        await settle(1)
        await tell(system, "a", Fail())
        await settle()
        assert diary.lines == ["+a", "-a", "+a"]


async def test_a_permanent_child_that_ends_by_itself_counts_as_a_failure(autojump_clock: MockClock) -> None:
    diary = Diary()
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem() as system:
            await supervise(system, lambda: Supervisor([ChildSpec(diary.child("a"), "a")], max_restarts=0))
            await tell(system, "a", Quit())
            await settle()
    assert caught.group_contains(ChildExit, match="stopped")


# --- health ---------------------------------------------------------------------------------------

HEALTH = Health(interval_seconds=1, timeout_seconds=1, max_missed=3)


async def test_a_stuck_handler_is_cancelled_and_its_actor_restarted(autojump_clock: MockClock) -> None:
    diary = Diary()
    heard: list[ChildFailed] = []
    async with ActorSystem() as system:
        make = lambda: Supervisor([ChildSpec(diary.child("a"), "a")], health=HEALTH)
        await system.actor_of(lambda: Listener(make, heard), "top")
        ref = system.find("top/sup/a")
        assert ref is not None
        await ref.tell(Hang(1000))
        await ref.tell(Note("still there"))

        assert await ref.ask(Notes()) == ["still there"]
        assert trio.current_time() < 10
        assert [(said.decision, said.restarts) for said in heard] == [("restarted", 1)]
        assert HealthCheckFailed.__name__ in heard[0].reason
        assert system.ledger().cancelled == 1 + 3  # the handler, and the pings that nobody answered


async def test_a_busy_actor_with_a_long_queue_is_healthy(autojump_clock: MockClock) -> None:
    """Each handler takes most of an interval; the queue is never empty; no ping is missed three times."""
    diary = Diary()
    async with ActorSystem() as system:
        await supervise(system, lambda: Supervisor([ChildSpec(diary.child("a"), "a")], health=HEALTH))
        ref = system.find("sup/a")
        assert ref is not None
        for _ in range(200):
            await ref.tell(Hang(0.9))
        await settle(220)
        assert diary.lines == ["+a"]
        assert system.ledger().queued == 0


async def test_a_handler_that_ignores_cancellation_is_named_and_left_behind(
    autojump_clock: MockClock,
) -> None:
    """The supervisor goes on, the actor gets another life, and the old handler ends when it ends."""
    diary = Diary()
    heard: list[ChildFailed] = []
    async with ActorSystem() as system:
        specs = [ChildSpec(diary.child("a"), "a"), ChildSpec(diary.child("b"), "b")]
        make = lambda: Supervisor(specs, health=HEALTH, stuck_seconds=5)
        await system.actor_of(lambda: Listener(make, heard), "top")
        ref = system.find("top/sup/a")
        assert ref is not None
        await ref.tell(Hang(1000, stubborn=True))
        await ref.tell(Note("waits"))

        assert await ref.ask(Notes()) == ["waits"]
        assert trio.current_time() < 20
        assert [said.decision for said in heard] == ["stuck", "restarted"]
        assert system.ledger().in_hand == 1
        await settle(2000)
        ledger = system.ledger()
        assert (ledger.in_hand, ledger.queued, ledger.balanced) == (0, 0, True)
        assert diary.lines == ["+a", "+b", "+a", "-a"]
    assert system.ledger().balanced


async def test_a_stuck_member_does_not_hold_up_the_restart_of_its_group(autojump_clock: MockClock) -> None:
    diary = Diary()
    async with ActorSystem() as system:
        specs = [ChildSpec(diary.child("a"), "a"), ChildSpec(diary.child("b"), "b")]
        await supervise(system, lambda: Supervisor(specs, strategy="one_for_all", stuck_seconds=2))
        await tell(system, "a", Hang(1000, stubborn=True))
        await trio.sleep(0.1)
        await tell(system, "b", Fail())
        await settle(10)
        assert diary.lines == ["+a", "+b", "-b", "+a", "+b"]
        await settle(2000)
    assert system.ledger().balanced


async def test_cancelling_the_block_ends_children_in_every_state(autojump_clock: MockClock) -> None:
    diary = Diary()
    with trio.move_on_after(3):
        async with ActorSystem() as system:
            backoff = Backoff(first_seconds=100, most_seconds=100, jitter=0)
            specs = [ChildSpec(diary.child(name), name) for name in "abc"]
            await supervise(system, lambda: Supervisor(specs, backoff=backoff))
            await tell(system, "a", Fail())
            await tell(system, "b", Hang(1000))
            await tell(system, "b", Note("waits"))
            await trio.sleep_forever()
    assert sorted(diary.lines) == ["+a", "+b", "+c", "-a", "-b", "-c"]
    assert system.ledger().balanced
    assert system.ledger().queued == system.ledger().in_hand == 0
