"""Workers that fail now and then, under a supervisor that brings them back.

The boss hands out jobs one by one. A worker fails on every seventh job; the boss gets `HandlerFailed`
for that job, the supervisor restarts the worker, and the jobs that wait in its mailbox are not lost.
"""

import logging

import trio

from trioactor import Actor, ActorSystem, Backoff, ChildSpec, HandlerFailed, Request, Supervisor, message

WORKERS = 3
JOBS = 20


@message("pool.square")
class Square(Request[int]):
    """What is the square of this number?"""

    number: int


class Worker(Actor):
    """Squares numbers; has a weakness for seven."""

    async def receive(self, message: Square) -> int:
        """Work out one square."""
        if message.number % 7 == 0:
            raise ValueError(f"I cannot do {message.number}")
        await trio.sleep(0.01)
        return message.number**2


async def main() -> None:
    """Square the first numbers, three at a time, and say which could not be done."""
    squares: dict[int, int] = {}
    failed: list[int] = []
    specs = [ChildSpec(Worker, f"worker-{n}") for n in range(WORKERS)]

    async with ActorSystem("pool") as pool:
        await pool.actor_of(
            lambda: Supervisor(specs, max_restarts=5, backoff=Backoff(first_seconds=0.01)), "supervisor"
        )

        async def hand_out(number: int) -> None:
            worker = pool.find(f"supervisor/worker-{number % WORKERS}")
            assert worker is not None
            try:
                squares[number] = await worker.ask(Square(number))
            except HandlerFailed:
                failed.append(number)

        async with trio.open_nursery() as boss:
            for number in range(1, JOBS + 1):
                boss.start_soon(hand_out, number)
        print(f"{len(squares)} squares, their sum is {sum(squares.values())}")
        print("failed:", sorted(failed))
        print(pool.tree())


if __name__ == "__main__":
    logging.getLogger("trioactor").setLevel(logging.ERROR)  # restarts are expected here
    trio.run(main)
