"""What Enroot's and Pyxis's own files say on this machine, which most sites have alike on the nodes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hpcai.check import places
from hpcai.check.findings import Finding
from hpcai.slurm.answers import NodeInfo
from hpcai.slurm.plugstack import pyxis_options

# Of an unpacked image, what Pyxis and Enroot write meanwhile takes about so much (pyxis#41, #53).
_TIMES = 3


def check_data_path(where: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether Enroot unpacks images into the home folder or onto a network share."""
    settings = enroot_settings(environ)
    if settings is None:
        return
    folder = settings.get("ENROOT_DATA_PATH")
    home = environ.get("HOME") or str(Path.home())
    path = Path(_expanded(folder, environ)) if folder else Path(home) / ".local/share/enroot"
    kind = places.filesystem(places.existing(path)) if path.is_absolute() else None
    is_home = path.is_relative_to(home)
    if not is_home and kind not in (*places.FILES, "nfs", "nfs4", "lustre", "beegfs"):
        return
    why = "your home folder, whose quota a few images fill" if is_home else f"a network share ({kind})"
    yield Finding(
        "enroot-data-on-share",
        "warning",
        where,
        f"Enroot here unpacks images to {str(path)!r}: {why}.",
        "ENROOT_DATA_PATH in /etc/enroot/enroot.conf of the nodes should name their own disk.",
    )


def check_room(
    image: Path, where: str, nodes: tuple[NodeInfo, ...], environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether an unpacked image could fill the RAM disk that Pyxis works in."""
    options = pyxis_options(environ)
    place = options.get("runtime_path", "/run/pyxis")
    in_memory = place.startswith(("/run/", "/dev/shm")) and options.get("use_squashfuse", "0") == "0"
    memory = min((node.memory_mib for node in nodes if node.memory_mib), default=None)
    if not in_memory or memory is None or not options:
        return
    need = _TIMES * image.stat().st_size
    if need > memory * 2**20 / 2:
        yield Finding(
            "image-fills-memory",
            "warning",
            where,
            f"Unpacking {str(image)!r} takes about {need / 1e9:.0f} GB of {place!r}, which is memory of the "
            f"node; it has {memory / 1024:.0f} GiB.",
            "runtime_path in plugstack.conf should name the nodes' own disk.",
        )


def enroot_settings(environ: Mapping[str, str]) -> dict[str, str] | None:
    """What enroot.conf of this machine says; None where there is none."""
    folder = Path(environ.get("ENROOT_SYSCONF_PATH") or "/etc/enroot")
    try:
        files = [folder / "enroot.conf", *sorted((folder / "enroot.conf.d").glob("*.conf"))]
        text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    except (OSError, UnicodeDecodeError):
        return None
    return settings_of(text) if text else None


def is_standin(environ: Mapping[str, str]) -> bool:
    """Whether the embedded cluster's stand-in plays Pyxis, which also takes an unpacked image."""
    return "standin" in Path(pyxis_options(environ).get("plugin", "")).name


def settings_of(text: str) -> dict[str, str]:
    """`KEY value` or `KEY=value` by line, as enroot.conf has it; of a key that stands twice, the first."""
    lines = re.findall(r"^[ \t=]*(ENROOT_[A-Z_]+)[ \t=]+(.*?)[ \t]*$", text, flags=re.MULTILINE)
    return dict(reversed(lines))


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    text = text.replace("$(id -u)", str(os.getuid())).replace("$(id -g)", str(os.getgid())).strip("'\"")
    return re.sub(r"\$\{?(\w+)\}?", lambda name: environ.get(name[1], name[0]), text)
