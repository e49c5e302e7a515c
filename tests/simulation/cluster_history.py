"""`History`: what was sent and handled in a cluster, and the laws that it must obey. Knows no trio."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

Key = tuple[str, int]  # the stream that it belongs to, and its number in it


@dataclass
class Sent:
    """A message, as its sender knows it.

    Attributes:
        receiver: The host that it was for.
        sent_at: The virtual time at which it was sent.
        outcome: How `tell` or `ask` ended; "open" while it has not.
        answer: What an ask returned.
    """

    receiver: str
    sent_at: float
    outcome: str = "open"
    answer: int | None = None


@dataclass
class History:
    """Everything that happened to numbered messages. `violations` is empty, or the runtime is wrong.

    Attributes:
        sent: Every message that was told or asked.
        begun: How often the handling of each has begun.
        called_back: How often each was called back.
        answered: The messages whose handler has returned.
        findings: What was found wrong on the way.
        counts: What happened how often: a test that nothing happens to tests nothing.
        connected_at: When a connection between two hosts was last made.
    """

    sent: dict[Key, Sent] = field(default_factory=dict)
    begun: Counter[Key] = field(default_factory=Counter)
    called_back: Counter[Key] = field(default_factory=Counter)
    answered: set[Key] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    connected_at: dict[frozenset[str], float] = field(default_factory=dict)
    _last_number: dict[tuple[str, str], int] = field(default_factory=dict)

    def send(self, key: Key, receiver: str, now: float) -> None:
        """A message is about to be sent."""
        self.sent[key] = Sent(receiver, now)

    def begin(self, key: Key, receiver: str, sound: bool) -> None:
        """A handler has begun with a message."""
        stream, number = key
        self.begun[key] += 1
        self.counts["handled"] += 1
        entry = self.sent.get(key)
        if entry is None:
            self.findings.append(f"{key} was handled on {receiver}, and nobody has sent it")
            return
        if entry.receiver != receiver:
            self.findings.append(f"{key} was sent to {entry.receiver} and handled on {receiver}")
        if not sound:
            self.findings.append(f"{key} was handled on {receiver} with other contents than it was sent with")
        last = self._last_number.get((stream, receiver), -1)
        if number < last:
            self._judge_order(key, entry, last)
        self._last_number[stream, receiver] = max(number, last)

    def _judge_order(self, key: Key, entry: Sent, last: int) -> None:
        """The order is promised for as long as a connection holds, and not beyond."""
        sender = key[0].partition("/")[0]
        if self.connected_at.get(frozenset({sender, entry.receiver}), -1.0) > entry.sent_at:
            self.counts["overtaken by a newer connection"] += 1
        else:
            self.findings.append(f"{entry.receiver} handled {key} after number {last} of the same task")

    def end(self, key: Key) -> None:
        """The handler of a message has returned."""
        self.answered.add(key)

    def settle(self, key: Key, outcome: str, answer: int | None = None) -> None:
        """A call of `tell` or `ask` has ended."""
        entry = self.sent[key]
        entry.outcome, entry.answer = outcome, answer
        self.counts[outcome] += 1

    def violations(self) -> list[str]:
        """Return what was wrong, at the end."""
        found = list(self.findings)
        found += [f"{key} was handled {times} times" for key, times in self.begun.items() if times > 1]
        found += [
            f"{key} was called back {times} times" for key, times in self.called_back.items() if times > 1
        ]
        for key, entry in self.sent.items():
            begun = self.begun[key]
            if entry.outcome in ("NotDelivered", "Expired", "MailboxFull") and begun:
                found.append(f"{key} ended in {entry.outcome}, and {entry.receiver} has handled it")
            if entry.outcome in ("answered", "Rejected", "HandlerFailed") and not begun:
                found.append(f"{key} ended in {entry.outcome}, and {entry.receiver} has never seen it")
            if entry.outcome == "answered" and (key not in self.answered or entry.answer != key[1] * 2):
                found.append(f"{key} was answered with {entry.answer}")
        return found
