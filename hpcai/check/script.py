"""What would go wrong with a script of #SBATCH lines, as far as it can be known before the queue."""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpcai.check import account, container, enroot, price, sizes
from hpcai.check.findings import Finding, Severity, has_errors
from hpcai.check.job import Checked, Surroundings, refused_by_slurm
from hpcai.check.sbatch_lines import PYXIS, Option, Script, read_script
from hpcai.errors import HpcaiError, nearest
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.limits import breaches
from hpcai.specs.container import is_file
from hpcai.specs.job import JobSpec
from hpcai.specs.slurm_options import available, slurm_options
from hpcai.units import parse_duration_s

_SIZES = {"K": 2**-20, "M": 2**-10, "G": 1.0, "T": 1024.0}
_LAUNCHES = re.compile(r"(?:^|[\s;&|(])(srun|mpirun|mpiexec)(?=\s)")


def is_script(file: Path, text: str) -> bool:
    """Whether a file is a script for sbatch and no YAML."""
    return text.startswith("#!") or file.suffix in (".sh", ".sbatch", ".slurm", ".bash")


def check_script(text: str, file: Path, around: Surroundings, client: SlurmClient | None) -> Checked:
    """Findings about a script, each at its line and column; nothing is submitted."""
    script = read_script(text)
    found = list(_lines(script, text, around))
    found += _containers(script, around)
    spec = job_of(script)
    if spec is not None:
        found += _limits(spec, script, around)
    named = [_placed(finding, str(file), script) for finding in found]
    if client is None or around.told.partitions is None or has_errors(named):
        return Checked(tuple(named))
    try:
        return Checked(tuple(named), client.test_only(file))
    except HpcaiError as error:
        return Checked((*named, *refused_by_slurm(error)))


def job_of(script: Script) -> JobSpec | None:
    """What the script asks for as a job's fields, as far as they are understood; None when not at all."""
    fields: dict[str, Any] = {}
    for option in script.options:
        row = slurm_options().get(option.name)
        if row is None or row.field is None or option.value is None:
            if option.name == "exclusive":
                fields["exclusive"] = True
            continue
        value = _value(row.field, option.value)
        if value is not None:
            fields[row.field] = value
    fields |= {"name": "script", "command": "true"}
    try:
        return JobSpec.model_validate(fields)
    except ValueError:
        # What sbatch makes of what contradicts itself, it says itself.
        kept = ("nodes", "partition", "time_min", "gpus_per_node", "ntasks_per_node", "cpus_per_task")
        try:
            return JobSpec.model_validate(
                {k: v for k, v in fields.items() if k in (*kept, "name", "command")}
            )
        except ValueError:
            return None


