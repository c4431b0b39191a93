"""What would keep a job's container from starting, as far as it can be known before the queue."""

from __future__ import annotations

import os
import re
import shlex
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from hpcai.check import credentials, enroot, paths, places
from hpcai.check.bash.commands import read_commands
from hpcai.check.findings import Finding, Severity
from hpcai.check.places import Sight
from hpcai.check.told import Told
from hpcai.entry import Entry, looking_at
from hpcai.render.container import moves, saved_file
from hpcai.render.resolved import ResolvedJob
from hpcai.specs.container import ContainerSpec, is_file
from hpcai.specs.gpus import gpus_asked

# The superblock of a squashfs 4.0: its magic, its version, how many bytes are in use.
_SUPERBLOCK = struct.Struct("<4s24xHH8xQ48x")
# From this release on Pyxis itself looks whether every source is there, whatever the flags say.
_LOOKS_AT_SOURCES = (0, 24)
_FOR_SHELLS = re.compile(r"/(~|\$\w|\$\{)")
# What settings of communication libraries begin with.
TUNING = re.compile(r"(NCCL|UCX|OMPI|SHARP|RCCL|HCOLL|MELLANOX|NVIDIA)_\w+")
# NVIDIA's own images show all GPUs by themselves.
OF_NVIDIA = re.compile(r"(dockerd?://)?([^@/#]*@)?(nvcr\.io[#/])?nvidia/")
MPIRUNS = ("mpirun", "mpiexec", "horovodrun")


def check_container(
    job: ResolvedJob, told: Told, sight: Sight, environ: Mapping[str, str], release: str | None = None
) -> Iterator[Finding]:
    """Findings for a job with a container, `release` that of Pyxis; for one without, about this shell."""
    container = job.spec.container
    if container is None:
        yield from batch_in_container(environ)
        return
    if is_file(container.image):
        path = Path(os.path.normpath(job.workdir / container.image))
        yield from check_image(path, "container.image", told, sight, environ)
    elif paths.looked_at(job.workdir / container.image).is_file:
        what = f"{container.image!r} is read as a name in a registry, and there is a file of that name."
        fix = f"Write ./{container.image} for the file; Enroot takes those of squashfs alone."
        yield Finding("image-file-without-slash", "warning", "container.image", what, fix)
    elif container.login is None:
        yield from credentials.check_credentials(container.image, "container.image", sight, environ)
        yield from _pulled_by_all(job)
    for index, mount in enumerate(container.mounts):
        source = mount.partition(":")[0]
        if source not in ("tmpfs", "umount"):
            path = Path(os.path.normpath(job.workdir / source))
            may_fail = "nofail" in mount.rpartition(":")[2].split("+")
            where = f"container.mounts[{index}]"
            yield from check_source(path, where, sight, may_fail=may_fail, release=release)
    saved = saved_file(container, str(job.workdir))
    if saved is not None:
        yield from check_saved(Path(saved), "container.save", sight)
    yield from _variables(job)
    yield from batch_in_container(environ)
    yield from taken_from_shell(container, environ)
    yield from enroot.check_data_path("container", environ)
    if told.srun_takes_containers and told.sbatch_takes_containers is False:
        yield not_in_sbatch()


def _pulled_by_all(job: ResolvedJob) -> Iterator[Finding]:
    container, array = job.spec.container, job.spec.array
    if container is not None and array is not None and moves(container.image):
        what = "Each task of the array pulls the image for itself: its name may be another image tomorrow."
        yield Finding(
            "image-pulled-by-all", "warning", "container.image", what, "Name a tag but latest, or a digest."
        )


