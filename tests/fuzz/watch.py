"""What is noted while inputs are tried: how many, what they cost, how much memory there is, what broke."""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import json
import mmap
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.fuzz.targets import Cost, Target

TELL_SECONDS = 0.5

# What looks too slow is tried again: the machine has other things to do as well.
MORE_TRIES = 20

PAGE_BYTES = 4096

# An input that takes so long by the clock on the wall hangs. The dearest take milliseconds; the machine may
# have other things to do as well.
HANG_SECONDS = 10.0

STDERR = 2  # `sys.stderr` may be another one in tests

_BOX_BYTES = 2**20
_LENGTH_BYTES = 8
_REST_SECONDS = 1.0  # between two looks at the clock


class Finding(Exception):
    """An input that breaks something. Its text says what; the input is in the file that it names."""


class BlackBox:
    """Holds the input that is being tried, for those who find it when this process hangs or dies.

    A process that hangs is ended: its traceback goes to stderr, its status is 1.

    Args:
        file: Where the input is held.
        hang_seconds: How long an input may take; one second less may be enough for the end.
    """

    def __init__(self, file: Path, hang_seconds: float = HANG_SECONDS) -> None:
        file.write_bytes(bytes(_BOX_BYTES))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _BOX_BYTES)
        self._hang_seconds = hang_seconds
        self._next_look = 0.0

    def hold(self, data: bytes) -> None:
        """Take the input that is tried next."""
        self._memory[:_LENGTH_BYTES] = len(data).to_bytes(_LENGTH_BYTES, "little")
        self._memory[_LENGTH_BYTES : _LENGTH_BYTES + len(data)] = data
        if time.monotonic() >= self._next_look:  # it starts a thread each time, so not for every input
            self._next_look = time.monotonic() + _REST_SECONDS
            faulthandler.dump_traceback_later(self._hang_seconds, exit=True, file=STDERR)

    def close(self) -> None:
        """Nothing is tried any more."""
        faulthandler.cancel_dump_traceback_later()
        self._memory.close()


def held_in(file: Path) -> bytes:
    """Return the input that a `BlackBox` held last; nothing if there was none."""
    data = file.read_bytes() if file.exists() else b""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    return data[_LENGTH_BYTES : _LENGTH_BYTES + length]


def kept(findings: Path, target: str, data: bytes) -> Path:
    """Write an input that breaks something to the folder of findings, and return its file."""
    findings.mkdir(parents=True, exist_ok=True)
    file = findings / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    return file


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
        box: Holds the input that is being tried.
    """

    target: Target
    frames: int
    findings: Path
    judges_cost: bool = True
    tells: bool = True
    box: BlackBox | None = None
    tally: Tally = field(default_factory=Tally)
    _next_line: float = 0.0
    _resident_kib: int | None = None

    @property
    def done(self) -> bool:
        """Whether there were frames enough."""
        return self.tally.frames >= self.frames

    def attempt(self, data: bytes) -> None:
        """Try an input. Raises Finding."""
        if self.box is not None:
            self.box.hold(data)
        try:
            cost = self.target.run(data)
        except Exception as error:
            raise self._finding(data, f"{type(error).__name__}: {error}", error) from error
        if self.judges_cost and cost.cpu_seconds > self.target.allowed_seconds(cost.size):
            cost = self._again(data)
        self._count(cost)
        if self.tells and time.monotonic() > self._next_line:
            self._next_line = time.monotonic() + TELL_SECONDS
            self.tell()

    def _again(self, data: bytes) -> Cost:
        """Try an input that looks too slow until it is not. Raises Finding."""
        costs = []
        for _ in range(MORE_TRIES):
            costs.append(self.target.run(data))
            if costs[-1].cpu_seconds <= self.target.allowed_seconds(costs[-1].size):
                return costs[-1]
        least = min(costs, key=lambda each: each.cpu_seconds)
        raise self._finding(
            data,
            f"{least.size:,} bytes cost {least.cpu_seconds * 1000:.1f} ms of CPU;"
            f" {self.target.allowed_seconds(least.size) * 1000:.1f} ms are allowed",
        )

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
        self.close()

    def close(self) -> None:
        """Let go of the box."""
        if self.box is not None:
            self.box.close()

    def _finding(self, data: bytes, text: str, error: Exception | None = None) -> Finding:
        file = kept(self.findings, self.target.name, data)
        if error is not None:
            traceback.print_exception(error, file=sys.stderr)
        return Finding(json.dumps({"finding": text, "file": str(file)}))


def resident_kib() -> int:
    """How much of this process is in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES // 1024
