"""Pulling from a folder: everything but the network. Pulling from Blob is in test_blob.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcai.errors import NotFoundError, StageError, UsageError
from hpcai.staging.manifest import CHUNK_BYTES, Manifest, ManifestError
from hpcai.staging.node_cache import cache_place
from hpcai.staging.progress import Listener
from hpcai.staging.pull import pull
from hpcai.staging.stamps import NOTE_NAME
from tests.staging.sets import files_of, on_small_disk, write_set

SIZES = {"train-000000.tar": CHUNK_BYTES + 100, "deep/train-000001.tar": 5000, "with space.tar": 0}


@pytest.fixture
def tmp_path(open_folder: Path) -> Path:
    """Other users pull too."""
    return open_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_set(tmp_path / "source", SIZES)
    (tmp_path / "scratch").mkdir()
    return tmp_path / "source"


@pytest.fixture
def scratch(tmp_path: Path, source: Path) -> Path:
    return tmp_path / "scratch"


def test_a_data_set_is_brought_whole(source: Path, scratch: Path) -> None:
    told: list[tuple[int, int]] = []
    done = pull(source.as_uri(), {}, scratch=scratch, listener=Listener(told=lambda *now: told.append(now)))
    manifest = Manifest.read(source)
    assert done.path == scratch / "hpcai/data/set" / manifest.version
    assert files_of(done.path) == files_of(source)
    assert (done.event, done.bytes, done.from_source) == ("done", manifest.bytes, manifest.bytes)
    assert told[-1] == (manifest.bytes, manifest.bytes)
    assert [p.name for p in done.path.parent.iterdir()] == [manifest.version]


def test_the_second_pull_brings_nothing(source: Path, scratch: Path) -> None:
    first = pull(source.as_uri(), {}, scratch=scratch)
    second = pull(source.as_uri(), {}, scratch=scratch)
    assert (second.event, second.from_source, second.path) == ("reused", 0, first.path)
    assert second.record(data="d", source="s", attempt=1)["bytes_from"] == {"blob": 0, "cache": second.bytes}


def test_a_shard_that_is_gone_or_truncated_is_repaired_alone(source: Path, scratch: Path) -> None:
    done = pull(source.as_uri(), {}, scratch=scratch)
    (done.path / "deep/train-000001.tar").unlink()
    os.truncate(done.path / "train-000000.tar", CHUNK_BYTES + 1)
    again = pull(source.as_uri(), {}, scratch=scratch)
    assert again.from_source == 5000 + 100
    assert again.event == "done"
    assert files_of(done.path) == files_of(source)
    assert [p.name for p in done.path.parent.iterdir()] == [done.path.name]


def overwrite(path: Path, start: int, *, keep_time: bool = False) -> None:
    """Four bytes of a file become others; its size stays, and with `keep_time` its time too."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"rot!")
    # Well past the clock's step, so that a quick test is like a rewrite long after.
    time_ns = before.st_mtime_ns + (0 if keep_time else 10**9)
    os.utime(path, ns=(before.st_atime_ns, time_ns))


def test_a_shard_that_was_written_to_since_is_found_and_repaired(source: Path, scratch: Path) -> None:
    done = pull(source.as_uri(), {}, scratch=scratch)
    overwrite(done.path / "train-000000.tar", CHUNK_BYTES + 7)
    again = pull(source.as_uri(), {}, scratch=scratch)
    assert (again.event, again.from_source) == ("done", 100)
    assert files_of(done.path) == files_of(source)
    assert pull(source.as_uri(), {}, scratch=scratch).event == "reused"


