"""EuroSAT and weights: found, unpacked, downloaded; and one message when they are not to be had.

A server on this machine stands for those in the world; torchvision's own code downloads and unpacks.
"""

from __future__ import annotations

import hashlib
import http.server
import shutil
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prep import CLASS_NAMES, MissingExtra, PrepError, find_inputs
from prep.fetch import EUROSAT_MD5, EUROSAT_URL, download_weights, unpack_eurosat
from tests.extras import need

need("torch", "torchvision")

import torchvision.datasets.eurosat as theirs

SIX = dict.fromkeys(CLASS_NAMES, 6)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which its files can be downloaded."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def archive(tree_folder: Path, tmp_path: Path) -> Path:
    """The generated tree as an archive of EuroSAT's layout."""
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as file:
        for path in sorted(tree_folder.rglob("*.jpg")):
            file.write(path, path.relative_to(tree_folder.parent))
    return tmp_path / "made.zip"


def expect(monkeypatch: pytest.MonkeyPatch, archive: Path, url: str = EUROSAT_URL) -> None:
    """Have torchvision take this archive for EuroSAT's: it has the digest inside of a method."""
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    real = theirs.download_and_extract_archive

    def ours(given: str, download_root: str, md5: str, *, expected: str = md5) -> None:
        assert (given, md5) == (EUROSAT_URL, EUROSAT_MD5), "torchvision has another copy of EuroSAT now"
        real(url, download_root=download_root, md5=expected)

    monkeypatch.setattr(theirs, "download_and_extract_archive", ours)
    monkeypatch.setattr("prep.fetch.EUROSAT_MD5", md5)


