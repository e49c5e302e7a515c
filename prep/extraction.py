"""From a folder of images to a features file: decoded ahead of the model, resumable, whole or not at all.

Images are read in their order, in batches whose borders do not depend on where an interrupted run stopped:
so a resumed extraction gives the same bytes as one that ran through.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trio
from outcome import Outcome, capture

from federation.learning import Region, RegionError, RegionMeta, load_features, load_meta, save_features

from .decode import Decoded, decode
from .errors import PrepError
from .extractors import Extractor
from .images import ImageTree
from .regions import settings_digest
from .synthetic import Progress
from .unfinished import Rows, Unfinished, row_type, unfinished, unfinished_file

VERSION = 1  # raised when the same settings give other features
NAMED = 3  # how many broken images an error names

# How many batches wait decoded, or are being decoded, each in a thread: a thread a core, since a fast model
# needs them all. A batch of 256 images of 224 x 224 takes 38 MB, hence the bound.
LEAST_AHEAD, MOST_AHEAD = 2, 16


@dataclass(frozen=True, slots=True)
class Extracted:
    """What an extraction has brought.

    Attributes:
        features: Of every good image, in the order of the tree.
        broken: The images that were left out, by their names in the tree. Empty when nothing was made: then
            `features.meta.left_out` says how many they were.
        resumed: How many images an earlier, interrupted extraction had done.
        made: Whether anything was made; False when all was there with these settings.
    """

    features: Region
    broken: tuple[str, ...] = ()
    resumed: int = 0
    made: bool = True


@dataclass(slots=True, eq=False)
class _Batch:
    """Some images, which are decoded while the model has others; `ready` is set when they are."""

    names: Sequence[str]
    decoded: Outcome[list[Decoded]] | None = None
    ready: trio.Event = field(default_factory=trio.Event)


def extract_features(
    tree: ImageTree,
    extractor: Extractor,
    output: Path,
    *,
    skip_broken: bool = False,
    restart: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Extracted:
    """Extract the features of a tree of images into a file, as `extract` does, outside of trio."""

    async def main() -> Extracted:
        return await extract(
            tree, extractor, output, skip_broken=skip_broken, restart=restart, progress=progress
        )

    try:
        return trio.run(main)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt):
            raise KeyboardInterrupt from group
        raise


async def extract(
    tree: ImageTree,
    extractor: Extractor,
    output: Path,
    *,
    skip_broken: bool = False,
    restart: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Extracted:
    """Extract the features of a tree of images into a features file.

    Stopped at any point, by cancellation, Ctrl-C or SIGKILL, it goes on behind the last whole batch when it
    is called again with the same settings.

    Args:
        tree: The images.
        extractor: What makes features of them.
        output: The features file; it is written whole, at the end. What is there already with these settings
            is kept, and features of other settings are not written over.
        skip_broken: Leave out images that cannot be decoded; otherwise one of them is an error.
        restart: Begin anew where an interrupted extraction would go on, and write over what is there.
        progress: Told how many images are done, and how many there are; also before the first.

    Raises:
        PrepError: An image is broken; an interrupted extraction had other settings; other features lie where
            these would go; the extractor gave something that is no finite number.
        OSError: A file cannot be read or written.
    """
    settings = settings_of(tree, extractor)
    digest = settings_digest(settings)
    conditions = {**extractor.conditions, "batch_size": extractor.batch_size}
    if not restart:
        ready = await trio.to_thread.run_sync(_ready_features, output, digest, skip_broken)
        if ready is not None:
            return Extracted(ready, made=False)
        _keep_others(output)
    sizes = [len(names) for names in _batches(tree, extractor)]
    with unfinished(
        output, {**settings, **conditions}, sizes, extractor.feature_count, restart=restart
    ) as store:
        resumed = sum(sizes[: store.done])
        await _extract_missing(tree, extractor, store, skip_broken, progress)

        def finish() -> tuple[Region, tuple[str, ...]]:
            rows = store.rows()
            broken = _broken(tree, rows)
            if broken and not skip_broken:  # an earlier run was told to leave them out
                raise PrepError(_cannot_decode([(name, "left out by an earlier run") for name in broken]))
            features = _region(tree, extractor, rows, digest)
            save_features(output, features)
            unfinished_file(output).unlink()
            return features, broken

        features, broken = await trio.to_thread.run_sync(finish)
    return Extracted(features, broken, resumed)


def settings_of(tree: ImageTree, extractor: Extractor) -> dict[str, object]:
    """Return all that the features depend on, but for their last bits, by name."""
    return {**extractor.settings, "version": VERSION, "images": tree.listing_sha256()}


def _batches(tree: ImageTree, extractor: Extractor) -> list[Sequence[str]]:
    size = extractor.batch_size
    return [tree.names[start : start + size] for start in range(0, len(tree.names), size)]


async def _extract_missing(
    tree: ImageTree, extractor: Extractor, store: Unfinished, skip_broken: bool, progress: Progress
) -> None:
    """Append what is missing to the store: images are decoded in threads beside the model's."""
    batches = _batches(tree, extractor)
    done, total = sum(len(names) for names in batches[: store.done]), len(tree.names)
    progress(done, total)
    ahead = min(max(LEAST_AHEAD, len(os.sched_getaffinity(0))), MOST_AHEAD)
    send, receive = trio.open_memory_channel[_Batch](ahead)

    def take(batch: _Batch) -> None:
        store.append(_rows_of(batch, extractor, skip_broken))

    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_decode_ahead, tree.folder, batches[store.done :], extractor.image_size, send)
        try:
            async for batch in receive:
                await batch.ready.wait()
                await trio.to_thread.run_sync(take, batch)
                done += len(batch.names)
                progress(done, total)
        except Exception as error:  # left to the nursery, it would come out in a group
            failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _decode_ahead(
    folder: Path, batches: Sequence[Sequence[str]], image_size: int, send: trio.MemorySendChannel[_Batch]
) -> None:
    """Send the batches in their order, and decode each in a thread; no more than the channel holds."""

    def decode_all(names: Sequence[str]) -> list[Decoded]:
        return [decode(folder / name, image_size) for name in names]

    async def decode_one(batch: _Batch) -> None:
        batch.decoded = await trio.to_thread.run_sync(capture, decode_all, batch.names)
        batch.ready.set()

    async with send, trio.open_nursery() as nursery:
        for names in batches:
            batch = _Batch(names)
            await send.send(batch)
            nursery.start_soon(decode_one, batch)


