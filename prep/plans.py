"""How a data set is split, and the TOML file that says so for data that is not EuroSAT.

```toml
held_out = 0.2                    # of each class, for region D, which nobody trains on
class_names = ["cat", "dog"]      # of label 0, 1, ...; for a features file that does not name them

[regions.A]
classes = ["cat"]                 # or "all"
fraction = 0.5                    # of what D leaves of each of its classes; else an even part
shift = "haze"                    # haze, colour, contrast, noise
strength = 0.4                    # 0 to 1
```

Instead of classes there may be `partition = "dirichlet"` with `alpha = 0.3`, or `iid`, `by-size`, or
`by-class` with `shards = 2`: it deals the samples out to the regions, which then have shifts only.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from federation.learning import PARTITIONS, Region, RegionError

from .errors import PrepError
from .regions import (
    DIGIT_REGIONS,
    EUROSAT_REGIONS,
    HELD_OUT_SHARE,
    Dealing,
    RegionPlan,
    Rows,
    check_region_name,
    split_regions,
    split_rows,
)
from .shifts import Shift

DEFAULT_STRENGTH = 0.4
ALL = "all"  # the classes of a region that has all of them
DEFAULT_NAMES = ("A", "B", "C")


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How a data set becomes regions.

    Attributes:
        regions: What each is to hold.
        dealing: Deals the samples out instead of the regions' classes.
        held_out: The share of each class that D gets.
        class_names: Of label 0, 1, ...; empty for those that the features file has.
    """

    regions: tuple[RegionPlan, ...] = field(default=tuple(RegionPlan(name) for name in DEFAULT_NAMES))
    dealing: Dealing | None = None
    held_out: float = HELD_OUT_SHARE
    class_names: tuple[str, ...] = ()

    def changed(
        self,
        partition: str | None = None,
        alpha: float | None = None,
        shards: int | None = None,
        held_out: float | None = None,
    ) -> SplitPlan:
        """Return this plan with some of its settings replaced; None leaves one as it is.

        Raises:
            PrepError: alpha or shards without a partition that they could be of.
        """
        dealing = self.dealing if partition is None else Dealing(partition)
        if dealing is None and (alpha is not None or shards is not None):
            name = "alpha" if alpha is not None else "shards"
            raise PrepError(f"--{name} is of a partition, and there is none; add --partition dirichlet, say")
        if dealing is not None:
            dealing = Dealing(
                dealing.name,
                dealing.alpha if alpha is None else alpha,
                dealing.shards if shards is None else shards,
            )
        return replace(self, dealing=dealing, held_out=self.held_out if held_out is None else held_out)

    def rows(self, features: Region, seed: int = 0) -> dict[str, Rows]:
        """Return which rows of a data set each region has, D last.

        Raises:
            PrepError: The plan does not fit the data; the text says why.
        """
        named = self._named(features)
        return split_rows(
            named.y,
            named.meta.class_names,
            self._spelled_out(named),
            seed,
            dealing=self.dealing,
            held_out=self.held_out,
        )

    def apply(self, features: Region, seed: int = 0) -> dict[str, Region]:
        """Return the regions of a data set by their names, D last.

        Raises:
            PrepError: The plan does not fit the data; the text says why.
        """
        named = self._named(features)
        return split_regions(
            named, self._spelled_out(named), seed, dealing=self.dealing, held_out=self.held_out
        )

    def _named(self, features: Region) -> Region:
        """Return the data with the plan's names of the classes."""
        if self.class_names in ((), features.meta.class_names):
            return features
        try:
            return Region(features.X, features.y, replace(features.meta, class_names=self.class_names))
        except RegionError as error:
            raise PrepError(f"class_names: {error}") from error

    def _spelled_out(self, features: Region) -> tuple[RegionPlan, ...]:
        """Return the regions' plans, with the names of all classes where they say "all"."""
        return tuple(
            replace(plan, class_names=features.meta.class_names) if plan.class_names == (ALL,) else plan
            for plan in self.regions
        )


