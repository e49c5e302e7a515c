"""The example in the guide does what the guide says."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from trioactor import testing

GUIDE = Path(testing.__file__).with_name("TESTING.md").read_text()


def test_the_example_runs_and_meets_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "example.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "example", raising=False)

    importlib.import_module("example")

    partitions, *words = capsys.readouterr().out.split()
    assert int(partitions) > 5
    assert words == ["partitions", "in", "150", "seconds"]


def test_every_public_name_is_in_the_guide_or_belongs_to_one_that_is() -> None:
    helpers = {"KINDS", "Auditor", "Deadlock", "Partition", "SimulationError", "Trace"}

    assert [name for name in testing.__all__ if name not in GUIDE and name not in helpers] == []
