from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import simplejpeg

from hpcai.staging.pack import pack
from tests.staging.sets import files_of

PROGRAM = Path(__file__).parents[2] / "examples" / "digits" / "write_images.py"


@pytest.mark.real
def test_the_digits_are_images_that_can_be_packed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PROGRAM, tmp_path / "images"], check=True, timeout=120)
    images = files_of(tmp_path / "images")
    assert Counter(path.partition("/")[0] for path in images) == {"train": 1347, "val": 450}
    height, width, colours, _ = simplejpeg.decode_jpeg_header(next(iter(images.values())))
    assert (height, width, colours) == (64, 64, "YCbCr")
    manifest = pack(tmp_path / "images", tmp_path / "packed", name="digits", shard_bytes=2**20)
    assert manifest.class_names == tuple("0123456789")
    assert all(43 <= count <= 47 for count in manifest.splits["val"].class_counts)
    assert [len(manifest.shards(split)) for split in ("train", "val")] == [4, 2]
