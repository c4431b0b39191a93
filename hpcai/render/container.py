"""A container as Pyxis flags, in the form that every version reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hpcai.errors import RenderError
from hpcai.render.environment import quote
from hpcai.specs.job import ContainerSpec


def image_reference(image: str) -> str:
    """The image with `#` between registry and image.

    Enroot before 4.0 takes `registry.io/image` for a name on Docker Hub; `#` is read by all.
    A .sqsh file without a folder would be taken for an image name too.
    """
    if image.endswith((".sqsh", ".squashfs")) and "/" not in image:
        return f"./{image}"
    scheme, rest = re.fullmatch(r"(docker://|dockerd://)?(.*)", image, re.DOTALL).groups()  # type: ignore[union-attr]
    host, slash, path = rest.partition("/")
    if slash and host and "#" not in rest and not image.startswith((".", "/")) and re.search(r"[.:]", host):
        rest = f"{host}#{path}"
    return (scheme or "") + rest


def pyxis_words(
    container: ContainerSpec,
    *,
    workdir: str,
    mounts: Sequence[str],
    env_names: Sequence[str],
    steps_in_container: int,
) -> list[str]:
    """The flags as words for bash, for every srun that enters the container."""
    words = [f"--container-image={quote(image_reference(container.image))}"]
    # A name that outlives the job would bring yesterday's image back without a word.
    name = container.name or ("hpcai" if steps_in_container > 1 else None)
    if name:
        words.append(f'--container-name="{name}-$SLURM_JOB_ID"')
    words.append(f"--container-workdir={quote(container.workdir or workdir)}")
    words.append(f"--container-mounts={_mounts([*mounts, *container.mounts])}")
    words += _switches(container)
    names = list(dict.fromkeys([*env_names, *container.env]))
    if names:
        # Where image and job both set a variable, the image would win without a word.
        words.append(f"--container-env='{','.join(names)}'")
    return words


def _switches(container: ContainerSpec) -> Iterator[str]:
    yield "--container-mount-home" if container.mount_home else "--no-container-mount-home"
    if container.writable is not None:
        yield "--container-writable" if container.writable else "--container-readonly"
    if container.remap_root is not None:
        yield "--container-remap-root" if container.remap_root else "--no-container-remap-root"
    if container.entrypoint is not None:
        yield "--container-entrypoint" if container.entrypoint else "--no-container-entrypoint"


def _mounts(mounts: Sequence[str]) -> str:
    """All mounts as one word; `$hpcai_scratch_mount` is known only on the node."""
    fixed = quote(",".join(dict.fromkeys(mounts)) + ",")
    return fixed + '"$hpcai_scratch_mount:$hpcai_scratch_mount"'


def bind(path: str) -> str:
    """The mount that shows a path at its own place.

    Raises RenderError for a path that Pyxis cannot be told.
    """
    if re.search(r"[:,\n]", path):
        raise RenderError(
            f"{path!r} cannot be mounted into a container: Pyxis takes no path with ':' or ','."
        )
    return f"{path}:{path}"
