"""`bin/extract-features`, `bin/split-regions` and `bin/prepare` as people call them."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import prep
from federation.learning import load_features, load_region
from prep.__main__ import main
from tests.prep.conftest import signalled
from tests.prep.test_plans import WHOLE, features


def run(command: str, *flags: str) -> Result:
    return CliRunner().invoke(main, [command, *flags])


# --- extract-features ---------------------------------------------------------------------------


def test_real_files_and_the_real_network_from_end_to_end(
    tree_folder: Path, resnet18_weights: Path, tmp_path: Path
) -> None:
    """Features by ResNet18 become EuroSAT's four regions; a second time nothing is made."""
    flags = ["--source=eurosat", f"--images={tree_folder}", f"--weights={resnet18_weights}", "--any-counts"]
    flags += ["--image-size=32", "--device=cpu", "--threads=1", f"--workspace={tmp_path}"]

    result = run("prepare", *flags)

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:2] == [
        "made:",
        "60 samples of part of eurosat; 512 features each (resnet18), seed 0",
    ]
    regions = {name: load_region(tmp_path / "dataset" / f"region_{name}.npz") for name in "ABCD"}
    assert {name: region.sample_count for name, region in regions.items()} == {
        "A": 15,
        "B": 15,
        "C": 20,
        "D": 10,
    }
    assert regions["A"].meta.image_size == 32
    assert not regions["A"].meta.synthetic
    assert run("prepare", *flags).stdout.startswith("already there, with these settings:")


def test_a_folder_of_photos_and_the_patch_bank(tree_folder: Path, tmp_path: Path) -> None:
    """No torch, no weights; progress says how many images a second."""
    photos = shutil.copytree(tree_folder, tmp_path / "photos")
    for name in prep.CLASS_NAMES[3:]:
        shutil.rmtree(photos / name)
    (photos / "Forest" / "Thumbs.db").touch()
    (photos / "Forest" / "Forest_1.jpg").write_bytes(b"")
    flags = [
        f"--images={photos}",
        "--extractor=patches",
        "--batch-size=5",
        f"--output={tmp_path / 'photos.npz'}",
    ]

    refused = run("extract-features", *flags)
    result = run("extract-features", *flags, "--skip-broken")

    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1].startswith(
        "Error: broken image: Forest/Forest_1.jpg (no image that can be read). Copy them again, or "
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "made:",
        "17 samples of photos in 3 classes; 512 features each (patches, 64 pixels)",
        "5 images were done by an earlier run",
        "1 broken images were left out: Forest/Forest_1.jpg",
        "1 files beside the images were passed over",
        f"in {tmp_path / 'photos.npz'}",
    ]
    assert result.stderr.splitlines()[0] == "extracting features: 5 of 18"
    assert " images/s" in result.stderr.splitlines()[-1]
    assert load_features(tmp_path / "photos.npz").meta.left_out == 1


def test_photos_as_pixels(tree_folder: Path, tmp_path: Path) -> None:
    """Neither torch nor weights; each feature is a pixel of a channel."""
    flags = [f"--images={tree_folder}", "--any-counts", f"--output={tmp_path / 'photos.npz'}"]

    result = run("extract-features", "--extractor=pixels", "--image-size=16", *flags)

    assert result.exit_code == 0, result.output
    assert "768 features each (pixels, 16 pixels)" in result.stdout
    features = load_features(tmp_path / "photos.npz")
    assert 0 <= features.X.min() < 0.3 < 0.7 < features.X.max() <= 1


def test_synthetic_tiles_as_pixels(tmp_path: Path) -> None:
    flags = [f"--workspace={tmp_path}", "--samples=50"]

    pixels = run("prepare", "--extractor=pixels", "--image-size=32", *flags)
    again = run("prepare", "--extractor=pixels", "--image-size=32", *flags)
    patches = run("prepare", "--extractor=patches", *flags)

    assert "50 synthetic tiles, drawn by a program; 3072 features each (pixels), seed 0" in pixels.stdout
    assert again.stdout.startswith("already there, with these settings:")
    assert "512 features each (patches)" in patches.stdout


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--extractor=pixels", "--image-size=33"], "--image-size 33: synthetic tiles have 64 pixels a side"),
        (
            ["--image-size=32"],
            "--image-size is for --source eurosat, not for synthetic; synthetic tiles have",
        ),
        (["--extractor=vgg11"], "--extractor is for --source eurosat, not for synthetic"),
        (["--source=digits", "--extractor=pixels"], "--extractor is for --source eurosat, not for digits"),
    ],
)
def test_what_synthetic_tiles_do_not_have_is_said(tmp_path: Path, flags: list[str], text: str) -> None:
    result = run("prepare", f"--workspace={tmp_path}", *flags)

    assert result.exit_code == 2
    assert text in result.stderr.splitlines()[-1]


