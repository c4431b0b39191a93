"""What would go wrong with the containers and the sruns of a script of #SBATCH lines."""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hpcai.check import container, enroot
from hpcai.check.findings import Finding, Severity
from hpcai.check.job import Surroundings
from hpcai.slurm.sbatch_lines import PYXIS, Option, Script
from hpcai.specs.container import is_file

_LAUNCHES = re.compile(r"(?:^|[\s;&|(])(srun|mpirun|mpiexec)(?=\s)")


def check_steps(script: Script, around: Surroundings) -> Iterator[Finding]:
    yield from container.batch_in_container(around.environ)
    nodes = _count(script.value("nodes"))
    own = {one.name: one for one in script.options if one.name in PYXIS}
    if "container-image" in own:
        yield from _image_option(own["container-image"].value or "", own["container-image"].at, around)
        yield from _in_batch(script, own["container-image"], nodes)
    exported = _exports(script)
    for number, line in script.body:
        flags = flags_of(line)
        if "container-image" in flags or "container-name" in flags:
            yield from _step(_Step(flags, f"{number}:1", nodes, exported, _asks_for_gpus(script)), around)
            if container.MPIRUN.search(line):
                what = "mpirun inside a container starts ranks in it alone, on one node."
                fix = "Let srun start the ranks: srun --mpi=pmix --container-image=... COMMAND."
                severity: Severity = "error" if nodes > 1 else "warning"
                yield Finding("mpirun-in-container", severity, "mpirun", what, fix, f"{number}:1")
        if re.search(r"--mpi[= ]\S+", line) and around.told.mpi_plugins is not None:
            yield from _mpi(line, number, around)


def _in_batch(script: Script, option: Option, nodes: int) -> Iterator[Finding]:
    launches = [number for number, line in script.body if _LAUNCHES.search(line)]
    if nodes > 1 or launches:
        why = f"on the first of {nodes} nodes" if nodes > 1 else "alone"
        what = f"With #SBATCH --container-image the batch script {why} runs inside it, and has no srun there."
        fix = "Give --container-image to srun in the script instead."
        yield Finding("container-in-sbatch", "error", "--container-image", what, fix, option.at)


@dataclass(frozen=True)
class _Step:
    """One srun with a container: its options of Pyxis, and where it stands."""

    flags: Mapping[str, str]
    at: str
    nodes: int
    exported: Mapping[str, str]
    has_gpus: bool


def _step(step: _Step, around: Surroundings) -> Iterator[Finding]:
    image = step.flags.get("container-image", "")
    if image and "$" not in image:
        yield from _image_option(image, step.at, around)
        if step.nodes > 1 and not is_file(image):
            what = f"Each of {step.nodes} nodes imports {image!r}: slow, and a registry may answer 429."
            fix = "Import it once to a shared folder: enroot import -o FILE.sqsh docker://IMAGE."
            yield Finding("image-pulled-by-all", "warning", "--container-image", what, fix, step.at)
    name = step.flags.get("container-name")
    if name and "$" not in name and not name.endswith((":create", ":exec")):
        what = f"The container {name!r} outlives the job: the next job finds it, whatever image it names."
        fix = 'Add "-$SLURM_JOB_ID" to it.'
        yield Finding("container-name-stale", "warning", "--container-name", what, fix, step.at)
    yield from _variables(step)
    for mount in step.flags.get("container-mounts", "").split(","):
        source = mount.partition(":")[0]
        if source.startswith("/") and "$" not in source and "nofail" not in mount:
            for finding in container.check_source(Path(source), "--container-mounts", around.sight):
                yield replace(finding, place=step.at)


def _variables(step: _Step) -> Iterator[Finding]:
    """What the step exports, and its image may have a value of its own for."""
    named = set(step.flags.get("container-env", "").split(","))
    for variable in step.exported:
        if container.TUNING.fullmatch(variable) and variable not in named:
            what = f"{variable} is exported, and where the image sets it too, the image's value wins."
            fix = f"Add it to --container-env={variable}."
            yield Finding("image-wins", "warning", "--container-env", what, fix, step.at)
    for finding in container.gpus_in_container(step.exported, step.has_gpus, "--container-env"):
        yield replace(finding, fix="Export it as all.", place=step.at)


def _image_option(image: str, at: str, around: Surroundings) -> Iterator[Finding]:
    where = "--container-image"
    if image.endswith((".sqsh", ".squashfs")) and not image.startswith((".", "/")) and "$" not in image:
        what = f"{image!r} is taken for an image of Docker Hub, not for a file."
        yield Finding(
            "image-file-without-slash", "error", where, what, f"Write ./{image}, or its whole path.", at
        )
        return
    if is_file(image) and "$" not in image:
        path = Path(os.path.normpath(Path.cwd() / image))
        for finding in container.check_image(path, where, around.told, around.sight, around.environ):
            yield Finding(finding.id, finding.severity, where, finding.what, finding.fix, at)
        return
    host, slash, rest = re.sub(r"^dockerd?://", "", image).partition("/")
    if slash and "#" not in image and re.search(r"[.:]", host):
        version = around.site.enroot_version
        if version is None or int(version.lstrip("v").partition(".")[0]) < 4:
            what = f"Enroot before 4.0 takes {host!r} for a name on Docker Hub and ends with 401."
            fix = f"Write {host}#{rest}, which every version reads."
            severity: Severity = "error" if version else "warning"
            yield Finding("image-registry-slash", severity, where, what, fix, at)
    for finding in enroot.check_credentials(image, where, around.sight, around.environ):
        yield Finding(finding.id, finding.severity, where, finding.what, finding.fix, at)


def _mpi(line: str, number: int, around: Surroundings) -> Iterator[Finding]:
    plugins = around.told.mpi_plugins or frozenset()
    found = re.search(r"--mpi[= ](\S+)", line)
    assert found is not None
    name = found[1].strip("\"'")
    if name != "list" and "$" not in name and name not in plugins:
        what = f"srun here has no --mpi={name}; it has {', '.join(sorted(plugins))}."
        yield Finding(
            "no-pmix", "error", "--mpi", what, "Name one of these.", f"{number}:{found.start() + 1}"
        )


def flags_of(line: str) -> dict[str, str]:
    """The options of Pyxis on a line that calls srun; nothing on another line."""
    if re.search(r"(?:^|[\s;&|(])srun\s", line) is None:
        return {}
    try:
        # In the middle of a word `#` begins no comment for bash, as it would for shlex.
        words = shlex.split(re.sub(r"(?:^|\s)#.*", "", line))
    except ValueError:
        return {}
    found: dict[str, str] = {}
    for index, word in enumerate(words):
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in PYXIS:
            following = words[index + 1] if index + 1 < len(words) else ""
            found[name] = value if equals else following if PYXIS[name] else ""
    return found


def _exports(script: Script) -> dict[str, str]:
    found: dict[str, str] = {}
    for _, line in script.body:
        if re.match(r"\s*export\s", line):
            found |= dict(re.findall(r"(\w+)=(\S*)", line))
    return found


def _asks_for_gpus(script: Script) -> bool:
    named = ("gpus", "gpus-per-node", "gpus-per-task", "gres")
    return any(script.option(name) is not None for name in named)


def _count(text: str | None) -> int:
    found = re.match(r"\d+", text or "1")
    return int(found[0]) if found else 1
