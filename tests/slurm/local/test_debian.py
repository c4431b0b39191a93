"""Where a suite of Debian comes from and whose keys are asked, with stand-ins for apt on several machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import ToolError, UnreachableError, UsageError
from hpcai.slurm.local import apt, cluster, debian, prefix

pytestmark = pytest.mark.programs

KEYRING = "usr/share/keyrings/debian-archive-keyring"
DEBIAN = """\
http://mirror/debian/|bookworm-updates|Debian
http://security/debian-security/|bookworm-security|Debian
cdrom:[disc]/|bookworm|Debian
http://mirror/debian/|bookworm|Debian
http://else/tools/|stable|Tools
"""
UBUNTU = "http://mirror/ubuntu/|jammy|Ubuntu\n"
NO_KEY = (
    "W: GPG error: http://m trixie InRelease: The signatures couldn't be verified: NO_PUBKEY 6ED0E\n"
    "E: The repository 'http://m trixie InRelease' is not signed.\n"
)


class Machine:
    """A root folder with or without Debian's keys, and an apt that answers as was seen on such machines."""

    def __init__(self, folder: Path) -> None:
        self.root, self.work, self._bin = folder / "root", folder / "work", folder / "bin"
        for one in (self.root, self._bin):
            one.mkdir()
        self.log = folder / "log"
        self.log.touch()
        self.has(targets=UBUNTU)

    def has(self, *, targets: str, download: str = "exit 100", update: str = "") -> None:
        """What apt tells of its sources, and what it does to fetch."""
        own = '$(echo "$*" | sed "s/.*Dir::State::lists=//; s/ .*//")'
        touch = f'case "$*" in *Dir::State::lists*) touch "{own}/x_Packages" ;; esac'
        self.program(
            "apt-get",
            f'echo "$@" >>{self.log}\ncase "$*" in\n*indextargets*) cat <<E\n{targets}E\n;;\n'
            f"*update*) {update or touch} ;;\n*download*) {download} ;;\nesac",
        )

    def program(self, name: str, script: str) -> None:
        (self._bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._bin / name).chmod(0o755)

    def keys(self, end: str = "gpg") -> Path:
        file = self.root / f"{KEYRING}.{end}"
        file.parent.mkdir(parents=True)
        file.touch()
        return file

    def source(self, **environ: str) -> str:
        return debian.source("trixie", self.work, environ, self.root)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return made


@pytest.mark.parametrize("end", ["gpg", "pgp"])
def test_a_debian_gives_its_own_mirror_and_keys(machine: Machine, end: str) -> None:
    machine.has(targets=DEBIAN)
    keys = machine.keys(end)
    assert machine.source() == f"deb [signed-by={keys}] http://mirror/debian/ trixie main"
    assert "update" not in machine.log.read_text()


def test_an_ubuntu_needs_a_mirror_by_name(machine: Machine) -> None:
    machine.keys()
    with pytest.raises(
        ToolError, match=r"no source of Debian.*Debian's trixie\.\nHPCAI_DEBIAN_MIRROR_URL .*\nhpcai local up"
    ):
        machine.source()
    assert "http://m/debian trixie main" in machine.source(HPCAI_DEBIAN_MIRROR_URL="http://m/debian")


@pytest.mark.parametrize("address", ["m", "http://a b", "http://m\ndeb [trusted=yes] http://n x main"])
def test_an_address_that_is_none_is_refused(machine: Machine, address: str) -> None:
    with pytest.raises(UsageError, match="HPCAI_DEBIAN_MIRROR_URL is '"):
        machine.source(HPCAI_DEBIAN_MIRROR_URL=address)


def test_without_debians_keys_the_machines_own_package_of_them_is_taken(machine: Machine) -> None:
    machine.has(targets=UBUNTU, download="touch debian-archive-keyring_2023.4ubuntu1_all.deb")
    machine.program("dpkg-deb", f'mkdir -p "$3/usr/share/keyrings"; touch "$3/{KEYRING}.gpg"')
    told = machine.source(HPCAI_DEBIAN_MIRROR_URL="http://m/debian")
    assert told == f"deb [signed-by={machine.work}/keys/{KEYRING}.gpg] http://m/debian trixie main"


def test_without_any_keys_nothing_is_trusted(machine: Machine) -> None:
    machine.has(
        targets=UBUNTU, download='echo "E: Unable to locate package debian-archive-keyring" >&2; exit 100'
    )
    with pytest.raises(ToolError, match=r"Debian's keys are not on .*: .*\.\nAsk who runs"):
        machine.source(HPCAI_DEBIAN_MIRROR_URL="http://m/debian")


@pytest.mark.parametrize(
    ("told", "error", "what"),
    [
        (NO_KEY, ToolError, "The keys here do not vouch for what apt fetched"),
        ("E: The repository 'http://m x Release' does not have a Release file.\n", ToolError, "not have it"),
        ("W: Failed to fetch http://m  Could not connect\n", UnreachableError, "could not fetch its package"),
    ],
    ids=["keys", "suite", "network"],
)
def test_a_suite_that_cannot_be_had_says_why(
    machine: Machine, tmp_path: Path, told: str, error: type[Exception], what: str
) -> None:
    machine.has(targets=DEBIAN, update=f"cat >&2 <<E\n{told}E\nexit 100")
    source = apt.Apt(tmp_path / "apt", own_lists=True, source="deb http://m trixie main")
    with pytest.raises(error, match=what):
        source.update()


def test_what_is_not_signed_is_never_taken_whatever_the_machine_allows(
    machine: Machine, tmp_path: Path
) -> None:
    machine.has(targets=DEBIAN)
    apt.Apt(tmp_path / "apt", own_lists=True, source="deb http://m trixie main").update()
    asked = machine.log.read_text()
    for setting in (
        "Acquire::AllowInsecureRepositories=false",
        "Acquire::AllowWeakRepositories=false",
        "Acquire::AllowDowngradeToInsecureRepositories=false",
        "APT::Get::AllowUnauthenticated=false",
        f"Dir::Etc::sourcelist={tmp_path}/apt/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
    ):
        assert f"-o {setting} " in asked


def test_a_release_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no Slurm '23\.02' to be had\.\n.*22\.05, 24\.11, testing"):
        cluster.up(slurm="23.02", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_each_release_has_a_folder_of_its_own_and_the_machines_suite_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = {"ID": "debian", "VERSION_ID": "13", "VERSION_CODENAME": "trixie"}
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: release)
    assert prefix.place(tmp_path, "24.11") == prefix.place(tmp_path)
    assert len({prefix.place(tmp_path, one) for one in prefix.SUITES}) == 3
    assert "this machine's distribution" in prefix.origin(tmp_path, "24.11")
    assert prefix.origin(tmp_path, "22.05").startswith("Debian's bookworm: ")
