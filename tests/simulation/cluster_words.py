"""What the actors of the simulated cluster say to each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from trioactor import ActorRef, Request, message


@message("cluster.note")
class Note:
    """Told. `stream` names the task that sends, `number` counts what it sends."""

    stream: str
    number: int
    data: bytes


@message("cluster.table", eq=False)
class Table:
    """Told: an array, which travels behind its message or in pieces of its own."""

    stream: str
    number: int
    values: np.ndarray[Any, np.dtype[np.float32]]


@message("cluster.question")
class Question(Request[int]):
    """Asked; the answer is twice the number.

    Attributes:
        stream: The task that asks.
        number: Counts what it sends.
        work: "answer", "slow", "reject" or "fail".
        data: To make it long.
    """

    stream: str
    number: int
    work: str
    data: bytes


@message("cluster.call_back")
class CallBack:
    """Told: tell `CalledBack` to that actor."""

    stream: str
    number: int
    caller: ActorRef


@message("cluster.called_back")
class CalledBack:
    """Told in reply to `CallBack`."""

    stream: str
    number: int


WORDS = (Note, Table, Question, CallBack, CalledBack)

SLOW_SECONDS = 2.0


def data_of(stream: str, number: int, size: int) -> bytes:
    """Return the bytes that belong into that message, so that its receiver can tell."""
    seed = f"{stream}/{number}/".encode()
    return (seed * (size // len(seed) + 1))[:size]


def values_of(number: int, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the array that belongs into that message."""
    return np.arange(number, number + size, dtype=np.float32)


def is_sound(said: Note | Table | Question | CallBack) -> bool:
    """Whether a message has the contents that it was sent with."""
    match said:
        case (
            Note(stream=stream, number=number, data=data) | Question(stream=stream, number=number, data=data)
        ):
            return data == data_of(stream, number, len(data))
        case Table(number=number, values=values):
            return np.array_equal(values, values_of(number, values.size))
        case CallBack():
            return True
