"""The whole way from a source to region files. Files appear whole or not at all; what is there is kept.

```
WORKSPACE/eurosat_features.npz           features and labels of all tiles (sources synthetic and eurosat)
WORKSPACE/dataset/region_A.npz ... D     the regions of the tiles
WORKSPACE/digits/dataset/region_A.npz ... D    those of the digits, which cannot be confused with them
```
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from federation.learning import (
    Region,
    RegionError,
    load_features,
    load_meta,
    load_region,
    one_blas_thread,
    save_features,
    save_region,
)

from .digits import digits_features
from .errors import PrepError
from .eurosat import PLAIN_EXTRACTORS, Extraction, extract_images, make_extractor
from .extractors import Extractor, PatchExtractor
from .fetch import Say
from .plans import plan_for
from .regions import (
    DIGIT_REGIONS,
    EUROSAT_REGIONS,
    EVALUATION,
    RegionPlan,
    region_digest,
    settings_digest,
    split_regions,
)
from .split import region_file, save_split
from .synthetic import Progress, synthetic_features

SOURCES = ("synthetic", "digits", "eurosat")
DEFAULT_SAMPLES = 2000
MIN_SAMPLES = 50  # five of each class: one for D, four to learn from


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a preparation has brought.

    Attributes:
        source: One of `SOURCES`.
        folder: Where the region files lie.
        regions: Every region by its name, D the last.
        made: Whether anything was made; False when all was there with the same settings.
    """

    source: str
    folder: Path
    regions: Mapping[str, Region]
    made: bool


def features_file(workspace: Path) -> Path:
    """Return where the features of all tiles lie."""
    return workspace / "eurosat_features.npz"


def dataset_folder(workspace: Path, source: str) -> Path:
    """Return where the region files of a source lie.

    Raises:
        PrepError: There is no such source.
    """
    if source not in SOURCES:
        raise PrepError(f"no source is named {source!r}; there are {', '.join(SOURCES)}")
    return workspace / "digits" / "dataset" if source == "digits" else workspace / "dataset"


def prepare(
    source: str,
    workspace: Path,
    *,
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    extraction: Extraction | None = None,
    progress: Progress = lambda _done, _total: None,
    say: Say = lambda _text: None,
) -> Prepared:
    """Prepare a source by its name, as `prepare_synthetic`, `prepare_digits` or `prepare_eurosat`.

    `samples` is of use to the synthetic source only; of `extraction`, which is EuroSAT's, it takes the
    extractor, where that is no network.
    """
    dataset_folder(workspace, source)  # refuses an unknown name
    if source == "digits":
        return prepare_digits(workspace, seed=seed)
    if source == "eurosat":
        return prepare_eurosat(workspace, extraction or Extraction(), seed=seed, progress=progress, say=say)
    plain = extraction is not None and extraction.extractor in PLAIN_EXTRACTORS
    extractor = make_extractor(extraction, None) if extraction is not None and plain else None
    return prepare_synthetic(workspace, samples=samples, seed=seed, extractor=extractor, progress=progress)