def seen(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_archive_that_lies_there_is_unpacked(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network; the archive stays where it was."""
    expect(monkeypatch, archive, "http://127.0.0.1:1/EuroSAT.zip")
    (tmp_path / "eurosat").mkdir()
    shutil.move(archive, tmp_path / "eurosat" / "EuroSAT.zip")
    said: list[str] = []

    tree = unpack_eurosat(tmp_path / "eurosat", say=said.append, counts=SIX)

    assert tree.counts == SIX
    assert seen(tmp_path / "eurosat") == ["2750", "EuroSAT.zip"]
    assert said == [f"unpacking {tmp_path / 'eurosat' / 'EuroSAT.zip'} ..."]
    assert find_inputs(tmp_path, None).images == tmp_path / "eurosat" / "2750"


def test_what_is_not_there_is_downloaded(
    archive: Path, served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(archive, served[0] / "EuroSAT.zip")
    expect(monkeypatch, archive, f"{served[1]}/EuroSAT.zip")

    tree = unpack_eurosat(tmp_path / "eurosat", counts=SIX)

    assert tree.counts == SIX
    assert seen(tmp_path / "eurosat") == ["2750"]


def test_an_archive_that_holds_too_little_is_refused_and_leaves_nothing(
    archive: Path, served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the counts of the real one."""
    shutil.copy(archive, served[0] / "EuroSAT.zip")
    expect(monkeypatch, archive, f"{served[1]}/EuroSAT.zip")

    with pytest.raises(PrepError, match="no whole EuroSAT: 6 of 3,000 AnnualCrop; 6 of 3,000 Forest;"):
        unpack_eurosat(tmp_path / "eurosat")

    assert seen(tmp_path / "eurosat") == []


def test_another_archive_is_refused_before_it_is_unpacked(archive: Path, tmp_path: Path) -> None:
    """torchvision would go and download instead."""
    (tmp_path / "eurosat").mkdir()
    shutil.move(archive, tmp_path / "eurosat" / "EuroSAT.zip")

    with pytest.raises(
        PrepError, match=rf"is not EuroSAT's archive, or not all of it: its MD5 is not {EUROSAT_MD5}"
    ):
        find_inputs(tmp_path, None, download=True)

    assert seen(tmp_path / "eurosat") == ["EuroSAT.zip"]


def test_an_unpacking_that_was_killed_is_made_anew(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never stood where a whole copy stands."""
    expect(monkeypatch, archive)
    half = tmp_path / "eurosat" / ".unpacking" / "eurosat" / "2750" / "Forest"
    half.mkdir(parents=True)
    (half / "Forest_1.jpg").touch()
    shutil.move(archive, tmp_path / "eurosat" / "EuroSAT.zip")

    assert unpack_eurosat(tmp_path / "eurosat", counts=SIX).counts == SIX
    assert seen(tmp_path / "eurosat") == ["2750", "EuroSAT.zip"]


def test_weights_are_downloaded_under_their_name_and_checked(
    served: tuple[Path, str], tmp_path: Path
) -> None:
    name = f"resnet18-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth"
    (served[0] / name).write_bytes(b"weights")

    path = download_weights(f"{served[1]}/{name}", tmp_path / "weights")

    assert path == tmp_path / "weights" / name
    assert path.read_bytes() == b"weights"
    (served[0] / "resnet18-f37072fd.pth").write_bytes(b"weights")
    with pytest.raises(RuntimeError, match="invalid hash value"):
        download_weights(f"{served[1]}/resnet18-f37072fd.pth", tmp_path / "weights")
    assert seen(tmp_path / "weights") == [name]


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_without_a_network_one_message_names_both_files_and_their_places(
    no_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both downloads are tried for real, through a proxy that nobody listens at."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first call

    with pytest.raises(PrepError) as caught:
        find_inputs(tmp_path / "workspace", "resnet18", download=True)

    assert str(caught.value).splitlines() == [
        "EuroSAT and the weights of resnet18 cannot be downloaded (Connection refused); "
        "get them in another way, and put the files there:",
        f"  {EUROSAT_URL}",
        f"    as {tmp_path}/workspace/eurosat/EuroSAT.zip, or give --images DIR for an unpacked copy",
        "  https://download.pytorch.org/models/resnet18-f37072fd.pth",
        f"    as {tmp_path}/workspace/weights/resnet18-f37072fd.pth, or give --weights FILE",
        "Without them there is bin/prepare --source synthetic.",
    ]
    assert seen(tmp_path / "workspace" / "eurosat") == []


def test_nothing_is_downloaded_unasked(no_cache: Path, tree_folder: Path, tmp_path: Path) -> None:
    """And only what is missing is named."""
    with pytest.raises(PrepError) as caught:
        find_inputs(tmp_path, "resnet18", images=tree_folder)

    first, *rest = str(caught.value).splitlines()
    assert first == "the weights of resnet18 not found; give --download, or put the files there:"
    assert not any("EuroSAT.zip" in line for line in rest)
    assert seen(tmp_path) == []


@pytest.mark.parametrize("where", ["workspace", "cache"])
def test_weights_that_lie_there_are_checked(
    no_cache: Path, tree_folder: Path, tmp_path: Path, where: str
) -> None:
    """Random weights under the name of the real ones: torch loads them from its cache without a word."""
    folder = no_cache if where == "cache" else tmp_path / "weights"
    folder.mkdir(parents=True)
    (folder / "resnet18-f37072fd.pth").write_bytes(b"random")

    with pytest.raises(PrepError, match=r"resnet18-f37072fd\.pth holds other weights than its name says"):
        find_inputs(tmp_path, "resnet18", images=tree_folder)


def test_files_that_are_named_are_taken(tree_folder: Path, resnet18_weights: Path, tmp_path: Path) -> None:
    inputs = find_inputs(tmp_path, "resnet18", images=tree_folder, weights=resnet18_weights)

    assert (inputs.images, inputs.weights) == (tree_folder, resnet18_weights)
    assert find_inputs(tmp_path, None, images=tree_folder).weights is None


def test_without_torchvision_an_archive_can_be_unpacked_by_hand(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    (tmp_path / "eurosat").mkdir()
    shutil.move(archive, tmp_path / "eurosat" / "EuroSAT.zip")

    with pytest.raises(
        MissingExtra, match=r"unpacking EuroSAT needs .*unpack it by hand, and name the folder"
    ):
        find_inputs(tmp_path, None)
