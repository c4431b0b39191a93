"""Files that appear whole, folders that are published, locks that go with their holder."""

from __future__ import annotations

import multiprocessing
import os
import stat
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from hpcai import files
from hpcai.files import locked


def hold(path: Path, pipe: Connection) -> None:
    with locked(path, waiting=lambda: pipe.send("waiting")):
        pipe.send("held")
        pipe.recv()
    pipe.send("released")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[multiprocessing.Process, Connection]]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path / "l", theirs))
    process.start()
    assert ours.recv() == "held"
    yield process, ours  # type: ignore[misc]
    process.kill()
    process.join()


def refuses_to_wait(path: Path) -> None:
    def refuse() -> None:
        raise ValueError("held")

    with pytest.raises(ValueError, match="held"), locked(path, waiting=refuse):
        pytest.fail("two hold it")


def test_a_lock_goes_with_its_holder_that_is_killed(
    tmp_path: Path, holder: tuple[multiprocessing.Process, Connection]
) -> None:
    process, _ = holder
    waited: list[str] = []

    def waiting() -> None:
        waited.append("yes")
        process.kill()

    with locked(tmp_path / "l", waiting=waiting):
        assert waited == ["yes"]


def test_a_lock_is_handed_over_and_leaves_no_file(
    tmp_path: Path, holder: tuple[multiprocessing.Process, Connection]
) -> None:
    _, pipe = holder
    with locked(tmp_path / "l", waiting=lambda: pipe.send("go")):
        assert pipe.recv() == "released"
    assert list(tmp_path.iterdir()) == []


def test_who_does_not_want_to_wait_says_so_and_leaves_the_lock(
    tmp_path: Path, holder: tuple[multiprocessing.Process, Connection]
) -> None:
    refuses_to_wait(tmp_path / "l")
    assert (tmp_path / "l").exists()


def test_a_lock_that_was_handed_over_keeps_a_third_out(
    tmp_path: Path, holder: tuple[multiprocessing.Process, Connection]
) -> None:
    _, pipe = holder
    with locked(tmp_path / "l", waiting=lambda: pipe.send("go")):
        refuses_to_wait(tmp_path / "l")


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_the_mode_of_a_lock_is_kept_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        with locked(tmp_path / "deep" / "l", mode=mode):
            assert stat.S_IMODE((tmp_path / "deep" / "l").stat().st_mode) == mode
    finally:
        os.umask(before)


def test_readers_see_a_whole_file_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    contents = [letter * 50_000 for letter in "ab"]
    files.write_whole(path, contents[0])
    done = threading.Event()

    def replace() -> None:
        for number in range(200):
            files.write_whole(path, contents[number % 2])
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        while not done.is_set():
            assert path.read_text() in contents
    finally:
        writer.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        files.write_whole(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


def test_publish_replaces_the_whole_folder_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "here" / "target"
    for text in ("old", "new"):
        with files.scratch_folder(target.parent) as folder:
            (folder / "made").mkdir()
            (folder / "made" / text).touch()
            files.publish(folder / "made", target)
    assert [file.name for file in target.iterdir()] == ["new"]
    assert [file.name for file in target.parent.iterdir()] == ["target"]


def test_a_file_written_whole_has_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "key"
    files.write_whole(file, "one")
    files.write_whole(file, "two", mode=0o600)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("two", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
