"""The notebook of docs/, cell by cell, as somebody who opens it runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from persistence.history import load_runs
from tests.extras import need

need("pandas")

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "compare_strategies.py"
CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)


def cells(path: Path) -> list[str]:
    """Return the cells of code: between two lines that begin with `# %%`."""
    _, *parts = CELL.split(path.read_text())
    return [code for kind, code in zip(parts[::2], parts[1::2], strict=True) if "[markdown]" not in kind]


def test_the_notebook_runs_and_says_what_its_words_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for code in cells(NOTEBOOK):
        exec(compile(code, str(NOTEBOOK), "exec"), names)

    runs = load_runs(tmp_path / "workspace" / "training.db")
    assert [(one.run.strategy, one.run.status, len(one.committed)) for one in runs] == [
        ("fedavg", "finished", 40),
        ("fedavgm", "finished", 40),
        ("median", "finished", 40),
    ]
    last = names["accuracy"].iloc[-1]
    assert last["fedavgm"] > last["median"]  # "The median does badly here"
    assert last["fedavg"] > last["median"]
    said = capsys.readouterr().out
    assert "800 tiles, 512 features, 10 classes" in said
    assert (tmp_path / "workspace" / "strategies.png").read_bytes().startswith(b"\x89PNG")
    assert names["rounds"]["workers"].eq(5).all()
    assert "<table" in names["histories"]["fedavg"]._repr_html_()


def test_every_cell_of_words_is_words_only() -> None:
    _, *parts = CELL.split(NOTEBOOK.read_text())
    words = [text for kind, text in zip(parts[::2], parts[1::2], strict=True) if "[markdown]" in kind]

    assert len(words) > 5
    assert all(line.startswith("#") for text in words for line in text.splitlines() if line)
