"""What is noted while inputs are tried: how many, what they cost, how much memory there is, what broke."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.fuzz.targets import Cost, Target

TELL_SECONDS = 0.5

# What looks too slow is tried again: the machine has other things to do as well.
MORE_TRIES = 6

PAGE_BYTES = 4096


class Finding(Exception):
    """An input that breaks something. Its text says what; the input is in the file that it names."""


@dataclass
class Tally:
    """The sum of what was tried.

    Attributes:
        inputs: How many.
        frames: How many frames were in them.
        accepted: How many of these were understood.
        size: Bytes.
        cpu_seconds: In our code.
        dearest_ms: The most that one input has cost, in CPU.
        dearest_size: How many bytes that one had.
        dearest_share: The most that one input has cost, of what it may cost.
        grown_kib: How much more memory there is than after the first tenth.
    """

    inputs: int = 0
    frames: int = 0
    accepted: int = 0
    size: int = 0
    cpu_seconds: float = 0.0
    dearest_ms: float = 0.0
    dearest_size: int = 0
    dearest_share: float = 0.0
    grown_kib: int = 0


@dataclass
class Trial:
    """Tries inputs on a target, and keeps the tally. Says now and then, on stdout, how far it is.

    Args:
        target: What.
        frames: How many to try.
        findings: Where inputs go that break something.
        judges_cost: Whether an input that costs too much is a finding.
        tells: Whether it is said how far it is.
    """

    target: Target
    frames: int
    findings: Path
    judges_cost: bool = True
    tells: bool = True
    tally: Tally = field(default_factory=Tally)
    _next_line: float = 0.0
    _resident_kib: int | None = None

    @property
    def done(self) -> bool:
        """Whether there were frames enough."""
        return self.tally.frames >= self.frames

    def attempt(self, data: bytes) -> None:
        """Try an input. Raises Finding."""
        try:
            cost = self.target.run(data)
        except Exception as error:
            raise self._finding(data, f"{type(error).__name__}: {error}", error) from error
        if self.judges_cost and cost.cpu_seconds > self.target.allowed_seconds(cost.size):
            cost = min((self.target.run(data) for _ in range(MORE_TRIES)), key=lambda each: each.cpu_seconds)
            if cost.cpu_seconds > self.target.allowed_seconds(cost.size):
                raise self._finding(
                    data,
                    f"{cost.size:,} bytes cost {cost.cpu_seconds * 1000:.1f} ms of CPU;"
                    f" {self.target.allowed_seconds(cost.size) * 1000:.1f} ms are allowed",
                )
        self._count(cost)
        if self.tells and time.monotonic() > self._next_line:
            self._next_line = time.monotonic() + TELL_SECONDS
            self.tell()

    def _count(self, cost: Cost) -> None:
        tally = self.tally
        tally.inputs += 1
        tally.frames += cost.frames
        tally.accepted += cost.accepted
        tally.size += cost.size
        tally.cpu_seconds += cost.cpu_seconds
        if cost.cpu_seconds * 1000 > tally.dearest_ms:
            tally.dearest_ms, tally.dearest_size = cost.cpu_seconds * 1000, cost.size
        share = cost.cpu_seconds / self.target.allowed_seconds(cost.size)
        tally.dearest_share = max(tally.dearest_share, share)
        if self._resident_kib is None and tally.frames >= self.frames / 10:
            gc.collect()
            self._resident_kib = resident_kib()

    def tell(self) -> None:
        """Write the tally as a line of JSON."""
        if self._resident_kib is not None:
            self.tally.grown_kib = resident_kib() - self._resident_kib
        print(json.dumps(asdict(self.tally)), flush=True)

    def finish(self) -> None:
        """Write the last line."""
        gc.collect()
        self.tell()

    def _finding(self, data: bytes, text: str, error: Exception | None = None) -> Finding:
        name = f"{self.target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        self.findings.mkdir(parents=True, exist_ok=True)
        (self.findings / name).write_bytes(data)
        if error is not None:
            traceback.print_exception(error, file=sys.stderr)
        return Finding(json.dumps({"finding": text, "file": str(self.findings / name)}))


def resident_kib() -> int:
    """How much of this process is in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES // 1024