def test_what_has_not_been_written_to_is_not_read_again(
    source: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(source.as_uri(), {}, scratch=scratch)
    monkeypatch.setattr("hpcai.staging.fetch.read_chunk", unexpected)
    assert pull(source.as_uri(), {}, scratch=scratch).event == "reused"


def unexpected(*_: object) -> bytes:
    raise AssertionError("it was read")


def test_a_disk_that_rots_in_silence_is_found_with_verify(source: Path, scratch: Path) -> None:
    done = pull(source.as_uri(), {}, scratch=scratch)
    overwrite(done.path / "train-000000.tar", CHUNK_BYTES + 7, keep_time=True)
    assert pull(source.as_uri(), {}, scratch=scratch).from_source == 0
    assert pull(source.as_uri(), {}, scratch=scratch, verify=True).from_source == 100
    assert files_of(done.path) == files_of(source)


@pytest.mark.parametrize("note", [None, "{", "[]", '{"schema_version": 1, "version": 7, "shards": 3}'])
def test_a_cache_without_a_note_is_read_once(
    source: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, note: str | None
) -> None:
    done = pull(source.as_uri(), {}, scratch=scratch)
    overwrite(done.path / "train-000000.tar", CHUNK_BYTES + 7, keep_time=True)
    (done.path / NOTE_NAME).unlink()
    if note is not None:
        (done.path / NOTE_NAME).write_text(note)
    assert pull(source.as_uri(), {}, scratch=scratch).from_source == 100
    monkeypatch.setattr("hpcai.staging.fetch.read_chunk", unexpected)
    assert pull(source.as_uri(), {}, scratch=scratch).event == "reused"


def test_a_reader_of_a_repaired_shard_keeps_what_it_opened(source: Path, scratch: Path) -> None:
    done = pull(source.as_uri(), {}, scratch=scratch)
    with (done.path / "deep/train-000001.tar").open("r+b") as file:
        file.truncate(10)
        pull(source.as_uri(), {}, scratch=scratch)
        assert len(file.read()) == 10


def test_a_damaged_manifest_in_the_cache_is_repaired(source: Path, scratch: Path) -> None:
    done = pull(source.as_uri(), {}, scratch=scratch)
    (done.path / "manifest.json").write_text("{")
    pull(source.as_uri(), {}, scratch=scratch)
    assert files_of(done.path) == files_of(source)


def test_what_an_interrupted_pull_left_is_used(source: Path, scratch: Path) -> None:
    manifest = Manifest.read(source)
    work = cache_place(scratch, manifest).work
    work.mkdir()
    whole = (source / "train-000000.tar").read_bytes()
    (work / "train-000000.tar.part").write_bytes(whole[:CHUNK_BYTES])
    done = pull(source.as_uri(), {}, scratch=scratch)
    assert done.from_source == 100 + 5000
    assert files_of(done.path) == files_of(source)


def test_a_folder_of_ones_own(source: Path, tmp_path: Path) -> None:
    done = pull(source.as_uri(), {}, to=tmp_path / "mine")
    assert done.path == tmp_path / "mine"
    assert files_of(tmp_path / "mine") == files_of(source)
    assert pull(source.as_uri(), {}, to=tmp_path / "mine").event == "reused"
    write_set(tmp_path / "other", {"a.tar": 1})
    with pytest.raises(UsageError, match="already holds"):
        pull((tmp_path / "other").as_uri(), {}, to=tmp_path / "mine")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "other", "scratch", "source"]


def test_the_version_can_be_asked_for(source: Path, scratch: Path) -> None:
    version = Manifest.read(source).version
    assert pull(source.as_uri(), {}, scratch=scratch, version=version[:8]).version == version
    for wrong in ("0" * 32, version[:7], ""):
        with pytest.raises(NotFoundError, match="not '"):
            pull(source.as_uri(), {}, scratch=scratch, version=wrong)


def test_a_shard_that_changed_at_the_source(source: Path, scratch: Path) -> None:
    with (source / "train-000000.tar").open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(StageError, match=r"'train-000000\.tar' at file:.* is damaged: wrong bytes from 0 on"):
        pull(source.as_uri(), {}, scratch=scratch)
    published = [p for p in (scratch / "hpcai/data/set").iterdir() if not p.name.startswith(".")]
    assert published == []


def test_a_shard_that_is_shorter_or_missing_at_the_source(source: Path, scratch: Path) -> None:
    os.truncate(source / "train-000000.tar", 50)
    with pytest.raises(StageError, match="is shorter than its manifest says"):
        pull(source.as_uri(), {}, scratch=scratch)
    (source / "train-000000.tar").unlink()
    with pytest.raises(NotFoundError, match=r"There is no 'train-000000\.tar'"):
        pull(source.as_uri(), {}, scratch=scratch)


def test_no_manifest_is_told_with_what_is_there(source: Path, scratch: Path) -> None:
    (source / "manifest.json").unlink()
    with pytest.raises(NotFoundError) as caught:
        pull(source.as_uri(), {}, scratch=scratch)
    assert caught.value.allowed == "There is: deep/, train-000000.tar, with space.tar."
    with pytest.raises(NotFoundError) as caught:
        pull((source.parent / "sorce").as_uri(), {}, scratch=scratch)
    assert "it has no manifest.json" in caught.value.what


