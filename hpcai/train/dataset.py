"""Labelled pictures in the tar shards of a data set, each by its number."""

from __future__ import annotations

import io
import os
import resource
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcai.errors import NotFoundError, StageError
from hpcai.staging.manifest import Manifest
from hpcai.staging.shards import index_shard, open_shard

Pixels = NDArray[np.uint8]
"""One picture: height, width, 3 (red, green, blue)."""


# 4,096 files are all shards of ImageNet at once; some systems allow a process no more than 1,024.
_FILES_WANTED = 4096


class ImageSet:
    """One split of a data set; decoded pictures are kept in memory as long as `cache_bytes` lasts.

    Many threads may read. Raises NotFoundError and StageError.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str, cache_bytes: int = 0) -> None:
        self._paths = [folder / shard.path for shard in manifest.shards(split)]
        indices = [_index(path, len(manifest.class_names)) for path in self._paths]
        self._ends = np.cumsum([len(index) for index in indices])
        self._samples = np.concatenate([np.empty((0, 3), np.int64), *indices])
        self._check(manifest, split)
        self._open = lru_cache(_files_to_keep())(_OpenShard)
        self._decode = _decoder()
        self._cache: dict[int, Pixels] = {}
        self._cache_left = cache_bytes
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._samples)

    def label(self, index: int) -> int:
        return int(self._samples[index, 2])

    def pixels(self, index: int) -> Pixels:
        """One decoded picture, which the caller must not write into.

        Raises StageError when it cannot be read or decoded.
        """
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        decoded = self._read(index)
        with self._lock:
            if decoded.nbytes <= self._cache_left and index not in self._cache:
                self._cache[index] = decoded
                self._cache_left -= decoded.nbytes
        return decoded

    def close(self) -> None:
        self._open.cache_clear()

    def _read(self, index: int) -> Pixels:
        offset, size, _ = self._samples[index].tolist()
        path = self._paths[int(np.searchsorted(self._ends, index, side="right"))]
        try:
            data = self._open(path).read(size, offset)
        except OSError as error:
            raise StageError(f"The shard {str(path)!r} cannot be read: {error.strerror}.") from error
        try:
            return self._decode(data)
        except (ValueError, OSError) as error:
            keys = {entry.offset: entry.key for entry in index_shard(path)}
            raise StageError(
                f"Sample {keys.get(offset)!r} of {str(path)!r} is not a picture that can be decoded: "
                f"{error}.",
                allowed="`hpcai data pull URL --verify` repairs what was damaged since it was packed.",
                next_step="When that changes nothing, correct or remove the picture itself and pack again.",
            ) from error

    def _check(self, manifest: Manifest, split: str) -> None:
        names, expected = manifest.class_names, manifest.splits[split].class_counts
        counts = np.bincount(self._samples[:, 2], minlength=len(names)).tolist()
        for name, count, told in zip(names, counts, expected, strict=True):
            if count != told:
                raise StageError(
                    f"The shards of split {split!r} hold {count} samples of class {name!r}, "
                    f"the manifest says {told}.",
                    next_step="`hpcai data pull URL --verify` repairs a pulled data set.",
                )


class _OpenShard:
    """An open file that is closed when nobody keeps it and nobody reads from it any more."""

    def __init__(self, path: Path) -> None:
        self._descriptor = open_shard(path)

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def __del__(self) -> None:
        # Without a descriptor it was never opened.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def _index(path: Path, classes: int) -> NDArray[np.int64]:
    """Offset, size and label of every sample of a shard: 24 bytes each, of which ImageNet has 1.3 million."""
    entries = index_shard(path)
    for entry in entries:
        if entry.label >= classes:
            raise StageError(f"Sample {entry.key!r} has label {entry.label}; there are {classes} classes.")
    rows = [(entry.offset, entry.size, entry.label) for entry in entries]
    return np.array(rows, np.int64).reshape(-1, 3)


def _files_to_keep() -> int:
    """How many shards a split may hold open: a third of what the process may, which is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(hard, _FILES_WANTED)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(1, limit // 3)


def open_split(folder: Path, split: str, cache_bytes: int = 0) -> tuple[Manifest, ImageSet]:
    """The manifest of the data set in `folder` and one of its splits.

    Raises NotFoundError, also for a split without samples, and StageError.
    """
    manifest = Manifest.read(folder)
    images = ImageSet(folder, manifest, split, cache_bytes)
    if len(images) == 0:
        raise NotFoundError(f"Split {split!r} of the data set in {str(folder)!r} has no samples.")
    return manifest, images


def _decoder() -> Callable[[bytes], Pixels]:
    """simplejpeg for JPEG where it is installed, twice as fast; else Pillow."""
    try:
        import simplejpeg
    except ImportError:
        return _decode_with_pillow

    def decode(data: bytes) -> Pixels:
        if data[:2] != b"\xff\xd8":
            return _decode_with_pillow(data)
        pixels: Any = simplejpeg.decode_jpeg(data, colorspace="RGB")
        return pixels  # type: ignore[no-any-return]

    return decode


def _decode_with_pillow(data: bytes) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError("no format of pictures begins like this") from error
