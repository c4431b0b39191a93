from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.staging.fetch import PartFile, shard_is_right
from hpcai.staging.manifest import CHUNK_BYTES, Shard
from tests.staging.sets import write_set

SIZE = 2 * CHUNK_BYTES + 1000


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return write_set(tmp_path / "source", {"sub/a.tar": SIZE}).shards()[0]


def content(tmp_path: Path) -> bytes:
    return (tmp_path / "source/sub/a.tar").read_bytes()


def chunk(tmp_path: Path, shard: Shard, index: int) -> bytes:
    start, length = shard.chunk_range(index)
    return content(tmp_path)[start : start + length]


def test_chunks_in_any_order_become_the_file(tmp_path: Path, shard: Shard) -> None:
    part = PartFile(shard, tmp_path / "w", tmp_path / "out")
    assert [piece.index for piece in part.prepare()] == [0, 1, 2]
    for index in (2, 0, 1):
        assert not (tmp_path / "out/sub/a.tar").exists()
        part.write(index, chunk(tmp_path, shard, index))
    assert (tmp_path / "out/sub/a.tar").read_bytes() == content(tmp_path)
    assert not (tmp_path / "w/sub/a.tar.part").exists()


def test_room_is_taken_at_once(tmp_path: Path, shard: Shard) -> None:
    part = PartFile(shard, tmp_path / "w", tmp_path / "out")
    assert part.allocated_bytes() == 0
    part.prepare()
    assert part.allocated_bytes() == shard.bytes


def test_right_chunks_of_an_earlier_try_are_kept(tmp_path: Path, shard: Shard) -> None:
    first = PartFile(shard, tmp_path / "w", tmp_path / "out")
    first.prepare()
    first.write(1, chunk(tmp_path, shard, 1))
    again = PartFile(shard, tmp_path / "w", tmp_path / "out")
    assert [(piece.start, piece.length) for piece in again.prepare()] == [
        (0, CHUNK_BYTES),
        (2 * CHUNK_BYTES, 1000),
    ]


def test_wrong_chunks_of_an_earlier_try_are_not(tmp_path: Path, shard: Shard) -> None:
    data = bytearray(content(tmp_path))
    data[CHUNK_BYTES + 5] ^= 1
    (tmp_path / "w/sub").mkdir(parents=True)
    (tmp_path / "w/sub/a.tar.part").write_bytes(bytes(data) + b"too long")
    pieces = PartFile(shard, tmp_path / "w", tmp_path / "out").prepare()
    assert [piece.index for piece in pieces] == [1]


def test_a_part_that_was_complete_is_published_without_a_source(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "w/sub").mkdir(parents=True)
    (tmp_path / "w/sub/a.tar.part").write_bytes(content(tmp_path))
    assert PartFile(shard, tmp_path / "w", tmp_path / "out").prepare() == []
    assert (tmp_path / "out/sub/a.tar").read_bytes() == content(tmp_path)


def test_what_is_right_of_a_damaged_file_is_copied(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "out/sub").mkdir(parents=True)
    (tmp_path / "out/sub/a.tar").write_bytes(content(tmp_path)[: CHUNK_BYTES + 10])
    part = PartFile(shard, tmp_path / "w", tmp_path / "out")
    assert [piece.index for piece in part.prepare()] == [1, 2]
    for index in (1, 2):
        part.write(index, chunk(tmp_path, shard, index))
    assert (tmp_path / "out/sub/a.tar").read_bytes() == content(tmp_path)


def test_a_shard_is_right_by_its_content(tmp_path: Path, shard: Shard) -> None:
    path = tmp_path / "source/sub/a.tar"
    assert shard_is_right(path, shard)
    data = bytearray(content(tmp_path))
    data[-1] ^= 1
    path.write_bytes(data)
    assert not shard_is_right(path, shard)
    path.write_bytes(data[:-1])
    assert not shard_is_right(path, shard)


def test_an_empty_shard(tmp_path: Path) -> None:
    shard = write_set(tmp_path / "source", {"a.tar": 0}).shards()[0]
    assert PartFile(shard, tmp_path / "w", tmp_path / "out").prepare() == []
    assert (tmp_path / "out/a.tar").read_bytes() == b""
