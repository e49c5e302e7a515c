"""Features from a network of torchvision that was trained on ImageNet, without its last layer.

Needs the extra `prep`. Everything of torch is imported where it is used: it takes seconds.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from federation.learning import MissingExtra

from .errors import PrepError
from .extractors import Features, Images
from .weights import check_weights

if TYPE_CHECKING:
    import torch

DEFAULT_BACKBONE = "resnet18"
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_GREATEST_PIXEL = 255.0
# What torchvision's builders change by themselves when they are given weights.
_AS_TRAINED: Mapping[str, dict[str, bool]] = {
    "googlenet": {"transform_input": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}
_SMALL_PIXELS = 96  # up to this size an image is done within milliseconds, and a larger batch pays


def torch_or_reason(
    what: str = "a trained network", otherwise: str = "do without: --extractor patches"
) -> None:
    """See that torch and torchvision are there.

    Args:
        what: Needs them.
        otherwise: How to do without.

    Raises:
        MissingExtra: They are not; the text says how to get them, and how to do without.
    """
    try:
        import torch
        import torchvision
    except ImportError as error:
        package = error.name or "torchvision"
        raise MissingExtra(package, extra="prep", what=what, otherwise=otherwise) from error
    del torch, torchvision


def backbone_names() -> list[str]:
    """Return the names of all networks that torchvision classifies images with.

    Raises:
        MissingExtra: torchvision is not installed.
    """
    torch_or_reason()
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def official_weights(name: str) -> Any:
    """Return torchvision's entry of a network's weights: `IMAGENET1K_V1`, or the default where there is none.

    Raises:
        MissingExtra: torchvision is not installed.
        PrepError: It has no such network.
    """
    if name not in backbone_names():
        near = difflib.get_close_matches(name, ["patches", *backbone_names()], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see torchvision.models.list_models()"
        raise PrepError(f"--extractor {name}: torchvision has no such network; {hint}")
    import torchvision

    entries = torchvision.models.get_model_weights(name)
    return entries.__members__.get("IMAGENET1K_V1", entries.DEFAULT)


class TorchExtractor:
    """A network of torchvision without its last layer; of ResNet18, 512 features of an image.

    Images are brought to `image_size` when they are decoded, and normalised by the mean and deviation of
    the weights' own transform. On a GPU half precision is used, and channels last.

    Args:
        weights: The file of its weights. There is no doing without: a random network is no stand-in.
        name: Any of `backbone_names`.
        image_size: In pixels; None for that of the weights' own transform, 224 for most. Smaller is faster:
            64, EuroSAT's own, costs some points.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1".
        precision: One of `PRECISIONS`; "auto" is float32 on the CPU, bfloat16 or float16 on a GPU.
        batch_size: How many images at once; None for what suits the device.
        threads: Of torch on the CPU; None for its own choice, a thread a core.

    Attributes:
        network: The network without its last layer, in inference mode, on the device.

    Raises:
        MissingExtra: torch is not installed.
        PrepError: The weights are not what their name says, or are not those of this network; there is no
            such network or device; the network takes no images of this size.
    """

    def __init__(
        self,
        weights: Path,
        name: str = DEFAULT_BACKBONE,
        *,
        image_size: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        transform = official_weights(name).transforms()
        self.name = name
        self.image_size = image_size or int(transform.crop_size[0])
        self.weights_sha256 = check_weights(weights)
        self._device = _device(device)
        self._precision = _precision(precision, self._device)
        self._threads = threads
        self.network = _headless(name, weights).to(self._device)
        self._mean, self._deviation = (
            _as_colours(values).to(self._device) for values in (transform.mean, transform.std)
        )
        on_gpu = self._device.type != "cpu"
        self.batch_size = batch_size or (256 if on_gpu or self.image_size <= _SMALL_PIXELS else 32)
        self.feature_count = self._try_out()
        self.settings: Mapping[str, object] = {
            "extractor": name,
            "image_size": self.image_size,
            "weights": self.weights_sha256,
            "precision": str(self._precision).removeprefix("torch."),
        }
        self.conditions: Mapping[str, object] = self._conditions()

    def features(self, images: Images) -> Features:
        """Return float32 (images, features) of uint8 (images, size, size, 3)."""
        import torch

        with torch.inference_mode(), _threads(self._threads), torch.backends.cudnn.flags(deterministic=True):
            pixels = self.normalised(torch.from_numpy(images))
            half = self._precision is not torch.float32
            with torch.autocast(self._device.type, dtype=self._precision, enabled=half):
                found = self.network(pixels)
            return np.ascontiguousarray(found.float().cpu().numpy())

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the network is given: float32 (images, 3, size, size), channels last, on the device.

        Args:
            images: uint8 (images, size, size, 3).
        """
        import torch

        # Bytes travel to the device, and become numbers there: a quarter of the traffic.
        colours = images.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        return (colours.to(torch.float32) - self._mean) / self._deviation

    def _try_out(self) -> int:
        """Return how many features there are, as one black image shows."""
        black = np.zeros((1, self.image_size, self.image_size, 3), np.uint8)
        try:
            found = self.features(black)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise PrepError(
                f"{self.name} takes no images of {self.image_size} x {self.image_size} pixels here "
                f"({_first_line(error)}); choose another --image-size, or leave it out"
            ) from error
        return int(found.shape[1])

    def _conditions(self) -> dict[str, object]:
        import torch

        threads = (self._threads or torch.get_num_threads()) if self._device.type == "cpu" else 0
        return {"device": self._device.type, "threads": threads, "torch": str(torch.__version__)}


def _headless(name: str, weights: Path) -> torch.nn.Module:
    """Return a network with its weights, without its last linear layer, in channels last."""
    import torch
    import torchvision

    network: torch.nn.Module = torchvision.models.get_model(name, weights=None, **_AS_TRAINED.get(name, {}))
    try:
        # weights_only: tensors and plain containers, never code.
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # what a file of another kind raises has no base in common
        raise PrepError(
            f"{weights} does not hold the weights of {name}: {_first_line(error)}. "
            f"Name the file that was made for {name}"
        ) from error
    heads = [path for path, module in network.named_modules() if isinstance(module, torch.nn.Linear)]
    if not heads:
        raise PrepError(
            f"--extractor {name}: it does not end in a linear layer; choose another, like resnet18"
        )
    parent, _, last = heads[-1].rpartition(".")
    setattr(network.get_submodule(parent), last, torch.nn.Identity())
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PrepError(
            f"--device {name}: it cannot be used here ({_first_line(error)}); use auto, cpu or cuda"
        ) from error
    return device


def _precision(name: str, device: torch.device) -> torch.dtype:
    import torch

    if name not in PRECISIONS:
        raise PrepError(f"--precision {name}: there are {', '.join(PRECISIONS)}")
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16


def _as_colours(values: list[float]) -> torch.Tensor:
    """Return three numbers, given for pixels from 0 to 1, for pixels from 0 to 255: (1, 3, 1, 1)."""
    import torch

    return torch.tensor(values).view(1, 3, 1, 1) * _GREATEST_PIXEL


def _first_line(error: Exception) -> str:
    """Return what torch says, without the advice that follows; the kind of error when it says nothing."""
    return next(iter(str(error).splitlines()), "").strip(" .:") or type(error).__name__


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let torch compute with so many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
