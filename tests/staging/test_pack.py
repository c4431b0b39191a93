from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from hpcai.errors import NotFoundError, StageError, UsageError
from hpcai.staging.manifest import Manifest
from hpcai.staging.pack import pack
from hpcai.staging.shards import index_shard, iter_samples
from tests.staging.sets import files_of, jpeg, write_images

COUNTS = {"train/cat": 9, "train/dog": 5, "val/cat": 2, "val/dog": 3}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / "images", COUNTS)
    return tmp_path / "images"


def test_every_image_is_packed_once_with_its_label(images: Path, tmp_path: Path) -> None:
    manifest = pack(images, tmp_path / "out", name="pets", shard_bytes=8000)
    assert manifest.class_names == ("cat", "dog")
    assert {name: part.class_counts for name, part in manifest.splits.items()} == {
        "train": (9, 5),
        "val": (2, 3),
    }
    for split in ("train", "val"):
        packed = []
        for shard in manifest.shards(split):
            path = tmp_path / "out" / shard.path
            assert path.stat().st_size == shard.bytes
            samples = list(iter_samples(path))
            assert len(samples) == shard.samples == len(index_shard(path))
            packed += [(each["jpg"], manifest.class_names[int(each["cls"])]) for _, each in samples]
        given = [(p.read_bytes(), p.parent.name) for p in (images / split).rglob("*.jpg")]
        assert sorted(packed) == sorted(given)


def test_shards_differ_by_one_sample_at_most_and_mix_the_classes(images: Path, tmp_path: Path) -> None:
    manifest = pack(images, tmp_path / "out", name="pets", shard_bytes=8000)
    sizes = [shard.samples for shard in manifest.shards("train")]
    assert len(sizes) > 2
    assert max(sizes) - min(sizes) <= 1
    mixed = [{e.label for e in index_shard(tmp_path / "out" / s.path)} for s in manifest.shards("train")]
    assert {0, 1} in mixed


def test_keys_are_unique_in_a_split(images: Path, tmp_path: Path) -> None:
    manifest = pack(images, tmp_path / "out", name="pets", shard_bytes=8000)
    keys = [e.key for s in manifest.shards("train") for e in index_shard(tmp_path / "out" / s.path)]
    assert keys == [f"{number:06d}" for number in range(14)]


def test_the_same_input_gives_the_same_bytes(images: Path, tmp_path: Path) -> None:
    one = pack(images, tmp_path / "one", name="pets")
    copy = shutil.copytree(images, tmp_path / "copy", copy_function=shutil.copyfile)
    two = pack(copy, tmp_path / "two", name="pets")
    assert one.version == two.version
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_one_changed_pixel_is_another_version(images: Path, tmp_path: Path) -> None:
    one = pack(images, tmp_path / "one", name="pets")
    (images / "val/dog/im0.jpg").write_bytes(jpeg(251))
    assert pack(images, tmp_path / "two", name="pets").version != one.version


def test_a_plain_image_folder_is_one_split(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"train": 2, "bus": 1})
    manifest = pack(tmp_path / "images", tmp_path / "out", name="vehicles")
    assert manifest.class_names == ("bus", "train")
    assert list(manifest.splits) == ["train"]


def test_png_is_told_by_content(tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"a": 1})
    (tmp_path / "images/a/odd.JPEG").write_bytes(b"\x89PNG\r\n\x1a\n....")
    manifest = pack(tmp_path / "images", tmp_path / "out", name="x")
    members = [set(each) for _, each in iter_samples(tmp_path / "out" / manifest.shards()[0].path)]
    assert sorted(map(sorted, members)) == [["cls", "jpg"], ["cls", "png"]]


def test_packing_again_into_the_same_folder_changes_nothing(images: Path, tmp_path: Path) -> None:
    pack(images, tmp_path / "out", name="pets")
    before = (tmp_path / "out/manifest.json").stat().st_mtime_ns
    pack(images, tmp_path / "out", name="pets")
    assert (tmp_path / "out/manifest.json").stat().st_mtime_ns == before


