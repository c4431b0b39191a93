from __future__ import annotations

import io
import json
import os
import resource
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpcai.errors import NotFoundError, StageError
from hpcai.staging.manifest import Manifest
from hpcai.staging.pack import pack
from hpcai.train import dataset
from hpcai.train.dataset import ImageSet, open_split
from tests.train.conftest import CLASSES, SIDE


def test_every_sample_of_a_split_is_there_with_its_label(tiny_data: Path) -> None:
    manifest, images = open_split(tiny_data, "train")
    assert manifest.class_names == CLASSES
    assert len(manifest.shards("train")) > 1
    assert len(images) == 27
    assert np.bincount([images.label(index) for index in range(27)]).tolist() == [9, 9, 9]
    assert images.pixels(26).shape == (SIDE, SIDE, 3)
    images.close()


def test_a_label_goes_with_its_picture(tiny_data: Path) -> None:
    _, images = open_split(tiny_data, "val")
    for index in range(len(images)):
        pixels = images.pixels(index).astype(int)
        cross, line = pixels[:14, 18:22].mean() > 120, pixels[18:22, :14].mean() > 120
        assert images.label(index) == (0 if cross else 1 if line else 2)
    images.close()


def test_pictures_are_kept_up_to_the_limit(tiny_data: Path) -> None:
    manifest = Manifest.read(tiny_data)
    images = ImageSet(tiny_data, manifest, "train", cache_bytes=2 * SIDE * SIDE * 3)
    for index in range(3):
        images.pixels(index)
    assert images.pixels(0) is images.pixels(0)
    assert images.pixels(1) is images.pixels(1)
    assert images.pixels(2) is not images.pixels(2)
    images.close()


def test_simplejpeg_and_pillow_decode_alike(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, images = open_split(tiny_data, "val")
    fast = images.pixels(0).astype(int)
    images.close()
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    _, images = open_split(tiny_data, "val")
    assert images._decode is dataset._decode_with_pillow
    assert np.abs(images.pixels(0).astype(int) - fast).max() <= 4
    images.close()


def damaged(tiny_data: Path, target: Path, change: str) -> Path:
    shutil.copytree(tiny_data, target)
    shard = target / Manifest.read(target).shards("val")[0].path
    members = {}
    with tarfile.open(shard) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    name = next(iter(sorted(members)))
    if change == "picture":
        jpeg = next(key for key in sorted(members) if key.endswith("jpg"))
        members[jpeg] = members[jpeg][:100]
    elif change == "no picture":
        jpeg = next(key for key in sorted(members) if key.endswith("jpg"))
        members[jpeg] = b"<html>not found</html>"
    elif change == "label":
        members[next(key for key in members if key.endswith("cls"))] = b"3"
    elif change == "sample gone":
        stem = name.partition(".")[0]
        members = {key: data for key, data in members.items() if not key.startswith(stem)}
    with tarfile.open(shard, "w") as tar:
        for key, data in members.items():
            info = tarfile.TarInfo(key)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return target


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("label", "has label 3; there are 3 classes"),
        ("sample gone", r"hold \d+ samples of class '\w+', the manifest says"),
    ],
)
def test_shards_that_contradict_the_manifest_are_refused(
    tiny_data: Path, tmp_path: Path, change: str, words: str
) -> None:
    with pytest.raises(StageError, match=words):
        open_split(damaged(tiny_data, tmp_path / "data", change), "val")


