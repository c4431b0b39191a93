"""Making the stand-in for Pyxis, with stand-ins for what a machine may lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import ToolError, UsageError
from hpcai.slurm.local import cluster as embedded
from hpcai.slurm.local import pyxis
from hpcai.slurm.local.prefix import Prefix


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return folder / name


def test_a_machine_without_a_compiler_is_told_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ToolError, match="need a C compiler, and this machine has none") as raised:
        pyxis.compiler(tmp_path)
    assert "apt-get install gcc" in str(raised.value.next_step)
    unpacked = tmp_path / "debian/g++/compiler/bin"
    unpacked.mkdir(parents=True)
    program(unpacked, "gcc", "true")
    assert pyxis.compiler(tmp_path) == str(unpacked / "gcc")
    mine = program(tmp_path / "bin", "mycc", "true")
    monkeypatch.setenv("CC", "mycc")
    assert pyxis.compiler(tmp_path) == str(mine)


@pytest.mark.programs
def test_a_compiler_that_fails_says_why_and_nothing_half_made_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "cc", "echo 'spank.h:1: error: no such thing' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / "prefix/include/slurm").mkdir(parents=True)
    (tmp_path / "prefix/include/slurm/spank.h").touch()
    (tmp_path / "prefix/prefix.json").write_text('{"slurm": "22.05.8"}')
    with pytest.raises(ToolError, match=r"could not be compiled: spank\.h:1: error: no such thing"):
        pyxis.ensure(tmp_path / "cache", Prefix(tmp_path / "prefix"))
    assert [file.name for file in (tmp_path / "cache/pyxis-standin").iterdir()] == []


@pytest.mark.programs
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"max_user_namespaces": "0"}, "which user.max_user_namespaces=0 refuses: unshare: no"),
        ({"unprivileged_userns_clone": "0"}, "which kernel.unprivileged_userns_clone=0 refuses"),
        (
            {"unprivileged_userns_clone": "1", "apparmor_restrict_unprivileged_userns": "1"},
            "which kernel.apparmor_restrict_unprivileged_userns=1 refuses",
        ),
        ({"max_user_namespaces": "9"}, "this machine refuses them: unshare: no"),
    ],
    ids=["count", "clone", "apparmor", "else"],
)
def test_what_refuses_namespaces_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], said: str
) -> None:
    program(tmp_path / "bin", "unshare", "echo 'unshare: no' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for name, value in files.items():
        (tmp_path / name).write_text(f"{value}\n")
    here = [(str(tmp_path / Path(path).name), value, fix) for path, value, fix in pyxis._CAUSES]
    monkeypatch.setattr(pyxis, "_CAUSES", here)
    with pytest.raises(ToolError) as raised:
        pyxis.require_namespaces()
    assert said in raised.value.what


def test_a_version_that_cannot_be_played_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Pyxis '1\.0' cannot be played") as raised:
        embedded.up("x", pyxis_version="1.0", cache=tmp_path)
    assert "0.21" in str(raised.value.allowed)


def test_a_file_of_another_home_is_one_line_without_a_space_in_a_word() -> None:
    line = pyxis.plugstack_conf(Path("/h"), "0.24")
    assert line.startswith("required /h/pyxis/spank_pyxis_standin.so pyxis_version=0.24 ")
    assert line.count("\n") == 1


def test_folders_that_are_closed_to_their_owner_can_be_removed(tmp_path: Path) -> None:
    inner = tmp_path.joinpath("a", "work", "work")
    inner.mkdir(parents=True)
    inner.chmod(0)
    (tmp_path / "a/read-only").mkdir(mode=0o500)
    (tmp_path / "a/link").symlink_to("/")
    mode = Path("/").stat().st_mode
    pyxis.make_removable(tmp_path)
    assert [path.stat().st_mode & 0o777 for path in (inner, tmp_path / "a/read-only")] == [0o700, 0o700]
    assert Path("/").stat().st_mode == mode


@pytest.mark.programs
def test_a_compiler_in_the_cache_finds_the_libraries_that_came_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    folder = cache / "debian/g++/compiler"
    (folder / "bin").mkdir(parents=True)
    program(folder / "bin", "gcc", 'while [ "$1" != -o ]; do shift; done; echo "$LD_LIBRARY_PATH" > "$2"')
    monkeypatch.setattr(pyxis.shutil, "which", lambda name: name if name.startswith("/") else None)
    plugin = tmp_path / "plugin.so"
    pyxis._compile(cache, tmp_path, plugin)
    assert plugin.read_text() == f"{folder / 'lib'}\n"
