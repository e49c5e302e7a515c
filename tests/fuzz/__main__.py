"""`bin/fuzz`: bytes of strangers by the million, at everything that reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from tests.fuzz.corpus import folder_of
from tests.fuzz.targets import MILLISECONDS_PER_MIB, TARGETS, Target
from tests.fuzz.watch import HANG_SECONDS, BlackBox, Finding, Tally, Trial, held_in, kept

ROOT = Path(__file__).resolve().parent.parent.parent

# Of all frames: those that are tried under atheris, which finds new ways and is slow, and how the
# others are shared out. A connection costs as much as a hundred frames.
EXPLORING = 0.1
SHARES = {"framing": 0.6, "codec": 0.35, "handshake": 0.05}

GROWTH_MIB = 32

HUNG = "Timeout ("  # how `faulthandler` begins when it ends a process


class Broke(Exception):
    """What the fuzzed code did not stand, in a line, and how to see it again."""


@click.command(context_settings={"show_default": True})
@click.option("--frames", type=click.IntRange(1), default=500_000, help="How many frames to try in all.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of chance: the same one, the same inputs.")
@click.option("--target", type=click.Choice(["all", *TARGETS]), default="all", help="What to try them on.")
@click.option(
    "--findings",
    type=click.Path(path_type=Path),
    default=Path("workspace/fuzz"),
    help="Where inputs are put that break something.",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Try the input in this file, and nothing else.",
)
def main(frames: int, seed: int, target: str, findings: Path, replay: Path | None) -> None:
    """Try millions of wrong, strange and hostile frames on framing, codec and connections.

    Part of them are found by atheris, which looks for inputs that reach new lines; from these and the corpus
    in tests/fuzz/corpus the others are made by chance. Whatever the bytes are: nothing but the errors that
    are meant for it may come out, honest peers stay served, the memory does not grow by more than 32 MiB,
    no frame costs more CPU than 10 ms a MiB (what is shorter than 1 MiB: 10 ms), and nothing hangs. The
    status is 1 when one of these does not hold; the input is kept, and a command for it is shown.
    """
    findings = findings.absolute()  # those who write there run elsewhere
    targets = list(TARGETS.values()) if target == "all" else [TARGETS[target]]
    if replay is not None:
        if len(targets) != 1:
            raise click.UsageError("--replay is for one target: add --target framing, codec or handshake")
        sys.exit(_replay(targets[0], replay))
    share = sum(SHARES[each.name] for each in targets)
    began = time.monotonic()
    sums = []
    try:
        for each in targets:
            run = Run(each, max(1, round(frames * SHARES[each.name] / share)), seed, findings)
            sums += run.all_phases()
    except Broke as broke:
        click.echo(f"error: {broke}")
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("Stopped before all frames were tried.")
        sys.exit(130)
    seconds = time.monotonic() - began
    tried = sum(tally.frames for tally in sums)
    click.echo(
        f"{tried:,} frames ({sum(tally.size for tally in sums) / 2**20:,.0f} MiB) in {seconds:,.0f} s, seed"
        f" {seed}: nothing broke"
    )


@dataclass
class Run:
    """All frames for one target: first those that atheris steers, then those by chance.

    Attributes:
        target: What.
        frames: How many.
        seed: Of chance.
        findings: Where inputs are put that break something.
    """

    target: Target
    frames: int
    seed: int
    findings: Path
    _line: Line = field(default_factory=lambda: Line())

    def all_phases(self) -> list[Tally]:
        """Return what came of each phase. Raises Broke."""
        name = self.target.name
        folders = [str(folder_of(name))]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as new:
            tallies = []
            exploring = round(self.frames * EXPLORING)
            if find_spec("atheris") is None:
                click.echo("There is no atheris for this Python or machine: all inputs are by chance.")
                exploring = 0
            if exploring:
                tallies.append(self._phase("explore", exploring, [new, *folders]))
                found = len(list(Path(new).iterdir()))
                self._say("steered", tallies[-1], f"{found:,} inputs reach something new")
                folders.append(new)
            tally = self._phase("drill", max(1, self.frames - exploring), folders)
            grown = tally.grown_kib / 1024
            self._say(
                "by chance",
                tally,
                f"memory {grown:+.1f} MiB, dearest {tally.dearest_ms:.2f} ms CPU for {tally.dearest_size:,}"
                f" bytes, {tally.dearest_share:.0%} of what it may cost"
                f" ({MILLISECONDS_PER_MIB:g} ms a MiB, at least {self.target.floor_ms:g} ms)",
            )
            if grown > GROWTH_MIB:
                raise Broke(
                    f"{name}: memory has grown by {grown:.1f} MiB in {tally.frames:,} frames,"
                    f" {GROWTH_MIB} MiB are allowed\n  again: {self._again}"
                )
            return [*tallies, tally]

    @property
    def _again(self) -> str:
        return f"bin/fuzz --target {self.target.name} --frames {self.frames} --seed {self.seed}"

    def _say(self, phase: str, tally: Tally, more: str) -> None:
        click.echo(
            f"{self.target.name:9} {phase:9} {tally.frames:>10,} frames,"
            f" {tally.accepted / max(1, tally.frames):.0%} understood; {more}"
        )

    def _phase(self, module: str, frames: int, folders: Sequence[str]) -> Tally:
        """Run one phase in a process of its own, whose end cannot hurt us."""
        name = self.target.name
        self.findings.mkdir(parents=True, exist_ok=True)
        box = self.findings / f"{name}.now"
        command = [sys.executable, "-m", f"tests.fuzz.{module}", name, str(frames), str(self.seed)]
        command += [str(self.findings), str(box), *folders]
        tally = Tally()
        with tempfile.TemporaryFile("w+") as log:
            with (
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, text=True) as child,
                _killed_at_the_end(child),
            ):
                for line in _json_lines(child):
                    if "finding" in line:
                        self._line.clear()
                        raise Broke(f"{name}: {line['finding']}\n  again: {_command(name, line['file'])}")
                    tally = Tally(**line)
                    self._line.show(f"{name}, {module}: {tally.frames:,} of {frames:,} frames")
                status = child.wait()
            self._line.clear()
            log.seek(0)
            held = held_in(box)
            box.unlink(missing_ok=True)
            if status:
                raise Broke(self._how_it_ended(status, log.read(), tally, held))
        return tally

    def _how_it_ended(self, status: int, log: str, tally: Tally, held: bytes) -> str:
        """Say how a process came to its end, and with which input, if it had one in hand."""
        name = self.target.name
        what = f"the process that tried the inputs ended with status {status}"
        if HUNG in log:
            what = f"an input of {len(held):,} bytes took more than {HANG_SECONDS:g} s"
        again = _command(name, kept(self.findings, name, held)) if held else self._again
        words = log[-2000:].strip() or "without a word"
        return f"{name}: {what} after {tally.frames:,} frames: {words}\n  again: {again}"


@contextmanager
def _killed_at_the_end(child: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        child.kill()


def _json_lines(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("{"):  # libFuzzer and atheris say things too
            yield json.loads(line)


def _replay(target: Target, file: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        trial = Trial(target, 1, file.parent, tells=False, box=BlackBox(Path(folder) / "now"))
        try:
            trial.attempt(file.read_bytes())
        except Finding as finding:
            click.echo(f"error: {json.loads(str(finding))['finding']}")
            return 1
        finally:
            trial.close()
    tally = trial.tally
    click.echo(
        f"{target.name}: {tally.frames:,} frames, {tally.accepted:,} understood,"
        f" {tally.cpu_seconds * 1000:.2f} ms CPU: nothing broke"
    )
    return 0


def _command(name: str, file: object) -> str:
    return f"bin/fuzz --target {name} --replay {os.path.relpath(str(file))}"


@dataclass
class Line:
    """Says how far it is: on a terminal written over, else one line now and then."""

    _next: float = 0.0

    def show(self, text: str) -> None:
        """Say it."""
        terminal = sys.stderr.isatty()
        if terminal or time.monotonic() > self._next:
            self._next = time.monotonic() + 10
            click.echo(f"\r\x1b[K{text}" if terminal else text, err=True, nl=not terminal)

    def clear(self) -> None:
        """Take it away, before something else is written."""
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", err=True, nl=False)


if __name__ == "__main__":
    main(prog_name="bin/fuzz")
