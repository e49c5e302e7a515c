"""The source `eurosat`: real images and a trained network, or any folder of images and the patch bank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .backbones import DEFAULT_BACKBONE, TorchExtractor
from .extraction import Extracted, extract_features
from .extractors import Extractor, PatchExtractor, PixelExtractor
from .fetch import Say, find_inputs
from .images import ImageTree, check_whole, list_images
from .synthetic import Progress

# The extractors that are no networks of torchvision, and need neither torch nor weights.
PLAIN_EXTRACTORS: dict[str, type[PatchExtractor | PixelExtractor]] = {
    "patches": PatchExtractor,
    "pixels": PixelExtractor,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The settings of an extraction; each is a flag of `bin/extract-features`.

    Attributes:
        extractor: "patches", "pixels", or a network of torchvision.
        images: The folder of images; None for EuroSAT in the workspace.
        weights: The network's file; None for torchvision's own in the workspace or in torch's cache.
        download: Download what is missing.
        image_size: In pixels; None for what the extractor likes best.
        device: As `TorchExtractor` takes it.
        precision: As `TorchExtractor` takes it.
        batch_size: None for what suits the device.
        threads: Of torch on the CPU; None for its own choice.
        skip_broken: Leave broken images out.
        any_counts: Take a copy of EuroSAT that is not whole.
        restart: Begin anew, whatever is there.
    """

    extractor: str = DEFAULT_BACKBONE
    images: Path | None = None
    weights: Path | None = None
    download: bool = False
    image_size: int | None = None
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    threads: int | None = None
    skip_broken: bool = False
    any_counts: bool = False
    restart: bool = False


def extract_images(
    workspace: Path,
    extraction: Extraction,
    output: Path,
    *,
    progress: Progress = lambda _done, _total: None,
    say: Say = lambda _text: None,
) -> tuple[ImageTree, Extracted]:
    """Find images and weights, check both, and extract features into a file.

    Raises:
        MissingExtra: torch is not installed, and needed.
        PrepError: What is there cannot be used; the text says why, and the fix.
        OSError: A file cannot be read or written.
    """
    backbone = None if extraction.extractor in PLAIN_EXTRACTORS else extraction.extractor
    inputs = find_inputs(
        workspace,
        backbone,
        images=extraction.images,
        weights=extraction.weights,
        download=extraction.download,
        say=say,
    )
    tree = list_images(inputs.images)
    if tree.is_eurosat and not extraction.any_counts:
        check_whole(tree)
    extracted = extract_features(
        tree,
        make_extractor(extraction, inputs.weights),
        output,
        skip_broken=extraction.skip_broken,
        restart=extraction.restart,
        progress=progress,
    )
    return tree, extracted


def make_extractor(extraction: Extraction, weights: Path | None) -> Extractor:
    """Return the extractor that settings ask for.

    Args:
        extraction: The settings.
        weights: The file of the network; None for what is none.

    Raises:
        MissingExtra: torch is not installed, and needed.
        PrepError: It cannot be made so; the text says why.
    """
    if weights is None:
        return PLAIN_EXTRACTORS[extraction.extractor](extraction.image_size, extraction.batch_size)
    return TorchExtractor(
        weights,
        extraction.extractor,
        image_size=extraction.image_size,
        device=extraction.device,
        precision=extraction.precision,
        batch_size=extraction.batch_size,
        threads=extraction.threads,
    )


def describe_extraction(tree: ImageTree, extracted: Extracted, output: Path) -> list[str]:
    """Return lines for people: what was extracted, what was left out and passed over, and where it is."""
    features, meta = extracted.features, extracted.features.meta
    lines = [
        f"{features.sample_count:,} samples of {meta.source} in {features.class_count} classes; "
        f"{features.feature_count} features each ({meta.extractor}, {meta.image_size} pixels)"
    ]
    if extracted.resumed:
        lines.append(f"{extracted.resumed:,} images were done by an earlier run")
    if meta.left_out:
        which = f": {', '.join(extracted.broken[:5])}" if extracted.broken else ""
        more = f" and {len(extracted.broken) - 5:,} more" if len(extracted.broken) > 5 else ""
        lines.append(f"{meta.left_out:,} broken images were left out{which}{more}")
    if tree.passed_over:
        lines.append(f"{tree.passed_over:,} files beside the images were passed over")
    return [*lines, f"in {output}"]