def check_image(
    path: Path, where: str, told: Told, sight: Sight, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether a file is there, is an image, is seen by the nodes, and fits where it is unpacked."""
    entry = paths.looked_at(path)
    if entry.refused:
        yield paths.closed(path, entry.refused, where, is_sure=sight.absent_for_sure(path))
        return
    if entry.is_folder and enroot.is_standin(environ):
        return
    if not entry.is_there:
        severity, what = _absent(path, sight)
        fix = "Correct the path, or import it: enroot import -o FILE.sqsh docker://IMAGE."
        yield Finding("image-missing", severity, where, what, fix)
        return
    try:
        wrong = _no_image(path, entry)
    except OSError as error:
        what = f"You cannot read {str(path)!r}: {error.strerror}."
        fix = f"ls -l {shlex.quote(str(path))}  # shows whose it is"
        yield Finding("path-closed", "error", where, what, fix)
        return
    if wrong:
        what = f"{str(path)!r} is no squashfs image: {wrong}."
        yield Finding("image-no-image", "error", where, what, "enroot import writes one.")
        return
    only_here = sight.only_here(path)
    if only_here:
        fix = f"Copy it to a folder that all nodes see; {sight.show(path)}"
        yield Finding("image-not-on-nodes", "warning", where, only_here, fix)
    yield from enroot.check_room(path, where, tuple(told.nodes or ()), environ)


def _no_image(path: Path, entry: Entry) -> str | None:
    """Why a path that is there is no whole image; None for one that is. Raises OSError."""
    if entry.is_folder:
        return "it is a folder"
    # Who opens a pipe waits for whoever writes into it.
    if not entry.is_file:
        return "it is no file"
    with looking_at(path), path.open("rb") as file:
        begin = file.read(_SUPERBLOCK.size)
    if not begin.startswith(b"hsqs"):
        return f"it begins with {begin[:4]!r}"
    if len(begin) < _SUPERBLOCK.size:
        return f"it ends after {len(begin)} bytes"
    _, major, minor, used = _SUPERBLOCK.unpack(begin)
    if (major, minor) != (4, 0) or used < _SUPERBLOCK.size:
        return "after its first four letters it is something else"
    if used > entry.size:
        return f"it is cut off, with {entry.size:,} of {used:,} bytes"
    return None


def check_source(
    path: Path, where: str, sight: Sight, *, may_fail: bool = False, release: str | None = None
) -> Iterator[Finding]:
    """Whether what is mounted is there, here and on the nodes; `may_fail` where its flags hold nofail."""
    looks_itself = _looks_at_sources(release)
    entry = paths.looked_at(path)
    if may_fail and not looks_itself and not entry.is_there:
        return
    if entry.refused:
        yield paths.closed(path, entry.refused, where, is_sure=sight.absent_for_sure(path))
        return
    if not entry.is_there:
        severity, what = _absent(path, sight)
        fix = "Correct the source, or add the flag nofail."
        if looks_itself:
            fix = f"Correct the source or leave the mount out: Pyxis {release} wants it also with nofail."
        elif release is None:
            fix = "Correct the source; before Pyxis 0.24 the flag nofail lets the job start without it."
        yield Finding("mount-missing", severity, where, what, fix)
        return
    only_here = sight.only_here(path)
    if only_here:
        fix = f"Name a folder that all nodes see; {sight.show(path)}"
        yield Finding("mount-not-on-nodes", "warning", where, only_here, fix)


def check_saved(file: Path, where: str, sight: Sight, *, is_made: bool = True) -> Iterator[Finding]:
    """Whether a container can be saved there, which Pyxis tries when the work is done.

    `is_made`: whether the script makes the folder where there is none.
    """
    folder = places.existing(file.parent) if is_made else file.parent
    entry = paths.looked_at(folder)
    if paths.looked_at(file).is_folder:
        what, fix = f"{str(file)!r} is a folder.", "Name a file in it, such as image.sqsh."
    elif not entry.is_folder or not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        what = f"{str(file)!r} cannot be written: {str(folder)!r} is not a folder that you may write to."
        fix = f"Name another place; namei -l {shlex.quote(str(folder))} shows whose this is."
    else:
        only_here = sight.only_here(folder)
        if only_here:
            fix = f"Name a folder that all nodes see; {sight.show(folder)}"
            yield Finding("save-not-writable", "warning", where, only_here, fix)
        return
    severity: Severity = "error" if sight.absent_for_sure(file) else "warning"
    yield Finding("save-not-writable", severity, where, what, fix)


def _looks_at_sources(release: str | None) -> bool:
    found = re.match(r"v?(\d+)\.(\d+)", release or "")
    return found is not None and (int(found[1]), int(found[2])) >= _LOOKS_AT_SOURCES


def batch_in_container(environ: Mapping[str, str]) -> Iterator[Finding]:
    """What a variable of Pyxis in this shell would do to any job."""
    for name in ("PYXIS_CONTAINER_IMAGE", "PYXIS_CONTAINER_NAME"):
        if environ.get(name):
            what = f"{name} is set here: the batch script itself would run inside that container."
            yield Finding(
                "batch-in-container", "error", name, what, f"Type `unset {name}` before you submit."
            )


# What a job always says itself is not among them.
_TAKEN = ("SAVE", "REMAP_ROOT", "ENTRYPOINT", "ENTRYPOINT_LOG", "WRITABLE", "READONLY", "UNSHARE")


def taken_from_shell(container: ContainerSpec, environ: Mapping[str, str]) -> Iterator[Finding]:
    """A warning for each variable of Pyxis in this shell that says what the job leaves open."""
    for word in _TAKEN:
        name = f"PYXIS_CONTAINER_{word}"
        key = word.lower().replace("readonly", "writable")
        if environ.get(name) and getattr(container, key) == ContainerSpec.model_fields[key].default:
            what = (
                f"{name} is set here, and the job does not say container.{key}: Pyxis takes it for each step."
            )
            fix = f"Type `unset {name}` before you submit, or set container.{key}."
            yield Finding("pyxis-variable", "warning", name, what, fix)


def not_in_sbatch() -> Finding:
    """For a Slurm whose srun has Pyxis and whose sbatch has not."""
    what = "sbatch here has no --container-image, though srun has (sbatch_support=0 in plugstack.conf)."
    fix = "Options of srun inside the script work; #SBATCH lines with --container do not."
    return Finding("pyxis-not-in-sbatch", "note", "pyxis", what, fix)


def _absent(path: Path, sight: Sight) -> tuple[Severity, str]:
    if _FOR_SHELLS.search(str(path)):
        return (
            "error",
            f"There is no {str(path)!r}: only a shell reads ~ or $NAME; write it out.",
        )
    if sight.absent_for_sure(path):
        return "error", f"There is no {str(path)!r}."
    return "warning", f"There is no {str(path)!r} on this machine; the nodes may have one."


def _variables(job: ResolvedJob) -> Iterator[Finding]:
    spec = job.spec
    assert spec.container is not None
    named = {*spec.env, *spec.container.env}
    exported = {name: index for index, line in enumerate(spec.setup) for name in _exported(line)}
    for name, index in exported.items():
        if TUNING.fullmatch(name) and name not in named:
            what = f"{name} is exported in setup: where the image sets it too, the image's value wins."
            fix = "Set it under env, or name it under container.env."
            yield Finding("image-wins", "warning", f"setup[{index}]", what, fix)
    yield from gpus_in_container(spec.env, _has_gpus(job))
    started = [one for one in read_commands(spec.command) if one.program in MPIRUNS]
    if started:
        what = f"{started[0].program} inside a container starts ranks in it alone, on one node."
        fix = "Leave it out: with launcher: mpi each rank is a task of its own."
        # What one of the tasks may do, or is told by hosts, is its author's matter.
        words = " ".join(started[0].arguments)
        is_sure = spec.nodes > 1 and not started[0].depth and not started[0].may_be_skipped
        is_sure = is_sure and re.search(r"\s--?(H|host|hostfile|machinefile|f)\b", words) is None
        yield Finding("mpirun-in-container", "error" if is_sure else "warning", "command", what, fix)


def _exported(line: str) -> Iterator[str]:
    for command in read_commands(line):
        if command.program == "export":
            yield from (one.name for one in command.assignments)


def _has_gpus(job: ResolvedJob) -> bool:
    spec = job.spec
    assert spec.container is not None
    # A profile says what its GPUs need; those of AMD need another variable.
    is_told = spec.profile is not None or OF_NVIDIA.match(spec.container.image) is not None
    is_told = is_told and "NVIDIA_VISIBLE_DEVICES" not in spec.env
    asked = gpus_asked(spec)
    return not is_told and asked.key is not None and asked.per_node != 0


def gpus_in_container(env: Mapping[str, str], has_gpus: bool, where: str = "env") -> Iterator[Finding]:
    """Whether the image would be shown the GPUs that the job has."""
    visible = env.get("NVIDIA_VISIBLE_DEVICES")
    if not has_gpus or visible == "all":
        return
    if visible is None:
        what = "NVIDIA_VISIBLE_DEVICES is not set: an image that does not set it either gets no GPU."
    else:
        what = (
            f"NVIDIA_VISIBLE_DEVICES is {visible!r}: Slurm numbers the GPUs of a job anew, and some would be "
            "missing."
        )
    fix = "Set it to all; a profile does so."
    yield Finding("gpus-not-in-image", "warning", where, what, fix)