def _rows_of(batch: _Batch, extractor: Extractor, skip_broken: bool) -> Rows:
    """Return the rows of a batch; of a broken image all features are 0.

    Raises:
        PrepError: An image is broken and must not be, or a feature is no finite number.
        OSError: An image could not be read.
    """
    assert batch.decoded is not None  # it is ready
    images = batch.decoded.unwrap()
    broken = [
        (name, one.problem) for name, one in zip(batch.names, images, strict=True) if one.pixels is None
    ]
    if broken and not skip_broken:
        raise PrepError(_cannot_decode(broken))
    rows = np.zeros(len(images), row_type(extractor.feature_count))
    rows["sha256"] = np.frombuffer(b"".join(one.sha256 for one in images), np.uint8).reshape(-1, 32)
    rows["good"] = [one.pixels is not None for one in images]
    good = [one.pixels for one in images if one.pixels is not None]
    if good:
        features = extractor.features(np.stack(good))
        if not np.isfinite(features).all():
            raise PrepError(
                f"{extractor.name} gave NaN or infinity between {batch.names[0]} and "
                f"{batch.names[-1]}; are the weights those of {extractor.name}? With --precision float32 "
                "nothing overflows"
            )
        rows["features"][rows["good"]] = features
    return rows


def _cannot_decode(broken: Sequence[tuple[str, str]]) -> str:
    said = "; ".join(f"{name} ({problem})" for name, problem in broken[:NAMED])
    more = f"; and {len(broken) - NAMED:,} more" if len(broken) > NAMED else ""
    return (
        f"broken {'image' if len(broken) == 1 else 'images'}: {said}{more}. Copy them again, or remove them, "
        "or leave out all that are broken with --skip-broken; what is done is kept"
    )


def _broken(tree: ImageTree, rows: Rows) -> tuple[str, ...]:
    return tuple(name for name, good in zip(tree.names, rows["good"].tolist(), strict=True) if not good)


def _region(tree: ImageTree, extractor: Extractor, rows: Rows, digest: str) -> Region:
    good = rows["good"]
    if not good.any():
        raise PrepError(f"{tree.folder}: not one of the {len(rows):,} images can be decoded")
    meta = RegionMeta(
        class_names=tree.class_names,
        source=tree.source,
        extractor=extractor.name,
        digest=digest,
        image_size=extractor.image_size,
        images_sha256=_images_sha256(tree, rows),
        weights_sha256=extractor.weights_sha256,
        left_out=int(np.count_nonzero(~good)),
    )
    return Region(np.ascontiguousarray(rows["features"][good]), tree.labels[good], meta)


def _images_sha256(tree: ImageTree, rows: Rows) -> str:
    """Return the digest of the names and the contents of all images, broken ones too."""
    digest = hashlib.sha256()
    for name, sha256 in zip(tree.names, rows["sha256"], strict=True):
        digest.update(name.encode() + b"\0" + sha256.tobytes())
    return digest.hexdigest()


def _ready_features(output: Path, digest: str, skip_broken: bool) -> Region | None:
    """Return what is there with these settings, or None.

    Raises:
        PrepError: It was made without broken images, and they must not be left out now.
    """
    meta = _meta(output)
    if meta is None or meta.digest != digest:
        return None
    if meta.left_out and not skip_broken:
        raise PrepError(
            f"{output} was made without {meta.left_out:,} broken images; take it as it is with "
            "--skip-broken, or copy the images again and give --restart"
        )
    return load_features(output)


def _keep_others(output: Path) -> None:
    """Refuse to write over features that may have taken hours, and were not drawn by a program.

    Raises:
        PrepError: Such features are there.
    """
    try:
        meta = load_meta(output)
    except RegionError:  # missing, or damaged and of no use to anyone
        return
    if meta is None or not meta.synthetic:
        found = "says nothing of its source" if meta is None else f"holds features of {meta.source}"
        raise PrepError(
            f"{output} {found}, made with other settings; choose another --output, or write over it with "
            "--restart"
        )


def _meta(path: Path) -> RegionMeta | None:
    try:
        return load_meta(path)
    except RegionError:
        return None
