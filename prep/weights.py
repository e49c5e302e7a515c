"""Files of weights: what they are called, and whether they hold what their name says.

torchvision's are named for the SHA-256 of what they hold, `resnet18-f37072fd.pth`. torch checks it when it
downloads one, and never again: what lies in its cache under that name is loaded without a word.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from .errors import PrepError

_NAMED = re.compile(r"-([0-9a-f]{8,64})\.pth?$")


def check_weights(path: Path) -> str:
    """Return the SHA-256 of a file of weights, whose name begins to say it.

    Raises:
        PrepError: There is no such file, its name says no SHA-256, or it holds something else.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PrepError(
            f"{path}: the weights cannot be read ({error.strerror}); name the file with --weights"
        ) from error
    named = _NAMED.search(path.name)
    if named is None:
        raise PrepError(
            f"{path}: the name does not say what it must hold, as resnet18-f37072fd.pth does with the first "
            f"digits of its SHA-256; if you trust this file, call it {path.stem}-{sha256[:8]}.pth"
        )
    if not sha256.startswith(named[1]):
        raise PrepError(
            f"{path} holds other weights than its name says: its SHA-256 begins with "
            f"{sha256[: len(named[1])]}, not with {named[1]}. It may be cut off or changed: download it again"
        )
    return sha256