def _value(field: str, text: str) -> Any:
    """The value as the field has it; None where it is in another form than the common one."""
    if field in ("time_min", "time_min_min", "delay_boot_min"):
        try:
            return max(1, -(-parse_duration_s(text) // 60))
        except ValueError:
            return None
    if field.endswith("_gib"):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.upper())
        return float(found[1]) * _SIZES[found[2] or "M"] if found else None
    if field == "nodes":
        found = re.match(r"\d+", text)
        return int(found[0]) if found else None
    if field == "name":
        return None
    return (
        int(text) if re.fullmatch(r"\d{1,6}", text) and field not in ("account", "partition", "qos") else text
    )


def _placed(finding: Finding, file: str, script: Script) -> Finding:
    from dataclasses import replace

    if finding.place is not None:
        return replace(finding, place=f"{file}:{finding.place}")
    option = script.option(finding.where.removeprefix("--"))
    if option is None:
        return replace(finding, place=f"{file}:1:1") if finding.where.startswith("--") else finding
    return replace(finding, place=f"{file}:{option.word.line}:{option.word.column}")


def _at(option: Option) -> str:
    return f"{option.word.line}:{option.word.column}"


def _lines(script: Script, text: str, around: Surroundings) -> Iterator[Finding]:
    for word in script.cuts:
        lost = text.splitlines()[word.line - 1][(word.cut_at or 1) - 1 :]
        what = f"sbatch stops reading at a raw #: {lost!r} is lost, and {word.text!r} is taken."
        fix = 'Quote the value: #SBATCH --container-image="REGISTRY#IMAGE:TAG".'
        yield Finding("hash-cuts-line", "error", "#SBATCH", what, fix, f"{word.line}:{word.cut_at}")
    for number in script.late:
        what = "sbatch does not read this line: a command comes before it."
        yield Finding(
            "line-too-late", "warning", "#SBATCH", what, "Put it above the first command.", f"{number}:1"
        )
    for option in script.options:
        if not option.is_known:
            yield _unknown(option)
        elif _is_of_another_slurm(option, around):
            year, month = around.told.version or (0, 0)
            what = f"Slurm {year}.{month:02d} has no --{option.name}."
            yield Finding("option-not-here", "error", f"--{option.name}", what, "Leave it out.", _at(option))


def _is_of_another_slurm(option: Option, around: Surroundings) -> bool:
    version = around.told.version
    return version is not None and option.name in slurm_options() and not available(option.name, version)


def _unknown(option: Option) -> Finding:
    dashes = "-" if len(option.name) == 1 else "--"
    near = nearest(option.name, [*slurm_options(), *PYXIS])
    hint = (
        f"Did you mean --{near}?" if near else "A plugin of this site may have it; sbatch --help shows all."
    )
    what = f"sbatch has no option {dashes}{option.name}."
    severity: Severity = "error" if near else "warning"
    return Finding("option-unknown", severity, dashes + option.name, what, hint, _at(option))


def _limits(spec: JobSpec, script: Script, around: Surroundings) -> Iterator[Finding]:
    told, site = around.told, around.site
    if told.partitions is not None:
        for breach in breaches(spec, told.partitions, told.nodes or ()):
            where = f"--{_option_of(breach.key)}"
            severity: Severity = "error" if breach.is_certain else "warning"
            yield Finding(breach.id, severity, where, breach.what, _as_option(breach.fix))
        for finding in account.check_account(spec, told):
            yield Finding(
                finding.id, finding.severity, f"--{_option_of(finding.where)}", finding.what, finding.fix
            )
    if spec.time_min is None and script.option("time") is None:
        what = "There is no time limit: Slurm takes the partition's, and cannot start the job in a gap."
        yield Finding(
            "no-time-limit", "note", "--time", what, "Add #SBATCH --time with what it takes, and some more."
        )
    size = sizes.size_of(spec, told, site)
    if size.size is not None:
        yield from price.check_price(spec, size.size, told, around.prices, site.region)


def _option_of(field: str) -> str:
    from hpcai.render.options import option_names

    return option_names().get(field, field.replace("_", "-"))


def _as_option(fix: str) -> str:
    return re.sub(r"\b(time_min|gpus_per_node|ntasks_per_node|cpus_per_task|mem_gib)\b", _named, fix)


def _named(found: re.Match[str]) -> str:
    return f"--{_option_of(found[0])}"


def _containers(script: Script, around: Surroundings) -> Iterator[Finding]:
    yield from container.batch_in_container(around.environ)
    nodes = _count(script.value("nodes"))
    own = {one.name: one for one in script.options if one.name in PYXIS}
    if "container-image" in own:
        yield from _image_option(own["container-image"].value or "", _at(own["container-image"]), around)
        yield from _in_batch(script, own["container-image"], nodes)
    exported = _exports(script)
    for number, line in script.body:
        flags = flags_of(line)
        if "container-image" in flags or "container-name" in flags:
            yield from _step(flags, f"{number}:1", nodes, exported, _asks_for_gpus(script), around)
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
        yield Finding("container-in-sbatch", "error", "--container-image", what, fix, _at(option))


def _step(
    flags: Mapping[str, str],
    at: str,
    nodes: int,
    exported: Mapping[str, str],
    has_gpus: bool,
    around: Surroundings,
) -> Iterator[Finding]:
    """Findings about one srun with a container."""
    image = flags.get("container-image", "")
    if image and "$" not in image:
        yield from _image_option(image, at, around)
        if nodes > 1 and not is_file(image):
            what = f"Each of {nodes} nodes imports {image!r} for itself: slow, and a registry may answer 429."
            fix = "Import it once to a shared folder: enroot import -o FILE.sqsh docker://IMAGE."
            yield Finding("image-pulled-by-all", "warning", "--container-image", what, fix, at)
    name = flags.get("container-name")
    if name and "$" not in name and not name.endswith((":create", ":exec")):
        what = f"The container {name!r} outlives the job: the next job finds it, whatever image it names."
        yield Finding(
            "container-name-stale", "warning", "--container-name", what, 'Add "-$SLURM_JOB_ID" to it.', at
        )
    named = set(flags.get("container-env", "").split(","))
    for variable in exported:
        if container.TUNING.fullmatch(variable) and variable not in named:
            what = f"{variable} is exported, and where the image sets it too, the image's value wins."
            yield Finding(
                "image-wins", "warning", "--container-env", what, f"Add it to --container-env={variable}.", at
            )
    for finding in container.gpus_in_container(exported, has_gpus, "--container-env"):
        yield Finding(finding.id, finding.severity, finding.where, finding.what, "Export it as all.", at)
    for mount in flags.get("container-mounts", "").split(","):
        source = mount.partition(":")[0]
        if source.startswith("/") and "$" not in source and "nofail" not in mount:
            for finding in container.check_source(Path(source), "--container-mounts", around.sight):
                yield Finding(finding.id, finding.severity, finding.where, finding.what, finding.fix, at)


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
