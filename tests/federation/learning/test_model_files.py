"""Models in the formats of others: written, and then opened by the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from federation.learning import ArchiveError, ParamsError, SimpleClassifier, generator_for, model_sha256
from federation.learning.errors import MissingExtra
from federation.learning.model_files import load_safetensors, save_onnx, save_safetensors
from tests.extras import need
from tests.federation.stage import CLASSES, FEATURES, region


@pytest.fixture
def model() -> SimpleClassifier:
    data = region("A")
    model = SimpleClassifier(FEATURES, len(CLASSES))
    model.fit(
        data.X, data.y, epochs=3, batch_size=8, learning_rate=0.1, generator=generator_for(1, "model files")
    )
    return model


# --- safetensors --------------------------------------------------------------------------------


def test_weights_come_back_from_safetensors_to_the_last_bit(model: SimpleClassifier, tmp_path: Path) -> None:
    need("safetensors")
    path, params = tmp_path / "made" / "model.safetensors", model.get_weights()
    save_safetensors(path, params, {"class_names": CLASSES})

    assert model_sha256(load_safetensors(path, params)) == model_sha256(params)
    assert json.loads((tmp_path / "made" / "config.json").read_text()) == {
        "class_names": list(CLASSES),
        "weights": {"W": [FEATURES, 3], "b": [3]},
        "model_sha256": model_sha256(params),
    }


def test_safetensors_itself_opens_the_file(model: SimpleClassifier, tmp_path: Path) -> None:
    need("safetensors")
    from safetensors import safe_open

    save_safetensors(tmp_path / "model.safetensors", model.get_weights(), {})

    with safe_open(tmp_path / "model.safetensors", framework="np") as opened:
        assert opened.metadata() == {"model_sha256": model_sha256(model.get_weights())}
        np.testing.assert_array_equal(opened.get_tensor("W"), model.get_weights()["W"])


def test_the_same_model_makes_the_same_file(model: SimpleClassifier, tmp_path: Path) -> None:
    need("safetensors")
    params = model.get_weights()
    save_safetensors(tmp_path / "one.safetensors", params, {})
    first = (tmp_path / "one.safetensors").read_bytes()
    for _ in range(10):
        save_safetensors(tmp_path / "again.safetensors", dict(reversed(params.items())), {})
        assert (tmp_path / "again.safetensors").read_bytes() == first


def test_what_is_no_safetensors_file_is_named(model: SimpleClassifier, tmp_path: Path) -> None:
    need("safetensors")
    path = tmp_path / "model.safetensors"
    with pytest.raises(ArchiveError, match="there is no such file"):
        load_safetensors(path)
    path.write_bytes(b"something else")
    with pytest.raises(ArchiveError, match="cannot be read as safetensors"):
        load_safetensors(path)
    save_safetensors(path, {"W": np.zeros((2, 2), np.float32)}, {})
    with pytest.raises(ParamsError, match=r"model\.safetensors: weights named W, the model's are W, b"):
        load_safetensors(path, model.get_weights())


# --- ONNX ---------------------------------------------------------------------------------------


def test_the_onnx_model_says_what_ours_says(model: SimpleClassifier, tmp_path: Path) -> None:
    need("onnx", "onnxruntime")
    import onnxruntime

    data = region("D", 50)
    save_onnx(tmp_path / "model.onnx", model.get_weights(), CLASSES)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {"X": data.X})

    ours = model.evaluate(data.X, data.y)
    assert label.dtype == np.int64
    assert (label == data.y).mean() == ours.accuracy
    own = probabilities[np.arange(len(data.y)), data.y].astype(np.float64)
    assert -np.log(own).mean() == pytest.approx(ours.loss, rel=1e-5)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["class_names"]) == list(CLASSES)
    assert told["model_sha256"] == model_sha256(model.get_weights())


def test_only_the_linear_model_becomes_onnx(tmp_path: Path) -> None:
    need("onnx")
    with pytest.raises(ParamsError, match=r"named 0\.weight are not the W and b.*torch\.onnx\.export"):
        save_onnx(tmp_path / "model.onnx", {"0.weight": np.zeros((2, 2), np.float32)})
    assert not list(tmp_path.iterdir())


# --- packages that are not there ----------------------------------------------------------------


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    model: SimpleClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("safetensors", "safetensors.numpy", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed

    with pytest.raises(MissingExtra, match=r"package safetensors.*pip install 'trioactor\[export\]'"):
        save_safetensors(tmp_path / "model.safetensors", model.get_weights(), {})
    with pytest.raises(MissingExtra, match="package safetensors"):
        load_safetensors(tmp_path / "model.safetensors")
    with pytest.raises(MissingExtra, match=r"package onnx.*pip install 'trioactor\[export\]'"):
        save_onnx(tmp_path / "model.onnx", model.get_weights())
