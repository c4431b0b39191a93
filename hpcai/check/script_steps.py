"""What would go wrong with the containers and the sruns of a script of #SBATCH lines."""

from __future__ import annotations

import difflib
import os.path
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hpcai.check import container
from hpcai.check.bash.commands import read_commands
from hpcai.check.bash.programs import begin_of_program, told_to_shell
from hpcai.check.bash.values import Text
from hpcai.check.findings import Finding, Severity
from hpcai.check.job import Surroundings
from hpcai.check.script_containers import check_options, check_unused
from hpcai.check.script_registry import check_imports, check_registry
from hpcai.check.script_sruns import Step, all_options, own_options
from hpcai.check.script_variables import check_variables
from hpcai.check.script_view import View, softened
from hpcai.specs.container import is_file

# How like another one an option must be, of 1.
_IS_A_SLIP = 0.85


def check_steps(view: View, around: Surroundings) -> Iterator[Finding]:
    yield from container.batch_in_container(around.environ)
    yield from _without_pyxis(view, around)
    yield from _in_batch(view, around)
    told: set[str] = set()
    for index, step in view.steps:
        yield from _unknown_option(step)
        yield from check_options(step, around.environ)
        yield from check_unused(step, around.environ)
        if "container-image" in step.options or "container-name" in step.options:
            yield from _once(_container(view, index, step, around), told)
            yield from _once(_stale_name(step), told)
            yield from _once(_pulled_by_all(view, step), told)
            yield from _starts_ranks(step, nodes_of(view, step))
        yield from _mpi(step, around)
    yield from _once(check_imports(view, around), told)
    yield from check_variables(view)
    yield from _unseen(view)


def _unknown_option(step: Step) -> Iterator[Finding]:
    """A slip of the keys; an option that is like no other may be one of a plugin of the site."""
    if step.unknown is None:
        return
    name, text = step.unknown
    near = next(iter(difflib.get_close_matches(name, all_options(), n=1, cutoff=_IS_A_SLIP)), None)
    if near is not None:
        what, fix = f"srun has no option --{name}.", f"Did you mean --{near}?"
        finding = Finding("option-unknown", "error", f"--{name}", what, fix, text.at)
        yield softened(finding, is_sure=step.is_sure)


def _unseen(view: View) -> Iterator[Finding]:
    """Images and mounts that only the running script knows: a reader may take silence for a yes."""
    names = ("container-image", "container-mounts")
    unseen = [
        (name, text)
        for _, step in view.steps
        for name in names
        for text in step.options.get(name, ())
        if not text.is_known
    ]
    if unseen:
        options = " and ".join(dict.fromkeys(f"--{name}" for name, _ in unseen))
        lines = list(dict.fromkeys(str(text.line) for _, text in unseen))
        where = f"{'line' if len(lines) == 1 else 'lines'} {', '.join(lines)}"
        what = f"Only the running script knows all of {options} ({where}): the rest was not looked at."
        fix = "A plain NAME=value above the srun is read."
        yield Finding("value-unseen", "note", f"--{unseen[0][0]}", what, fix, unseen[0][1].at)


def _without_pyxis(view: View, around: Surroundings) -> Iterator[Finding]:
    """Options of Pyxis where srun or sbatch has none: the first of each."""
    asked = [(step, own_options(step)) for _, step in view.steps]
    given = {"sbatch": (view.batch, own_options(view.batch) if view.batch else [])}
    given |= {"srun": next(((step, own) for step, own in asked if own), (None, []))}
    takes = {
        "sbatch": around.told.sbatch_takes_containers,
        "srun": around.told.srun_takes_containers,
    }
    for program, (step, own) in given.items():
        if step is not None and own and takes[program] is False:
            name, text = own[0]
            what = f"{program} here has no --{name}: it is an option of Pyxis."
            fix = "Ask who runs this Slurm for Pyxis and Enroot, or leave the options of Pyxis out."
            if program == "sbatch" and takes["srun"]:
                fix = "Give it to srun in the script, which has it."
            finding = Finding("no-pyxis", "error", f"--{name}", what, fix, text.at)
            yield softened(finding, is_sure=step.is_sure)


