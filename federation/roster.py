"""Who takes part in a run, and who may: plain rules, no trio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from federation.messages import Register
from trioactor import ActorRef

SERVICES = ("aggregator", "evaluator")


class Misfit(ValueError):
    """A worker whose data is of another kind than the run's."""


class Roster:
    """The workers and services that can be reached now, and those that are expected back.

    Attributes:
        workers: What each worker registered with, by worker id.
        away: Until when each worker is expected back that was lost.
        services: The Aggregator and the Evaluator, by role.
    """

    def __init__(self) -> None:
        self.workers: dict[str, Register] = {}
        self.away: dict[str, float] = {}
        self.services: dict[str, ActorRef] = {}
        self._first: Register | None = None

    def members(self, now: float) -> tuple[str, ...]:
        """Return the ids of all that take part: who is there, and who is expected back."""
        away = {name for name, until in self.away.items() if until > now}
        return tuple(sorted(away | self.workers.keys()))

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
        self.away.pop(register.worker_id, None)

    def expect(self, worker_ids: Iterable[str], until: float) -> None:
        """Expect workers to come that are not there yet."""
        self.away.update({name: until for name in worker_ids if name not in self.workers})

    def strike_worker(self, register: Register, until: float) -> bool:
        """Take a worker out that was lost; return whether it was in, and not replaced by another of its name.

        Args:
            register: What it registered with.
            until: Until when it is expected back.
        """
        if self.workers.get(register.worker_id) is not register:
            return False
        del self.workers[register.worker_id]
        self.away[register.worker_id] = until
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
