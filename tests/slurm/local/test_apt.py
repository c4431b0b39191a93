"""Packages by apt, with stand-ins for its programs that answer as apt was seen to answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import ToolError, UnreachableError
from hpcai.slurm.local import apt, azurite, tools

pytestmark = pytest.mark.programs

CLOSURE = """\
Inst libc6 (2.36-9+deb12u14 Debian:12.13/oldstable [amd64])
Inst slurmd (22.05.8-4+deb12u3 Debian:12.13/oldstable [amd64]) []
Conf libc6 (2.36-9+deb12u14 Debian:12.13/oldstable [amd64])
"""
DEPENDS = """\
libpmix2
  Depends: libc6
  Depends: libhwloc-plugins
  Depends: <libvirtual>
  Recommends: other
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_closure_and_dependencies_are_read(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "apt-get", f"cat <<'E'\n{CLOSURE}E")
    stand_in(programs, "apt-cache", f"cat <<'E'\n{DEPENDS}E")
    source = apt.Apt(tmp_path / "state", own_lists=True)
    assert source.closure(["slurmd"]) == ["libc6", "slurmd"]
    assert source.depends("libpmix2") == ["libc6", "libhwloc-plugins"]


def test_the_answer_does_not_depend_on_what_the_host_has(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "apt-get", f"echo \"$@\" > {tmp_path}/asked; cat <<'E'\n{CLOSURE}E")
    apt.Apt(tmp_path / "state", own_lists=True).closure(["slurmd"])
    asked = (tmp_path / "asked").read_text()
    assert f"Dir::State::status={tmp_path}/state/status" in asked
    assert f"Dir::State::lists={tmp_path}/state/lists" in asked
    assert (tmp_path / "state" / "status").read_text() == ""


def test_what_apt_does_not_know(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "apt-get", 'echo "E: Unable to locate package slurmd" >&2; exit 100')
    stand_in(programs, "apt-cache", 'echo "N: Unable to locate package libpmix2" >&2; exit 100')
    source = apt.Apt(tmp_path / "state", own_lists=False)
    assert source.depends("libpmix2") is None
    with pytest.raises(ToolError, match="no way to install slurmd: E: Unable to locate package slurmd"):
        source.closure(["slurmd"])


def test_no_network(programs: Path, tmp_path: Path) -> None:
    told = "W: Failed to fetch: Temporary failure resolving\\nW: Some index files failed to download."
    stand_in(programs, "apt-get", f"printf '{told}' >&2")
    source = apt.Apt(tmp_path / "state", own_lists=True)
    with pytest.raises(UnreachableError, match="package lists: W: Failed to fetch: Temporary failure"):
        source.update()
    stand_in(programs, "apt-get", 'echo "E: Failed to fetch x.deb" >&2; exit 100')
    with pytest.raises(UnreachableError, match=r"fetch packages: E: Failed to fetch x.deb"):
        source.unpack(["slurmd"], tmp_path / "root")


def test_a_machine_without_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        ToolError, match=r"needs 'apt-get', and it is not on this machine\.\n.*Debian 12.*\n.*hpcai check"
    ):
        apt.require()


def test_the_line_of_npm_that_explains() -> None:
    text = (
        "npm warn Unknown user config\nnpm error code ENOTFOUND\nnpm error errno ENOTFOUND\n"
        "npm error network request to http://r/azurite failed\nnpm error A complete log of this run: /x\n"
    )
    assert azurite._reason(text) == "network request to http://r/azurite failed"
    assert azurite._reason("npm ERR! code E404\nnpm ERR! 404 Not Found\n") == "404 Not Found"
    assert azurite._reason("") == "it gave no reason"


def test_a_tool_on_path_is_taken_and_nothing_is_fetched(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "patchelf", "exit 0")
    assert tools.patchelf(tmp_path / "cache") == programs / "patchelf"
    assert not (tmp_path / "cache").exists()
