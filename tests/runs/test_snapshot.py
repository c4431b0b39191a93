"""Snapshots of code: what is in them, that they are shared, whole and stay as they are."""

from __future__ import annotations

import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcai.errors import StageError
from hpcai.runs import snapshot
from hpcai.runs.snapshot import take
from hpcai.runs.sources import changes, provenance, sources_of, without_credentials

pytestmark = pytest.mark.programs

ENVIRON = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(folder: Path, *words: str) -> None:
    argv = ["git", "-C", str(folder), "-c", "protocol.file.allow=always", *words]
    subprocess.run(argv, check=True, capture_output=True, env=ENVIRON)


def tree(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def repository(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "trunk")
    tree(folder, **files)
    git(folder, "add", "-Af")
    git(folder, "commit", "-qm", "first")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(set(sources_of(folder)))


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return tree(tmp_path / "code", **{"train.py": "print(1)\n", "lib/a b'.py": "", ".hidden": "x"})


def test_a_snapshot_is_the_folder_read_only_and_once_per_content(code: Path, tmp_path: Path) -> None:
    (code / "run.sh").write_text("true")
    (code / "run.sh").chmod(0o755)
    (code / "link.py").symlink_to("train.py")
    (code / "data").symlink_to("../elsewhere")
    os.mkfifo(code / "pipe")
    first = take(code, tmp_path / "x")
    assert first.path == tmp_path / "x/snapshots" / first.tree and first.files == 6
    held = {str(path.relative_to(first.path)) for path in first.path.rglob("*")}
    assert held == {"train.py", "lib", "lib/a b'.py", ".hidden", "run.sh", "link.py", "data"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in first.path.glob("*[bhy]")}
    assert modes == {"lib": 0o555, "train.py": 0o444, "link.py": 0o444, "run.sh": 0o555}
    assert (first.path / "link.py").readlink() == Path("train.py")
    assert (first.path / "data").readlink() == tmp_path / "elsewhere", "it goes on leading out"
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o555
    before = first.path.stat().st_mtime_ns
    (code / "train.py").touch()
    assert take(code, tmp_path / "x") == first and first.path.stat().st_mtime_ns == before
    (code / "train.py").write_text("print(2)\n")
    assert take(code, tmp_path / "x").tree != first.tree
    assert (first.path / "train.py").read_text() == "print(1)\n"
    assert len(list((tmp_path / "x/snapshots").iterdir())) == 2


def test_the_name_depends_on_names_modes_and_contents_alone(code: Path, tmp_path: Path) -> None:
    seen = {take(code, tmp_path / "x").tree}
    (code / "train.py").chmod(0o755)
    seen.add(take(code, tmp_path / "x").tree)
    (code / "train.py").rename(code / "main.py")
    seen.add(take(code, tmp_path / "x").tree)
    assert len(seen) == 3
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", code, copy], check=True)
    assert take(copy, tmp_path / "y").tree in seen


def test_two_submissions_at_once_share_one(code: Path, tmp_path: Path) -> None:
    for number in range(200):
        (code / f"{number}.txt").write_text("x" * number)
    with ThreadPoolExecutor(8) as threads:
        trees = {one.tree for one in threads.map(lambda _: take(code, tmp_path / "x"), range(16))}
    assert len(trees) == 1
    assert [one.name for one in (tmp_path / "x/snapshots").iterdir()] == list(trees), "no draft is left"


def test_a_snapshot_of_a_snapshot_is_itself(code: Path, tmp_path: Path) -> None:
    first = take(code, tmp_path / "x")
    assert take(first.path, tmp_path / "other") == first
    assert not (tmp_path / "other").exists()


def test_git_tells_what_is_code(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", {"inner.py": ""})
    folder = repository(
        tmp_path / "code", {"a.py": "1", "gone.py": "", "forced.log": "", ".gitignore": "*.log\nout/\n"}
    )
    git(folder, "submodule", "-q", "add", str(inner), "vendor/inner")
    tree(folder, **{"new.py": "", "b.log": "", "out/c": "", "vendor/inner/new": "", "é.py": ""})
    repository(folder / "clone", {"cloned.py": ""})
    (folder / "gone.py").unlink()
    # git tracks the one that was forced; the one that is gone is no more.
    expected = [".gitignore", ".gitmodules", "a.py", "clone/cloned.py", "forced.log", "new.py"]
    expected += ["vendor/inner/inner.py", "vendor/inner/new", "é.py"]
    listed = take(folder, tmp_path / "x").path
    assert sorted(str(path.relative_to(listed)) for path in listed.rglob("*") if path.is_file()) == expected
    assert names(folder / "vendor") == ["inner/inner.py", "inner/new"]


@pytest.mark.parametrize("has_git", [True, False])
def test_own_ignore_files_win(tmp_path: Path, has_git: bool) -> None:
    files = {
        "a.py": "",
        "big.bin": "",
        "keep.log": "",
        "out/model": "",
        "out/other": "",
        "data/x": "",
        "data/y": "",
    }
    folder = tree(tmp_path / "code", **files)
    tree(folder, **{".gitignore": "*.log\nout/\n", ".amlignore": "*.bin\ndata/\n!keep.log\n!out/model\n"})
    tree(folder, **{".hpcaiignore": "!data/\n/data/y\n.*ignore\n"})
    if has_git:
        git(folder, "init", "-q")
        git(folder, "add", "-f", "data", "a.py", "big.bin")
    assert names(folder) == ["a.py", "data/x", "keep.log", "out/model"]


def test_provenance_says_where_it_comes_from(tmp_path: Path) -> None:
    assert provenance(tmp_path) == {} and changes(tmp_path) == ""
    folder = repository(tmp_path / "code", {"a.py": "one\n"})
    git(folder, "remote", "add", "origin", "https://ada:hunter2@example.org/team/x.git?token=hunter2")
    found = provenance(folder)
    assert found.pop("commit") and found == {
        "branch": "trunk",
        "remote": "https://example.org/team/x.git",
        "is_changed": False,
    }
    (folder / "a.py").write_text("two\n")
    assert provenance(folder)["is_changed"]
    assert "-one\n+two\n" in changes(folder)
    git(folder, "checkout", "-q", "--detach")
    assert provenance(folder)["branch"] is None


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("ssh://git:secret@example.org:22/x", "ssh://example.org:22/x"),
        ("git@example.org:team/x.git", "git@example.org:team/x.git"),
        ("/srv/git/x", "/srv/git/x"),
    ],
)
def test_a_remote_is_told_without_what_opens_it(url: str, clean: str) -> None:
    assert without_credentials(url) == clean