def prepare_synthetic(
    workspace: Path,
    *,
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    extractor: Extractor | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Prepared:
    """Draw tiles, extract features, split them into regions; only what is not there with these settings.

    Blocking and busy for seconds: call it in a thread. The files are as they were when `progress` raises.

    Args:
        workspace: The folder for everything; it is made.
        samples: How many tiles, at least 50.
        seed: Of the tiles and of the split.
        extractor: What makes features of them; None for the patch bank.
        progress: Told how many tiles are done, and how many there are; not called when all is there.

    Raises:
        PrepError: Too few samples; or features of another source lie where these would go.
        OSError: A file cannot be written. The files are as they were, or the new ones, each of them whole.
    """
    if samples < MIN_SAMPLES:
        raise PrepError(f"{samples} samples; at least {MIN_SAMPLES} are needed, for ten classes in A to D")
    path, folder = features_file(workspace), dataset_folder(workspace, "synthetic")
    extractor = extractor or PatchExtractor()
    settings = {"source": "synthetic", "samples": samples, "seed": seed, "code": _code_digest()}
    digest = settings_digest({**settings, **extractor.settings})
    ready = _ready_regions(folder, digest, EUROSAT_REGIONS, seed)
    if ready is not None and _has_digest(path, digest):
        return Prepared("synthetic", folder, ready, made=False)
    _keep_foreign(path)
    with one_blas_thread():
        if _has_digest(path, digest):
            features = load_features(path)
        else:
            features = synthetic_features(extractor, samples, seed, digest, progress)
        regions = split_regions(features, EUROSAT_REGIONS, seed)
    save_features(path, features)
    _save_regions(folder, regions)
    return Prepared("synthetic", folder, regions, made=True)


def prepare_digits(workspace: Path, *, seed: int = 0) -> Prepared:
    """Split scikit-learn's handwritten digits into regions, unless they are there with this seed.

    Raises:
        MissingExtra: scikit-learn is not installed, and needed.
        OSError: A file cannot be written.
    """
    folder = dataset_folder(workspace, "digits")
    digest = settings_digest({"source": "digits", "code": _code_digest()})
    ready = _ready_regions(folder, digest, DIGIT_REGIONS, seed)
    if ready is not None:
        return Prepared("digits", folder, ready, made=False)
    regions = split_regions(digits_features(digest), DIGIT_REGIONS, seed)
    _save_regions(folder, regions)
    return Prepared("digits", folder, regions, made=True)


def prepare_eurosat(
    workspace: Path,
    extraction: Extraction,
    *,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
    say: Say = lambda _text: None,
) -> Prepared:
    """Extract the features of EuroSAT and split them into regions, as far as it is not done already.

    Blocking and busy for minutes; stopped at any point, it goes on where it was. The regions are the
    built-in ones when the images are EuroSAT's.

    Args:
        workspace: The folder for everything.
        extraction: The settings of the extraction.
        seed: Of the split.
        progress: Told how many images are done, and how many there are.
        say: Told what is being downloaded.

    Raises:
        MissingExtra: torch is not installed, and needed.
        PrepError: Images or weights are missing or damaged, or the images are of other classes, which
            `bin/split-regions` splits.
        OSError: A file cannot be read or written.
    """
    folder = dataset_folder(workspace, "eurosat")
    _, extracted = extract_images(workspace, extraction, features_file(workspace), progress=progress, say=say)
    plan = plan_for(extracted.features)
    ready = _ready_regions(folder, extracted.features.meta.digest, plan.regions, seed)
    if ready is not None and not extracted.made:
        return Prepared("eurosat", folder, ready, made=False)
    regions = plan.apply(extracted.features, seed)
    save_split(regions, folder)
    return Prepared("eurosat", folder, regions, made=True)


def _code_digest() -> str:
    """Return the digest of this package's code: when it changes, its data is made anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _ready_regions(
    folder: Path, source_digest: str, plans: tuple[RegionPlan, ...], seed: int
) -> dict[str, Region] | None:
    """Return the regions that are there with these settings, or None when one of them is not."""
    regions = {}
    for name in [*(plan.name for plan in plans), EVALUATION]:
        try:
            region = load_region(region_file(folder, name))
        except RegionError:  # missing or damaged: it will be made
            return None
        if region.meta.digest != region_digest(source_digest, name, plans, seed):
            return None
        regions[name] = region
    return regions


def _has_digest(path: Path, digest: str) -> bool:
    try:
        meta = load_meta(path)
    except RegionError:
        return False
    return meta is not None and meta.digest == digest


def _keep_foreign(path: Path) -> None:
    """Refuse to write synthetic features over others, which may have taken hours to extract.

    Raises:
        PrepError: The file is readable and not synthetic.
    """
    try:
        meta = load_meta(path)
    except RegionError:  # missing, or damaged and of no use to anyone
        return
    if meta is None or meta.source != "synthetic":
        found = "says nothing of its source" if meta is None else f"holds features of {meta.source}"
        raise PrepError(
            f"{path} {found}; synthetic ones are not written over it: "
            f"move it away, or choose another --workspace"
        )


def _save_regions(folder: Path, regions: Mapping[str, Region]) -> None:
    for name, region in regions.items():
        save_region(region_file(folder, name), region)


def describe(prepared: Prepared) -> list[str]:
    """Return lines for people: what lies where, and that synthetic data is synthetic."""
    meta = prepared.regions[EVALUATION].meta
    total = sum(region.sample_count for region in prepared.regions.values())
    kind = {"synthetic": "synthetic tiles, drawn by a program", "digits": "handwritten digits"}.get(
        meta.source, f"samples of {meta.source}"
    )
    lines = [
        f"{total:,} {kind}; {prepared.regions[EVALUATION].feature_count} features each ({meta.extractor}), "
        f"seed {meta.seed}"
    ]
    for name, region in prepared.regions.items():
        there = [meta.class_names[label] for label in sorted(set(region.y.tolist()))]
        classes = "all classes, for evaluation" if name == EVALUATION else ", ".join(there)
        shift = "" if region.meta.shift == "none" else f"; {region.meta.shift}"
        lines.append(f"  region {name} {region.sample_count:>6,} samples  {classes}{shift}")
    lines.append(f"in {prepared.folder}")
    return lines
