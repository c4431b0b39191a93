"""A script of #SBATCH lines as its checks look at it: its options, its commands and its sruns."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from hpcai.check.bash.values import Call, Text, calls_of
from hpcai.check.bash.words import UNKNOWN
from hpcai.check.findings import Finding
from hpcai.check.script_sruns import Step, step_of
from hpcai.slurm.sbatch_lines import PYXIS, Script, read_script

# Commands that make no file that a later one could need.
_LOOKS = frozenset(
    (
        *("echo", "printf", "ls", "test", "[", "[[", "cd", "stat", "cat", "export", "set", "source", "."),
        *("if", "case", "exit", "du", "df", "file", "head", "module", "ml", "readlink", "realpath"),
    )
)


@dataclass(frozen=True)
class View:
    """One script, read once."""

    text: str
    submitted_from: Path
    environ: Mapping[str, str]

    @cached_property
    def script(self) -> Script:
        """The #SBATCH lines."""
        return read_script(self.text)

    @cached_property
    def folder(self) -> Path | None:
        """Where the script begins to run; None where --chdir names what only the node knows."""
        given = self.script.value("chdir")
        if given is None:
            return self.submitted_from
        return None if re.search(r"[$%~]", given) else Path(os.path.normpath(self.submitted_from / given))

    @cached_property
    def calls(self) -> list[Call]:
        """Its commands."""
        return calls_of(self.text, self.folder, self.environ)

    @cached_property
    def steps(self) -> list[tuple[int, Step]]:
        """Its sruns, each with its number among the commands."""
        found = [(index, step_of(call)) for index, call in enumerate(self.calls)]
        return [(index, step) for index, step in found if step is not None]

    @cached_property
    def batch(self) -> Step | None:
        """What #SBATCH lines say of a container for the script itself; None where they say nothing."""
        options: dict[str, list[Text]] = {}
        for one in self.script.options:
            if one.name in PYXIS and one.part == 0:
                # No shell reads these lines: what its variables would be is found elsewhere.
                value = (one.value or f"--{one.name}").replace("$", UNKNOWN)
                options.setdefault(one.name, []).append(Text(value, one.word.line, one.word.column))
        if not options:
            return None
        first = min((texts[0] for texts in options.values()), key=lambda text: (text.line, text.column))
        return Step(options, (), is_complete=True, at=first.at, folder=self.folder)

    def may_be_made(self, path: Path, before: int) -> bool:
        """Whether a command before another one may make a file or folder, as far as their words tell."""
        for call in self.calls[:before]:
            names = [] if call.words[0].text in _LOOKS else [word.text for word in call.words]
            for name in [*names, *(word.text for word in call.written)]:
                if str(path) in name or (
                    name.startswith("/") and len(name) > 1 and path.is_relative_to(name)
                ):
                    return True
                if not name.startswith(("-", "/")) and name and str(path).endswith(f"/{name.rstrip('/')}"):
                    return True
        return False


def softened(finding: Finding, *, is_sure: bool) -> Finding:
    """The same as a warning where it hangs on what the script may do otherwise."""
    if is_sure or finding.severity != "error":
        return finding
    return replace(finding, severity="warning")
