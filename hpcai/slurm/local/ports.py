"""TCP ports that nothing else takes: free now, and below those of outgoing connections."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Collection
from pathlib import Path

from hpcai.errors import ToolError

LOWEST = 20000
HIGHEST = 32768


def free_ports(count: int, *, taken: Collection[int], salt: str = "") -> list[int]:
    """`count` ports that can be bound on every address; `taken` are left out.

    Searches with different `salt` begin at different places, so that two at once seldom meet.

    Raises ToolError when there are not enough.
    """
    top = min(HIGHEST, _first_ephemeral())
    span = top - LOWEST
    begin = zlib.crc32(os.fsencode(salt)) % span if span > 0 else 0
    found: list[int] = []
    for step in range(span):
        if len(found) == count:
            return found
        port = LOWEST + (begin + step) % span
        if port not in taken and is_free(port):
            found.append(port)
    if len(found) == count:
        return found
    raise ToolError(
        f"The cluster needs {count} TCP ports, and {len(found)} are free between {LOWEST} and {top - 1}.",
        next_step="Ask for fewer nodes, or stop other clusters; `hpcai local status` lists them.",
    )


def _first_ephemeral() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return HIGHEST


def is_free(port: int) -> bool:
    """Whether the port can be bound on every address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Whether something on this machine answers on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
