import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from federation.learning import (
    ArchiveError,
    Params,
    ParamsError,
    check_params,
    load_params,
    model_sha256,
    save_params,
)

WEIGHTS = {"W": np.arange(6, dtype=np.float32).reshape(3, 2), "b": np.array([0.5, -0.5], np.float32)}


def test_the_fingerprint_is_written_down() -> None:
    """A changed fingerprint means that old records no longer match; that must be a decision."""
    assert model_sha256(WEIGHTS) == "d8cb83ed9155cc6792bf4d257f61444aa4985d61a4984e692915fd7e2b3f71e1"


def test_the_fingerprint_does_not_depend_on_how_the_weights_are_held() -> None:
    other = {"b": WEIGHTS["b"].astype(">f4"), "W": np.asfortranarray(WEIGHTS["W"])}

    assert model_sha256(other) == model_sha256(WEIGHTS)


@pytest.mark.parametrize(
    "other",
    [
        {"W": WEIGHTS["W"], "c": WEIGHTS["b"]},
        {"W": WEIGHTS["W"].reshape(2, 3), "b": WEIGHTS["b"]},
        {"W": WEIGHTS["W"], "b": np.nextafter(WEIGHTS["b"], np.float32(1))},
        {"W": WEIGHTS["W"]},
    ],
    ids=["name", "shape", "last bit", "fewer"],
)
def test_the_fingerprint_changes_with_anything_that_matters(other: Params) -> None:
    assert model_sha256(other) != model_sha256(WEIGHTS)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "without a single array"),
        ({"W": WEIGHTS["W"]}, "weights named W, the model's are W, b"),
        ({**WEIGHTS, "W": WEIGHTS["W"].T}, r"'W' has shape \(2, 3\), the model's has \(3, 2\)"),
        ({**WEIGHTS, "b": WEIGHTS["b"].astype(np.float64)}, "'b' is float64, it must be an array of float32"),
        ({**WEIGHTS, "b": [0.5, -0.5]}, "'b' is list"),
        ({**WEIGHTS, "b": np.array([np.nan, 1], np.float32)}, "'b' holds NaN or infinity in 1 of 2 values"),
        ({**WEIGHTS, "b": np.array([np.inf, -np.inf], np.float32)}, "NaN or infinity in 2 of 2"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_words(wrong: Params, words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        check_params(wrong, like=WEIGHTS)


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "weights.npz"

    save_params(path, WEIGHTS)

    assert model_sha256(load_params(path, like=WEIGHTS)) == model_sha256(WEIGHTS)
    assert [entry.name for entry in path.parent.iterdir()] == ["weights.npz"], "no partial file stays"


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"

    with pytest.raises(ParamsError, match="NaN"):
        save_params(path, {"b": np.array([np.nan], np.float32)})

    assert not path.exists()


def test_a_weights_file_of_another_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    save_params(path, {"W": WEIGHTS["W"]})

    with pytest.raises(ParamsError, match=r"weights\.npz: weights named W, the model's are W, b"):
        load_params(path, like=WEIGHTS)


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"none\.npz: there is no such file"):
        load_params(tmp_path / "none.npz")


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    """Under another hash seed, which orders sets and dictionaries of text differently elsewhere."""
    program = (
        "import numpy as np; from federation.learning import model_sha256; "
        "print(model_sha256({'W': np.arange(6, dtype='f4').reshape(3, 2), 'b': np.array([.5, -.5], 'f4')}))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "12345"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )

    assert finished.stdout.strip() == model_sha256(WEIGHTS)