def plan_for(features: Region) -> SplitPlan:
    """Return the plan of a data set that is known: EuroSAT's classes, or the ten digits.

    Raises:
        PrepError: It is neither; the text says what to do.
    """
    there = set(features.meta.class_names)
    for regions in (EUROSAT_REGIONS, DIGIT_REGIONS):
        if {name for plan in regions for name in plan.class_names} == there:
            return SplitPlan(regions)
    raise PrepError(
        f"classes {', '.join(features.meta.class_names)}: which region gets which is known for EuroSAT only; "
        f"say it with --config FILE, or deal them out with --partition {'|'.join(PARTITIONS)}"
    )


def read_plan(path: Path) -> SplitPlan:
    """Read a plan from a TOML file.

    Raises:
        PrepError: It cannot be read, is no TOML, has a key that does not exist, or a value of another kind.
            The text names the file, the place and the fix.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise PrepError(
            f"{path}: cannot be read ({error.strerror}); name another file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise PrepError(f"{path}: no text in UTF-8; is it the right file?") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PrepError(f"{path}: no TOML: {error}") from error
    try:
        return _plan(found)
    except PrepError as error:
        raise PrepError(f"{path}: {error}") from error


# What a key must hold, in words and as a type. bool is an int for Python, not for people.
_NUMBER = ("a number", (int, float))
_TEXT = ("a text", str)
_TEXTS = ("a list of texts", list)
_TOP: Mapping[str, tuple[str, Any]] = {
    "held_out": _NUMBER,
    "class_names": _TEXTS,
    "partition": _TEXT,
    "alpha": _NUMBER,
    "shards": ("a whole number", int),
    "regions": ("a table of regions, like [regions.A]", dict),
}
_OF_A_REGION: Mapping[str, tuple[str, Any]] = {
    "classes": ('a list of texts, or "all"', (list, str)),
    "fraction": _NUMBER,
    "shift": _TEXT,
    "strength": _NUMBER,
}


def _plan(found: Mapping[str, Any]) -> SplitPlan:
    _check_keys(found, _TOP, "")
    regions = tuple(_region_plan(name, of_one) for name, of_one in found.get("regions", {}).items())
    if not regions:
        raise PrepError("it names no region; give each a table, like [regions.A]")
    partition = found.get("partition")
    if partition is None and (given := [key for key in ("alpha", "shards") if key in found]):
        raise PrepError(f'{given[0]} is of a partition, and there is none; add partition = "dirichlet", say')
    return SplitPlan(
        regions,
        None if partition is None else Dealing(partition, found.get("alpha"), found.get("shards", 2)),
        found.get("held_out", HELD_OUT_SHARE),
        _texts(found.get("class_names", []), "class_names"),
    )


def _region_plan(name: str, found: Any) -> RegionPlan:
    place = f"[regions.{name}] "
    if not isinstance(found, dict):
        raise PrepError(f"regions.{name} is {found!r}; it must be a table, [regions.{name}]")
    check_region_name(name)
    _check_keys(found, _OF_A_REGION, place)
    classes = found.get("classes", [])
    if isinstance(classes, str):
        if classes != ALL:
            raise PrepError(f'{place}classes is {classes!r}; it must be a list of texts, or "all"')
        classes = [ALL]
    fraction = found.get("fraction")
    if fraction is not None and not 0 < fraction <= 1:
        raise PrepError(f"{place}fraction is {fraction}; above 0 to 1 is allowed")
    if "strength" in found and "shift" not in found:
        raise PrepError(f'{place}strength is of a shift, and there is none; add shift = "haze", say')
    try:
        shift = Shift(found["shift"], found.get("strength", DEFAULT_STRENGTH)) if "shift" in found else None
    except PrepError as error:
        raise PrepError(f"{place}{error}") from error
    return RegionPlan(name, _texts(classes, f"{place}classes"), shift, fraction)


def _check_keys(found: Mapping[str, Any], known: Mapping[str, tuple[str, Any]], place: str) -> None:
    for key, value in found.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise PrepError(f"{place}there is no key {key!r}; {hint}")
        words, kinds = known[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise PrepError(f"{place}{key} is {value!r}; it must be {words}")


def _texts(values: Sequence[Any], place: str) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise PrepError(f"{place} is {list(values)!r}; it must be a list of texts")
    return tuple(values)