def nodes_of(view: View, step: Step) -> int:
    """How many nodes a step runs on, at least."""
    group = step.value("het-group")
    number = int(group.text) if group is not None and group.text.isdecimal() else 0
    parts = view.script.parts
    of_job = parts[number].value("nodes") if number < len(parts) else None
    return step.nodes(_count(of_job))


def _once(findings: Iterator[Finding], told: set[str]) -> Iterator[Finding]:
    """Those that no other step has led to; of errors each has its line."""
    for finding in findings:
        if finding.what not in told or finding.severity == "error":
            yield finding
        told.add(finding.what)


def _in_batch(view: View, around: Surroundings) -> Iterator[Finding]:
    """What #SBATCH lines say of a container for the script itself."""
    step = view.batch
    if step is None:
        return
    yield from check_options(step, around.environ)
    if "container-image" not in step.options:
        if not any("container-image" in each.options for _, each in view.steps):
            yield from check_unused(step, around.environ)
        return
    yield from _container(view, 0, step, around)
    yield from _stale_name(step, "Leave it out: no #SBATCH line can hold the job's id.")
    nodes = _count(view.script.value("nodes"))
    starters = [view.calls[index] for index, _ in view.steps]
    launches = [*starters, *(call for call in view.calls if call.words[0].text in ("mpirun", "mpiexec"))]
    if nodes > 1 or launches:
        why = f"on the first of {nodes} nodes" if nodes > 1 else "alone"
        what = f"With #SBATCH --container-image the batch script {why} runs inside it, and has no srun there."
        fix = "Give --container-image to srun in the script instead."
        at = step.options["container-image"][0].at
        finding = Finding("container-in-sbatch", "error", "--container-image", what, fix, at)
        # A script may start itself anew, in a container or not.
        surely = nodes > 1 or any(call.depth == 0 for call in launches)
        yield softened(finding, is_sure=surely)


def _container(view: View, index: int, step: Step, around: Surroundings) -> Iterator[Finding]:
    image = step.value("container-image")
    # What a program, a download or an archive above it brings, no word tells.
    is_sure = step.is_sure and index <= view.first_maker
    if image is not None and image.is_known:
        for finding in _image(view, index, step, image, around):
            is_of_form = finding.id == "image-file-without-slash"
            yield softened(finding, is_sure=(step.is_sure if is_of_form else is_sure) and image.is_sure)
    for text in step.options.get("container-mounts", ()):
        for mount in text.text.split(","):
            source = Text(mount.partition(":")[0], text.line, text.column, text.is_sure)
            if source.is_known and source.text[:1] in ("/", "."):
                may_fail = "nofail" in mount.rpartition(":")[2].split("+")
                for finding in _source(view, index, step, source, around, may_fail=may_fail):
                    yield softened(finding, is_sure=is_sure and text.is_sure)
    if "container-save" in step.options and nodes_of(view, step) > 1:
        at = step.options["container-save"][0].at
        what = f"Each of {nodes_of(view, step)} nodes writes the image of --container-save at once."
        fix = "Save in an srun of its own with --nodes=1."
        yield Finding("save-by-all-nodes", "warning", "--container-save", what, fix, at)
    yield from _saved(view, index, step, around)


def _saved(view: View, index: int, step: Step, around: Surroundings) -> Iterator[Finding]:
    saved = step.value("container-save")
    found = _path(step, saved.text) if saved is not None and saved.is_known else None
    if saved is None or found is None or view.may_be_made(found[0].parent, index):
        return
    for finding in container.check_saved(found[0], "--container-save", around.sight, is_made=False):
        yield softened(replace(finding, place=saved.at), is_sure=found[1] and step.is_sure and saved.is_sure)


def _path(step: Step, text: str) -> tuple[Path, bool] | None:
    """What a path of a step means, and whether that is sure; None where it is not known."""
    if text.startswith("/"):
        return Path(os.path.normpath(text)), True
    if step.folder is None:
        return None
    return Path(os.path.normpath(step.folder / text)), step.is_folder_sure


