"""How a data set is split: the file that says so, what it must hold, and which regions come of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from federation.learning import Region, RegionMeta, generator_for
from prep import (
    CLASS_NAMES,
    EUROSAT_REGIONS,
    Dealing,
    PrepError,
    RegionPlan,
    Shift,
    SplitPlan,
    plan_for,
    read_plan,
    region_file,
    save_split,
    split_features,
    split_rows,
    summary,
)
from prep.shifts import SHIFTS

WHOLE = """
held_out = 0.25
class_names = ["cat", "dog", "owl"]

[regions.A]
classes = ["cat", "dog"]
fraction = 0.5
shift = "haze"
strength = 0.3

[regions.north-1]
classes = "all"
shift = "noise"
"""


def features(per_class: int = 40, classes: int = 3, names: tuple[str, ...] | None = None) -> Region:
    """Features of a data set of anyone's: each class around a place of its own."""
    chance = generator_for(0, "data of anyone")
    y = np.repeat(np.arange(classes), per_class)
    places = chance.normal(0, 2, (classes, 12))
    X = (places[y] + chance.normal(0, 1, (len(y), 12))).astype(np.float32)
    return Region(
        X, y, RegionMeta(class_names=names or tuple(f"class {k}" for k in range(classes)), digest="of it")
    )


def plan_of(text: str, tmp_path: Path) -> SplitPlan:
    path = tmp_path / "regions.toml"
    path.write_text(text)
    return read_plan(path)


def test_a_file_says_everything(tmp_path: Path) -> None:
    assert plan_of(WHOLE, tmp_path) == SplitPlan(
        (
            RegionPlan("A", ("cat", "dog"), Shift("haze", 0.3), 0.5),
            RegionPlan("north-1", ("all",), Shift("noise", 0.4)),
        ),
        held_out=0.25,
        class_names=("cat", "dog", "owl"),
    )


def test_a_partition_takes_the_place_of_classes(tmp_path: Path) -> None:
    plan = plan_of(
        'partition = "dirichlet"\nalpha = 0.5\n[regions.A]\nshift = "haze"\n[regions.B]\n', tmp_path
    )

    assert plan.dealing == Dealing("dirichlet", 0.5)
    assert [region.name for region in plan.regions] == ["A", "B"]
    assert plan.changed("by-class", shards=1).dealing == Dealing("by-class", None, 1)


def test_the_regions_are_those_of_the_file(tmp_path: Path) -> None:
    """A has half of what D leaves of cats and dogs; the other has the rest of these, and all owls."""
    split = split_features(features(), plan_of(WHOLE, tmp_path), seed=3)

    assert {name: np.bincount(region.y, minlength=3).tolist() for name, region in split.regions.items()} == {
        "A": [15, 15, 0],
        "north-1": [15, 15, 30],
        "D": [10, 10, 10],
    }
    assert split.class_names == ("cat", "dog", "owl")
    assert split.regions["A"].meta.shift == "haze 0.3"
    rows = np.concatenate(list(split.rows.values()))
    assert len(set(rows.tolist())) == len(rows) == 120
    assert (split.features.X[split.rows["D"]] == split.regions["D"].X).all()


def test_fractions_may_leave_samples_to_nobody() -> None:
    plan = SplitPlan((RegionPlan("A", ("all",), None, 0.25), RegionPlan("B", ("all",), None, 0.5)))

    split = split_features(features(), plan)

    assert {name: region.sample_count for name, region in split.regions.items()} == {
        "A": 24,
        "B": 48,
        "D": 24,
    }
    assert "24 samples are in no region, as the fractions ask" in summary(split)


def listed(rows: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: some.tolist() for name, some in rows.items()}


