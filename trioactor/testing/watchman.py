"""`Watchman`: sees when nothing can ever happen any more, and says where all tasks wait."""

from __future__ import annotations

from math import inf

import trio

from trioactor.testing.network import NETWORK_TASK

# trio looks for something to do, and when there is nothing it looks again at once, since virtual time has
# nothing to wait for. So a dead end is found soon, and looking for one now and then costs nothing.
ROUNDS_BETWEEN_LOOKS = 200


class Watchman(trio.abc.Instrument):
    """Sees when no task can ever run again: trio itself would look for something to do for ever.

    Attributes:
        scope: Is cancelled then.
        finding: Where all wait.
    """

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.finding = ""
        self._rounds = 0

    def before_io_wait(self, timeout: float) -> None:
        """Look, each time that trio has gone round so often."""
        self._rounds += 1
        if self._rounds % ROUNDS_BETWEEN_LOOKS:
            return
        state = trio.lowlevel.current_statistics()
        if not state.tasks_runnable and state.seconds_to_next_deadline == inf:
            tasks = "\n  ".join(_where_all_wait())
            self.finding = f"every task waits, and nothing will wake one:\n  {tasks}"
            self.scope.cancel()


def _where_all_wait() -> list[str]:
    root = trio.lowlevel.current_root_task()
    lines: list[str] = []
    todo = [root] if root is not None else []
    while todo:
        task = todo.pop()
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        todo += sorted(children, key=lambda child: child.name, reverse=True)
        frames = [frame for frame, _ in task.iter_await_frames() if "/trio/" not in frame.f_code.co_filename]
        if frames and task.name != NETWORK_TASK:
            last = frames[-1]
            lines.append(f"{task.name}: {last.f_code.co_filename}:{last.f_lineno} in {last.f_code.co_name}")
    return lines
