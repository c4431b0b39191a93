"""Debian's packages without being root: what belongs together, fetched and unpacked into a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from hpcai import shell
from hpcai.errors import ToolError, UnreachableError

UPDATE_TIMEOUT_S = 300
DOWNLOAD_TIMEOUT_S = 600
# What a machine sets for its own suite does not fit another one; what is not signed is never taken.
_APART = {
    "Dir::Etc::sourceparts": os.devnull,
    "Dir::Etc::preferences": os.devnull,
    "Dir::Etc::preferencesparts": os.devnull,
    "APT::Default-Release": "",
    "APT::Get::AllowUnauthenticated": "false",
    "Acquire::AllowInsecureRepositories": "false",
    "Acquire::AllowWeakRepositories": "false",
    "Acquire::AllowDowngradeToInsecureRepositories": "false",
}
_UNTRUSTED = ("NO_PUBKEY", "is not signed", "EXPKEYSIG", "BADSIG", "Missing key")
_NO_SUITE = ("does not have a Release file",)


class Apt:
    """apt with private state: an empty package status, so that the answer never depends on the host."""

    def __init__(self, state: Path, *, own_lists: bool, source: str | None = None) -> None:
        """`state` is a folder for apt's files; without `own_lists` the machine's package lists are read.

        `source` is a line of its own instead of the machine's sources.
        """
        self._state = state
        self.has_own_lists = own_lists
        for name in ("lists/partial", "cache/archives/partial"):
            (state / name).mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        options: dict[str, str | Path] = {
            "Dir::State::status": state / "status",
            "Dir::Cache": state / "cache",
            # The packages are for our own folder: the account that runs us may read it, `_apt` may not.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        if own_lists:
            options["Dir::State::lists"] = state / "lists"
        if source is not None:
            (state / "sources.list").write_text(source + "\n", encoding="utf-8")
            options |= {"Dir::Etc::sourcelist": state / "sources.list", **_APART}
        self._options = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]

    def update(self) -> None:
        """Fetches the package lists; one source that fails is no failure while others answer."""
        done = shell.run(["apt-get", "-q", *self._options, "update"], timeout_s=UPDATE_TIMEOUT_S, check=False)
        if any((self._state / "lists").glob("*_Packages*")):
            return
        if any(sign in done.stderr for sign in _UNTRUSTED):
            raise ToolError(
                f"The keys here do not vouch for what apt fetched: {_last(done.stderr).rstrip('.')}.",
                next_step="Ask who runs this machine for a newer keyring of that distribution's archive.",
            )
        if any(sign in done.stderr for sign in _NO_SUITE):
            raise ToolError(
                f"apt's source does not have it: {_last(done.stderr).rstrip('.')}.",
                next_step="Ask who runs this mirror, or name another in the sources in /etc/apt.",
            )
        raise UnreachableError(
            f"apt could not fetch its package lists: {_last(done.stderr).rstrip('.')}.",
            next_step="Check the network and the sources in /etc/apt, then try again.",
        )

    def targets(self) -> list[tuple[str, str, str]]:
        """Address, release and origin of every source whose lists have been fetched."""
        form = "$(REPO_URI)|$(RELEASE)|$(ORIGIN)"
        argv = ["apt-get", *self._options, "indextargets", "--format", form, "Created-By: Packages"]
        lines = shell.run(argv, timeout_s=60, check=False).stdout.splitlines()
        found = [line.split("|") for line in lines]
        return [(words[0], words[1], words[2]) for words in found if len(words) == 3]

    def depends(self, package: str) -> list[str] | None:
        """The packages that a package depends on directly, None when apt does not know it."""
        done = shell.run(
            ["apt-cache", *self._options, "depends", "--important", package], timeout_s=60, check=False
        )
        if done.status != 0 or not done.stdout.strip():
            return None
        lines = [line.strip() for line in done.stdout.splitlines()]
        return [line.split()[1] for line in lines if line.startswith("Depends: ") and "<" not in line]

    def closure(self, packages: Sequence[str]) -> list[str]:
        """The packages and everything that they need, down to the C library."""
        argv = ["apt-get", "-q", *self._options, "install", "-s", "--no-install-recommends", *packages]
        done = shell.run(argv, timeout_s=120, check=False)
        names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("Inst ")]
        if done.status != 0 or not names:
            raise ToolError(
                f"apt knows no way to install {' '.join(packages)}: {_last(done.stderr).rstrip('.')}."
            )
        return names

    def unpack(self, packages: Sequence[str], root: Path) -> list[str]:
        """The packages' files below `root`; answers with NAME_VERSION_ARCHITECTURE of each."""
        folder = self._state / "debs"
        folder.mkdir()
        argv = ["apt-get", "-q", *self._options, "download", *packages]
        done = shell.run(argv, timeout_s=DOWNLOAD_TIMEOUT_S, cwd=folder, check=False)
        if done.status != 0:
            raise UnreachableError(
                f"apt could not fetch packages: {_last(done.stderr).rstrip('.')}.",
                next_step="Check the network, then try again.",
            )
        debs = sorted(folder.glob("*.deb"))
        for deb in debs:
            shell.run(["dpkg-deb", "-x", deb, root], timeout_s=120)
        return [deb.stem for deb in debs]


def require() -> None:
    """Raises ToolError when this machine has no apt and dpkg."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise ToolError(
                f"The embedded cluster needs {program!r}, and it is not on this machine.",
                allowed="It takes Slurm from the packages of Debian 12 or Ubuntu 22.04 and 24.04.",
                next_step="Use such a machine, or a Slurm that you have; `hpcai check` looks at it.",
            )


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.startswith(("E:", "W:", "Err"))]
    # apt ends with "Some index files failed to download"; the reason stands above.
    told = [line for line in lines if "Failed to fetch" in line] or lines
    return told[-1] if told else "it gave no reason"
