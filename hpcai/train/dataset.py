"""Labelled pictures in the tar shards of a data set, each by its number."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcai.errors import NotFoundError, StageError
from hpcai.staging.manifest import Manifest
from hpcai.staging.shards import index_shard

Pixels = NDArray[np.uint8]
"""One picture: height, width, 3 (red, green, blue)."""


@dataclass(frozen=True)
class _Place:
    shard: int
    offset: int
    size: int
    label: int
    key: str


class ImageSet:
    """One split of a data set; decoded pictures are kept in memory as long as `cache_bytes` lasts.

    Many threads may read. Raises NotFoundError and StageError.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str, cache_bytes: int = 0) -> None:
        self._paths = [folder / shard.path for shard in manifest.shards(split)]
        self._places = [
            _Place(number, entry.offset, entry.size, entry.label, entry.key)
            for number, path in enumerate(self._paths)
            for entry in index_shard(path)
        ]
        self._check(manifest, split)
        self._files = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in self._paths]
        self._decode = _decoder()
        self._cache: dict[int, Pixels] = {}
        self._cache_left = cache_bytes
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._places)

    def label(self, index: int) -> int:
        return self._places[index].label

    def pixels(self, index: int) -> Pixels:
        """One decoded picture, which the caller must not write into.

        Raises StageError when it cannot be decoded.
        """
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        decoded = self._read(self._places[index])
        with self._lock:
            if decoded.nbytes <= self._cache_left and index not in self._cache:
                self._cache[index] = decoded
                self._cache_left -= decoded.nbytes
        return decoded

    def close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []

    def _read(self, place: _Place) -> Pixels:
        data = os.pread(self._files[place.shard], place.size, place.offset)
        try:
            return self._decode(data)
        except (ValueError, OSError) as error:
            raise StageError(
                f"Sample {place.key!r} of {str(self._paths[place.shard])!r} is not a picture that can be "
                f"decoded: {error}.",
                next_step="`hpcai data pull URL --verify` repairs a pulled data set.",
            ) from error

    def _check(self, manifest: Manifest, split: str) -> None:
        counts = [0] * len(manifest.class_names)
        for place in self._places:
            if place.label >= len(counts):
                raise StageError(
                    f"Sample {place.key!r} has label {place.label}; there are {len(counts)} classes."
                )
            counts[place.label] += 1
        expected = manifest.splits[split].class_counts
        if tuple(counts) != expected:
            raise StageError(
                f"The shards of split {split!r} hold {counts} samples per class, "
                f"the manifest says {list(expected)}.",
                next_step="`hpcai data pull URL --verify` repairs a pulled data set.",
            )


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
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
