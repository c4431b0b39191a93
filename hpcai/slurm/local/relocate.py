"""Programs taken out of unpacked packages and tied to their own loader and libraries by patchelf."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hpcai import shell
from hpcai.errors import ToolError

CLIENTS = (
    *(
        "sacct",
        "sacctmgr",
        "salloc",
        "sattach",
        "sbatch",
        "sbcast",
        "scancel",
        "scontrol",
        "scrontab",
        "sdiag",
    ),
    *("sinfo", "sprio", "squeue", "sreport", "srun", "sshare", "sstat", "strigger", "munge", "unmunge"),
)
DAEMONS = ("slurmctld", "slurmd", "slurmstepd", "munged", "mungekey")
REQUIRED = frozenset(("sbatch", "slurmctld", "slurmd", "slurmstepd", "munged"))
# glibc loads it by name when a thread is cancelled; no program lists it.
BY_NAME = ("libgcc_s.so.1",)
PATCH_TIMEOUT_S = 30


@dataclass(frozen=True)
class Programs:
    """What is taken out of packages: what users type, daemons, and those of both that must be there."""

    clients: tuple[str, ...] = CLIENTS
    daemons: tuple[str, ...] = DAEMONS
    required: frozenset[str] = REQUIRED
    plugins: tuple[str, ...] = ("",)
    """How the names of the plugins begin that these programs load."""


SLURM = Programs()


def relocate(root: Path, new: Path, target: Path, patchelf: Path, programs: Programs = SLURM) -> None:
    """Fills `new` with bin, sbin, lib and lib/slurm from packages unpacked below `root`.

    `target` is where `new` will stand: the loader's path inside the programs must be absolute.
    Nothing needs LD_LIBRARY_PATH, and no library of the host is loaded.
    Raises ToolError when a library is missing.
    """
    _Relocation(root, new, target, patchelf, programs).make()


class _Relocation:
    def __init__(self, root: Path, new: Path, target: Path, patchelf: Path, wanted: Programs) -> None:
        self._root, self._new, self._target, self._patchelf = root, new, target, patchelf
        self._wanted = wanted
        self._libraries = _index(root)

    def make(self) -> None:
        for folder in ("bin", "sbin", "lib/slurm"):
            (self._new / folder).mkdir(parents=True)
        clients = self._programs("bin", self._wanted.clients)
        programs = [*clients, *self._programs("sbin", self._wanted.daemons)]
        loader = Path(self._ask("--print-interpreter", programs[0])[0]).name
        plugins = self._plugins()
        pmix = self._pmix(plugins)
        self._bring([loader, *BY_NAME, *pmix, *self._needs([*programs, *plugins])])
        if pmix:
            (self._new / "lib" / "libpmix.so").symlink_to(pmix[0])
        self._patch(programs, plugins, self._target / "lib" / loader)

    def _pmix(self, plugins: Iterable[Path]) -> list[str]:
        """The library that Slurm's PMIx plugin loads by name; nothing without that plugin."""
        if not any(file.name.startswith("mpi_pmix") for file in plugins):
            return []
        return [name for name in ("libpmix.so.2",) if name in self._libraries]

    def _programs(self, folder: str, names: Iterable[str]) -> list[Path]:
        """Programs under their plain names: some plugins work only in a `slurmstepd` of that name."""
        made = []
        for name in names:
            found = [
                self._root / f"usr/{place}/{name}{end}" for place in ("bin", "sbin") for end in ("-wlm", "")
            ]
            real = next((file for file in found if file.is_file() and not file.is_symlink()), None)
            if real is not None:
                made.append(Path(shutil.copy(real, self._new / folder / name)))
        missing = self._wanted.required & set(names) - {file.name for file in made}
        if missing:
            raise ToolError(f"This distribution's packages of Slurm hold no {', '.join(sorted(missing))}.")
        return made

    def _plugins(self) -> list[Path]:
        """Slurm's plugins whose libraries are all there."""
        folder = next(self._root.glob("usr/lib/**/auth_munge.so"), None)
        if folder is None:
            raise ToolError("This distribution's packages of Slurm hold no plugin 'auth_munge.so'.")
        found = [file for file in sorted(folder.parent.glob("*.so")) if file.is_file()]
        files = [file for file in found if file.name.startswith(self._wanted.plugins)]
        own = {file.name for file in files}
        whole = [file for file in files if self._needed(file) <= own | set(self._libraries)]
        return [Path(shutil.copy(file, self._new / "lib" / "slurm" / file.name)) for file in whole]

    def _needs(self, files: Iterable[Path]) -> set[str]:
        own = {file.name for file in (self._new / "lib" / "slurm").iterdir()}
        return set().union(*(self._needed(file) for file in files)) - own

    def _bring(self, names: Iterable[str]) -> None:
        """Libraries and what they need in turn, copied to lib under the names they are loaded by."""
        waiting = set(names)
        done: set[str] = set()
        while waiting:
            name = waiting.pop()
            done.add(name)
            if name not in self._libraries:
                raise ToolError(
                    f"This distribution's packages of Slurm need the library {name!r} and do not bring it."
                )
            shutil.copy(self._libraries[name], self._new / "lib" / name)
            waiting |= self._needed(self._libraries[name]) - done

    def _needed(self, file: Path) -> set[str]:
        return set(self._ask("--print-needed", file))

    def _ask(self, question: str, file: Path) -> list[str]:
        return shell.run([self._patchelf, question, file], timeout_s=PATCH_TIMEOUT_S).stdout.split()

    def _patch(self, programs: Iterable[Path], plugins: Iterable[Path], loader: Path) -> None:
        for file in programs:
            self._tie(file, "$ORIGIN/../lib/slurm:$ORIGIN/../lib", "--set-interpreter", str(loader))
        for file in plugins:
            self._tie(file, "$ORIGIN:$ORIGIN/..")
            if file.name.startswith("mpi_pmix"):
                _find_pmix_beside(file)
        for file in (self._new / "lib").glob("*.so*"):
            # A library without a search path of its own is found by the program's: most need no patch.
            if not file.is_symlink() and self._ask("--print-rpath", file):
                self._tie(file, "$ORIGIN:$ORIGIN/slurm")

    def _tie(self, file: Path, search: str, *more: str) -> None:
        file.chmod(0o755)
        how = [*more, "--force-rpath", "--set-rpath", search]
        shell.run([self._patchelf, *how, file], timeout_s=PATCH_TIMEOUT_S)


