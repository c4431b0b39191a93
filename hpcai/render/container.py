"""A container as Pyxis flags, in the form that every version reads, and the import of its image."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import RenderError
from hpcai.render.environment import quote
from hpcai.specs.container import ContainerSpec, is_file, registry_of

# What is taken for granted: CycleCloud's Slurm brings it.
PYXIS = "0.21"
# Who signs in with a token and not as a person.
ACR_USER = "00000000-0000-0000-0000-000000000000"
# In which release of Pyxis each of these came.
ENTRYPOINT_LOG = (0, 20)
UNSHARE = SPACES = (0, 24)


def image_reference(image: str, workdir: str) -> str:
    """The image with `#` between registry and image, or the absolute path of its file.

    Enroot before 4.0 takes `registry.io/image` for a name on Docker Hub; `#` is read by all.
    A .sqsh file whose path begins with neither `/` nor `.` would be taken for an image's name too.
    """
    if is_file(image):
        return os.path.normpath(f"{workdir}/{image}" if not image.startswith("/") else image)
    scheme, rest = re.fullmatch(r"(docker://|dockerd://)?(.*)", image, re.DOTALL).groups()  # type: ignore[union-attr]
    host, slash, path = rest.partition("/")
    if slash and host and "#" not in rest and re.search(r"[.:]", host):
        rest = f"{host}#{path}"
    host, _, path = rest.rpartition("#")
    user, at, host = host.rpartition("@")
    if host in ("docker.io", "index.docker.io"):
        # Enroot 4.0 asks a host of that name, and Docker Hub's is another, which it takes without one.
        path = path if "/" in path else f"library/{path}"
        rest = f"{user}{at}{path}"
    return (scheme or "") + rest


@dataclass(frozen=True)
class SharedImage:
    """An image that is imported once for all nodes of a job, to a file in a folder that all see."""

    folder: str
    file: str
    uri: str
    moves: bool
    """Whether the same name may be another image tomorrow."""
    registry: str | None = None
    """The Azure registry that the node's identity signs in to; None: Enroot finds the password, if any."""
    client_id: str | None = None
    """Which of the node's identities."""


def moves(image: str) -> bool:
    """Whether the same name may be another image tomorrow: a tag `latest`, or none."""
    return re.search(r"[:@][^/#]*$", image.rpartition("#")[2]) is None or image.endswith(":latest")


def shared_image(
    container: ContainerSpec, nodes: int, images: Path, *, is_array: bool = False
) -> SharedImage | None:
    """What an import for all nodes is rendered from; None where each node may take the image itself.

    A name that moves is imported by each job, so that none starts from an old image.
    """
    reference = image_reference(container.image, "/")
    name = re.sub(r"^docker://", "", reference)
    is_alone = nodes == 1 and container.login is None and (not is_array or moves(name))
    if is_alone or is_file(container.image) or reference.startswith("dockerd://"):
        return None
    file = re.sub(r"[^A-Za-z0-9._-]+", "+", re.sub(r"^[^#]*@(?=[^#]*#)", "", name)).lstrip("+")
    if container.login is None:
        return SharedImage(str(images), file, f"docker://{name}", moves(name))
    uri = f"docker://{ACR_USER}@{name}"
    client_id = container.login.partition("/")[2] or None
    return SharedImage(str(images), file, uri, moves(name), registry_of(container.image), client_id)


def pyxis_words(
    container: ContainerSpec,
    *,
    workdir: str,
    mounts: Sequence[str],
    env_names: Sequence[str],
    steps_in_container: int,
    imported: bool,
    of_run: bool = False,
) -> list[str]:
    """The flags as words for bash, for every srun that enters the container.

    `imported`: whether the script has made the image a file, and named it `$hpcai_image`.
    `of_run`: whether the run's folder is one that only the script knows.
    """
    image = '"$hpcai_image"' if imported else quote(image_reference(container.image, workdir))
    words = [f"--container-image={image}"]
    name = kept_name(container, steps_in_container)
    if name:
        # A name that outlives the job would bring yesterday's image back without a word.
        words.append(f'--container-name="{name}-$SLURM_JOB_ID"')
    words.append(f"--container-workdir={quote(container.workdir or workdir)}")
    own = [_absolute(mount, workdir) for mount in container.mounts]
    words.append(f"--container-mounts={_mounts([*mounts, *own], of_run=of_run)}")
    words += _switches(container)
    names = list(dict.fromkeys([*env_names, *container.env]))
    if names:
        # Where image and job both set a variable, the image would win without a word.
        words.append(f"--container-env='{','.join(names)}'")
    if container.unshare:
        words.append(f"--container-unshare={','.join(dict.fromkeys(container.unshare))}")
    return words


def kept_name(container: ContainerSpec, steps_in_container: int) -> str | None:
    """The name that the steps of a job know their container by; None for one that ends with its step."""
    return container.name or ("hpcai" if steps_in_container > 1 else None)


