"""The inputs that are kept: every kind of frame, and everything that ever broke something."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def folder_of(target: str) -> Path:
    """Where the inputs of a target are kept."""
    return FOLDER / target


def inputs_in(folders: Iterable[Path]) -> dict[str, bytes]:
    """Return all inputs in these folders by name, in the order of their names."""
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()]
    return {file.name: file.read_bytes() for file in files}
