"""What this machine lets others mount, as a scheduler of CycleCloud does with /shared."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

# What the kernel's server exports now; what it was told to, where that cannot be read.
NOW = Path("/var/lib/nfs/etab")
TOLD = (Path("/etc/exports"), Path("/etc/exports.d"))


def exports() -> list[str]:
    """The folders that this machine exports by NFS; none where it says so nowhere."""
    text = _text(NOW)
    if not text:
        folder = sorted(TOLD[1].glob("*.exports"))
        text = "\n".join(_text(file) for file in (TOLD[0], *folder))
    return list(dict.fromkeys(_folders(text)))


def is_this_machine(host: str) -> bool:
    """Whether a name or address is one of this machine's own."""
    own = socket.gethostname()
    if host in (own, own.partition(".")[0], "localhost"):
        return True
    try:
        return any(_is_own(family, address[0]) for family, *_, address in socket.getaddrinfo(host, 0))
    except OSError:
        return False


def _is_own(family: int, address: object) -> bool:
    # Only at an address of its own can a machine be reached.
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((address, 0))
        except OSError:
            return False
    return True


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _folders(text: str) -> Iterator[str]:
    """`/shared *(rw)` and `"/my data" host(ro)` by line; \\040 stands for a space."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.match(r'\s*(?:"([^"]+)"|(/\S*))', line)
        if found:
            name = found[1] or found[2]
            yield re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), name)