def saved_file(container: ContainerSpec, workdir: str) -> str | None:
    """The file that the container is saved to, None if it is not."""
    if container.save is None:
        return None
    return os.path.normpath(
        container.save if container.save.startswith("/") else f"{workdir}/{container.save}"
    )


def refuse_what_pyxis_lacks(
    container: ContainerSpec, mounts: Sequence[str], version: str, workdir: str | None = None
) -> None:
    """Raises RenderError for what this version of Pyxis does not have, or cannot be told.

    `mounts` are those that the job does not name itself, of `workdir` among them.
    """
    has = _release("pyxis_version", version)
    if container.entrypoint_log and has < ENTRYPOINT_LOG:
        raise _lacks("container.entrypoint_log", "0.20", version, "container.entrypoint_log")
    if container.unshare and has < UNSHARE:
        raise _lacks("container.unshare", "0.24", version, "container.unshare")
    for index, mount in enumerate(container.mounts):
        _refuse_signs(f"The mount {mount!r}", mount, has, version, f"container.mounts[{index}]")
    for mount in mounts:
        folder = mount.partition(":")[0]
        key = "workdir" if folder == workdir else None
        _refuse_signs(f"The folder {folder!r}, which the container is to see,", folder, has, version, key)


def _refuse_signs(what: str, mount: str, has: tuple[int, ...], version: str, key: str | None) -> None:
    if re.search(r'[$`"\\]', mount):
        raise RenderError(
            f"{what} cannot be mounted: a shell on the node would read '$', '`', '\"' and '\\' in it.",
            allowed="Give the folder another name.",
            key=key,
        )
    if " " in mount and has < SPACES:
        raise RenderError(
            f"{what} holds a space: that needs Pyxis 0.24, and this site is taken to have {version}.",
            allowed="Give the folder a name without; pyxis_version of a config file says what nodes have.",
            key=key,
        )


def refuse_what_enroot_lacks(container: ContainerSpec, version: str | None) -> None:
    """Raises RenderError for an image that this version of Enroot cannot be told; None is any version."""
    if version is None or is_file(container.image):
        return
    has_both = re.search(r":[^/@:]+@sha256:", container.image.rpartition("#")[2])
    if has_both and _release("enroot_version", version) < (4, 0):
        raise RenderError(
            f"The image {container.image!r} has a tag and a digest, and Enroot {version} reads one of them.",
            allowed="Leave the tag out: IMAGE@sha256:...",
            key="container.image",
        )


def _release(key: str, version: str) -> tuple[int, ...]:
    if re.fullmatch(r"v?\d+\.\d+(\.\d+)*", version) is None:
        raise RenderError(
            f"The site's {key} is {version!r}.", allowed="A version such as 0.21 or 4.0.1 is needed."
        )
    return tuple(int(part) for part in version.lstrip("v").split(".")[:2])


def _lacks(what: str, since: str, version: str, key: str | None) -> RenderError:
    return RenderError(
        f"{what} needs Pyxis {since}, and this site is taken to have {version}.",
        next_step="Leave it out, or let pyxis_version of a config file say what the nodes have.",
        key=key,
    )


def _switches(container: ContainerSpec) -> Iterator[str]:
    yield "--container-mount-home" if container.mount_home else "--no-container-mount-home"
    if container.writable is not None:
        yield "--container-writable" if container.writable else "--container-readonly"
    if container.remap_root is not None:
        yield "--container-remap-root" if container.remap_root else "--no-container-remap-root"
    if container.entrypoint is not None:
        yield "--container-entrypoint" if container.entrypoint else "--no-container-entrypoint"
    if container.entrypoint_log:
        yield "--container-entrypoint-log"


def _absolute(mount: str, workdir: str) -> str:
    """The mount with its source as a whole path: Pyxis would look for a part from where srun is called."""
    source, colon, rest = mount.partition(":")
    if not source.startswith("."):
        return mount
    return f"{os.path.normpath(f'{workdir}/{source}')}:{rest if colon else source}"


def _mounts(mounts: Sequence[str], *, of_run: bool) -> str:
    """All mounts as one word; what is known only on the node as its variable.

    The scratch first: a later mount may lie in it, or take its place.
    """
    run = ",$HPCAI_RUN_DIR:$HPCAI_RUN_DIR" if of_run else ""
    return f'"$hpcai_scratch_mount:$hpcai_scratch_mount{run},"{quote(",".join(dict.fromkeys(mounts)))}'


def bind(path: str) -> str:
    """The mount that shows a path at its own place.

    Raises RenderError for a path that Pyxis cannot be told.
    """
    if re.search(r"[:,\n]", path):
        raise RenderError(
            f"{path!r} cannot be mounted into a container: Pyxis takes no path with ':' or ','."
        )
    return f"{path}:{path}"
