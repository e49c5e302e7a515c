"""`WIRE.md` shows the bytes of one ask. They are made anew here, so that the page stays true."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest
import trio
from numpy.typing import NDArray
from trio.testing import MockClock

from tests.trioactor.certificates import Files
from tests.trioactor.grammar import RULES
from tests.trioactor.pairs import open_pair
from tests.trioactor.recorder import Recorder
from trioactor import Actor, Request, message
from trioactor.frames import CANCELLED, FAILURES
from trioactor.framing import HEADER_BYTES, encode_frame
from trioactor.limits import Limits

PAGE = files("trioactor").joinpath("WIRE.md").read_text()


@message("matrix.scale", eq=False)
class Scale(Request[NDArray[np.float32]]):
    """Return the matrix, each element times the factor."""

    matrix: NDArray[np.float32]
    factor: float


class Scaler(Actor):
    async def receive(self, message: Scale) -> NDArray[np.float32]:
        return message.matrix * np.float32(message.factor)


def walk(title: str) -> bytes:
    """Return the bytes of a walk on the page: what stands before two spaces in each line of its block."""
    (block,) = re.findall(rf"^### {title}\n.*?```\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    return bytes.fromhex("".join(line.strip().split("  ")[0] for line in block.splitlines()))


async def test_the_ask_of_the_page_and_its_answer_are_what_goes_over_the_wire(
    autojump_clock: MockClock, recorder: Recorder, good: Files
) -> None:
    matrix = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    async with open_pair("simulated", good, vocabulary=(Scale,)) as pair:
        scaler = await pair.start(Scaler, "scaler")
        await scaler.ask(Scale(matrix, 1.0))  # from here on there is a connection
        recorder.frames.clear()
        with trio.fail_after(5):
            await scaler.ask(Scale(matrix, 2.0))

    asked, answered = map(encode_frame, recorder.frames[:2])
    assert walk("The ask") == asked, asked.hex(" ")
    assert walk("The answer") == answered, answered.hex(" ")


def test_every_frame_is_on_the_page() -> None:
    rows = {name: number for number, name in re.findall(r"^\| (\d+) \| `([a-z]+)` \|", PAGE, re.MULTILINE)}

    assert rows == RULES


def test_every_kind_of_failure_is_on_the_page() -> None:
    section = PAGE.partition("### Kinds of failure")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `([a-z_]+)` \| ", section, re.MULTILINE) == [*FAILURES, CANCELLED]


@pytest.mark.parametrize(
    "name", ["frame_bytes", "message_bytes", "window_messages", "window_bytes", "depth", "items"]
)
def test_the_limits_on_the_page_are_those_of_the_settings(name: str) -> None:
    assert f"`{name}`, {getattr(Limits(), name):,}" in PAGE


def test_the_length_in_front_is_that_of_the_page() -> None:
    ask = walk("The ask")

    assert len(ask) - HEADER_BYTES == int.from_bytes(ask[:HEADER_BYTES], "big")
