from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federation.learning import (
    Region,
    RegionError,
    RegionMeta,
    load_features,
    load_meta,
    load_region,
    save_features,
    save_region,
    write_archive,
)

META = RegionMeta(
    class_names=("Forest", "River", "Highway"),
    source="synthetic",
    extractor="patches",
    region="A",
    shift="haze 0.5",
    synthetic=True,
    seed=7,
    digest="abc",
)
X = np.arange(8, dtype=np.float32).reshape(4, 2)
Y = np.array([0, 1, 2, 1], np.int64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dataset" / "region_A.npz"


def test_a_region_comes_back_from_its_file(path: Path) -> None:
    save_region(path, Region(X, Y, META))

    region = load_region(path)

    assert region.meta == META
    assert region.X.tolist() == X.tolist()
    assert region.y.tolist() == Y.tolist()
    assert (region.sample_count, region.feature_count, region.class_count) == (4, 2, 3)
    assert [region.X.dtype.name, region.y.dtype.name] == ["float32", "int64"]


def test_what_was_read_cannot_be_written_to(path: Path) -> None:
    save_region(path, Region(X, Y, META))

    with pytest.raises(ValueError, match="read-only"):
        load_region(path).X[0, 0] = 1


def test_a_features_file_has_the_names_of_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "eurosat_features.npz"
    save_features(path, Region(X, Y, META))

    assert load_features(path).meta == META
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive.files) == ["features", "labels", "meta"]
    with pytest.raises(RegionError, match="lacks X and y, it holds features, labels, meta"):
        load_region(path)


def test_a_file_of_x_and_y_alone_is_welcome(path: Path) -> None:
    """Other programs write no meta, float64 and int32."""
    write_archive(path, {"X": X.astype(np.float64), "y": Y.astype(np.int32)})

    region = load_region(path)

    assert [region.X.dtype.name, region.y.dtype.name] == ["float32", "int64"]
    assert region.meta.class_names == ("class 0", "class 1", "class 2")
    assert region.meta.source == "unknown"
    assert load_meta(path) is None


def test_keys_of_a_later_version_are_passed_over(path: Path) -> None:
    text = META.to_json().replace("{", '{"colour": "blue", ', 1)
    write_archive(path, {"X": X, "y": Y, "meta": np.array(text)})

    assert load_region(path).meta == META


def changed(values: NDArray[Any], index: Any, value: Any) -> NDArray[Any]:
    copy = values.copy()
    copy[index] = value
    return copy


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": Y}, "lacks X, it holds meta, y; make it again with bin/prepare"),
        ({"X": X}, "lacks y, it holds X, meta"),
        ({"X": X[0], "y": Y}, r"X has shape \(2,\), it must be \(samples, features\)"),
        ({"X": X.reshape(2, 2, 2), "y": Y}, r"save it with \.reshape\(len\(X\), -1\)"),
        ({"X": X, "y": Y[:, None]}, r"y has shape \(4, 1\), it must be \(samples,\)"),
        ({"X": X.astype(np.complex64), "y": Y}, r"X is complex64, it must be float32; save it with \.astype"),
        ({"X": X.astype(np.uint8), "y": Y}, "X is uint8, it must be float32"),
        ({"X": X, "y": Y.astype(np.float32)}, r"y is float32, it must be int64; save it with \.astype"),
        ({"X": X.astype(object), "y": Y}, "'X' holds Python objects.*bin/prepare"),
        ({"X": X[:3], "y": Y}, "X has 3 samples and y has 4; they must be equal"),
        ({"X": X[:0], "y": Y[:0]}, r"X has shape \(0, 2\); at least one sample"),
        ({"X": X[:, :0], "y": Y}, r"X has shape \(4, 0\); at least one sample and one feature"),
        ({"X": changed(X, (2, 1), np.nan), "y": Y}, "NaN or infinity in 1 of 4 rows, first in row 2"),
        ({"X": changed(X, (slice(1, 3), 0), np.inf), "y": Y}, "in 2 of 4 rows, first in row 1"),
        ({"X": X.astype(np.float64) * 1e39, "y": Y}, "NaN or infinity in 4 of 4 rows, first in row 0"),
        ({"X": X, "y": changed(Y, 3, -1)}, "the label -1 in row 3; there are 3 class names, so 0 to 2"),
        ({"X": X, "y": changed(Y, 1, 3)}, "the label 3 in row 1.*correct the labels or name the classes"),
        ({"X": X, "y": Y, "meta": np.array([1])}, r"meta is int64 of shape \(1,\), it must be one text"),
        ({"X": X, "y": Y, "meta": np.array("{")}, "meta is not JSON"),
        ({"X": X, "y": Y, "meta": np.array("[]")}, "meta is a JSON list, it must be an object"),
        ({"X": X, "y": Y, "meta": np.array("{}")}, "meta names no classes"),
        ({"X": X, "y": Y, "meta": np.array('{"class_names": ["a", "a"]}')}, "two different names"),
        (
            {"X": X, "y": Y, "meta": np.array('{"class_names": ["a", "b"], "seed": "x"}')},
            "meta: seed is 'x', which is not of its kind",
        ),
    ],
)
def test_data_that_cannot_be_learnt_from_is_named(path: Path, arrays: dict[str, Any], words: str) -> None:
    """The text names the file, what was found, what is allowed and the fix."""
    path.parent.mkdir()
    np.savez(path, **{"meta": np.array(META.to_json()), **arrays})

    with pytest.raises(RegionError, match=words) as caught:
        load_region(path)

    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_names_what_lies_beside_it(path: Path) -> None:
    save_region(path.with_name("region_B.npz"), Region(X, Y, META))

    with pytest.raises(
        RegionError, match=r"region_A\.npz: there is no such file; beside it there is region_B\.npz"
    ) as caught:
        load_region(path)

    assert "bin/prepare" in str(caught.value)


def test_a_truncated_file_names_the_fix(path: Path) -> None:
    save_region(path, Region(X, Y, META))
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(RegionError, match=r"no whole \.npz file.*make it again with bin/prepare"):
        load_region(path)


def test_a_region_is_checked_when_it_is_made() -> None:
    """So that a function that takes a `Region` has nothing left to check."""
    with pytest.raises(RegionError, match="X is float64 and y is int64; float32 and int64 are needed"):
        Region(X.astype(np.float64), Y, META)
    with pytest.raises(RegionError, match="the label 2 in row 2"):
        Region(X, Y, replace(META, class_names=("a", "b")))
