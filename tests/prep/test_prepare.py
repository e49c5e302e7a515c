import builtins
import doctest
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prep
from federation.learning import (
    Budget,
    Region,
    load_features,
    load_region,
    save_features,
    train_alone,
    train_together,
)
from prep import (
    CLASS_NAMES,
    MissingExtra,
    PixelExtractor,
    PrepError,
    dataset_folder,
    describe,
    draw_tile,
    features_file,
    prepare,
    prepare_digits,
    prepare_synthetic,
    region_file,
)

PROJECT = Path(prep.__file__).parents[1]


def files(workspace: Path) -> dict[str, str]:
    """Every file by its path in the workspace, with the digest of its bytes."""
    return {
        str(path.relative_to(workspace)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(workspace.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with 60 synthetic samples of seed 7; no test writes to it."""
    folder = tmp_path_factory.mktemp("workspace")
    prepare_synthetic(folder, samples=60, seed=7)
    return folder


def test_pixels_are_images_channels_first_from_0_to_1(tmp_path: Path) -> None:
    extractor = PixelExtractor(16)

    prepare_synthetic(tmp_path, samples=50, seed=7, extractor=extractor)

    features = load_features(features_file(tmp_path))
    assert (features.meta.extractor, features.meta.image_size) == ("pixels", 16)
    image = features.X[23].reshape(3, 16, 16)
    tile = draw_tile(CLASS_NAMES[3], 2, seed=7)
    means = tile.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(image.transpose(1, 2, 0) - means / 255).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(
        extractor.features(tile[:16, :16][None]).reshape(3, 16, 16)[2], tile[:16, :16, 2] / np.float32(255)
    )
    assert load_region(region_file(dataset_folder(tmp_path, "synthetic"), "D")).X.min() >= 0


def test_the_files_lie_where_the_seed_document_says(workspace: Path) -> None:
    assert list(files(workspace)) == [
        "dataset/region_A.npz",
        "dataset/region_B.npz",
        "dataset/region_C.npz",
        "dataset/region_D.npz",
        "eurosat_features.npz",
    ]


def test_the_regions_hold_what_they_should(workspace: Path) -> None:
    regions = {name: load_region(region_file(workspace / "dataset", name)) for name in "ABCD"}

    assert {
        name: sorted({r.meta.class_names[k] for k in r.y}) for name, r in regions.items() if name != "D"
    } == {
        "A": ["Forest", "HerbaceousVegetation", "Pasture"],
        "B": ["Highway", "Industrial", "Residential"],
        "C": ["AnnualCrop", "PermanentCrop", "River", "SeaLake"],
    }
    assert np.bincount(regions["D"].y).tolist() == [1] * 10
    assert {region.feature_count for region in regions.values()} == {512}
    assert sum(region.sample_count for region in regions.values()) == 60


def test_d_shares_no_sample_with_the_others(workspace: Path) -> None:
    """D's rows are those of the features file, and none of them is left for A, B and C."""
    features = load_features(features_file(workspace))
    row_of = {row.tobytes(): number for number, row in enumerate(features.X)}
    evaluation = load_region(region_file(workspace / "dataset", "D"))

    held_out = {row_of[row.tobytes()] for row in evaluation.X}

    assert len(held_out) == 10
    learnt = prep.split_rows(features.y, features.meta.class_names, prep.EUROSAT_REGIONS, 7)
    assert held_out == set(learnt["D"].tolist())
    assert not held_out & {row for name in "ABC" for row in learnt[name].tolist()}


def test_everything_synthetic_says_so(workspace: Path) -> None:
    """In every file, and on the screen."""
    metas = [load_region(region_file(workspace / "dataset", name)).meta for name in "ABCD"]
    metas.append(load_features(features_file(workspace)).meta)

    assert all(meta.synthetic and meta.source == "synthetic" for meta in metas)
    assert (
        "60 synthetic tiles, drawn by a program"
        in describe(prepare_synthetic(workspace, samples=60, seed=7))[0]
    )


def test_a_second_time_makes_nothing(workspace: Path) -> None:
    before = files(workspace)
    told: list[int] = []

    prepared = prepare_synthetic(
        workspace, samples=60, seed=7, progress=lambda done, _total: told.append(done)
    )

    assert not prepared.made
    assert told == []
    assert files(workspace) == before


def test_the_same_seed_is_the_same_bytes_in_another_process(workspace: Path, tmp_path: Path) -> None:
    """Under another hash seed, and with as many BLAS threads as the machine likes."""
    subprocess.run(
        [sys.executable, "-m", "prep", "prepare", "--samples=60", "--seed=7", f"--workspace={tmp_path}"],
        cwd=PROJECT,
        env={"PYTHONHASHSEED": "31337"},
        check=True,
        capture_output=True,
    )

    assert files(tmp_path) == files(workspace)


def test_other_settings_make_it_anew(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path, samples=50, seed=1)
    first = files(tmp_path)

    assert prepare_synthetic(tmp_path, samples=50, seed=2).made
    other_seed = files(tmp_path)
    assert prepare_synthetic(tmp_path, samples=60, seed=2).made
    more = files(tmp_path)

    assert first.keys() == other_seed.keys() == more.keys()
    for name in first:
        assert len({first[name], other_seed[name], more[name]}) == 3


def test_a_larger_set_begins_with_the_smaller_one(workspace: Path, tmp_path: Path) -> None:
    prepare_synthetic(tmp_path, samples=80, seed=7)

    small, large = load_features(features_file(workspace)), load_features(features_file(tmp_path))

    assert (large.X[:60] == small.X).all()


@pytest.mark.parametrize("name", ["dataset/region_B.npz", "eurosat_features.npz"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_file_that_is_gone_or_damaged_is_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    prepare_synthetic(tmp_path, samples=50)
    before = files(tmp_path)
    if damage == "gone":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1000])

    assert prepare_synthetic(tmp_path, samples=50).made

    assert files(tmp_path) == before


def test_stopped_on_the_way_nothing_has_changed(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path, samples=50, seed=1)
    before = files(tmp_path)

    def stop(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_synthetic(tmp_path, samples=50, seed=2, progress=stop)

    assert files(tmp_path) == before


def test_progress_counts_every_tile(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    prepare_synthetic(tmp_path, samples=50, progress=lambda done, total: told.append((done, total)))

    assert told == [(done, 50) for done in range(51)]


@pytest.mark.parametrize("source", ["eurosat", None])
def test_features_of_another_source_are_not_written_over(tmp_path: Path, source: str | None) -> None:
    """Real features may have taken hours; nobody should lose them to a default."""
    prepare_synthetic(tmp_path, samples=50)
    path = features_file(tmp_path)
    features = load_features(path)
    if source is None:
        np.savez(path, features=features.X, labels=features.y)
    else:
        meta = replace(features.meta, source=source, synthetic=False, digest="of its own")
        save_features(path, Region(features.X, features.y, meta))
    before = files(tmp_path)

    with pytest.raises(PrepError, match="synthetic ones are not written over it: move it away"):
        prepare_synthetic(tmp_path, samples=50)

    assert files(tmp_path) == before


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match="49 samples; at least 50 are needed"):
        prepare_synthetic(tmp_path, samples=49)


def test_digits_and_tiles_cannot_be_confused(tmp_path: Path) -> None:
    assert dataset_folder(tmp_path, "synthetic") == tmp_path / "dataset"
    assert dataset_folder(tmp_path, "digits") == tmp_path / "digits" / "dataset"
    with pytest.raises(PrepError, match="no source is named 'mnist'; there are synthetic, digits, eurosat"):
        prepare("mnist", tmp_path)


def test_the_digits_are_split_by_their_classes(tmp_path: Path) -> None:
    prepared = prepare("digits", tmp_path)

    regions = {name: load_region(region_file(prepared.folder, name)) for name in "ABCD"}
    assert {name: sorted(set(region.y.tolist())) for name, region in regions.items()} == {
        "A": [0, 1, 2],
        "B": [3, 4, 5],
        "C": [6, 7, 8, 9],
        "D": list(range(10)),
    }
    assert sum(region.sample_count for region in regions.values()) == 1797
    assert 350 < regions["D"].sample_count < 370
    assert {region.feature_count for region in regions.values()} == {64}
    assert min(region.X.min() for region in regions.values()) == 0
    assert max(region.X.max() for region in regions.values()) == 1
    assert not any(region.meta.synthetic for region in regions.values())
    assert prepared.made
    assert not prepare("digits", tmp_path).made
    assert prepare_digits(tmp_path, seed=1).made


def test_without_scikit_learn_the_fix_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_sklearn(name: str, *rest: Any) -> Any:
        if name.startswith("sklearn"):
            raise ModuleNotFoundError("No module named 'sklearn'")
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_sklearn)

    with pytest.raises(MissingExtra, match=r"pip install 'trioactor\[digits\]'"):
        prepare_digits(tmp_path)


def test_a_federation_knows_what_no_region_knows_alone(tmp_path: Path) -> None:
    """With a quarter of the default samples, and the default budget."""
    regions = dict(prepare_synthetic(tmp_path, samples=500).regions)
    evaluation = regions.pop("D")

    together = train_together(regions, Budget()).evaluate(evaluation.X, evaluation.y).accuracy
    alone = [
        train_alone(region, name, Budget()).evaluate(evaluation.X, evaluation.y).accuracy
        for name, region in regions.items()
    ]

    assert together > 1.5 * max(alone)
    assert 0.55 < together < 0.9


def test_a_federation_reads_digits(tmp_path: Path) -> None:
    regions = dict(prepare_digits(tmp_path).regions)
    evaluation = regions.pop("D")
    budget = Budget(rounds=30)

    together = train_together(regions, budget).evaluate(evaluation.X, evaluation.y).accuracy
    alone = [
        train_alone(region, name, budget).evaluate(evaluation.X, evaluation.y).accuracy
        for name, region in regions.items()
    ]

    assert together >= 0.90
    assert together >= 2 * max(alone)


def test_the_example_in_the_docs_runs() -> None:
    outcome = doctest.testmod(prep)

    assert outcome.attempted > 0
    assert outcome.failed == 0
