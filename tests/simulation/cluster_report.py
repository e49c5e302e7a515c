"""What many seeds have come to: which faults occurred, what became of the messages, what was broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulation.cluster import SeedReport
from trioactor.testing import KINDS

# Events of links, which `drawn_link` makes as common as the faults above.
TROUBLES = {"cut off": "a link resets a connection", "timed out": "TCP loses patience"}

OUTCOMES = {
    "told": "tell returned",
    "answered": "ask was answered",
    "Rejected": "ask was declined",
    "HandlerFailed": "the handler failed",
    "NotDelivered": "not delivered, for certain",
    "MailboxFull": "no room, and not delivered",
    "OutcomeUnknown": "outcome unknown",
    "given up": "the sender gave up",
    "called back": "a ref in a message was told",
    "peer down": "a watch ended",
    "desk failed": "an actor was restarted",
    "overtaken by a newer connection": "a message was overtaken by a newer connection",
}

# From so many seeds on, a kind of fault that has never occurred is an error of the test.
ENOUGH_SEEDS = 200


@dataclass
class Summary:
    """The sum of seeds.

    Attributes:
        seeds: How many there were.
        events: Events on their networks.
        seconds: Their virtual time.
        times: How often each thing happened.
        in_seeds: In how many seeds each thing happened.
        failed: Those in which a law was broken.
    """

    seeds: int = 0
    events: int = 0
    seconds: float = 0.0
    times: Counter[str] = field(default_factory=Counter)
    in_seeds: Counter[str] = field(default_factory=Counter)
    failed: list[SeedReport] = field(default_factory=list)

    def add(self, report: SeedReport) -> None:
        """Count one seed in."""
        self.seeds += 1
        self.events += report.events
        self.seconds += report.seconds
        self.times += report.counts
        self.in_seeds.update(report.counts.keys())
        if report.violations:
            self.failed.append(report)

    @property
    def never(self) -> list[str]:
        """The kinds of faults that have not occurred, though there were seeds enough for it."""
        return [kind for kind in KINDS if self.seeds >= ENOUGH_SEEDS and not self.times[f"fault: {kind}"]]

    def lines(self) -> Iterator[str]:
        """Yield a table for people."""
        yield f"{'':44}{'times':>10}  in seeds"
        for kind in KINDS:
            yield self._line(f"fault: {kind}", kind)
        for kind, text in TROUBLES.items():
            yield self._line(kind, text)
        yield ""
        for kind, text in OUTCOMES.items():
            yield self._line(kind, text)
        yield ""
        yield (
            f"{self.times['handled']:,} messages handled in {self.events:,} events of the network and"
            f" {self.seconds / 3600:,.1f} virtual hours; {self.times['over TLS']:,} seeds over TLS,"
            f" {self.times['audited']:,} audited at every step"
        )

    def _line(self, kind: str, text: str) -> str:
        share = self.in_seeds[kind] / max(1, self.seeds)
        return f"  {text:42}{self.times[kind]:>10,}  {share:>7.1%}"
