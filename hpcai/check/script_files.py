"""The files and folders that a script of #SBATCH lines names: where it runs, writes, and what it starts."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcai.check import paths, places
from hpcai.check.bash.programs import makes_no_file
from hpcai.check.bash.values import Call, Text
from hpcai.check.command import script_among
from hpcai.check.findings import Finding
from hpcai.check.job import Surroundings
from hpcai.check.script_sruns import steps_of
from hpcai.check.script_view import View, softened
from hpcai.slurm.sbatch_lines import Option

# From this release on slurmd makes the folders of the output that are not there, if it can.
_MAKES_FOLDERS = (23, 2)
_VARIABLE = re.compile(r"\$(\w+|\{\w+\}|\()|^~/")


def check_files(view: View, around: Surroundings) -> Iterator[Finding]:
    """Findings about --output, --error and --chdir, and about the scripts that the commands start."""
    for option in view.script.options:
        yield from _unread_variable(option)
    for name in ("output", "error"):
        given = view.script.option(name)
        if given is not None and given.value:
            yield from _output(given, given.value, view, around)
    yield from _chdir(view, around)
    yield from _started(view)


def _unread_variable(option: Option) -> Iterator[Finding]:
    found = _VARIABLE.search(option.value or "")
    if found is not None and option.name not in ("wrap", "comment"):
        what = f"No shell reads #SBATCH lines: {found[0]!r} stays as it is in {option.value!r}."
        fix = "Write the value itself, or give the option to sbatch by hand."
        if option.name in ("output", "error", "input", "job-name"):
            fix = "Write the value itself, or Slurm's own pattern: %j is the job's id, %x its name, %u you."
        yield Finding("variable-in-sbatch", "warning", f"--{option.name}", what, fix, option.at)


def _output(option: Option, value: str, view: View, around: Surroundings) -> Iterator[Finding]:
    if _VARIABLE.search(value) or view.folder is None:
        return
    sure: list[str] = []
    for part in value.split("/")[:-1]:
        if "%" in part or "\\" in part:
            break
        sure.append(part)
    folder = Path(os.path.normpath(view.folder / ("/".join(sure) or ("/" if value.startswith("/") else "."))))
    entry = paths.looked_at(folder)
    if entry.refused:
        yield paths.closed(folder, entry.refused, f"--{option.name}", is_sure=False)
        return
    if entry.is_folder or (_is_made(around) and _can_be_made(folder)):
        return
    is_absent = value.startswith("/") and around.sight.absent_for_sure(folder)
    what = f"There is no folder {str(folder)!r}: the job would end at once, and its output be nowhere."
    fix = f"mkdir -p {shlex.quote(str(folder))}"
    finding = Finding("output-folder-missing", "error", f"--{option.name}", what, fix, option.at)
    yield softened(finding, is_sure=is_absent)


def _is_made(around: Surroundings) -> bool:
    version = around.told.version
    return version is None or version >= _MAKES_FOLDERS


def _can_be_made(folder: Path) -> bool:
    there = places.existing(folder)
    return paths.looked_at(there).is_folder and os.access(there, os.W_OK | os.X_OK)


def _chdir(view: View, around: Surroundings) -> Iterator[Finding]:
    option = view.script.option("chdir")
    if option is None or option.value is None or view.folder is None:
        return
    entry = paths.looked_at(view.folder)
    if entry.refused:
        yield paths.closed(view.folder, entry.refused, "--chdir", is_sure=False)
        return
    if entry.is_folder:
        return
    is_absent = option.value.startswith("/") and around.sight.absent_for_sure(view.folder)
    what = f"There is no folder {str(view.folder)!r}: Slurm would run the script in /tmp."
    finding = Finding("workdir-missing", "error", "--chdir", what, "Correct --chdir.", option.at)
    yield softened(finding, is_sure=is_absent)


def _started(view: View) -> Iterator[Finding]:
    """The scripts that commands start and that are not there, where nothing before could have made them."""
    told: set[str] = set()
    if view.batch is not None and "container-image" in view.batch.options:
        # What the image holds, and where what is mounted lies in it, is not seen from here.
        return
    for call in view.calls:
        words = _on_the_node(call)
        script = _script(words)
        if script is not None and call.depth == 0 and call.folder is not None and script not in told:
            told.add(script)
            path = Path(os.path.normpath(call.folder / script))
            entry = paths.looked_at(path)
            if not entry.is_there and not entry.refused:
                yield _missing(words[0], script, path)
        if not _is_harmless(call, words):
            return


def _missing(starter: Text, script: str, path: Path) -> Finding:
    # From where it will be submitted, and what the nodes have besides, nobody tells.
    what = f"{starter.text} starts {script!r}, and there is no {str(path)!r} on this machine."
    fix = "Correct the name, or submit from the folder that it is in."
    if script.startswith("/"):
        fix = f"Correct the name; srun ls {shlex.quote(script)} tells whether the nodes have it."
    return Finding("script-missing", "warning", starter.text, what, fix, starter.at)


def _on_the_node(call: Call) -> Sequence[Text]:
    """The command, or what an srun without image starts where it stands; nothing of another srun."""
    step = next(iter(steps_of(call)), None)
    if step is None:
        return call.words
    elsewhere = ("container-image", "container-name", "chdir")
    is_here = step.is_complete and not any(name in step.options for name in elsewhere)
    return step.command if is_here else ()


def _script(words: Sequence[Text]) -> str | None:
    """The script that a command starts; None where that is not known."""
    script = script_among([word.text for word in words])
    return script if script is None or not script.startswith(("~", "-")) else None


def _is_harmless(call: Call, words: Sequence[Text]) -> bool:
    """Whether a command surely makes no file that another starts."""
    is_quiet = all(written.text == "/dev/null" for written in call.written)
    return is_quiet and makes_no_file([word.text for word in words])
