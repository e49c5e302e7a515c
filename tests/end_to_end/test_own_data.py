"""Data of one's own: seven classes that are not EuroSAT's, from a features file to both modes' results."""

from __future__ import annotations

import numpy as np
import pytest

from tests.end_to_end.conftest import Workspace

REGIONS = """
class_names = ["ant", "bee", "crab", "duck", "eel", "fox", "gnu"]

[regions.A]
classes = ["ant", "bee", "crab"]
shift = "haze"

[regions.B]
classes = ["crab", "duck", "eel"]
fraction = 0.6
shift = "colour"

[regions.C]
classes = ["duck", "eel", "fox", "gnu"]
shift = "contrast"
"""


@pytest.fixture
def own_data(workspace: Workspace) -> Workspace:
    """A workspace with the regions of a features file that NumPy wrote."""
    chance = np.random.default_rng(11)
    labels = np.repeat(np.arange(7), [60, 45, 75, 30, 50, 65, 40])
    places = chance.normal(0, 1, (7, 40))
    features = places[labels] + chance.normal(0, 1.2, (len(labels), 40))
    np.savez(workspace.folder / "animals.npz", features=features, labels=labels)
    (workspace.folder / "regions.toml").write_text(REGIONS)
    split = workspace.begin(
        *(
            "prep",
            "split-regions",
            "--features",
            "animals.npz",
            "--config",
            "regions.toml",
            "--plot",
            "split.png",
        ),
    )
    assert split.wait() == 0, split.stderr
    assert "365 samples of animals; 40 features each, seed 0" in split.stdout
    return workspace


def test_seven_classes_of_ones_own_are_learnt_in_rounds(own_data: Workspace) -> None:
    run = own_data.start("--rounds", "5")
    assert run.wait() == 0, run.stderr

    assert "Finished: 5 rounds" in run.stdout
    assert "animals data" in run.stdout
    (folder,) = (own_data.path / "runs").iterdir()
    assert folder.name.endswith("-animals")


def test_seven_classes_of_ones_own_are_learnt_by_gossip(own_data: Workspace) -> None:
    run = own_data.begin("gossip", "start", "--plain", "--rounds", "3", "--no-picture")
    assert run.wait() == 0, run.stderr

    assert "Converged: 3 peers, 3 rounds each" in run.stdout
    assert "animals data" in run.stdout