def test_a_large_one_is_warned_of_with_the_largest_files(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(snapshot, "WARN_BYTES", 3 * 2**20)
    take(code, tmp_path / "x")
    assert caplog.messages == []
    for number in range(12):
        (code / f"{number:02}.bin").write_bytes(b"x" * (2**18 + number))
    take(code, tmp_path / "x")
    [message] = caplog.messages
    assert "is 3 MB in 15 files" in message
    assert [line.split()[-1] for line in message.splitlines()[1:]] == [
        f"{one:02}.bin" for one in range(11, 1, -1)
    ]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_named(code: Path, tmp_path: Path) -> None:
    (code / "train.py").chmod(0)
    with pytest.raises(StageError, match=r"cannot be kept: Permission denied \('.*train\.py'\)"):
        take(code, tmp_path / "x")


def test_a_full_disk_leaves_no_half_snapshot(code: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no folder")
    with pytest.raises(StageError, match="cannot be kept"):
        take(code, tmp_path / "x")


def test_what_changes_while_it_is_copied_is_named_by_what_was_copied(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = snapshot._publish

    def edited(folder: Path, *rest: object) -> object:
        (folder / "train.py").write_text("edited meanwhile")
        return real(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot, "_publish", edited)
    taken = take(code, tmp_path / "x")
    assert (taken.path / "train.py").read_text() == "edited meanwhile"
    assert take(code, tmp_path / "y").tree == taken.tree
