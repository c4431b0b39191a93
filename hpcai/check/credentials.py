"""Whether Enroot would find a password for an image's registry, as Enroot 4 reads them (src/docker.sh)."""

from __future__ import annotations

import base64
import json
import re
import shlex
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from hpcai.check import paths, places
from hpcai.check.findings import Finding, Severity
from hpcai.entry import looking_at
from hpcai.specs.container import is_file, is_of_azure, registry_of

_NGC = "nvcr.io"
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
# The registry itself, and the host that it sends Enroot to for a token: curl takes the password of that one.
_HOSTS = {
    _NGC: (_NGC, "authn.nvidia.com"),
    "registry-1.docker.io": ("registry-1.docker.io", "auth.docker.io"),
    "registry.gitlab.com": ("registry.gitlab.com", "gitlab.com"),
}
# These ask nobody for a password.
_PUBLIC = ("mcr.microsoft.com", "registry.k8s.io", "public.ecr.aws")


class Asked(NamedTuple):
    """Whose passwords an import takes."""

    hosts: tuple[str, ...]
    user: str | None
    """Who stands before the registry: USER@REGISTRY#IMAGE."""


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
    asked = asked_for(image)
    if asked is None:
        return
    file = credentials_file(environ)
    try:
        text = _text(file)
    except OSError as error:
        what = f"{str(file)!r}, where Enroot looks for passwords, cannot be read: {error.strerror}."
        fix = f"namei -l {shlex.quote(str(file))}  # shows whose it is"
        yield Finding("image-credentials", "warning", where, what, fix)
        return
    known = passwords(text)
    # A script has no such key.
    may_log_in = is_of_azure(image) and where == "container.image"
    missing = [host for host in asked.hosts if host not in known]
    unread = _unread(asked, text) if asked.hosts[0] in known else None
    if unread:
        yield Finding("image-credentials", "warning", where, unread, f"Write {_lines(asked, asked.hosts)}.")
    elif missing:
        # Many images are public; a registry of Azure always asks, and who has a line means to use it.
        is_private = is_of_azure(image) or asked.user is not None or len(missing) < len(asked.hosts)
        severity: Severity = "warning" if is_private else "note"
        what = f"{str(file)!r} has no line for {' and '.join(missing)}: a private image ends with 401."
        login = "set container.login: managed_identity, or " if may_log_in else ""
        fix = f"A public image needs none; else {login}add {_lines(asked, missing)}."
        yield Finding("image-credentials", severity, where, what, fix)
    for host in asked.hosts:
        yield from _of_token(host, known.get(host, ""), where, may_log_in=may_log_in)
    if len(missing) < len(asked.hosts):
        yield from _of_file(file, where, sight)


def asked_for(image: str) -> Asked | None:
    """Whose passwords an import of the image may need; None where nobody asks for one."""
    if is_file(image) or image.startswith("dockerd://"):
        return None
    found = re.match(r"(?:docker://)?(?:([^@/#:]+)@(?!sha256:))?(.*)", image, re.DOTALL)
    assert found is not None
    user, name = found[1], found[2]
    host = registry_of(image)
    if host is None or host in _DOCKER_HUB:
        path = re.sub(r"^[^/#]*[.:][^/#]*[/#]", "", name)
        if "/" not in path or path.startswith("library/"):
            return None
        host = "registry-1.docker.io"
    if host in _PUBLIC:
        return None
    return Asked(_HOSTS.get(host, (host,)), user)


def _lines(asked: Asked, hosts: Sequence[str]) -> str:
    """What the file should say of these hosts."""
    user, password = asked.user or "USER", "PASSWORD"
    if asked.hosts[0] == _NGC:
        user, password = "$oauthtoken", "KEY"
    lines = " and ".join(f"machine {host} login {user} password {password}" for host in hosts)
    return f"the line{'s' if len(hosts) > 1 else ''} {lines}"


def _unread(asked: Asked, text: str) -> str | None:
    """Why Enroot would not take a registry's entry that is there; None for one that it takes."""
    host = re.escape(asked.hosts[0])
    taken = re.findall(rf"^machine[ \t]+{host}[ \t]+login[ \t]+(\S+)[ \t]", text, flags=re.MULTILINE)
    first = re.search(rf"^[ \t]*machine[ \t]+{host}[ \t]+login[ \t]+(\S+)", text, flags=re.MULTILINE)
    user = asked.user or (first[1] if first else None)
    if user in taken and user != taken[0] and len(asked.hosts) == 1:
        return f"Of several lines of {asked.hosts[0]} the first counts, and that is for {taken[0]}."
    if user in taken:
        return None
    if asked.user is not None and taken:
        return f"The image is asked for as {asked.user}, and the line of {asked.hosts[0]} is for {taken[0]}."
    return (
        f"Enroot passes over what is said of {asked.hosts[0]}: it takes one line that begins with machine, "
        "then login, then password."
    )


def _text(file: Path) -> str:
    """What the file says; nothing where there is none. Raises OSError for one that is closed to this user."""
    entry = paths.looked_at(file)
    if not entry.refused and not entry.is_file:
        return ""
    with looking_at(file):
        return file.read_text(encoding="utf-8", errors="replace")


def passwords(text: str) -> dict[str, str]:
    """The password of each host in a text in netrc's form, as curl reads it: the first of a host counts."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: dict[str, str] = {}
    host, is_new = "", False
    words = iter(" ".join(lines).split())
    for word in words:
        if word in ("machine", "default"):
            host = next(words, "") if word == "machine" else ""
            is_new = bool(host) and host not in found
            if is_new:
                found[host] = ""
        elif word in ("login", "account"):
            next(words, "")
        elif word == "password":
            password = next(words, "")
            if is_new:
                found[host] = password
    return found


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


def _end_of_token(password: str) -> float | None:
    """When a JSON web token ends (RFC 7519), in seconds of the epoch; None for another password."""
    body = password.split(".")[1] if password.count(".") == 2 else ""
    try:
        end = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"]
    except (ValueError, KeyError, TypeError):
        return None
    return float(end) if isinstance(end, int | float) else None


def _of_token(host: str, password: str, where: str, *, may_log_in: bool) -> Iterator[Finding]:
    """Whether the password will have ended when the job begins."""
    end = _end_of_token(password)
    if end is None:
        return
    date = datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    past = end < time.time()
    what = f"The password of {host} is a token that {'ended' if past else 'ends'} at {date}."
    then = "" if past else " A job that still waits then ends with 401."
    fix = "Renew it."
    if may_log_in:
        fix = "With container.login: managed_identity each job gets one when it begins."
    yield Finding("credentials-expire", "warning", where, what + then, fix)
