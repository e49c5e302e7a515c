"""Folders of images, a folder for each class: what lies there, and whether a copy of EuroSAT is whole.

```
eurosat/2750/Forest/Forest_1.jpg     the layout of EuroSAT and of torchvision; any names will do
```

A tree is only listed here, never read: 27,000 names take a moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import PrepError

EUROSAT_COUNTS: Mapping[str, int] = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}
"""How many images EuroSAT has of each class (Helber et al., 2019): 27,000 in all."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What counts as an image, in small or capital letters: torchvision's list."""

# Where the class folders lie below what people name: torchvision's root, and both of EuroSAT's archives.
_BELOW = ("eurosat/2750", "2750", "EuroSAT_RGB")


@dataclass(frozen=True, slots=True, eq=False)
class ImageTree:
    """Images in class folders, listed in the order of torchvision: by class, then by name.

    Attributes:
        folder: Where the class folders lie.
        class_names: Of class 0, 1, ..., ascending.
        names: Of each image, from the folder: "Forest/Forest_1.jpg".
        labels: int64 (images,).
        sizes: int64 (images,), in bytes.
        passed_over: How many other files lie in the class folders.
    """

    folder: Path
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    passed_over: int

    @property
    def counts(self) -> dict[str, int]:
        """How many images each class has."""
        return dict(zip(self.class_names, np.bincount(self.labels).tolist(), strict=True))

    @property
    def is_eurosat(self) -> bool:
        """Whether the classes are those of EuroSAT, or nearly: a copy that may not be whole."""
        alike = EUROSAT_COUNTS.keys() & set(self.class_names)
        return 2 * len(alike) >= max(len(EUROSAT_COUNTS), len(self.class_names))

    @property
    def source(self) -> str:
        """What its samples are called: "eurosat" when it is, "part of eurosat", or the folder's name."""
        if not self.is_eurosat:
            return self.folder.resolve().name
        return "eurosat" if self.counts == EUROSAT_COUNTS else "part of eurosat"

    def listing_sha256(self) -> str:
        """Return the digest of all names and sizes."""
        digest = hashlib.sha256()
        for name, size in zip(self.names, self.sizes.tolist(), strict=True):
            digest.update(f"{name}\0{size}\n".encode())
        return digest.hexdigest()


def list_images(folder: Path) -> ImageTree:
    """List the images of a folder; it may also be the one that EuroSAT was unpacked to.

    Raises:
        PrepError: It is no folder, has fewer than two classes, or a class has no image.
    """
    if not folder.is_dir():
        raise PrepError(f"{folder}: there is no such folder; name the one that holds a folder for each class")
    folder = next((folder / below for below in _BELOW if (folder / below).is_dir()), folder)
    class_names = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    if len(class_names) < 2:
        raise PrepError(
            f"{folder} holds {_folders(class_names)}; it must hold a folder of images for each class, "
            "two at least"
        )
    names: list[str] = []
    labels: list[int] = []
    sizes: list[int] = []
    passed_over = 0
    for label, class_name in enumerate(class_names):
        found = list(_images(folder / class_name))
        if not found:
            raise PrepError(
                f"{folder / class_name} holds no image ({', '.join(IMAGE_SUFFIXES)}); "
                "copy the images again, or remove the folder"
            )
        passed_over += sum(1 for path in (folder / class_name).iterdir() if path.is_file()) - len(found)
        names += [f"{class_name}/{path.name}" for path in found]
        labels += [label] * len(found)
        sizes += [path.stat().st_size for path in found]
    return ImageTree(
        folder,
        tuple(class_names),
        tuple(names),
        np.array(labels, np.int64),
        np.array(sizes, np.int64),
        passed_over,
    )


def check_whole(tree: ImageTree, counts: Mapping[str, int] = EUROSAT_COUNTS) -> None:
    """See that a copy of EuroSAT has all of its classes, each with all of its images, and no others.

    torchvision looks only whether the folder exists: it takes nine classes for all, and every label behind
    the missing one shifts.

    Raises:
        PrepError: It is not whole; the text says what is missing, or too much.
    """
    found = tree.counts
    missing = [name for name in counts if name not in found]
    strange = [name for name in found if name not in counts]
    short = [
        f"{found[name]:,} of {counts[name]:,} {name}"
        for name in counts
        if 0 < found.get(name, 0) < counts[name]
    ]
    more = [
        f"{found[name]:,} {name}, not {counts[name]:,}"
        for name in counts
        if found.get(name, 0) > counts[name]
    ]
    wrong = [
        *([f"no {', '.join(missing)}"] if missing else []),
        *short,
        *more,
        *([f"also {', '.join(strange)}"] if strange else []),
    ]
    if wrong:
        raise PrepError(
            f"{tree.folder} is no whole EuroSAT: {'; '.join(wrong)}. It may be unpacked by half: unpack it "
            "again, or take it as it is with --any-counts"
        )


def _images(folder: Path) -> Iterator[Path]:
    """Yield the images of a class by name, as torchvision does: _1, _10, _2."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _folders(names: list[str]) -> str:
    return f"only the folder {names[0]}" if names else "no folders"
