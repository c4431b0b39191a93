"""What Enroot's and Pyxis's own files say on this machine, which most sites have alike on the nodes."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from hpcai.check import places
from hpcai.check.findings import Finding
from hpcai.errors import HpcaiError
from hpcai.slurm.answers import NodeInfo
from hpcai.slurm.plugstack import pyxis_options
from hpcai.specs.container import is_of_azure, registry_of

_NGC = ("nvcr.io", "authn.nvidia.com")
# Of an unpacked image, what Pyxis and Enroot write meanwhile takes about so much (pyxis#41, #53).
_TIMES = 3


def credentials_file(environ: Mapping[str, str]) -> Path:
    """Where Enroot looks for passwords."""
    home = environ.get("HOME") or str(Path.home())
    folder = (
        environ.get("ENROOT_CONFIG_PATH") or f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/enroot"
    )
    return Path(folder) / ".credentials"


def check_credentials(
    image: str, where: str, sight: places.Sight, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether Enroot would find a password for the image's registry, and others not."""
    host = registry_of(image)
    if host is None:
        return
    file = credentials_file(environ)
    known = passwords(file)
    wanted = _NGC if host == _NGC[0] else (host,)
    missing = [one for one in wanted if one not in known]
    if missing:
        # Many images are public: only a private registry always asks.
        is_private = is_of_azure(image)
        login = "set container.login: managed_identity, or " if is_private else ""
        lines = " and ".join(f"machine {one} login USER password PASSWORD" for one in missing)
        yield Finding(
            "image-credentials",
            "warning" if is_private or known else "note",
            where,
            f"{str(file)!r} has no line for {' and '.join(missing)}: a private image ends with 401.",
            f"A public image needs none; else {login}add a line: {lines}.",
        )
    for one in wanted:
        yield from _of_token(one, known.get(one, ""), where, is_of_azure(image))
    if known:
        yield from _of_file(file, where, sight)


def _of_file(file: Path, where: str, sight: places.Sight) -> Iterator[Finding]:
    """Whether others can read the passwords, and nodes cannot."""
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        what = f"Others may read {str(file)!r} (mode {mode:04o})."
        yield Finding("credentials-open", "warning", where, what, f"chmod 600 {shlex.quote(str(file))}")
    only_here = sight.only_here(file)
    if only_here:
        yield Finding(
            "credentials-not-on-nodes",
            "warning",
            where,
            f"Nodes import the image: {only_here}",
            sight.show(file),
        )


def passwords(file: Path) -> dict[str, str]:
    """The password of each host for which a file of Enroot's, in netrc's form, has a line."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = re.findall(r"^\s*machine\s+(\S+)(?:.*?\spassword\s+(\S+))?", text, flags=re.MULTILINE)
    return dict(reversed(lines))


def _end_of_token(password: str) -> float | None:
    """When a JSON web token ends (RFC 7519), in seconds of the epoch; None for another password."""
    body = password.split(".")[1] if password.count(".") == 2 else ""
    try:
        end = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"]
    except (ValueError, KeyError, TypeError):
        return None
    return float(end) if isinstance(end, int | float) else None


def _of_token(host: str, password: str, where: str, is_azure: bool) -> Iterator[Finding]:
    """Whether the password will have ended when the job begins."""
    end = _end_of_token(password)
    if end is None:
        return
    date = datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    past = end < time.time()
    what = f"The password of {host} is a token that {'ended' if past else 'ends'} at {date}."
    then = "" if past else " A job that still waits then ends with 401."
    fix = "Renew it."
    if is_azure:
        fix = "With container.login: managed_identity each job gets one when it begins."
    yield Finding("credentials-expire", "warning", where, what + then, fix)


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
    """`KEY value` by line, as enroot.conf has it."""
    return dict(re.findall(r"^\s*(ENROOT_\w+)\s+(.*?)\s*$", text, flags=re.MULTILINE))


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    text = text.replace("$(id -u)", str(os.getuid())).replace("$(id -g)", str(os.getgid())).strip("'\"")
    return re.sub(r"\$\{?(\w+)\}?", lambda name: environ.get(name[1], name[0]), text)


def plugin_of_another_slurm(where: str, error: HpcaiError) -> Iterator[Finding]:
    """What it means when Slurm's commands cannot load a plugin; nothing for another error."""
    if "Incompatible Slurm plugin" in str(error) or "Plug-in initialization failed" in str(error):
        what = f"A plugin of this Slurm, often Pyxis, was built for another release of it: {error.what}"
        fix = "Ask who runs this Slurm to build it anew (plugstack.conf names it): no srun or sbatch works."
        yield Finding("plugin-of-other-slurm", "error", where, what, fix)
