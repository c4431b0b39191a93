"""slurmdbd and MariaDB of a distribution, in a folder that needs nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import HpcaiError, ToolError
from hpcai.files import locked, publish, scratch_folder
from hpcai.slurm.local import apt, prefix, relocate, tools
from hpcai.specs.slurm_options import slurm_version

# Raise it when the layout of the folder changes: older folders are then made anew.
LAYOUT = 1
SLURM = ("slurmdbd", "slurm-wlm-mysql-plugin")
# Ubuntu 22.04 names them with MariaDB's version.
SERVER = ("mariadb-server-core", "mariadb-server-core-10.6")
CLIENT = ("mariadb-client-core", "mariadb-client-core-10.6")
PROGRAMS = relocate.Programs(
    clients=("mariadb",),
    daemons=("slurmdbd", "mariadbd"),
    required=frozenset(("slurmdbd", "mariadbd")),
    plugins=("accounting_storage_mysql", "auth_", "hash_", "libslurm", "tls_"),
)
# A new database is made from these, in this order; their names begin with mysql_ before MariaDB 11.
TABLES = ("system_tables", "performance_tables", "system_tables_data")


@dataclass(frozen=True)
class Parts:
    """The folder: bin (mariadb), sbin (mariadbd, slurmdbd), lib, lib/slurm (plugins), share/mariadb."""

    root: Path

    @property
    def plugins(self) -> Path:
        return self.root / "lib" / "slurm"

    @property
    def messages(self) -> Path:
        return self.root / "share" / "mariadb"

    def tables(self) -> str:
        """The SQL that makes the server's own tables."""
        texts = []
        for name in TABLES:
            file = next(self.messages.glob(f"*_{name}.sql"))
            texts.append(file.read_text(encoding="utf-8"))
        return "\n".join(texts)


def place(cache: Path, release: str | None = None) -> Path:
    """Where the folder that goes with a Slurm of `prefix.place` stands, or will."""
    return cache.absolute() / "accounting" / prefix.suite_name(release)


def is_made(cache: Path, release: str | None = None) -> bool:
    """Whether `ensure` will find the folder without fetching anything."""
    target = place(cache, release)
    made = prefix.place(cache, release)
    return _stands(target, prefix.Prefix(made).version() if prefix.is_made(cache, release) else None)


def origin(release: str | None = None) -> str:
    """Where `ensure` will fetch from, and what it costs: measured on two cores and a fast network."""
    whose = "this machine's distribution" if release is None else f"Debian's {prefix.SUITES[release]}"
    return f"{whose}: 40 MB, some 20 s"


def ensure(cache: Path, programs: prefix.Prefix, release: str | None = None) -> Parts:
    """The folder: made the first time from packages, found at once and offline after that.

    A slurmdbd is never older than the Slurm that talks to it: where a suite has moved on, it is made anew.
    Raises ToolError, or UnreachableError, where the packages are not to be had.
    """
    target = place(cache, release)
    with locked(target.parent / ".lock"):
        if not _stands(target, programs.version()):
            with scratch_folder(target.parent) as folder:
                try:
                    _make(cache.absolute(), folder, target, release)
                except HpcaiError as error:
                    raise type(error)(
                        f"Accounting needs slurmdbd and MariaDB, and they could not be fetched: {error.what}",
                        allowed=f"They come from the packages {', '.join([*SLURM, SERVER[0], CLIENT[0]])}.",
                        next_step=error.next_step or "Start the cluster without --accounting.",
                    ) from error
    return Parts(target)


def _stands(target: Path, slurm: str | None) -> bool:
    try:
        made = json.loads((target / "parts.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    is_whole = made["layout"] == LAYOUT and made["root"] == str(target.resolve())
    return bool(is_whole and (slurm is None or slurm_version(made["slurm"]) >= slurm_version(slurm)))


def _make(cache: Path, folder: Path, target: Path, release: str | None) -> None:
    apt.require()
    patchelf = tools.patchelf(cache)
    root, new = folder / "root", folder / "new"
    packages = prefix.unpack(release, folder, root, _choose_and_unpack)
    relocate.relocate(root, new, target.resolve(), patchelf, PROGRAMS)
    _keep_messages(root, new / "share" / "mariadb")
    prefix.keep_licences(root, new)
    record = {
        "layout": LAYOUT,
        "root": str(target.resolve()),
        "slurm": prefix.version_in(packages, "slurmdbd"),
        "packages": packages,
    }
    (new / "parts.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    publish(new, target)


def _choose_and_unpack(source: apt.Apt, root: Path) -> list[str]:
    wanted = [*SLURM, _first_known(source, SERVER), _first_known(source, CLIENT)]
    return source.unpack(source.closure(wanted), root)


def _first_known(source: apt.Apt, names: tuple[str, ...]) -> str:
    return next((name for name in names if source.depends(name) is not None), names[0])


def _keep_messages(root: Path, new: Path) -> None:
    """What mariadbd reads besides libraries: its messages in English, character sets, its own tables."""
    found = next((one for one in root.glob("usr/share/m*") if (one / "english").is_dir()), None)
    tables = [*root.glob("usr/share/m*/*_tables*.sql")]
    if found is None or len(tables) < len(TABLES):
        raise ToolError("This distribution's packages of MariaDB hold no 'errmsg.sys', or no tables.")
    for name in ("english", "charsets"):
        shutil.copytree(found / name, new / name)
    for table in tables:
        shutil.copy(table, new / table.name)