def test_an_empty_target_is_used(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    pack(images, tmp_path / "out", name="pets")
    assert Manifest.read(tmp_path / "out").name == "pets"


def test_another_data_set_in_the_target_stays(images: Path, tmp_path: Path) -> None:
    pack(images, tmp_path / "out", name="pets")
    before = files_of(tmp_path / "out")
    with pytest.raises(UsageError, match="another data set, 'pets'"):
        pack(images, tmp_path / "out", name="cats")
    assert files_of(tmp_path / "out") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "out"]


def test_something_else_in_the_target_stays(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("all of it")
    with pytest.raises(UsageError, match="no packed data set"):
        pack(images, tmp_path / "out", name="pets")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        pack(images, tmp_path / "file", name="pets")


def break_class(images: Path) -> None:
    shutil.rmtree(images / "val/dog")


def empty_class(images: Path) -> None:
    for path in (images / "train/dog").iterdir():
        path.unlink()


def no_classes(images: Path) -> None:
    shutil.rmtree(images)
    images.mkdir()


def loose_text(images: Path) -> None:
    (images / "train/cat/notes.txt").write_text("meow")


def text_as_jpeg(images: Path) -> None:
    (images / "train/cat/im0.jpg").write_text("meow")


def empty_jpeg(images: Path) -> None:
    (images / "train/cat/im0.jpg").write_bytes(b"")


def folder_in_class(images: Path) -> None:
    (images / "train/cat/kittens").mkdir()


def other_folder(images: Path) -> None:
    (images / "valid").mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (break_class, "have different classes: val lacks 'dog'"),
        (empty_class, "train/dog' is empty"),
        (no_classes, "holds no class folders"),
        (loose_text, "holds what is no image: 'notes.txt'"),
        (text_as_jpeg, "is no image: its 4 bytes begin with b'meow'"),
        (empty_jpeg, "is no image: its 0 bytes"),
        (folder_in_class, "holds what is no image: 'kittens'"),
        (other_folder, "and other folders: 'valid'"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(images: Path, tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    spoil(images)
    with pytest.raises(StageError) as caught:
        pack(images, tmp_path / "out", name="pets")
    assert words in caught.value.what
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images"]


@pytest.mark.usefixtures("images")
def test_a_missing_source_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        pack(tmp_path / "imagse", tmp_path / "out", name="pets")
    assert caught.value.next_step == "Did you mean 'images'?"


@pytest.mark.parametrize("name", ["", "a b", "../x", "-a", "a" * 64, "ü"])
def test_a_name_that_is_none(images: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a data set"):
        pack(images, tmp_path / "out", name=name)


def test_leftovers_of_a_killed_pack_are_not_packed(images: Path, tmp_path: Path) -> None:
    left = tmp_path / ".out.packing"
    left.mkdir()
    (left / "train-000099.tar").write_text("half")
    (tmp_path / ".out.packing.lock").write_text("")
    pack(images, tmp_path / "out", name="pets")
    assert sorted(files_of(tmp_path / "out")) == ["manifest.json", "train-000000.tar", "val-000000.tar"]
    assert not list(tmp_path.glob(".out*"))


def test_two_packs_into_one_target(images: Path, tmp_path: Path) -> None:
    work = tmp_path / ".out.packing"
    work.mkdir()
    other = os.open(tmp_path / ".out.packing.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        with pytest.raises(StageError, match="Another `hpcai data pack`"):
            pack(images, tmp_path / "out", name="pets")
        assert work.exists()
    finally:
        os.close(other)


def test_progress_ends_with_all(images: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pack(images, tmp_path / "out", name="pets", shard_bytes=8000, told=lambda *now: told.append(now))
    assert told[-1] == (19, 19)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
