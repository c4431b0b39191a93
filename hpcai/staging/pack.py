"""Folders of images to tar shards and their manifest: the same bytes from the same input."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from hpcai.errors import StageError, UsageError
from hpcai.files import locked, readable
from hpcai.staging.chunks import HashingWriter
from hpcai.staging.image_folder import ImageFolder, scan
from hpcai.staging.manifest import MANIFEST_NAME, NAME_PATTERN, Manifest, Shard, Split

MIB = 1024 * 1024
_BLOCK = 512
_SHUFFLE_SEED = 1
_MAGIC = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"))

Told = Callable[[int, int], None]


def pack(
    source: Path,
    target: Path,
    *,
    name: str,
    shard_bytes: int = 128 * MIB,
    told: Told | None = None,
) -> Manifest:
    """The manifest of the data set that now lies in `target`, packed from the images below `source`.

    Samples are shuffled by a hash of their path, so that every shard mixes the classes and the same input
    gives the same bytes. `told` gets the samples done and the samples in all. Only names are held in memory.
    `target` appears whole or not at all; one that holds this very data set already is left as it is.

    Raises NotFoundError, UsageError and StageError.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            f"{name!r} cannot name a data set.",
            allowed="A name is 1 to 63 letters, digits, '.', '_' and '-', and begins with a letter or digit.",
        )
    try:
        _refuse_other_content(target)
        with readable(source):
            folder = scan(source)
        with _work_folder(target) as work:
            manifest = _write_splits(folder, work, name, shard_bytes, told)
            (work / MANIFEST_NAME).write_text(manifest.to_text())
            if not _holds(target, manifest):
                _publish(work, target)
    except OSError as error:
        raise StageError(
            f"{str(target)!r} cannot be written: {error.strerror}.",
            next_step="Correct that, or choose another DST.",
        ) from error
    return manifest


def _refuse_other_content(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{str(target)!r} is not a folder.", allowed="DST is a folder to make.")
    if any(target.iterdir()) and not (target / MANIFEST_NAME).is_file():
        raise _occupied(target, "something that is no packed data set")


def _holds(target: Path, manifest: Manifest) -> bool:
    if not target.exists() or not any(target.iterdir()):
        return False
    there = Manifest.read(target)
    if there.version != manifest.version:
        raise _occupied(target, f"another data set, {there.name!r} of version {there.version[:12]}")
    return True


def _occupied(target: Path, by_what: str) -> UsageError:
    return UsageError(
        f"{str(target)!r} already holds {by_what}.",
        allowed="DST is a new or an empty folder, or one that holds the same data set.",
        next_step="Choose another DST, or remove that folder first.",
    )


@contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that only this process writes to, gone afterwards."""
    work = target.absolute().parent / f".{target.name}.packing"

    def refuse() -> None:
        raise StageError(f"Another `hpcai data pack` is writing {str(target)!r} right now.")

    with locked(work.with_name(f"{work.name}.lock"), waiting=refuse, mode=0o644):
        # What a killed pack left.
        if work.exists():
            shutil.rmtree(work)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _publish(work: Path, target: Path) -> None:
    for path in work.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    work.rename(target)


def _write_splits(
    folder: ImageFolder, work: Path, name: str, shard_bytes: int, told: Told | None
) -> Manifest:
    total = sum(len(images) for images in folder.images.values())
    done = 0
    if told is not None:
        told(done, total)
    splits: dict[str, Split] = {}
    for split, images in folder.images.items():
        counts = [0] * len(folder.class_names)
        shards: list[Shard] = []
        for start, part in _shares(_shuffled(images), _shard_count(folder.sizes[split], shard_bytes)):
            path = f"{split}-{len(shards):06d}.tar"
            shards.append(_write_shard(work, path, folder, split, start, part, counts))
            done += len(part)
            if told is not None:
                told(done, total)
        splits[split] = Split(len(images), tuple(counts), tuple(shards))
    return Manifest(name, folder.class_names, splits)


def _shuffled(images: list[str]) -> list[str]:
    return sorted(images, key=lambda path: (xxhash.xxh3_64_intdigest(os.fsencode(path), _SHUFFLE_SEED), path))


def _shard_count(sizes: list[int], shard_bytes: int) -> int:
    # Each sample is an image and a label, both with a header and rounded up to whole blocks.
    total = sum(3 * _BLOCK + -(-size // _BLOCK) * _BLOCK for size in sizes)
    return min(len(sizes), -(-total // shard_bytes))


def _shares(images: list[str], count: int) -> Iterator[tuple[int, list[str]]]:
    # Shards differ by one sample at most: no rank of a job waits for the last, short one.
    for index in range(count):
        start, end = (len(images) * each // count for each in (index, index + 1))
        yield start, images[start:end]


def _write_shard(
    work: Path, path: str, folder: ImageFolder, split: str, start: int, images: list[str], counts: list[int]
) -> Shard:
    labels = {class_name: label for label, class_name in enumerate(folder.class_names)}
    with (work / path).open("wb") as file:
        writer = HashingWriter(file)
        for number, image in enumerate(images, start):
            label = labels[image.partition("/")[0]]
            data, extension = _read_image(folder.roots[split] / image)
            _write_member(writer, f"{number:06d}.{extension}", data)
            _write_member(writer, f"{number:06d}.cls", str(label).encode())
            counts[label] += 1
        writer.write(bytes(2 * _BLOCK))
        chunks = writer.chunks()
    return Shard(path, writer.bytes, len(images), chunks)


def _read_image(path: Path) -> tuple[bytes, str]:
    with readable(path):
        data = path.read_bytes()
    for magic, extension in _MAGIC:
        if data.startswith(magic):
            return data, extension
    raise StageError(
        f"{str(path)!r} is no image: its {len(data)} bytes begin with {data[:8]!r}.",
        allowed="Images are JPEG or PNG by their content.",
        next_step="Remove the file, or convert it.",
    )


def _write_member(writer: HashingWriter, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    writer.write(info.tobuf(tarfile.USTAR_FORMAT))
    writer.write(data + bytes(-len(data) % _BLOCK))
