"""Extraction: every image once, in order; resumed as if it had never stopped; broken images named."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from federation.learning import (
    Region,
    RegionMeta,
    load_features,
    one_blas_thread,
    read_archive,
    save_features,
)
from prep import (
    ImageTree,
    PatchBank,
    PatchExtractor,
    PrepError,
    extract,
    extract_features,
    list_images,
)
from prep.decode import Decoded, decode
from prep.extractors import Features, Images
from prep.unfinished import unfinished, unfinished_file
from tests.prep.conftest import signalled


@dataclass
class Colours:
    """The smallest extractor: the mean of each colour. It counts what it is given."""

    name: str = "colours"
    image_size: int = 16
    feature_count: int = 3
    batch_size: int = 7
    settings: Mapping[str, object] = field(default_factory=lambda: {"extractor": "colours"})
    conditions: Mapping[str, object] = field(default_factory=lambda: {"device": "cpu"})
    weights_sha256: str = ""
    batches: list[int] = field(default_factory=list)

    def features(self, images: Images) -> Features:
        self.batches.append(len(images))
        return np.asarray(images.mean(axis=(1, 2)), np.float32)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def tree(tree_folder: Path) -> ImageTree:
    """60 images: eight batches of seven and one of four."""
    return list_images(tree_folder)


@pytest.fixture
def undisturbed(tree: ImageTree, tmp_path: Path) -> Path:
    """A features file that was made in one go."""
    output = tmp_path / "undisturbed.npz"
    extract_features(tree, Colours(), output)
    return output


@pytest.fixture
def broken(tree_folder: Path, tmp_path: Path) -> ImageTree:
    """A tree in which the third image of River is cut off and the last SeaLake is a web page."""
    for name in list_images(tree_folder).names:
        copy = tmp_path / "2750" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((tree_folder / name).read_bytes())
    cut = tmp_path / "2750" / "River" / "River_3.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    (tmp_path / "2750" / "SeaLake" / "SeaLake_6.jpg").write_bytes(b"<html>not found</html>")
    return list_images(tmp_path / "2750")


@pytest.fixture(scope="module")
def patches() -> PatchExtractor:
    return PatchExtractor(batch_size=20)


def test_every_image_becomes_a_row_in_the_order_of_the_tree(tree: ImageTree, tmp_path: Path) -> None:
    extractor = Colours()

    extracted = extract_features(tree, extractor, tmp_path / "f.npz")

    assert extracted.made
    assert extractor.batches == [7] * 8 + [4]
    features = load_features(tmp_path / "f.npz")
    assert (features.y == tree.labels).all()
    assert features.X.tobytes() == extracted.features.X.tobytes()
    row = tree.names.index("River/River_2.jpg")
    alone = decode(tree.folder / tree.names[row], 16).pixels
    assert alone is not None
    assert features.X[row].tolist() == alone.mean(axis=(0, 1)).astype(np.float32).tolist()


def test_the_file_says_what_it_was_made_of(tree: ImageTree, undisturbed: Path) -> None:
    meta = load_features(undisturbed).meta

    everything = hashlib.sha256()
    for name in tree.names:
        everything.update(name.encode() + b"\0" + hashlib.sha256((tree.folder / name).read_bytes()).digest())
    assert meta.class_names == tree.class_names
    assert (meta.source, meta.extractor, meta.image_size) == ("part of eurosat", "colours", 16)
    assert meta.images_sha256 == everything.hexdigest()
    assert not meta.synthetic
    assert set(read_archive(undisturbed)) == {"features", "labels", "meta"}


class Stopped(Exception):
    """What ends an extraction on its way."""


@pytest.mark.parametrize("at", [0, 7, 35, 56])
@pytest.mark.parametrize("kind", [Stopped, KeyboardInterrupt])
def test_resumed_equals_uninterrupted_byte_for_byte(
    tree: ImageTree, undisturbed: Path, tmp_path: Path, at: int, kind: type[BaseException]
) -> None:
    output = tmp_path / "f.npz"

    def stop(done: int, _total: int) -> None:
        if done == at:
            raise kind

    with pytest.raises(kind):
        extract_features(tree, Colours(), output, progress=stop)
    assert not output.exists()
    extractor = Colours()
    extracted = extract_features(tree, extractor, output)

    assert extracted.resumed == at
    assert sum(extractor.batches) == 60 - at
    assert sha256(output) == sha256(undisturbed)
    assert not unfinished_file(output).exists()


async def test_a_cancelled_extraction_goes_on_where_it_was(
    tree: ImageTree, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "f.npz"
    with trio.CancelScope() as scope:
        await extract(
            tree, Colours(), output, progress=lambda done, _: scope.cancel() if done >= 21 else None
        )
    assert scope.cancelled_caught

    extracted = await extract(tree, Colours(), output)

    assert extracted.resumed >= 21
    assert sha256(output) == sha256(undisturbed)


def test_killed_it_goes_on_where_it_was(tree: ImageTree, patches: PatchExtractor, tmp_path: Path) -> None:
    """SIGKILL in the middle of the real command; the file is that of one that ran through."""
    output = tmp_path / "f.npz"
    flags = ["extract-features", "--extractor=patches", "--any-counts", f"--images={tree.folder}"]

    killed = signalled(signal.SIGKILL, 40, *flags, "--batch-size=20", f"--output={output}")

    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    assert extract_features(tree, patches, output).resumed == 40
    extract_features(tree, patches, tmp_path / "undisturbed.npz")
    assert sha256(output) == sha256(tmp_path / "undisturbed.npz")


@pytest.mark.parametrize("damage", ["cut", "zeros", "flip"])
def test_what_a_power_failure_spoilt_is_made_anew(
    tree: ImageTree, undisturbed: Path, tmp_path: Path, damage: str
) -> None:
    output = tmp_path / "f.npz"

    def stop(done: int, _total: int) -> None:
        if done == 35:
            raise Stopped

    with pytest.raises(Stopped):
        extract_features(tree, Colours(), output, progress=stop)
    path = unfinished_file(output)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-100]
    elif damage == "zeros":
        content[-100:] = bytes(100)
    else:
        content[-400] ^= 1
    path.write_bytes(content)

    extracted = extract_features(tree, Colours(), output)

    assert extracted.resumed in (21, 28)
    assert sha256(output) == sha256(undisturbed)


def stop_at_7(done: int, _total: int) -> None:
    if done == 7:
        raise Stopped


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Colours(batch_size=8), "batch_size was 7, is 8"),
        (Colours(conditions={"device": "cuda"}), "device was cpu, is cuda"),
        (
            Colours(settings={"extractor": "colours", "weights": "0123456789" * 4}),
            "weights was None, is 012345678901...",
        ),
    ],
)
def test_an_interrupted_extraction_does_not_go_on_with_other_settings(
    tree: ImageTree, tmp_path: Path, other: Colours, words: str
) -> None:
    output = tmp_path / "f.npz"
    with pytest.raises(Stopped):
        extract_features(tree, Colours(), output, progress=stop_at_7)

    with pytest.raises(
        PrepError, match=f"begun with other settings \\({words}\\): go on with those, or .*--restart"
    ):
        extract_features(tree, other, output)

    assert extract_features(tree, other, output, restart=True).resumed == 0


def test_a_file_that_is_no_extraction_is_left_alone(tree: ImageTree, tmp_path: Path) -> None:
    output = tmp_path / "f.npz"
    unfinished_file(output).write_text("my notes\n")

    with pytest.raises(PrepError, match="is no unfinished extraction; move it away"):
        extract_features(tree, Colours(), output)

    assert unfinished_file(output).read_text() == "my notes\n"


def test_two_extractions_do_not_write_one_file(tree: ImageTree, tmp_path: Path) -> None:
    output = tmp_path / "f.npz"
    refused: list[str] = []

    def another(done: int, _total: int) -> None:
        if done == 7:
            with pytest.raises(PrepError) as caught, unfinished(output, {}, [1], 3, restart=False):
                raise AssertionError("both of them write")
            refused.append(str(caught.value))

    extract_features(tree, Colours(), output, progress=another)

    assert refused == [f"{unfinished_file(output)}: another process extracts to it; wait for it, or end it"]


def test_what_is_there_with_these_settings_is_kept(tree: ImageTree, undisturbed: Path) -> None:
    before, extractor = undisturbed.stat().st_mtime_ns, Colours()

    extracted = extract_features(tree, extractor, undisturbed)

    assert not extracted.made
    assert extractor.batches == []
    assert undisturbed.stat().st_mtime_ns == before


def test_other_features_are_not_written_over(tree: ImageTree, undisturbed: Path) -> None:
    """They may have taken hours. Those of a program can be drawn again."""
    other = Colours(settings={"extractor": "colours", "image_size": 32})
    with pytest.raises(
        PrepError, match="holds features of part of eurosat, made with other settings; choose"
    ):
        extract_features(tree, other, undisturbed)

    assert extract_features(tree, other, undisturbed, restart=True).made
    drawn = RegionMeta(class_names=("a", "b"), source="synthetic", synthetic=True)
    save_features(undisturbed, Region(np.zeros((2, 1), np.float32), np.array([0, 1]), drawn))
    assert extract_features(tree, other, undisturbed).made


def test_broken_images_are_named_with_what_is_wrong(broken: ImageTree, tmp_path: Path) -> None:
    with pytest.raises(
        PrepError,
        match=r"broken image: River/River_3\.jpg \(image file is truncated .*--skip-broken; what is done is",
    ):
        extract_features(broken, Colours(), tmp_path / "f.npz")


def test_broken_images_are_left_out_and_counted_when_it_is_asked_for(
    broken: ImageTree, tmp_path: Path
) -> None:
    """What was done before the first of them is not done again."""
    output = tmp_path / "f.npz"
    with pytest.raises(PrepError):
        extract_features(broken, Colours(), output)

    extracted = extract_features(broken, Colours(), output, skip_broken=True)

    assert extracted.broken == ("River/River_3.jpg", "SeaLake/SeaLake_6.jpg")
    assert extracted.resumed == 49
    features = load_features(output)
    assert features.sample_count == 58
    assert features.meta.left_out == 2
    assert np.bincount(features.y).tolist() == [6, 6, 6, 6, 6, 6, 6, 6, 5, 5]


def test_who_goes_on_without_leave_to_skip_is_told_what_was_left_out(
    broken: ImageTree, tmp_path: Path
) -> None:
    """Also when all that is left to do is good."""
    last = broken.folder / "SeaLake" / "SeaLake_6.jpg"
    last.write_bytes(last.with_name("SeaLake_5.jpg").read_bytes())
    tree, output = list_images(broken.folder), tmp_path / "f.npz"

    def stop(done: int, _total: int) -> None:
        if done == 56:
            raise Stopped

    with pytest.raises(Stopped):
        extract_features(tree, Colours(), output, skip_broken=True, progress=stop)
    with pytest.raises(PrepError, match=r"broken image: River/River_3\.jpg \(left out by an earlier run\)"):
        extract_features(tree, Colours(), output)

    assert not output.exists()
    assert extract_features(tree, Colours(), output, skip_broken=True).resumed == 60


def test_a_file_without_broken_images_is_not_taken_for_a_whole_one(broken: ImageTree, tmp_path: Path) -> None:
    output = tmp_path / "f.npz"
    extract_features(broken, Colours(), output, skip_broken=True)

    with pytest.raises(PrepError, match="made without 2 broken images; take it as it is with --skip-broken"):
        extract_features(broken, Colours(), output)

    assert not extract_features(broken, Colours(), output, skip_broken=True).made


def test_a_tree_of_broken_images_gives_no_file(broken: ImageTree, tmp_path: Path) -> None:
    for name in broken.names:
        (broken.folder / name).write_bytes(b"")
    output = tmp_path / "f.npz"

    with pytest.raises(PrepError, match="not one of the 60 images can be decoded"):
        extract_features(list_images(broken.folder), Colours(), output, skip_broken=True)

    assert not output.exists()


def test_an_image_that_goes_away_is_an_error_of_the_disk(broken: ImageTree, tmp_path: Path) -> None:
    (broken.folder / "Forest" / "Forest_1.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        extract_features(broken, Colours(), tmp_path / "f.npz", skip_broken=True)


def test_features_that_are_no_numbers_are_refused(tree: ImageTree, tmp_path: Path) -> None:
    class Overflowing(Colours):
        def features(self, images: Images) -> Features:
            return np.full((len(images), 3), np.inf, np.float32)

    with pytest.raises(PrepError, match="colours gave NaN or infinity between AnnualCrop/"):
        extract_features(tree, Overflowing(), tmp_path / "f.npz")


def test_progress_counts_images_batch_by_batch(tree: ImageTree, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    extract_features(tree, Colours(), tmp_path / "f.npz", progress=lambda *numbers: told.append(numbers))

    assert told[0] == (0, 60)
    assert told[-1] == (60, 60)
    assert all(after[0] - before[0] in (4, 7) for before, after in pairwise(told))


def test_the_patch_bank_reads_real_files(tree: ImageTree, patches: PatchExtractor, tmp_path: Path) -> None:
    """The features of an image are those of its pixels; how many it is given at once does not matter."""
    features = extract_features(tree, patches, tmp_path / "f.npz").features

    with one_blas_thread():  # with more of them, some processors round otherwise
        bank = PatchBank.make(0)
        for row in (0, 17, 59):
            pixels = decode(tree.folder / tree.names[row], 64).pixels
            assert pixels is not None
            assert features.X[row].tobytes() == bank.features(pixels).tobytes()
    assert features.feature_count == patches.feature_count == 512


def test_images_too_small_for_patches_are_refused() -> None:
    with pytest.raises(PrepError, match="--image-size 8: the patch bank needs at least 16 pixels"):
        PatchExtractor(8)


class Slow(Colours):
    """Holds its first batch until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.holds = trio.Event()
        self.let_go = trio.Event()

    def features(self, images: Images) -> Features:
        if not self.batches:
            trio.from_thread.run_sync(self.holds.set)
            trio.from_thread.run(self.let_go.wait)
        return super().features(images)


async def test_no_more_is_decoded_than_a_few_batches_ahead(
    tree: ImageTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: while the model holds its first batch, decoding comes to rest."""
    monkeypatch.setattr("prep.extraction.MOST_AHEAD", 2)
    decoded: list[str] = []

    def counted(path: Path, size: int) -> Decoded:
        decoded.append(path.name)
        return decode(path, size)

    monkeypatch.setattr("prep.extraction.decode", counted)
    extractor = Slow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(extract, tree, extractor, tmp_path / "f.npz")
        await extractor.holds.wait()
        while len(decoded) < 3 * 7:  # the batch that is held, and the two that wait behind it
            await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked(0.05)
        at_rest = len(decoded)
        extractor.let_go.set()

    assert at_rest == 3 * 7
    assert len(decoded) == 60
