from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hpcai.errors import NotFoundError, StageError
from hpcai.staging.shards import index_shard, iter_samples


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


SAMPLES = {
    "000000.jpg": b"x" * 700,
    "000000.cls": b"7",
    "a.b/000001.JPEG": b"y" * 512,
    "a.b/000001.cls": b"12",
}


def test_samples_come_in_order(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "s.tar", SAMPLES)
    assert list(iter_samples(shard)) == [
        ("000000", {"jpg": b"x" * 700, "cls": b"7"}),
        ("a.b/000001", {"jpeg": b"y" * 512, "cls": b"12"}),
    ]


def test_the_index_finds_the_very_bytes(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "s.tar", SAMPLES)
    data = shard.read_bytes()
    entries = index_shard(shard)
    assert [(entry.key, entry.label) for entry in entries] == [("000000", 7), ("a.b/000001", 12)]
    assert [data[e.offset : e.offset + e.size] for e in entries] == [b"x" * 700, b"y" * 512]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"1.jpg": b"x"}, "sample '1' has jpg, not an image and a label"),
        ({"1.cls": b"1"}, "sample '1' has cls, not an image and a label"),
        ({"1.jpg": b"x", "1.cls": b"one"}, "has the label b'one', not a number"),
        ({"noext": b"x"}, "member 'noext' has no extension"),
    ],
)
def test_samples_that_are_not_whole(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    with pytest.raises(StageError) as caught:
        index_shard(write_tar(tmp_path / "s.tar", members))
    assert words in caught.value.what


def test_a_truncated_shard(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "s.tar", SAMPLES)
    whole = shard.read_bytes()
    for length in (0, 100, 512, 1000, 2048, 3000):
        shard.write_bytes(whole[:length])
        with pytest.raises(StageError, match="is damaged"):
            list(iter_samples(shard))


def test_what_is_no_tar(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"\x89PNG" * 1000)
    with pytest.raises(StageError, match="is damaged"):
        index_shard(tmp_path / "s.tar")


def test_a_link_in_a_shard_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(StageError, match="not a plain file"):
        index_shard(tmp_path / "s.tar")


def test_a_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        index_shard(tmp_path / "none.tar")
