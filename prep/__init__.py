"""Data for a federation: where samples come from, their features, and which region has which.

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from prep import prepare_synthetic
>>> with TemporaryDirectory() as workspace:
...     prepared = prepare_synthetic(Path(workspace), samples=50)
>>> {name: region.sample_count for name, region in prepared.regions.items()}
{'A': 12, 'B': 12, 'C': 16, 'D': 10}
"""

from .errors import MissingExtra, PrepError
from .patches import PatchBank
from .prepare import (
    DEFAULT_SAMPLES,
    MIN_SAMPLES,
    SOURCES,
    Prepared,
    dataset_folder,
    describe,
    features_file,
    prepare,
    prepare_digits,
    prepare_synthetic,
    region_file,
)
from .regions import DIGIT_REGIONS, EUROSAT_REGIONS, EVALUATION, RegionPlan, split_regions, split_rows
from .shifts import SHIFTS, Shift
from .tiles import CLASS_NAMES, draw_tile

__all__ = [
    "CLASS_NAMES",
    "DEFAULT_SAMPLES",
    "DIGIT_REGIONS",
    "EUROSAT_REGIONS",
    "EVALUATION",
    "MIN_SAMPLES",
    "SHIFTS",
    "SOURCES",
    "MissingExtra",
    "PatchBank",
    "PrepError",
    "Prepared",
    "RegionPlan",
    "Shift",
    "dataset_folder",
    "describe",
    "draw_tile",
    "features_file",
    "prepare",
    "prepare_digits",
    "prepare_synthetic",
    "region_file",
    "split_regions",
    "split_rows",
]
