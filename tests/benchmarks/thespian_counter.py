"""The counter as a Thespian actor. Thespian loads actors by module, so it has one of its own."""

from typing import Any

from thespian.actors import Actor


class ThespianCounter(Actor):
    """Adds up what it is told; answers "total"."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # Thespian's name
        if message == "total":
            self.send(sender, self.total)
        elif isinstance(message, int):
            self.total += message