def _source(
    view: View, index: int, step: Step, source: Text, around: Surroundings, *, may_fail: bool
) -> Iterator[Finding]:
    found = _path(step, source.text)
    if found is None:
        return
    path, is_sure = found
    release = around.pyxis_release
    for finding in container.check_source(
        path, "--container-mounts", around.sight, may_fail=may_fail, release=release
    ):
        if finding.id != "mount-missing" or not view.may_be_made(path, index):
            yield softened(replace(finding, place=source.at), is_sure=is_sure)


def _image(view: View, index: int, step: Step, image: Text, around: Surroundings) -> Iterator[Finding]:
    where, name = "--container-image", image.text
    if name.endswith((".sqsh", ".squashfs")) and not name.startswith((".", "/")) and "#" not in name:
        what = f"{name!r} is taken for an image of Docker Hub, not for a file."
        fix = f"Write ./{name}, or its whole path."
        if name.startswith("~"):
            fix = f'bash reads no ~ there: write "$HOME{name.removeprefix("~")}".'
        yield Finding("image-file-without-slash", "error", where, what, fix, image.at)
    elif is_file(name):
        found = _path(step, name)
        for finding in (
            container.check_image(found[0], where, around.told, around.sight, around.environ) if found else ()
        ):
            if finding.id != "image-missing" or not view.may_be_made(found[0] if found else Path(), index):
                yield softened(replace(finding, place=image.at), is_sure=found is not None and found[1])
    else:
        yield from check_registry(image, around)


def _stale_name(step: Step, fix: str = 'Add "-$SLURM_JOB_ID" to it.') -> Iterator[Finding]:
    name = step.value("container-name")
    if name is not None and name.is_known and not name.text.endswith((":create", ":exec")):
        what = (
            f"The container {name.text!r} outlives the job: the next job finds it, whatever image it names."
        )
        yield Finding("container-name-stale", "warning", "--container-name", what, fix, name.at)


def _pulled_by_all(view: View, step: Step) -> Iterator[Finding]:
    image, nodes = step.value("container-image"), nodes_of(view, step)
    is_array = view.script.option("array") is not None
    if image is not None and image.is_known and (nodes > 1 or is_array) and not is_file(image.text):
        who = "Each task of the array" if is_array else f"Each of {nodes} nodes"
        what = f"{who} imports {image.text!r}: slow, and a registry may answer 429."
        fix = "Import it once to a shared folder: enroot import -o FILE.sqsh docker://IMAGE."
        yield Finding("image-pulled-by-all", "warning", "--container-image", what, fix, image.at)


def _starts_ranks(step: Step, nodes: int) -> Iterator[Finding]:
    """mpirun as the command of a step in a container, or what its shell is told to run."""
    given = [word.text for word in step.command]
    words = given[begin_of_program(given) :]
    starts = bool(words) and words[0].rpartition("/")[2] in container.MPIRUNS
    told = told_to_shell(words)
    if told is not None:
        starts = any(one.program in container.MPIRUNS for one in read_commands(told))
    if starts:
        what = "mpirun inside a container starts ranks in it alone, on one node."
        fix = "Let srun start the ranks: srun --mpi=pmix --container-image=... COMMAND."
        severity: Severity = "error" if nodes > 1 else "warning"
        finding = Finding("mpirun-in-container", severity, "mpirun", what, fix, step.at)
        yield softened(finding, is_sure=step.is_sure)


def _mpi(step: Step, around: Surroundings) -> Iterator[Finding]:
    plugins, given = around.told.mpi_plugins, step.value("mpi")
    if plugins is None or given is None or not given.is_known or given.text == "list":
        return
    if given.text not in plugins:
        what = f"srun here has no --mpi={given.text}; it has {', '.join(sorted(plugins))}."
        finding = Finding("no-pmix", "error", "--mpi", what, "Name one of these.", given.at)
        yield softened(finding, is_sure=step.is_sure and given.is_sure)


def _count(text: str | None) -> int:
    found = re.match(r"\d+", text or "1")
    return int(found[0]) if found else 1