def test_a_half_copy_of_eurosat_is_refused_in_one_line(tree_folder: Path, tmp_path: Path) -> None:
    result = run(
        "extract-features", f"--images={tree_folder}", "--extractor=patches", f"--workspace={tmp_path}"
    )

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "is no whole EuroSAT: 6 of 3,000 AnnualCrop;" in result.stderr
    assert "--any-counts" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_missing_are_named_with_the_place_they_go_to(tmp_path: Path) -> None:
    result = run("extract-features", "--extractor=patches", f"--workspace={tmp_path}")

    assert result.exit_code == 2
    assert "Error: EuroSAT not found; give --download, or put the files there:" in result.stderr
    assert f"as {tmp_path}/eurosat/EuroSAT.zip, or give --images DIR" in result.stderr


def test_ctrl_c_keeps_what_is_done(tree_folder: Path, tmp_path: Path) -> None:
    """It ends with 130 and one line, and goes on where it was."""
    flags = ["extract-features", "--extractor=patches", "--any-counts", "--batch-size=5"]
    flags += [f"--images={tree_folder}", f"--output={tmp_path / 'f.npz'}"]

    stopped = signalled(signal.SIGINT, 20, *flags)

    assert stopped.returncode == 130
    assert stopped.stdout == ""
    assert (
        stopped.stderr.splitlines()[-1]
        == "stopped; what is done is kept, run the same command again to go on"
    )
    assert not (tmp_path / "f.npz").exists()
    assert "20 images were done by an earlier run" in run(*flags).stdout


# --- split-regions ------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A features file that NumPy wrote: no meta, other types."""
    data = features()
    np.savez(tmp_path / "mine.npz", features=data.X.astype(np.float64), labels=data.y.astype(np.uint8))
    return tmp_path / "mine.npz"


def test_any_features_file_is_split_by_a_file(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "regions.toml").write_text(WHOLE)

    result = run(
        "split-regions",
        f"--features={foreign}",
        f"--config={tmp_path / 'regions.toml'}",
        f"--dataset={tmp_path / 'regions'}",
        f"--plot={tmp_path / 'plot.png'}",
    )

    assert result.exit_code == 0, result.output
    assert "  north-1       60  owl 30, cat 15, dog 15  noise 0.4" in result.stdout
    assert result.stdout.splitlines()[-3:] == [
        f"in {tmp_path / 'regions'}",
        f"workers of these regions: bin/workers --dataset {tmp_path / 'regions'} --region A --region north-1",
        f"picture {tmp_path / 'plot.png'}",
    ]
    assert load_region(tmp_path / "regions" / "region_north-1.npz").meta.class_names == ("cat", "dog", "owl")


def test_a_partition_needs_no_file(foreign: Path, tmp_path: Path) -> None:
    flags = [f"--features={foreign}", f"--workspace={tmp_path}", "--partition=dirichlet", "--alpha=0.1"]

    result = run("split-regions", *flags, "--regions=A,B", "--held-out=0.5", "--seed=4")

    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "dataset").iterdir()) == [
        "region_A.npz",
        "region_B.npz",
        "region_D.npz",
    ]
    assert load_region(tmp_path / "dataset" / "region_D.npz").sample_count == 60


def test_what_prepare_makes_split_regions_makes_to_the_byte(tmp_path: Path) -> None:
    run("prepare", "--samples=50", f"--workspace={tmp_path}")
    made = {path.name: path.read_bytes() for path in (tmp_path / "dataset").iterdir()}

    assert run("split-regions", f"--workspace={tmp_path}").exit_code == 0

    assert {path.name: path.read_bytes() for path in (tmp_path / "dataset").iterdir()} == made


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            [],
            "class 0, class 1, class 2: which region gets which is known for EuroSAT only; say it with",
        ),
        (["--config=gone.toml"], "gone.toml: cannot be read (No such file or directory); name another file"),
        (["--regions=A,B"], "class 0, class 1, class 2: which region gets which"),
        (["--partition=fair"], "'fair' is not one of 'iid', 'dirichlet', 'by-class', 'by-size'"),
        (["--partition=iid", "--regions=A,D"], "D is the one for evaluation"),
        (["--partition=by-class", "--shards=90"], "90 shards for each of 3 parts; 1 to 32 are possible"),
        (["--partition=iid", "--plot=some.docx"], ".docx is no kind of picture; use .png, .svg or .pdf"),
        (["--partition=iid", "--held-out=2"], "a held-out share of 2.0; it must be above 0 and below 1"),
        (["--features=gone.npz"], "gone.npz: there is no such file"),
    ],
)
def test_wrong_usage_is_told_in_one_line(foreign: Path, tmp_path: Path, flags: list[str], words: str) -> None:
    result = run("split-regions", f"--features={foreign}", f"--workspace={tmp_path}", *flags)

    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


# --- prepare ------------------------------------------------------------------------------------


def test_a_preview_draws_and_makes_no_data(tmp_path: Path) -> None:
    result = run("prepare", f"--preview={tmp_path / 'sheet.png'}", f"--workspace={tmp_path / 'workspace'}")

    assert result.exit_code == 0, result.output
    assert result.stdout == f"picture {tmp_path / 'sheet.png'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_flags_of_one_source_are_refused_for_another() -> None:
    result = run("prepare", "--image-size=64")
    assert result.exit_code == 2
    assert "--image-size is for --source eurosat, not for synthetic" in result.stderr
    result = run("prepare", "--source=eurosat", "--samples=50")
    assert "--samples is for --source synthetic; EuroSAT has 27,000 images" in result.stderr
