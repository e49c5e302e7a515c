"""Data for a federation: where samples come from, their features, and which region has which.

Also certificates for its roles. It prepares before anything runs, and no role needs it: any program that
writes region files (`federation.learning.save_region`) may take its place. It is no loader for training, and
never puts something else in the place of data or weights that are missing.

Where to go on: `prepare.py` is the whole way, `synthetic.py`, `digits.py` and `eurosat.py` the sources,
`extraction.py` from images to features, `plans.py`, `regions.py` and `shifts.py` who gets which samples, and
`certificates.py` the authority.

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from prep import prepare_synthetic
>>> with TemporaryDirectory() as workspace:
...     prepared = prepare_synthetic(Path(workspace), samples=50)
>>> {name: region.sample_count for name, region in prepared.regions.items()}
{'A': 12, 'B': 12, 'C': 16, 'D': 10}

Real images, a folder for each class, go the same way:

```python
inputs = find_inputs(workspace, "resnet18", images=Path("photos"), weights=Path("resnet18-f37072fd.pth"))
extractor = TorchExtractor(inputs.weights, image_size=64)
features = extract_features(list_images(inputs.images), extractor, Path("photos.npz")).features
split = split_features(features, read_plan(Path("regions.toml")))
save_split(split.regions, workspace / "dataset")
```
"""

from federation.learning import MissingExtra

from .backbones import TorchExtractor, backbone_names
from .errors import PrepError
from .eurosat import Extraction, extract_images
from .extraction import Extracted, extract, extract_features
from .extractors import Extractor, PatchExtractor, PixelExtractor
from .fetch import Inputs, find_inputs
from .images import EUROSAT_COUNTS, ImageTree, check_whole, list_images
from .patches import PatchBank
from .picture import draw_sheet, draw_split
from .plans import SplitPlan, plan_for, read_plan
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
    prepare_eurosat,
    prepare_synthetic,
)
from .regions import (
    DIGIT_REGIONS,
    EUROSAT_REGIONS,
    EVALUATION,
    Dealing,
    RegionPlan,
    split_regions,
    split_rows,
)
from .shifts import SHIFTS, Shift
from .split import Split, load_any_features, region_file, save_split, split_features, summary
from .tiles import CLASS_NAMES, draw_tile

__all__ = [
    "CLASS_NAMES",
    "DEFAULT_SAMPLES",
    "DIGIT_REGIONS",
    "EUROSAT_COUNTS",
    "EUROSAT_REGIONS",
    "EVALUATION",
    "MIN_SAMPLES",
    "SHIFTS",
    "SOURCES",
    "Dealing",
    "Extracted",
    "Extraction",
    "Extractor",
    "ImageTree",
    "Inputs",
    "MissingExtra",
    "PatchBank",
    "PatchExtractor",
    "PixelExtractor",
    "PrepError",
    "Prepared",
    "RegionPlan",
    "Shift",
    "Split",
    "SplitPlan",
    "TorchExtractor",
    "backbone_names",
    "check_whole",
    "dataset_folder",
    "describe",
    "draw_sheet",
    "draw_split",
    "draw_tile",
    "extract",
    "extract_features",
    "extract_images",
    "features_file",
    "find_inputs",
    "list_images",
    "load_any_features",
    "plan_for",
    "prepare",
    "prepare_digits",
    "prepare_eurosat",
    "prepare_synthetic",
    "read_plan",
    "region_file",
    "save_split",
    "split_features",
    "split_regions",
    "split_rows",
    "summary",
]
