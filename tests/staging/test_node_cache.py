from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hpcai.errors import StageError, UsageError
from hpcai.staging.node_cache import cache_place, chosen_place, link, require_room
from tests.staging.sets import on_small_disk, write_set


def test_the_folders_of_the_cache_are_open_to_all_users(tmp_path: Path) -> None:
    manifest = write_set(tmp_path / "set", {"a.tar": 10})
    previous = os.umask(0o077)
    try:
        place = cache_place(tmp_path, manifest)
    finally:
        os.umask(previous)
    assert place.final == tmp_path / "hpcai/data/set" / manifest.version
    for folder in ("hpcai", "hpcai/data", "hpcai/data/set"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o1777


def test_a_scratch_that_is_none(tmp_path: Path) -> None:
    manifest = write_set(tmp_path / "set", {"a.tar": 10})
    with pytest.raises(StageError, match="is not a folder"):
        cache_place(tmp_path / "none", manifest)
    (tmp_path / "hpcai").write_text("")
    with pytest.raises(StageError, match="cannot be made"):
        cache_place(tmp_path, manifest)


def test_a_chosen_folder_must_be_free(tmp_path: Path) -> None:
    manifest = write_set(tmp_path / "set", {"a.tar": 10})
    assert chosen_place(tmp_path / "new/deep", manifest).final == tmp_path / "new/deep"
    assert chosen_place(tmp_path / "set", manifest).final == tmp_path / "set"
    write_set(tmp_path / "other", {"a.tar": 11}, name="other")
    with pytest.raises(UsageError, match="already holds 'other' of version"):
        chosen_place(tmp_path / "other", manifest)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.tex").write_text("")
    with pytest.raises(UsageError, match="already holds something else"):
        chosen_place(tmp_path / "work", manifest)
    with pytest.raises(UsageError, match="already holds something else"):
        chosen_place(tmp_path / "work/thesis.tex", manifest)


def test_room_is_told_before_it_is_needed(tmp_path: Path) -> None:
    require_room(tmp_path, 1)
    state = os.statvfs(tmp_path)
    with pytest.raises(StageError) as caught:
        require_room(tmp_path, state.f_bavail * state.f_frsize)
    assert "bytes needed," in caught.value.what
    assert "available" in caught.value.what


@pytest.mark.programs
def test_room_that_is_missing_when_a_file_is_made(tmp_path: Path) -> None:
    done = on_small_disk(
        tmp_path,
        """
        import os, pathlib, sys
        from hpcai.errors import StageError
        from hpcai.staging.node_cache import allocate
        folder = pathlib.Path(sys.argv[1])
        with (folder / "x").open("wb") as file:
            file.write(b"12345")
            file.flush()
            try:
                allocate(file.fileno(), 5 * 2**20, folder)
            except StageError as error:
                print(error.what)
            print(os.fstat(file.fileno()).st_size, os.fstat(file.fileno()).st_blocks * 512 < 2**20)
        """,
    )
    assert "No space in" in done
    assert done.splitlines()[-1] == "5 True"


def test_a_link_is_made_and_replaced(tmp_path: Path) -> None:
    for target in ("one", "two"):
        link(tmp_path / "deep/link", tmp_path / target)
        assert (tmp_path / "deep/link").readlink() == tmp_path / target
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["link"]


def test_a_folder_is_not_replaced_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(StageError, match="is not a link"):
        link(tmp_path / "mine", tmp_path)
    with pytest.raises(StageError, match="cannot be made"):
        link(Path("/proc/x/y"), tmp_path)


def test_links_of_old_jobs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    jobs = tmp_path / "hpcai/jobs"
    for job in ("old", "used", "new"):
        (jobs / job).mkdir(parents=True)
        (jobs / job / "set").symlink_to(tmp_path)
    (jobs / "used/file").write_text("somebody's")
    for job in ("old", "used"):
        os.utime(jobs / job, (0, 0))
    link(jobs / "9/set", tmp_path)
    assert sorted(p.name for p in jobs.iterdir()) == ["9", "new", "used"]
    assert (jobs / "used/file").read_text() == "somebody's"
