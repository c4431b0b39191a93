"""Making the folder of programs, with stand-ins for apt and patchelf: whole or not at all, fetched once."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from hpcai.errors import HpcaiError, ToolError, UnreachableError
from hpcai.slurm.local import prefix

pytestmark = pytest.mark.programs

APT_GET = """\
echo "$@" >> "$LOG"
case "$*" in
  *update*) touch "$LISTS"/x_Packages ;;
  *install*) test ! -e "$NO_LISTS" || case "$*" in *Dir::State::lists*) ;; *) exit 100 ;; esac
             printf 'Inst slurmctld (22.05.8 D)\\nInst libc6 (2 D)\\n' ;;
  *download*) touch slurmctld_22.05.8-4+deb12u3_amd64.deb ;;
esac
"""
UNPACK = """\
cd "$3" 2>/dev/null || { mkdir -p "$3"; cd "$3"; }
mkdir -p usr/bin usr/sbin usr/lib/x/slurm-wlm usr/share/doc/slurmd
for p in bin/sbatch bin/srun bin/munge sbin/slurmctld-wlm sbin/slurmd-wlm sbin/slurmstepd-wlm sbin/munged; do
  echo "$p" > "usr/$p"
done
libraries="libc.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2 other.so"
for l in slurm-wlm/auth_munge.so slurm-wlm/needs_more.so $libraries; do
  echo "$l" > "usr/lib/x/$l"
done
echo free > usr/share/doc/slurmd/copyright
mkdir -p usr/include/slurm
echo spank > usr/include/slurm/spank.h
"""
PATCHELF = """\
test ! -e "$BROKEN" || { echo 'cannot find section .interp' >&2; exit 1; }
case "$1 $2" in
  --print-interpreter*) echo /lib64/ld-linux-x86-64.so.2 ;;
  *needs_more.so) echo libmissing.so.1 ;;
  "--print-needed "*libc.so.6|"--print-needed "*ld-linux*) ;;
  --print-needed*) echo libc.so.6 ;;
  --print-rpath*) ;;
  *) echo "$@" >> "$LOG" ;;
esac
"""


class Machine:
    """Stand-ins on PATH, a log of what they were asked, and switches for what is wrong."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = folder / "cache"
        self.log = folder / "log"
        self.broken = folder / "broken"
        self.no_lists = folder / "no-lists"
        self._bin = folder / "bin"
        self._bin.mkdir()
        self.log.touch()
        monkeypatch.setenv("PATH", f"{self._bin}:/usr/bin:/bin")
        for name, value in {"LOG": self.log, "BROKEN": self.broken, "NO_LISTS": self.no_lists}.items():
            monkeypatch.setenv(name, str(value))
        apt_get = APT_GET.replace('"$LISTS"', '"$(echo "$*" | sed \'s/.*Dir::State::lists=//; s/ .*//\')"')
        self.program("apt-get", apt_get)
        self.program("apt-cache", "exit 100")
        self.program("dpkg-deb", UNPACK)
        self.program("patchelf", PATCHELF)

    def program(self, name: str, script: str) -> None:
        (self._bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._bin / name).chmod(0o755)

    def made(self) -> list[str]:
        folder = self.cache / "slurm"
        return sorted(file.name for file in folder.iterdir() if file.name != ".lock")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_what_is_needed_is_taken_under_plain_names(machine: Machine) -> None:
    made = prefix.ensure(machine.cache)
    files = {str(file.relative_to(made.root)) for file in made.root.rglob("*") if file.is_file()}
    assert files == {
        "bin/munge",
        "bin/sbatch",
        "bin/srun",
        "include/slurm/spank.h",
        "lib/ld-linux-x86-64.so.2",
        "lib/libc.so.6",
        "lib/libgcc_s.so.1",
        "lib/slurm/auth_munge.so",
        "prefix.json",
        "sbin/munged",
        "sbin/slurmctld",
        "sbin/slurmd",
        "sbin/slurmstepd",
        "share/doc/slurmd/copyright",
    }
    assert made.version() == "22.05.8"
    assert f"--set-interpreter {made.root}/lib/ld-linux-x86-64.so.2 --force-rpath" in machine.log.read_text()
    assert "update" not in machine.log.read_text()


def test_it_is_made_once(machine: Machine) -> None:
    assert not prefix.is_made(machine.cache)
    first = prefix.ensure(machine.cache)
    asked = machine.log.read_text()
    assert prefix.is_made(machine.cache)
    assert prefix.ensure(machine.cache) == first
    assert machine.log.read_text() == asked


def test_two_at_once_make_it_once(machine: Machine) -> None:
    both = [threading.Thread(target=prefix.ensure, args=[machine.cache]) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert machine.log.read_text().count(" download ") == 1


def test_a_machine_without_package_lists_gets_lists_of_our_own(machine: Machine) -> None:
    machine.no_lists.touch()
    prefix.ensure(machine.cache)
    lines = [line for line in machine.log.read_text().splitlines() if line.endswith("update")]
    assert len(lines) == 1
    assert f"Dir::State::lists={machine.cache}/slurm/.new-" in lines[0]


@pytest.mark.parametrize(
    ("program", "error", "told"),
    [
        ("patchelf", ToolError, "patchelf ended with status 1: cannot find section .interp"),
        ("apt-get", UnreachableError, "apt could not fetch its package lists"),
        ("dpkg-deb", ToolError, "dpkg-deb ended with status 2: no space left"),
    ],
)
def test_what_fails_says_why_and_leaves_nothing_half_made(
    program: str, error: type[HpcaiError], told: str, machine: Machine
) -> None:
    machine.broken.touch()
    if program != "patchelf":
        machine.program(program, "echo 'no space left' >&2; exit 2")
    with pytest.raises(error, match=told):
        prefix.ensure(machine.cache)
    assert machine.made() == []
    assert not prefix.is_made(machine.cache)


@pytest.mark.parametrize("damage", ["moved", "older", "torn"])
def test_a_folder_that_does_not_fit_is_made_anew(damage: str, machine: Machine) -> None:
    made = prefix.ensure(machine.cache)
    (made.root / "stale").touch()
    record = made.root / "prefix.json"
    if damage == "moved":
        machine.cache.rename(machine.cache.with_name("moved"))
        machine.cache = machine.cache.with_name("moved")
    elif damage == "older":
        record.write_text(json.dumps({**json.loads(record.read_text()), "layout": 0}))
    else:
        record.write_text(record.read_text()[:20])
    assert not prefix.is_made(machine.cache)
    again = prefix.ensure(machine.cache)
    assert not (again.root / "stale").exists()
    assert machine.made() == [again.root.name]