@pytest.mark.parametrize(
    "dealing", [Dealing("iid"), Dealing("dirichlet", 0.2), Dealing("by-class"), Dealing("by-size")]
)
def test_a_partition_deals_out_all_that_d_leaves(dealing: Dealing) -> None:
    data = features()
    plan = SplitPlan(dealing=dealing)

    rows = plan.rows(data, seed=1)

    assert list(rows) == ["A", "B", "C", "D"]
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(120))
    assert np.bincount(data.y[rows["D"]]).tolist() == [8, 8, 8]
    assert listed(rows) == listed(plan.rows(data, seed=1))
    assert listed(rows) != listed(plan.rows(data, seed=2))


def test_d_is_the_same_whatever_the_partition() -> None:
    """So models of differently dealt regions can be compared."""
    data = features()
    plans = (RegionPlan("A"), RegionPlan("B"))

    held_out = [
        split_rows(data.y, data.meta.class_names, plans, 0, dealing=Dealing(name))["D"]
        for name in ("iid", "by-class")
    ]

    assert (held_out[0] == held_out[1]).all()


def test_eurosat_is_split_as_the_seed_document_says() -> None:
    assert plan_for(features(classes=10, names=CLASS_NAMES)) == SplitPlan(EUROSAT_REGIONS)


def test_other_data_asks_who_gets_what() -> None:
    with pytest.raises(
        PrepError, match=r"class 0, class 1, class 2: which region .*--config FILE, or deal them out"
    ):
        plan_for(features())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("held_out = ,\n", r"regions\.toml: no TOML: Invalid value \(at line 1"),
        ("heldout = 0.2", r"regions\.toml: there is no key 'heldout'; did you mean held_out\?"),
        ("[regions.A]\nstrenght = 1", r"\[regions\.A\] there is no key 'strenght'; did you mean strength\?"),
        ("[regions.A]\nfoo = 1", "there are classes, fraction, shift, strength"),
        ("held_out = 0.2", r"it names no region; give each a table, like \[regions\.A\]"),
        ("regions = 3", r"regions is 3; it must be a table of regions, like \[regions\.A\]"),
        ("[regions]\nA = 3", r"regions\.A is 3; it must be a table, \[regions\.A\]"),
        ('[regions."../A"]', r"region '\.\./A': its file is called so, too; use letters"),
        ('[regions.A]\nclasses = "cat"', "classes is 'cat'; it must be a list of texts, or \"all\""),
        ("[regions.A]\nclasses = [1]", r"classes is \[1\]; it must be a list of texts"),
        ("[regions.A]\nfraction = true", "fraction is True; it must be a number"),
        ("[regions.A]\nfraction = 1.5", r"\[regions\.A\] fraction is 1\.5; above 0 to 1 is allowed"),
        ('[regions.A]\nshift = "fog"', r"\[regions\.A\] no shift is named 'fog'; there are haze"),
        ('[regions.A]\nshift = "haze"\nstrength = 3', r"\[regions\.A\] shift haze of strength 3; 0 to 1 are"),
        ("[regions.A]\nstrength = 0.3", "strength is of a shift, and there is none"),
        ("alpha = 0.3\n[regions.A]", "alpha is of a partition, and there is none"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PrepError, match=words):
        plan_of(text, tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match=r"gone\.toml: cannot be read \(No such file"):
        read_plan(tmp_path / "gone.toml")
    (tmp_path / "features.npz").write_bytes(b"\xff\xfe")
    with pytest.raises(PrepError, match="no text in UTF-8; is it the right file"):
        read_plan(tmp_path / "features.npz")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (SplitPlan((RegionPlan("A", ("cat",)),)), "no class is named cat; there are class 0"),
        (
            SplitPlan((RegionPlan("A", ("class 0",)),)),
            "class class 1, class 2 is in no region; name it in one",
        ),
        (
            SplitPlan((RegionPlan("A", ("all",)), RegionPlan("B"))),
            "region B has no class; name some, or choose a",
        ),
        (SplitPlan((RegionPlan("D", ("all",)),)), "regions named D; .*D is the one for evaluation"),
        (
            SplitPlan((RegionPlan("A", ("all",)),), held_out=1.0),
            r"held-out share of 1\.0; it must be above 0",
        ),
        (
            SplitPlan((RegionPlan("A", ("all",)),), class_names=("x", "y")),
            "class_names: y holds the label 2 in row 80; there are 2 class names",
        ),
        (
            SplitPlan((RegionPlan("A", ("all",), None, 0.8), RegionPlan("B", ("all",), None, 0.3))),
            r"the fractions of A and B add up to 1\.1; 1 is all there is",
        ),
        (
            SplitPlan((RegionPlan("A", ("all",), None, 1.0), RegionPlan("B", ("all",)))),
            "add up to 1, which leaves nothing for the others",
        ),
        (
            SplitPlan((RegionPlan("A", ("all",), None, 0.01), RegionPlan("B", ("all",)))),
            "class class 0: of 32 samples the fraction of A is not even one; give it a larger one",
        ),
        (
            SplitPlan((RegionPlan("A", ("all",)), RegionPlan("B")), Dealing("iid")),
            "region A has classes or a fraction, and the partition iid deals out all samples",
        ),
        (SplitPlan(dealing=Dealing("dirichlet", 0.0)), r"alpha=0\.0; it must be above 0"),
        (SplitPlan(dealing=Dealing("fair")), "no partition is named 'fair'; there are iid"),
    ],
)
def test_a_plan_that_does_not_fit_the_data_is_refused(plan: SplitPlan, words: str) -> None:
    with pytest.raises(PrepError, match=words):
        split_features(features(), plan)


