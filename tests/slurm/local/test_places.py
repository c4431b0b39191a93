"""Names and files of clusters."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hpcai.errors import UsageError
from hpcai.slurm.local import places


@pytest.mark.parametrize("name", ["default", "a", "test-12", "x" * 32])
def test_names(name: str, tmp_path: Path) -> None:
    assert places.place(tmp_path, name).state == tmp_path / "local" / name


@pytest.mark.parametrize("name", ["", "..", "A", "1a", "a b", "a/b", "-a", "x" * 33, "a\n", ".lock"])
def test_what_cannot_be_a_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a cluster"):
        places.place(tmp_path, name)


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with places.locked(tmp_path / "deep" / "lock"):
            order.append("second")

    with places.locked(tmp_path / "deep" / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_publish_replaces_the_whole_folder_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "here" / "target"
    for text in ("old", "new"):
        with places.scratch_folder(target.parent) as folder:
            (folder / "made").mkdir()
            (folder / "made" / text).touch()
            places.publish(folder / "made", target)
    assert [file.name for file in target.iterdir()] == ["new"]
    assert [file.name for file in target.parent.iterdir()] == ["target"]


def test_a_file_written_whole_has_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "key"
    places.write_whole(file, "one")
    places.write_whole(file, "two", mode=0o600)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("two", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]
