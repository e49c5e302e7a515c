"""Send and receive chains: code that sees every message on its way, and may change or drop it.

    async def log(envelope, call_next):
        print("->", envelope.message)
        return await call_next(envelope)      # without this call the message is dropped, and counted

On the send side `call_next` returns when the message is in the mailbox, or, of a question, its answer.
On the receive side it returns what the handler returned. A middleware that raises there fails the
message as the handler would have.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NoReturn

from trioactor.envelope import Envelope

CallNext = Callable[[Envelope], Awaitable[Any]]
Middleware = Callable[[Envelope, CallNext], Coroutine[Any, Any, Any]]


class Dropped(Exception):  # an outcome, and private to the runtime
    """A middleware of the chain did not pass the message on. `by` is its name."""

    def __init__(self, by: str) -> None:
        super().__init__(f"dropped by the middleware {by}")
        self.by = by


class Chain:
    """Middlewares in the order in which a message meets them."""

    def __init__(self, middlewares: Sequence[Middleware]) -> None:
        self._middlewares = tuple(middlewares)

    async def run(self, envelope: Envelope, last: CallNext) -> Any:
        """Pass the envelope along, to `last` in the end, and return what comes back.

        Raises:
            Dropped: No middleware failed, but `last` was not reached.
        """
        reached = 0  # how deep the envelope came

        async def step(position: int, passed: Envelope) -> Any:
            nonlocal reached
            reached = max(reached, position)
            if position == len(self._middlewares):
                return await last(passed)
            return await self._middlewares[position](passed, partial(step, position + 1))

        result = await step(0, envelope)
        if reached < len(self._middlewares):
            raise Dropped(_name_of(self._middlewares[reached]))
        return result

    def run_nowait(self, envelope: Envelope, last: Callable[[Envelope], None]) -> None:
        """The same for a sender that must not wait.

        Raises:
            Dropped: As above.
            RuntimeError: A middleware waits for something; its message is not sent.
        """

        async def last_now(passed: Envelope) -> None:
            last(passed)

        walk = self.run(envelope, last_now)
        try:
            _call_off(walk.send(None))
        except StopIteration:
            return
        finally:
            walk.close()
        raise RuntimeError(
            "a send middleware waits, so tell_nowait cannot pass it; use `await ref.tell(...)`"
        )


def _call_off(wait: Any) -> None:
    """Undo what a wait has registered, as trio does when it cancels one.

    Else an event, say, would wake the task some day, and trio would fall. What a coroutine yields to trio
    is not public; the tests say whether it is still as it was.
    """
    abort = getattr(wait, "abort_func", None)
    if abort is not None:
        abort(_give_up)


def _give_up() -> NoReturn:
    raise RuntimeError("tell_nowait does not wait")


def _name_of(middleware: Middleware) -> str:
    return getattr(middleware, "__qualname__", type(middleware).__qualname__)
