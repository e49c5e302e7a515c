"""Image trees in EuroSAT's layout, generated; and the real ResNet18 with random weights, saved to a file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

import prep
from prep import CLASS_NAMES, EUROSAT_COUNTS, draw_tile
from tests.extras import need

PROJECT = Path(prep.__file__).parents[1]


def write_tree(folder: Path, per_class: int, classes: tuple[str, ...] = CLASS_NAMES) -> Path:
    """Write so many tiles of each class as JPEG files, named as EuroSAT's are; return the folder."""
    for class_name in classes:
        (folder / class_name).mkdir(parents=True)
        for number in range(per_class):
            tile = Image.fromarray(draw_tile(class_name, number))
            tile.save(folder / class_name / f"{class_name}_{number + 1}.jpg", quality=90)
    return folder


def link_tree(folder: Path, tile: Path, counts: Mapping[str, int] = EUROSAT_COUNTS) -> Path:
    """Write a tree with so many images of each class, all of them links to one file; return the folder."""
    for class_name, count in counts.items():
        (folder / class_name).mkdir(parents=True)
        for number in range(count):
            os.link(tile, folder / class_name / f"{class_name}_{number + 1}.jpg")
    return folder


@pytest.fixture(scope="session")
def tree_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tiles of each of EuroSAT's classes, below a folder of its name; no test writes to it."""
    return write_tree(tmp_path_factory.mktemp("images") / "eurosat" / "2750", per_class=6)


@pytest.fixture(scope="session")
def resnet18_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights of the real ResNet18, named as torchvision's files are."""
    need("torch", "torchvision")
    import torch
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = torchvision.models.resnet18(weights=None)
    plain = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(network.state_dict(), plain)
    return plain.rename(plain.with_name(f"resnet18-{hashlib.sha256(plain.read_bytes()).hexdigest()[:8]}.pth"))


# The real command in a process of its own, which sends itself a signal when so many images are done: so
# neither chance nor a busy machine decides how far it has come.
SIGNALLED = """
import os, sys
import prep.__main__ as command

number, at = int(sys.argv[1]), int(sys.argv[2])
extract = command.extract_images

def extract_images(*arguments, progress, **settings):
    def told(done, total):
        progress(done, total)
        if done == at:
            os.kill(os.getpid(), number)
    return extract(*arguments, progress=told, **settings)

command.extract_images = extract_images
command.main(sys.argv[3:])
"""


def signalled(number: int, at: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m prep ...`, and send it a signal when so many images are done."""
    command = [sys.executable, "-c", SIGNALLED, str(number), str(at), *arguments]
    return subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
