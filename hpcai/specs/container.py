"""What a container is, in the words of Pyxis: validated, frozen data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from hpcai.specs.fields import AbsolutePath, Many, Model, Name, Variable, matches, wrong

FLAGS = (
    *("bind", "nodev", "noexec", "nofail", "nosuid", "private", "rbind", "ro", "rprivate", "rshared"),
    *("rslave", "rw", "shared", "silent", "slave", "x-create=auto", "x-create=dir", "x-create=file"),
)
_TMPFS_FLAGS = re.compile(r"(size|mode|nr_inodes|uid|gid)=[0-9]+[kmgKMG%]?")


def is_file(image: str) -> bool:
    """Whether an image is a path, and not a name in a registry."""
    if image.startswith((".", "/")):
        return True
    return image.endswith((".sqsh", ".squashfs")) and "#" not in image and "://" not in image


def registry_of(image: str) -> str | None:
    """The host of a reference, without port; None for Docker Hub and for a file."""
    if is_file(image):
        return None
    name = re.sub(r"^dockerd?://", "", image)
    host = name.rpartition("#")[0].rpartition("@")[2]
    if not host:
        first, slash, _ = name.partition("/")
        host = first.rpartition("@")[2] if slash and re.search(r"[.:]", first) else ""
    return host.partition(":")[0] or None


def is_of_azure(image: str) -> bool:
    """Whether an image lies in an Azure Container Registry, whose passwords are tokens of three hours."""
    return bool(re.search(r"\.azurecr\.(io|cn|us)$", registry_of(image) or ""))


_FORM = "REGISTRY#IMAGE:TAG, or the path of a .sqsh file"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"


def _image(text: str) -> str:
    text = _at_home(text)
    if re.search(r"[\x00-\x1f\x7f]", text) or not text.strip():
        raise wrong(f"got {text!r}; {_FORM}, in one line")
    if is_file(text):
        return text
    reference = re.sub(r"^dockerd?://", "", text)
    if "://" in reference:
        raise wrong(f"got {text!r}; of the schemes only docker:// and dockerd:// are known")
    name = _without_version(reference, text).rpartition("#")[2]
    path = name if "#" in reference else _without_registry(name)
    if "$" in path:
        raise wrong(f"got {text!r}; no shell reads it: write $NAME out")
    if re.search("[A-Z]", path):
        raise wrong(f"got {text!r}; an image's name has no capitals: {path.lower()!r}")
    if re.fullmatch(r"[a-z0-9][a-z0-9._/-]*", path) is None or re.search(r"\s|#.*#", reference):
        raise wrong(f"got {text!r}; {_FORM}")
    return text


def _without_version(reference: str, text: str) -> str:
    """The reference without tag and digest; raises a validator's error for what no image can have."""
    name, at, digest = reference.partition("@sha256:")
    if at and re.fullmatch("[0-9a-f]{64}", digest) is None:
        raise wrong(
            f"got {text!r}; a digest is sha256: and 64 of 0-9 and a-f, and {digest!r} has {len(digest)}"
        )
    *_, last = re.split("[/#]", name)
    _, colon, tag = last.partition(":")
    if colon and re.fullmatch(_TAG, tag) is None:
        raise wrong(f"got {text!r}; the tag {tag!r} is not of letters, digits, '_', '.' and '-'")
    return name.removesuffix(f":{tag}") if colon else name


def _without_registry(name: str) -> str:
    host, slash, path = name.partition("/")
    return path if slash and re.search(r"[.:@]", host) else name


def _mount(text: str) -> str:
    text = _at_home(text)
    source, *rest = text.split(":")
    if re.match(r"[~$]", source):
        raise wrong(f"got {text!r}; no shell reads it: write {source.partition('/')[0]} out")
    if not re.match(r"[/.]|tmpfs$|umount$", source) or len(rest) > 2 or re.search(r"[,\x00-\x1f\x7f]", text):
        raise wrong(f"got {text!r}; 'SOURCE[:TARGET[:FLAGS]]', paths start with / or . and hold no comma")
    if rest and not re.match(r"[/.]", rest[0]):
        raise wrong(f"got {text!r}; the target {rest[0]!r} must start with / or .")
    if not rest and source in ("tmpfs", "umount"):
        raise wrong(f"got {text!r}; {source} needs a target, as in '{source}:/scratch'")
    flags = rest[1].split("+") if len(rest) == 2 else []
    for flag in flags:
        if flag not in FLAGS and not (source == "tmpfs" and _TMPFS_FLAGS.fullmatch(flag)):
            # Pyxis takes a misspelt flag without a word.
            raise wrong(f"got {text!r}; flags are {', '.join(FLAGS)}, joined by +, and for tmpfs size=10G")
    if {"ro", "rw"} <= set(flags):
        raise wrong(f"got {text!r}; a mount is ro or rw")
    return text


def _at_home(text: str) -> str:
    """The text with the home folder that it begins with; Pyxis would take `~` for a folder of that name."""
    return f"{Path.home()}{text[1:]}" if text.startswith("~/") else text


def _file(text: str) -> str:
    text = _at_home(text)
    if re.search(r"[\x00-\x1f\x7f]", text) or not text.strip() or text.endswith("/"):
        raise wrong(f"got {text!r}; the path of a file in one line, such as saved/image.sqsh")
    return text


_LOGIN = matches(
    r"managed_identity(/[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?",
    "managed_identity, or managed_identity/CLIENT-ID where a node has several",
)


class ContainerSpec(Model):
    """A Pyxis container; each field but `login` is the flag without `--container-`."""

    image: Annotated[str, AfterValidator(_image)]
    login: Annotated[str, _LOGIN] | None = None
    """Whose identity gets the password of the image's registry when the job has begun."""
    mounts: Many[Annotated[str, AfterValidator(_mount)]] = ()
    workdir: AbsolutePath | None = None
    name: Name | None = None
    save: Annotated[str, AfterValidator(_file)] | None = None
    mount_home: bool = False
    remap_root: bool | None = None
    entrypoint: bool | None = None
    entrypoint_log: bool = False
    writable: bool | None = None
    env: Many[Variable] = ()
    unshare: Many[Literal["net", "ipc", "uts"]] = ()
