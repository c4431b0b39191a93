"""A script of #SBATCH lines as its checks look at it: its options, its commands and its sruns."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from hpcai.check.bash.commands import lines_of_comments
from hpcai.check.bash.programs import MAKES_NO_FILE, makes_what_it_names
from hpcai.check.bash.values import Call, Text, calls_of
from hpcai.check.bash.words import UNKNOWN
from hpcai.check.findings import Finding
from hpcai.check.script_sruns import Step, commands_of, given_by, steps_of
from hpcai.slurm.sbatch_lines import PYXIS, Script, read_script

_INTERPRETER = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+)*)?(?:\S*/)?(\w+)")


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
    def shell(self) -> str | None:
        """The shell that runs it, by its name; None where it is another program."""
        found = _INTERPRETER.match(self.text)
        # A script that names none sbatch refuses, and says so.
        name = found[1] if found else "bash"
        return name if name.endswith("sh") else None

    @cached_property
    def late(self) -> list[int]:
        """The #SBATCH lines behind a command, without those of a text that the script writes or quotes."""
        if self.shell is None:
            return list(self.script.late)
        comments = lines_of_comments(self.text)
        return [line for line in self.script.late if line in comments]

    @cached_property
    def calls(self) -> list[Call]:
        """Its commands; none of a script that no shell runs."""
        return [] if self.shell is None else calls_of(self.text, self.folder, self.environ)

    @cached_property
    def steps(self) -> list[tuple[int, Step]]:
        """Its sruns, each with its number among the commands."""
        found = [(index, step) for index, call in enumerate(self.calls) for step in steps_of(call)]
        return [(index, replace(step, exported={**self._given, **step.exported})) for index, step in found]

    @property
    def _given(self) -> Mapping[str, Text]:
        """The variables that #SBATCH lines give a value."""
        option = self.script.option("export")
        if option is None or option.value is None:
            return {}
        return given_by(Text(option.value, option.word.line, option.word.column))

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

    @cached_property
    def first_maker(self) -> int:
        """The number of the first command that may make files which nothing in the script names."""
        for number, call in enumerate(self.calls):
            commands = commands_of(call)
            if not all(makes_what_it_names([word.text for word in words]) for words in commands):
                return number
        return len(self.calls)

    def may_be_made(self, path: Path, before: int) -> bool:
        """Whether a command before another one may make a file or folder, as far as their words tell."""
        text = str(path)
        return any(
            text in name or ((pattern := _pattern(name)) is not None and pattern.fullmatch(text))
            for name, number in self._named.items()
            if number < before
        )

    @cached_property
    def _named(self) -> Mapping[str, int]:
        """What commands name that may make a file, each with the number of the first of them."""
        found: dict[str, int] = {}
        for number, call in enumerate(self.calls):
            words = call.written if call.words[0].text in MAKES_NO_FILE else (*call.words, *call.written)
            for word in words:
                found.setdefault(word.text, number)
        return found


@lru_cache(maxsize=8192)
def _pattern(name: str) -> re.Pattern[str] | None:
    """The paths that a word may name, with what is in them and their folders; from any folder."""
    if name.startswith(("-", UNKNOWN)) or not name.strip("./"):
        return None
    known = re.escape(os.path.normpath(name).lstrip("/")).replace(re.escape(UNKNOWN), ".*")
    first, *rest = known.split("/")
    pattern = "(/.*)?"
    for part in reversed(rest):
        pattern = f"(/{part}{pattern})?"
    begin = "/" if name.startswith("/") else ".*/"
    return re.compile(begin + first + pattern, re.DOTALL)


def softened(finding: Finding, *, is_sure: bool) -> Finding:
    """The same as a warning where it hangs on what the script may do otherwise."""
    if is_sure or finding.severity != "error":
        return finding
    return replace(finding, severity="warning")