def test_a_damaged_manifest_at_the_source(source: Path, scratch: Path) -> None:
    text = (source / "manifest.json").read_text()
    (source / "manifest.json").write_text(text.replace('"bytes": 5000', '"bytes": 5001'))
    with pytest.raises(ManifestError, match="its content hashes to"):
        pull(source.as_uri(), {}, scratch=scratch)


@pytest.mark.programs
def test_no_space_is_told_before_anything_is_brought(source: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    done = on_small_disk(
        tmp_path / "disk",
        f"""
        import pathlib, sys
        from hpcai.errors import StageError
        from hpcai.staging.pull import pull
        try:
            pull({source.as_uri()!r}, {{}}, scratch=pathlib.Path(sys.argv[1]))
        except StageError as error:
            print(error)
        print([p.name for p in pathlib.Path(sys.argv[1], "hpcai/data/set").iterdir()])
        """,
    )
    first, *_, last = done.splitlines()
    assert re.search("No space in .*/data/set': 8,813,393 bytes needed, 4,[0-9,]+ available", first)
    assert last == "[]"


AS_NOBODY = """
import os, pathlib, sys
from hpcai.errors import StageError
from hpcai.staging.pull import pull
os.setgid(65534)
os.setuid(65534)
try:
    done = pull(sys.argv[1], {}, scratch=pathlib.Path(sys.argv[2]))
    print(done.event, done.from_source)
except StageError as error:
    print(error)
"""


@pytest.fixture
def pull_as_nobody(source: Path, scratch: Path) -> Callable[[], str]:
    """Pulls as another user, for whom this Python, which root alone may read, is loaded first."""
    if os.getuid() != 0:
        pytest.skip("only root can be somebody else")
    scratch.chmod(0o1777)

    def run() -> str:
        words = [sys.executable, "-c", AS_NOBODY, source.as_uri(), str(scratch)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    return run


@pytest.mark.programs
def test_users_of_a_node_share_what_is_there(
    source: Path, scratch: Path, pull_as_nobody: Callable[[], str]
) -> None:
    pull(source.as_uri(), {}, scratch=scratch)
    assert pull_as_nobody() == "reused 0"


@pytest.mark.programs
@pytest.mark.parametrize(
    ("spoilt", "mode"),
    [("deep/train-000001.tar", None), ("manifest.json", None), ("train-000000.tar", 0o600), (".", 0o700)],
)
def test_who_cannot_use_another_users_files_gets_own_ones(
    source: Path, scratch: Path, pull_as_nobody: Callable[[], str], spoilt: str, mode: int | None
) -> None:
    theirs = pull(source.as_uri(), {}, scratch=scratch).path
    if mode is not None:
        (theirs / spoilt).chmod(mode)
    else:
        with (theirs / spoilt).open("r+b") as file:
            file.write(b"poison")
    before = files_of(theirs)
    assert pull_as_nobody() == f"done {sum(SIZES.values())}"
    assert files_of(theirs.with_name(f"{theirs.name}.65534")) == files_of(source)
    assert pull_as_nobody() == "reused 0"
    assert files_of(theirs) == before
    assert len(list(theirs.parent.iterdir())) == 2


@pytest.mark.programs
def test_what_a_killed_pull_left_keeps_no_other_user_out(
    source: Path, scratch: Path, pull_as_nobody: Callable[[], str]
) -> None:
    work = cache_place(scratch, Manifest.read(source)).work
    work.mkdir()
    (work / "train-000000.tar.part").write_bytes(b"half")
    assert pull_as_nobody() == f"done {sum(SIZES.values())}"


@pytest.mark.programs
def test_the_first_user_does_not_block_the_next(
    source: Path, scratch: Path, tmp_path: Path, pull_as_nobody: Callable[[], str]
) -> None:
    write_set(tmp_path / "other", {"a.tar": 10}, seed=5)
    pull((tmp_path / "other").as_uri(), {}, scratch=scratch)
    assert pull_as_nobody() == f"done {Manifest.read(source).bytes}"


@pytest.mark.programs
def test_a_scratch_that_may_not_be_written(scratch: Path, pull_as_nobody: Callable[[], str]) -> None:
    scratch.chmod(0o755)
    assert "cannot be made: Permission denied" in pull_as_nobody()