def test_a_class_too_small_for_a_partition_is_named() -> None:
    with pytest.raises(
        PrepError, match="class class 0 has 1 samples; at least 2 are needed, one for the regions and D"
    ):
        split_features(features(per_class=1), SplitPlan(dealing=Dealing("iid")))


def test_settings_of_a_partition_need_one() -> None:
    with pytest.raises(PrepError, match="--alpha is of a partition, and there is none; add --partition"):
        SplitPlan().changed(alpha=0.3)


def test_how_far_a_shift_moves_is_said() -> None:
    """0 for none; and more strength, farther."""

    def moved(strength: float) -> float:
        plan = SplitPlan((RegionPlan("A", ("all",), Shift("haze", strength)),))
        return split_features(features(), plan).moved("A")

    assert moved(0.0) == 0
    assert 0 < moved(0.2) < moved(0.8) < 1


def test_the_summary_is_a_table(tmp_path: Path) -> None:
    assert summary(split_features(features(), plan_of(WHOLE, tmp_path), seed=3))[1:5] == [
        "  region   samples  classes                 shift      moved",
        "  A             30  cat 15, dog 15          haze 0.3   0.33",
        "  north-1       60  owl 30, cat 15, dog 15  noise 0.4  0.39",
        "  D             30  all 3, for evaluation   none       -",
    ]


def test_files_of_another_split_are_not_taken_for_this_one(tmp_path: Path) -> None:
    """A region that nobody deals out any more would go on being trained on."""
    wide = split_features(features(), SplitPlan(dealing=Dealing("iid")))
    save_split(wide.regions, tmp_path)
    narrow = split_features(features(), SplitPlan((RegionPlan("A"), RegionPlan("B")), Dealing("iid")))

    with pytest.raises(
        PrepError, match=r"holds region_C\.npz of another split, .*remove it, or choose another --"
    ):
        save_split(narrow.regions, tmp_path)

    region_file(tmp_path, "C").unlink()
    save_split(narrow.regions, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "region_A.npz",
        "region_B.npz",
        "region_D.npz",
    ]


def test_every_shift_can_be_named_in_a_file(tmp_path: Path) -> None:
    for name in SHIFTS:
        assert plan_of(f'[regions.A]\nshift = "{name}"', tmp_path).regions[0].shift == Shift(name, 0.4)


def test_the_example_of_the_readme_is_a_plan(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = (
        block for block in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL) if "[regions." in block
    )

    split = split_features(features(), plan_of(example, tmp_path))

    assert list(split.regions) == ["A", "B", "C", "D"]
    assert split.class_names == ("ant", "bee", "crab")
