"""The actors and messages that play in the tests of the runtime."""

from __future__ import annotations

from typing import Any

import trio

from trioactor import Actor, Request, message


@message("tests.note")
class Note:
    """Write a number into the diary."""

    number: int


@message("tests.hold")
class Hold(Request[int]):
    """Wait in the handler until the actor's gate is opened, then write and return the number."""

    number: int = 0


@message("tests.read")
class Read(Request[list[int]]):
    """Return the diary."""


@message("tests.fail")
class Fail(Request[None]):
    """Raise an exception in the handler."""

    text: str = "on purpose"


class Clerk(Actor):
    """Keeps a diary of the numbers it was told. `Hold` keeps it busy until `gate` is set."""

    def __init__(self) -> None:
        self.diary: list[int] = []
        self.gate = trio.Event()
        self.life: list[str] = []

    async def pre_start(self) -> None:
        self.life.append("pre_start")

    async def post_stop(self) -> None:
        self.life.append("post_stop")

    async def receive(self, message: Note | Hold | Read | Fail) -> Any:
        match message:
            case Note(number=number):
                self.diary.append(number)
                return None
            case Hold(number=number):
                await self.gate.wait()
                self.diary.append(number)
                return number
            case Read():
                return list(self.diary)
            case Fail(text=text):
                raise ZeroDivisionError(text)
