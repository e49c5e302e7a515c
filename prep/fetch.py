"""EuroSAT and weights: where they are, how they get there, and what to do when the network is not.

```
WORKSPACE/eurosat/2750/                the images; EuroSAT.zip beside it is unpacked when they are missing
WORKSPACE/weights/resnet18-f37072fd.pth
```

Archives are unpacked to a folder aside, looked through and renamed: a copy that is there is whole.
"""

from __future__ import annotations

import http.client
import shutil
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .backbones import official_weights, torch_or_reason
from .errors import PrepError
from .images import EUROSAT_COUNTS, ImageTree, check_whole, list_images
from .weights import check_weights

# The copy that torchvision 0.29 takes; it has these as literals inside of a method.
EUROSAT_URL = (
    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
    "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip"
)
EUROSAT_MD5 = "c8fa014336c82ac7804f0398fcb19387"

# What a download ends with when it does not end well: HTTPException is a connection that was cut, and
# RuntimeError is how torch says that a file does not have its digest.
_FAILURES = (OSError, http.client.HTTPException, RuntimeError, zipfile.BadZipFile)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an extraction needs.

    Attributes:
        images: The folder of images.
        weights: The file of weights; None for an extractor that has none.
    """

    images: Path
    weights: Path | None


@dataclass(frozen=True, slots=True)
class _Missing:
    """A file that is not there: what it is, whence and whither, the flag that names it, why it is not."""

    what: str
    url: str
    place: Path
    flag: str
    reason: str


def find_inputs(
    workspace: Path,
    backbone: str | None,
    *,
    images: Path | None = None,
    weights: Path | None = None,
    download: bool = False,
    say: Say = lambda _text: None,
) -> Inputs:
    """Return the images and the weights; unpack or download what is missing.

    Args:
        workspace: Where they are looked for and kept.
        backbone: The network of torchvision whose weights are needed; None for none.
        images: A folder that the user named.
        weights: A file that the user named.
        download: Whether to download what is missing.
        say: Told what is being downloaded.

    Raises:
        MissingExtra: torch is not installed, and needed.
        PrepError: Something is missing; one text names all that is, and where to put it.
    """
    missing: list[_Missing] = []
    if backbone is not None and weights is None:
        found = _find_weights(workspace, backbone, download, say)
        weights = found if isinstance(found, Path) else None
        if isinstance(found, _Missing):
            missing.append(found)
    if images is None:
        there = _find_eurosat(workspace, download, say)
        if isinstance(there, _Missing):
            missing.insert(0, there)
        else:
            images = there
    if missing or images is None:
        raise PrepError(_not_there(missing, download))
    return Inputs(images, weights if backbone is not None else None)


def unpack_eurosat(
    folder: Path, *, say: Say = lambda _text: None, counts: Mapping[str, int] = EUROSAT_COUNTS
) -> ImageTree:
    """Unpack `EuroSAT.zip` in a folder to `2750` beside it; download it first when it is not there.

    torchvision does both, and checks the archive's MD5. What it leaves behind when it is interrupted it
    would later take for a whole copy; so it works in a folder aside.

    Args:
        folder: Where the archive lies, and the images will.
        say: Told what is being done.
        counts: How many images of each class there must be.

    Raises:
        MissingExtra: torchvision is not installed.
        PrepError: The archive is another one, or does not hold what it should.
        OSError, http.client.HTTPException, RuntimeError: It cannot be downloaded or unpacked.
    """
    torch_or_reason("unpacking EuroSAT", "unpack it by hand, and name the folder with --images")
    from torchvision.datasets import EuroSAT
    from torchvision.datasets.utils import check_integrity

    archive = folder / "EuroSAT.zip"
    aside = folder / ".unpacking"
    shutil.rmtree(aside, ignore_errors=True)  # of an unpacking that was killed
    if archive.exists() and not check_integrity(archive, EUROSAT_MD5):
        raise PrepError(
            f"{archive} is not EuroSAT's archive, or not all of it: its MD5 is not {EUROSAT_MD5}. "
            f"Download it again from {EUROSAT_URL}, or name an unpacked copy with --images"
        )
    say(f"unpacking {archive} ..." if archive.exists() else f"downloading {EUROSAT_URL} ...")
    try:
        (aside / "eurosat").mkdir(parents=True)
        if archive.exists():
            (aside / "eurosat" / "EuroSAT.zip").symlink_to(archive.resolve())
        EuroSAT(aside, download=True)
        check_whole(list_images(aside / "eurosat" / "2750"), counts)
        (aside / "eurosat" / "2750").rename(folder / "2750")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()  # when nothing is in it
    return list_images(folder / "2750")


def download_weights(url: str, folder: Path, *, say: Say = lambda _text: None) -> Path:
    """Download weights into a folder, under their own name, whole or not at all; its digest is checked.

    Raises:
        OSError, http.client.HTTPException, RuntimeError: It could not be downloaded, or has another digest.
    """
    import torch

    path = folder / url.rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    say(f"downloading {url} ...")
    torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=False)
    return path


def _find_eurosat(workspace: Path, download: bool, say: Say) -> Path | _Missing:
    folder = workspace / "eurosat"
    if (folder / "2750").is_dir():
        return folder / "2750"
    archive = folder / "EuroSAT.zip"
    reason = ""
    if download or archive.exists():
        try:
            return unpack_eurosat(folder, say=say).folder
        except _FAILURES as error:
            reason = _reason(error)
    return _Missing("EuroSAT", EUROSAT_URL, archive, "--images DIR for an unpacked copy", reason)


def _find_weights(workspace: Path, backbone: str, download: bool, say: Say) -> Path | _Missing:
    url = str(official_weights(backbone).url)
    name = url.rpartition("/")[2]
    place = workspace / "weights" / name
    for path in (place, _torch_cache() / name):
        if path.exists():
            check_weights(path)  # torch would not
            return path
    reason = ""
    if download:
        try:
            return download_weights(url, place.parent, say=say)
        except _FAILURES as error:
            reason = _reason(error)
    return _Missing(f"the weights of {backbone}", url, place, "--weights FILE", reason)


def _torch_cache() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _not_there(missing: list[_Missing], download: bool) -> str:
    what = " and ".join(one.what for one in missing)
    reasons = ", ".join(dict.fromkeys(one.reason for one in missing if one.reason))
    because = f" ({reasons})" if reasons else ""
    if download:
        head = f"{what} cannot be downloaded{because}; get them in another way, and put the files there:"
    else:
        head = f"{what} not found{because}; give --download, or put the files there:"
    lines = [f"  {one.url}\n    as {one.place}, or give {one.flag}" for one in missing]
    return "\n".join([head, *lines, "Without them there is bin/prepare --source synthetic."])


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)  # of a URLError
    return getattr(inner, "strerror", None) or str(inner) or type(error).__name__
