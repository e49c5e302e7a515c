"""Who takes part in a run, and who may: plain rules, no trio."""

from __future__ import annotations

from collections.abc import Iterator

from federation.messages import Register
from trioactor import ActorRef

SERVICES = ("aggregator", "evaluator")


class Misfit(ValueError):
    """A worker whose data is of another kind than the run's."""


class Roster:
    """The workers and services that can be reached now.

    Attributes:
        workers: What each worker registered with, by worker id.
        services: The Aggregator and the Evaluator, by role.
    """

    def __init__(self) -> None:
        self.workers: dict[str, Register] = {}
        self.services: dict[str, ActorRef] = {}
        self._first: Register | None = None

    @property
    def pattern(self) -> Register:
        """The first worker that was admitted: the others must have features and classes like it."""
        if self._first is None:
            raise LookupError("no worker has registered yet")
        return self._first

    def check(self, register: Register) -> None:
        """Check that a worker fits in with those before it.

        Raises:
            Misfit: It does not; the text says what its data is and what the run's is.
        """
        first = self._first
        if first is None:
            return
        for field, unit in (("num_features", "features"), ("num_classes", "classes"), ("source", "data")):
            mine, theirs = getattr(register, field), getattr(first, field)
            if mine != theirs:
                raise Misfit(
                    f"worker {register.worker_id} has {mine} {unit}, the run has {theirs} (worker "
                    f"{first.worker_id} came first); give all workers regions of one data set"
                )

    def admit(self, register: Register) -> None:
        """Have a worker take part, in the place of an earlier one of its name."""
        self._first = self._first or register
        self.workers[register.worker_id] = register

    def strike_worker(self, register: Register) -> bool:
        """Take a worker out; return whether it was in, and not replaced by another of its name."""
        if self.workers.get(register.worker_id) is not register:
            return False
        del self.workers[register.worker_id]
        return True

    def strike_service(self, role: str, actor: ActorRef) -> bool:
        """Take a service out; return whether it was in, and not replaced by another."""
        if self.services.get(role) != actor:
            return False
        del self.services[role]
        return True

    def everyone(self) -> Iterator[ActorRef]:
        """Return everybody who can be told something."""
        yield from self.services.values()
        yield from (register.actor for register in self.workers.values())

    def missing(self, min_workers: int) -> list[str]:
        """Return in words what a run of so many workers still waits for."""
        words = [f"no {role} has joined" for role in SERVICES if role not in self.services]
        if len(self.workers) < min_workers:
            there = f" ({', '.join(sorted(self.workers))})" if self.workers else ""
            words.append(f"{len(self.workers)} of {min_workers} workers have registered{there}")
        return words
