"""`bin/export`: the model of a run for other tools, as a user asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from federation.__main__ import main
from federation.exports import card_of
from federation.learning import SimpleClassifier, load_params, model_sha256, save_params
from federation.learning.model_files import load_safetensors
from federation.results import write_results
from federation.workspace import RunFolder
from persistence import EvaluationRow, RoundPersistence, RoundRow
from persistence.history import load_run
from tests.extras import need
from tests.persistence.samples import new_run

ROUNDS = 2


def weights(number: int) -> dict[str, np.ndarray]:
    return {"W": np.full((4, 3), number, np.float32), "b": np.arange(3, dtype=np.float32)}


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Return a record with a run of two rounds, and one that has no model."""
    path = tmp_path / "workspace" / "training.db"
    path.parent.mkdir()
    with RoundPersistence(path) as store:
        run = store.create_run(new_run("learnt")).id
        for number in range(1, ROUNDS + 1):
            params = weights(number)
            row = RoundRow(
                number=number, started_unix=1e9, ended_unix=1e9, seconds=1, model_sha256=model_sha256(params)
            )
            store.commit_round(run, row, weights=params, updates=[])
            per_class = {"field": 0.5, "forest": 0.5, "river": None}
            score = EvaluationRow(
                round=number, region="D", samples=4, loss=1.5, accuracy=0.5, per_class=per_class
            )
            store.save_evaluation(run, score)
        store.create_run(new_run("begun"))
    return path


def export(record: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["export", "--db", str(record), *map(str, arguments)])


def test_the_last_model_of_a_run_goes_into_an_npz_file(record: Path, tmp_path: Path) -> None:
    result = export(record, "learnt", "--out", tmp_path / "here" / "m.npz")

    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"the model of run learnt after round 2 is in {tmp_path / 'here' / 'm.npz'}\n"
    assert model_sha256(load_params(tmp_path / "here" / "m.npz")) == model_sha256(weights(2))


def test_safetensors_come_with_a_file_that_says_what_they_are(record: Path, tmp_path: Path) -> None:
    need("safetensors")
    result = export(record, "1", "--round", "1", "--out", tmp_path / "model.safetensors")

    assert result.exit_code == 0, result.stderr
    assert model_sha256(load_safetensors(tmp_path / "model.safetensors")) == model_sha256(weights(1))
    told = json.loads((tmp_path / "config.json").read_text())
    assert told["class_names"] == ["field", "forest", "river"]
    assert (told["run"], told["round"], told["synthetic"]) == ("learnt", 1, True)
    assert (told["region"], told["accuracy"]) == ("D", 0.5)
    assert told["weights"] == {"W": [4, 3], "b": [3]}


def test_onnx_runs_and_knows_the_names_of_the_classes(record: Path, tmp_path: Path) -> None:
    need("onnx", "onnxruntime")
    import onnxruntime

    assert export(record, "learnt", "--out", tmp_path / "m.onnx").exit_code == 0

    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (label,) = session.run(["label"], {"X": np.zeros((2, 4), np.float32)})
    assert label.tolist() == [2, 2]  # the largest of b
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"])[2] == "river"


def test_a_model_in_an_npz_file_goes_into_other_forms(record: Path, tmp_path: Path) -> None:
    need("safetensors")
    model = SimpleClassifier(4, 3).get_weights()
    save_params(tmp_path / "gossip.npz", model)
    result = export(record, tmp_path / "gossip.npz", "--out", tmp_path / "m.safetensors")

    assert result.exit_code == 0, result.stderr
    assert model_sha256(load_safetensors(tmp_path / "m.safetensors")) == model_sha256(model)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("learnt", "--out", "m.pkl"),
            "the ending says the form; use one of .npz, .onnx, .safetensors",
        ),
        (
            ("learnt", "--round", "3", "--out", "m.npz"),
            "run learnt has models after rounds 1 to 2",
        ),
        (("--out", "m.npz"), "run begun has no model yet: no round of it is committed"),
        (("learned", "--out", "m.npz"), "did you mean learnt?"),
        (("there/is/no.npz", "--out", "m.npz"), "there/is/no.npz: there is no such file"),
        (("learnt", "--out", "/proc/no/m.npz"), "--out /proc/no/m.npz: cannot be written: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_the_fix(
    record: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = export(record, *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_folder_of_a_run_has_both_forms(record: Path) -> None:
    need("safetensors")
    folder = RunFolder(record.parent / "runs" / "learnt")
    with RoundPersistence(record) as store:
        store.create_run(new_run("later"))  # the folder says which run is meant
    write_results(folder, record, picture=False)

    shas = {model_sha256(load_params(folder.model)), model_sha256(load_safetensors(folder.model_for_others))}
    assert shas == {model_sha256(weights(2))}
    assert json.loads((folder.path / "config.json").read_text())["round"] == 2


def test_a_card_is_of_one_round(record: Path) -> None:
    card = card_of(load_run(record, "learnt"), 2)

    assert (card["round"], card["loss"], card["model"]) == (2, 1.5, "simple")
