"""Our own commands, as a benchmark runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> None:
    """Run `python -m ...` to its end.

    Raises:
        subprocess.CalledProcessError: It has failed.
    """
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True, capture_output=True)