@pytest.mark.parametrize("decoder", ["simplejpeg", "pillow"])
def test_a_damaged_picture_is_named(
    tiny_data: Path, tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if decoder == "pillow":
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
    _, images = open_split(damaged(tiny_data, tmp_path / "data", "picture"), "val")
    with pytest.raises(StageError, match=r"Sample '\d+' of '.*val-000000.tar' is not a picture"):
        for index in range(len(images)):
            images.pixels(index)
    images.close()


def test_a_sample_that_is_no_picture_says_so_and_how_to_go_on(tiny_data: Path, tmp_path: Path) -> None:
    _, images = open_split(damaged(tiny_data, tmp_path / "data", "no picture"), "val")
    with pytest.raises(StageError, match="no format of pictures begins like this") as raised:
        for index in range(len(images)):
            images.pixels(index)
    assert "BytesIO" not in str(raised.value)
    assert "When that changes nothing, correct or remove the picture itself" in str(raised.value)
    images.close()


def test_a_shard_that_became_another_beneath_the_training_is_an_error_of_the_data(
    tiny_data: Path, tmp_path: Path
) -> None:
    folder = damaged(tiny_data, tmp_path / "data", "no picture")
    manifest, images = open_split(folder, "val")
    shard = folder / manifest.shards("val")[0].path
    with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT):
        pass
    with pytest.raises(StageError, match=r"Sample None of '.*val-000000.tar' is not a picture"):
        images.pixels(0)
    images.close()


@pytest.fixture
def few_files() -> Iterator[Callable[[int], None]]:
    """`few_files(n)` lets this process open n files beyond those that are open, until the test ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [number for number in range(1000) if not os.path.lexists(f"/proc/self/fd/{number}")]
    yield lambda more: resource.setrlimit(resource.RLIMIT_NOFILE, (free[more], before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_more_shards_than_files_may_be_open(
    tiny_data: Path, few_files: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As under a hard limit: no more than two of the shards at once.
    monkeypatch.setattr(dataset, "_files_to_keep", lambda: 2)
    _, images = open_split(tiny_data, "train")
    shards = len(images._paths)
    assert shards > 6
    few_files(6)
    with ThreadPoolExecutor(3) as pool:
        shapes = list(pool.map(lambda index: images.pixels(index).shape, list(range(27)) * 20))
    assert set(shapes) == {(SIDE, SIDE, 3)}
    images.close()


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(few_files: Callable[[int], None]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few_files(6)
    assert dataset._files_to_keep() == min(hard, 4096) // 3
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, 4096), hard)


def test_a_shard_that_cannot_be_opened_is_an_error_of_the_data(
    tiny_data: Path, few_files: Callable[[int], None]
) -> None:
    _, images = open_split(tiny_data, "train")
    few_files(0)
    with pytest.raises(StageError, match=r"train-000000.tar' cannot be opened: Too many open files"):
        images.pixels(0)
    images.close()


def test_the_index_of_a_large_split_is_small(tiny_data: Path) -> None:
    _, images = open_split(tiny_data, "train")
    assert images._samples.nbytes == 24 * len(images)
    images.close()


def test_a_png_is_read_too(tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder = tmp_path / "images" / split / "a"
        folder.mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 77, np.uint8)).save(folder / "x.png")
    pack(tmp_path / "images", tmp_path / "packed", name="png")
    _, images = open_split(tmp_path / "packed", "val")
    assert images.pixels(0).tolist() == [[[77, 77, 77]] * 8] * 8
    images.close()


def test_missing_data_says_what_is_missing(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no data set"):
        open_split(tmp_path, "train")
    with pytest.raises(NotFoundError, match="It has train, val"):
        open_split(tiny_data, "test")
    shutil.copytree(tiny_data, tmp_path / "data")
    shard = Manifest.read(tiny_data).shards("val")[0].path
    (tmp_path / "data" / shard).unlink()
    with pytest.raises(NotFoundError, match=shard):
        open_split(tmp_path / "data", "val")


def test_a_split_without_samples_is_no_split_to_train_on(tmp_path: Path) -> None:
    document = {
        "schema_version": 1, "kind": "manifest", "version": "0" * 32, "name": "x", "class_names": ["a"],
        "splits": {"train": {"samples": 0, "class_counts": [0], "shards": []}},
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(StageError) as raised:
        open_split(tmp_path, "train")
    document["version"] = str(raised.value).partition("hashes to ")[2][:32]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(NotFoundError, match="has no samples"):
        open_split(tmp_path, "train")
