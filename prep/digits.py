"""The source `digits`: 1,797 real handwritten digits that come with scikit-learn, so nothing is downloaded.

From the UCI repository (Alpaydin and Kaynak, 1998): 8 x 8 pixels, 0 to 16.
"""

from __future__ import annotations

import numpy as np

from federation.learning import MissingExtra, Region, RegionMeta


def digits_features(digest: str) -> Region:
    """Return all digits: float32 (1797, 64), the pixels scaled to 0 to 1, and their labels.

    Args:
        digest: For the meta.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # slow to import
    except ImportError as error:
        raise MissingExtra(
            "scikit-learn", extra="digits", what="--source digits", otherwise="use --source synthetic"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    meta = RegionMeta(
        class_names=tuple(str(digit) for digit in range(10)),
        source="digits",
        extractor="pixels",
        digest=digest,
    )
    return Region((pixels / 16).astype(np.float32), labels.astype(np.int64), meta)
