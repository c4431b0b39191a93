"""The sruns of a script: their options by name, and the command that they start. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcai.check.bash.programs import begin_of_program
from hpcai.check.bash.values import Call, Text
from hpcai.check.bash.words import UNKNOWN
from hpcai.slurm.sbatch_lines import PYXIS
from hpcai.specs.slurm_options import slurm_options

# srun's letters that take a value, and the long options of those that matter here.
_WITH_VALUE = "AaBbCcDdEeFGiJLMmNnopPqrSTtwWx"
_LETTERS = {"N": "nodes", "n": "ntasks", "D": "chdir"}
# Options with a value that srun has and sbatch has not.
_OF_SRUN = frozenset(
    (
        *("mpi", "cpu-bind", "cpu_bind", "het-group", "pack-group", "jobid", "relative", "task-prolog"),
        *("task-epilog", "prolog", "epilog", "wait", "container", "container-id", "slurmd-debug"),
        *("threads", "msg-timeout", "launcher-opts", "environment", "treewidth", "label-format"),
    )
)
_FLAGS_OF_SRUN = frozenset(
    (
        *("label", "unbuffered", "overlap", "exact", "pty", "bcast", "kill-on-bad-exit", "multi-prog"),
        *("disable-status", "preserve-env", "accel-bind", "compress", "whole", "interactive", "external"),
        *("immediate", "no-allocate", "quit-on-interrupt", "send-libs", "debugger-test", "join"),
    )
)


@dataclass(frozen=True)
class Step:
    """One srun, or the batch script itself where #SBATCH lines give it a container."""

    options: Mapping[str, Sequence[Text]]
    """By their long names; an option without a value holds the word itself."""
    command: tuple[Text, ...]
    is_complete: bool
    """Whether it surely has no option but these."""
    at: str
    exported: Mapping[str, Text] = field(default_factory=dict)
    folder: Path | None = None
    is_sure: bool = True
    """Whether it runs whatever happens."""
    is_folder_sure: bool = True

    def value(self, name: str) -> Text | None:
        """The value of an option, the last one if it is given several times."""
        return self.options[name][-1] if name in self.options else None

    def nodes(self, of_job: int) -> int:
        """How many nodes it runs on, at least."""
        for name in ("nodes", "ntasks"):
            given = self.value(name)
            if given is not None and given.is_known and (found := re.match(r"\d+", given.text)):
                if name == "nodes" or found[0] == "1":
                    return int(found[0])
            elif given is not None:
                return 1
        return of_job


def step_of(call: Call) -> Step | None:
    """The srun of a command; None for another command."""
    words = call.words
    begin = begin_of_program([word.text for word in words])
    if begin == len(words) or words[begin].text.rpartition("/")[2] != "srun":
        return None
    options: dict[str, list[Text]] = {}
    end, is_complete = _read_options(words, begin + 1, options)
    if not is_complete:
        # Where the command begins is not known: options may stand behind what looks like it.
        _find_containers(words, end, options)
    for name, value in _of_environment(call.exported).items():
        options.setdefault(name, []).insert(0, value) if name not in options else None
    sure = call.depth == 0
    place = words[begin].at
    return Step(
        options,
        words[end:],
        is_complete,
        place,
        call.exported,
        call.folder,
        sure,
        call.is_surely_there,
    )


def _read_options(words: Sequence[Text], begin: int, options: dict[str, list[Text]]) -> tuple[int, bool]:
    """Where the command begins, and whether all options before it are known."""
    index, is_complete = begin, True
    while index < len(words):
        word = words[index]
        if word.text.startswith(UNKNOWN):
            return index, False
        if word.text == "--":
            return index + 1, is_complete
        if not re.match(r"-.", word.text):
            return index, is_complete
        index += 1
        if word.text.startswith("--"):
            name, equals, value = word.text[2:].partition("=")
            kind = _kind(name)
            is_complete = is_complete and kind is not None and UNKNOWN not in name
        else:
            name, equals, value = _short(word.text)
            kind = "value" if name[:1] in _WITH_VALUE else "flag"
            name = _LETTERS.get(name[:1], name)
        if equals or kind != "value":
            found = Text(value if equals else word.text, word.line, word.column, word.is_sure)
        elif index < len(words):
            found, index = words[index], index + 1
        else:
            return index, is_complete
        options.setdefault(name, []).append(found)
    return index, is_complete


def _short(text: str) -> tuple[str, str, str]:
    """Letter, whether its value stands with it, and the value; of `-lN2` the last letter counts."""
    for position, letter in enumerate(text[1:], 1):
        if letter in _WITH_VALUE:
            value = text[position + 1 :]
            return letter, value, value.removeprefix("=")
    return text[-1], "", ""


def _kind(name: str) -> str | None:
    """Whether an option takes a value; None for one that nobody knows."""
    if name in PYXIS:
        return "value" if PYXIS[name] else "flag"
    if name in slurm_options():
        return "value" if slurm_options()[name].argument == "required" else "flag"
    return "value" if name in _OF_SRUN else "flag" if name in _FLAGS_OF_SRUN else None


def _find_containers(words: Sequence[Text], begin: int, options: dict[str, list[Text]]) -> None:
    for index, word in enumerate(words[begin:], begin):
        name, equals, value = word.text.removeprefix("--").partition("=")
        if not word.text.startswith("--") or name not in PYXIS:
            continue
        following = words[index + 1] if index + 1 < len(words) else Text(UNKNOWN, word.line, word.column)
        own = Text(value if equals else word.text, word.line, word.column, word.is_sure)
        options.setdefault(name, []).append(following if PYXIS[name] and not equals else own)


def _of_environment(exported: Mapping[str, Text]) -> dict[str, Text]:
    """The options that variables of Pyxis give every srun; a flag counts where it is switched on."""
    found = {}
    for variable, value in exported.items():
        name = "container-" + variable.removeprefix("PYXIS_CONTAINER_").lower().replace("_", "-")
        if not variable.startswith("PYXIS_CONTAINER_") or name not in PYXIS:
            continue
        if PYXIS[name] or value.text.lower() in ("1", "true", "yes", "y"):
            found[name] = value
    return found
