"""Suites of Debian on another machine: where their packages are, and by which keys to trust them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from hpcai.errors import HpcaiError, ToolError, UsageError
from hpcai.slurm.local.apt import Apt

MIRROR = "HPCAI_DEBIAN_MIRROR_URL"
# Debian's own packages bring it to either place.
KEYRINGS = tuple(f"usr/share/keyrings/debian-archive-keyring.{end}" for end in ("gpg", "pgp"))
KEYRING_PACKAGE = "debian-archive-keyring"


def source(suite: str, folder: Path, environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> str:
    """The line of apt that names a suite: of the mirror that this machine uses, signed by Debian's keys.

    `folder` is for what is fetched on the way. Raises ToolError where there is no mirror or no key.
    """
    mirror = environ.get(MIRROR) or None
    if mirror is not None and re.fullmatch(r"[a-z][a-z+-]*:/\S+", mirror) is None:
        raise UsageError(f"{MIRROR} is {mirror!r}.", allowed="The address of a mirror of Debian is needed.")
    machine = [Apt(folder / "apt-machine", own_lists=False), Apt(folder / "apt-lists", own_lists=True)]
    found = mirror or _mirror(machine) or _no_mirror(suite)
    return f"deb [signed-by={_keyring(machine, folder, root)}] {found} {suite} main"


def _mirror(machine: list[Apt]) -> str | None:
    """Where this machine takes Debian's packages from: by its lists, else by lists fetched now."""
    for apt in machine:
        if apt.has_own_lists:
            apt.update()
        for address, release, origin in apt.targets():
            # `bookworm-updates` and `bookworm-security` may lie elsewhere, without the whole archive.
            if origin == "Debian" and "-" not in release and not address.startswith("cdrom:"):
                return address
    return None


def _no_mirror(suite: str) -> NoReturn:
    raise ToolError(
        f"This machine's apt has no source of Debian, and this Slurm is in Debian's {suite}.",
        allowed=f"{MIRROR} may name a mirror of Debian.",
        next_step="hpcai local up  # takes the Slurm of this machine's own distribution",
    )


def _keyring(machine: list[Apt], folder: Path, root: Path) -> Path:
    """Debian's keys: this machine's, else from a package that this machine's own keys vouch for."""
    unpacked = folder / "keys"
    for place in (root, unpacked):
        if place is unpacked:
            _fetch_keyring(machine, unpacked)
        for name in KEYRINGS:
            if (place / name).is_file():
                return place / name
    raise ToolError(f"The package {KEYRING_PACKAGE} of this distribution holds no keys of Debian's archive.")


def _fetch_keyring(machine: list[Apt], unpacked: Path) -> None:
    why = ""
    for apt in machine:
        try:
            if apt.has_own_lists:
                apt.update()
            apt.unpack([KEYRING_PACKAGE], unpacked)
        except HpcaiError as error:
            why = error.what.rstrip(".")
        else:
            return
    raise ToolError(
        f"Debian's keys are not on this machine, and its apt has no package of them: {why}.",
        next_step=f"Ask who runs this machine for {KEYRING_PACKAGE}; without --slurm none is needed.",
    )
