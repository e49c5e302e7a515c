"""Networks of torchvision as extractors: the real ResNet18, with random weights from a file of one's own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prep import MissingExtra, PrepError, TorchExtractor, backbone_names, extract_features, list_images
from prep.backbones import torch_or_reason
from tests.extras import need

need("torch", "torchvision")

import torch  # behind the question whether it is there
import torchvision

SIZE = 32  # pixels: enough for the plumbing, and quick


def saved(network: Any, folder: Path, name: str) -> Path:
    """Save a network's weights in a file that is named as torchvision's are."""
    plain = folder / "plain.pth"
    torch.save(network.state_dict(), plain)
    return plain.rename(folder / f"{name}-{hashlib.sha256(plain.read_bytes()).hexdigest()[:8]}.pth")


@pytest.fixture(scope="module")
def extractor(resnet18_weights: Path) -> TorchExtractor:
    return TorchExtractor(resnet18_weights, image_size=SIZE, device="cpu", threads=1, batch_size=16)


@pytest.fixture(scope="module")
def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


def test_it_is_the_network_without_its_last_layer(
    extractor: TorchExtractor, resnet18_weights: Path, images: Any
) -> None:
    """Beside torchvision's own network and its own transform, written out."""
    network = torchvision.models.resnet18(weights=None)
    network.load_state_dict(torch.load(resnet18_weights, weights_only=True))
    network.fc = torch.nn.Identity()
    network.eval()
    wanted = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    normalised = torchvision.transforms.functional.normalize(
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, wanted.mean, wanted.std
    )
    with torch.inference_mode():
        theirs = network(normalised).numpy()

    ours = extractor.features(images)

    assert ours.shape == (5, 512)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_batch_gives_what_each_image_gives_alone(extractor: TorchExtractor, images: Any) -> None:
    """To the rounding of float32: a library may add in another order when there is more to add."""
    together = extractor.features(images)
    alone = np.concatenate([extractor.features(images[row : row + 1]) for row in range(len(images))])

    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max())


def test_the_same_images_give_the_same_bytes(extractor: TorchExtractor, images: Any) -> None:
    assert extractor.features(images).tobytes() == extractor.features(images).tobytes()


def test_resumed_equals_uninterrupted_byte_for_byte(
    extractor: TorchExtractor, tree_folder: Path, tmp_path: Path
) -> None:
    tree = list_images(tree_folder)

    def stop(done: int, _total: int) -> None:
        if done == 32:
            raise KeyboardInterrupt

    extract_features(tree, extractor, tmp_path / "undisturbed.npz")
    with pytest.raises(KeyboardInterrupt):
        extract_features(tree, extractor, tmp_path / "f.npz", progress=stop)
    extracted = extract_features(tree, extractor, tmp_path / "f.npz")

    assert extracted.resumed == 32
    assert (tmp_path / "f.npz").read_bytes() == (tmp_path / "undisturbed.npz").read_bytes()
    meta = extracted.features.meta
    assert (meta.extractor, meta.image_size, meta.weights_sha256) == (
        "resnet18",
        SIZE,
        extractor.weights_sha256,
    )


def test_half_precision_is_near(resnet18_weights: Path, extractor: TorchExtractor, images: Any) -> None:
    half = TorchExtractor(resnet18_weights, image_size=SIZE, device="cpu", precision="bfloat16", threads=1)

    difference = np.abs(half.features(images) - extractor.features(images)).mean()

    assert 0 < difference < 0.05 * np.abs(extractor.features(images)).mean()
    assert half.settings != extractor.settings


def test_the_size_of_the_weights_is_the_default(resnet18_weights: Path) -> None:
    extractor = TorchExtractor(resnet18_weights, threads=1, device="cpu")

    assert (extractor.image_size, extractor.batch_size, extractor.feature_count) == (224, 32, 512)


def test_threads_are_given_back(resnet18_weights: Path, images: Any) -> None:
    before = torch.get_num_threads()

    TorchExtractor(resnet18_weights, image_size=SIZE, threads=before + 1, device="cpu").features(images)

    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("name", "features"),
    [("squeezenet1_0", None), ("mobilenet_v3_small", 1024), ("shufflenet_v2_x0_5", 1024)],
)
def test_other_networks_by_name(name: str, features: int | None, tmp_path: Path) -> None:
    assert name in backbone_names()
    weights = saved(torchvision.models.get_model(name, weights=None), tmp_path, name)
    if features is None:
        with pytest.raises(PrepError, match="--extractor squeezenet1_0: it does not end in a linear layer"):
            TorchExtractor(weights, name, image_size=SIZE, threads=1, device="cpu")
        return

    extractor = TorchExtractor(weights, name, image_size=SIZE, threads=1, device="cpu")

    assert extractor.feature_count == features


def test_a_network_that_does_not_exist_is_refused_with_one_that_does(resnet18_weights: Path) -> None:
    with pytest.raises(
        PrepError, match="--extractor resnet81: torchvision has no such network; did you mean"
    ):
        TorchExtractor(resnet18_weights, "resnet81")
    with pytest.raises(PrepError, match="did you mean patches"):
        TorchExtractor(resnet18_weights, "patch")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """Never in part, and never random ones instead."""
    weights = saved(torch.nn.Linear(3, 2), tmp_path, "resnet18")
    with pytest.raises(
        PrepError, match=r"does not hold the weights of resnet18: .*Name the file that was made"
    ):
        TorchExtractor(weights)


def test_a_file_that_is_no_weights_is_refused_and_runs_no_code(tmp_path: Path) -> None:
    """A pickle that would make a file when it is loaded."""
    trap = tmp_path / "trap"
    code = b"cposix\nsystem\n(Vtouch " + str(trap).encode() + b"\ntR."
    for content in (code, b"<html>not found</html>", b""):
        path = tmp_path / f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        path.write_bytes(content)
        with pytest.raises(PrepError, match="does not hold the weights of resnet18"):
            TorchExtractor(path)
    assert not trap.exists()


def test_a_device_that_is_not_there_is_refused(resnet18_weights: Path) -> None:
    for name in ("quantum", "cuda:63"):
        with pytest.raises(
            PrepError, match=f"--device {name}: it cannot be used here .*; use auto, cpu or cuda"
        ):
            TorchExtractor(resnet18_weights, device=name)


def test_a_size_that_a_network_cannot_take_is_refused(tmp_path: Path) -> None:
    network = torchvision.models.inception_v3(weights=None, init_weights=False)
    weights = saved(network, tmp_path, "inception_v3")
    with pytest.raises(
        PrepError, match=r"inception_v3 takes no images of 64 x 64 pixels here .*another --image"
    ):
        TorchExtractor(weights, "inception_v3", image_size=64, device="cpu", threads=1)


def test_without_torch_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)

    with pytest.raises(
        MissingExtra, match=r"pip install 'trioactor\[prep\]', or do without: --extractor patches"
    ):
        torch_or_reason()
