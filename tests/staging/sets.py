"""Small data sets for tests: of images, and of shards with any bytes in them."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from hpcai.staging.chunks import HashingWriter
from hpcai.staging.manifest import MANIFEST_NAME, Manifest, Shard, Split
from hpcai.staging.stamps import NOTE_NAME

MIB = 1024 * 1024


def jpeg(shade: int = 0) -> bytes:
    """A valid JPEG of 8 x 8 pixels."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (shade % 256, 0, 0)).save(out, "JPEG")
    return out.getvalue()


def write_images(root: Path, counts: dict[str, int]) -> None:
    """`counts` maps SPLIT/CLASS or CLASS to the number of images there."""
    for number, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (root / folder / f"im{index}.jpg").write_bytes(jpeg(number * 40 + index))


def write_set(folder: Path, sizes: dict[str, int], *, name: str = "set", seed: int = 0) -> Manifest:
    """A data set with a manifest whose shards, by path, hold that many random bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = random.Random(seed)
    shards = []
    for path, size in sizes.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("wb") as file:
            writer = HashingWriter(file)
            writer.write(numbers.randbytes(size))
            shards.append(Shard(path, size, 1, writer.chunks()))
    split = Split(len(shards), (len(shards),), tuple(shards))
    manifest = Manifest(name, ("only",), {"train": split})
    (folder / MANIFEST_NAME).write_text(manifest.to_text())
    return manifest


def on_small_disk(folder: Path, program: str) -> str:
    """What a Python program prints whose `sys.argv[1]` is a file system of 4 MiB that nobody else sees."""
    mount = 'mount -t tmpfs -o size=4m tmpfs "$1" && exec "$0" -c "$2" "$1"'
    words = ["unshare", "-rm", "sh", "-c", mount, sys.executable, str(folder), textwrap.dedent(program)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this kernel lets nobody make a file system of their own")
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, by path, but for the note that a pull leaves in what it made."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != NOTE_NAME)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