def _index(root: Path) -> dict[str, Path]:
    """Every shared library below `root` by the name it is loaded by."""
    found: dict[str, Path] = {}
    folders = [root / name for name in ("lib", "lib64", "usr/lib", "usr/lib64")]
    links = [file for folder in folders for file in folder.rglob("*.so*")]
    # The shortest path is the general build; longer ones are for special processors.
    for link in sorted(links, key=lambda file: len(file.parts)):
        real = _inside(root, link)
        if real.is_file():
            found.setdefault(link.name, real)
    return found


def _inside(root: Path, link: Path) -> Path:
    """The file behind a link, with absolute targets taken to lie below `root`."""
    while link.is_symlink():
        target = link.readlink()
        link = root / target.relative_to("/") if target.is_absolute() else link.parent / target
    return link


def _find_pmix_beside(plugin: Path) -> None:
    """Slurm's PMIx plugin loads its library by a full path in /usr; $ORIGIN is understood there too."""
    data = plugin.read_bytes()

    def replace(match: re.Match[bytes]) -> bytes:
        return b"$ORIGIN/..".ljust(len(match[0]) - 1, b"\0") + b"\0"

    changed = re.sub(rb"/usr/lib/[!-~]*pmix[!-~]*\0", replace, data)
    plugin.write_bytes(changed)
