"""The sruns of a script: their options by name, and the command that they start. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from hpcai.check.bash.programs import begin_of_program
from hpcai.check.bash.values import Call, Text
from hpcai.check.bash.words import UNKNOWN
from hpcai.slurm.sbatch_lines import PYXIS, meant
from hpcai.specs.slurm_options import slurm_options

# srun's letters that take a value, and the long options of those that matter here.
WITH_VALUE = "AaBbCcDdeFGiJLMmNnopPqrSTtwWx"
_LETTERS = {"N": "nodes", "n": "ntasks", "D": "chdir"}
# Options with a value that srun has and sbatch has not.
_OF_SRUN = frozenset(
    (
        *(
            "mpi",
            "cpu-bind",
            "cpu_bind",
            "mem_bind",
            "het-group",
            "pack-group",
            "jobid",
            "relative",
            "task-prolog",
        ),
        *("task-epilog", "prolog", "epilog", "wait", "container", "container-id", "slurmd-debug"),
        *("threads", "msg-timeout", "launcher-opts", "environment", "treewidth", "label-format"),
        *("accel-bind", "bcast-exclude", "ignore-signals", "mem_bind"),
    )
)
_FLAGS_OF_SRUN = frozenset(
    (
        *("label", "unbuffered", "overlap", "exact", "pty", "bcast", "kill-on-bad-exit", "multi-prog"),
        *("disable-status", "preserve-env", "compress", "whole", "interactive", "external", "x11"),
        *("immediate", "no-allocate", "quit-on-interrupt", "send-libs", "debugger-test", "join"),
        *("external-launcher", "wait-for-children", "async", "parsable"),
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
    unknown: tuple[str, Text] | None = None
    """The first option, without its dashes, that no srun known here has."""

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


def steps_of(call: Call) -> list[Step]:
    """What the srun of a command starts, several where colons part it; nothing of another command."""
    begin = begin_of_program([word.text for word in call.words])
    if begin == len(call.words) or call.words[begin].text.rpartition("/")[2] != "srun":
        return []
    found, at, words = [], call.words[begin].at, call.words[begin + 1 :]
    while words:
        end = next((number for number, word in enumerate(words) if word.text == ":"), len(words))
        found.append(_step(call, at, words[:end]))
        at, words = words[min(end, len(words) - 1)].at, words[end + 1 :]
    return found or [_step(call, at, ())]


def commands_of(call: Call) -> list[tuple[Text, ...]]:
    """What its sruns start, or the command itself where it is none."""
    return [step.command for step in steps_of(call)] or [call.words]


def own_options(step: Step) -> list[tuple[str, Text]]:
    """The options of Pyxis that a step is given as words; a variable of Pyxis alone harms nothing."""
    exported = list(step.exported.values())
    return [
        (name, text)
        for name in step.options
        if name in PYXIS
        for text in step.options[name]
        if not any(text is value for value in exported)
    ]


def _step(call: Call, at: str, words: Sequence[Text]) -> Step:
    options, end, is_complete = read_options(words)
    if not is_complete:
        # Where the command begins is not known: options may stand behind what looks like it.
        _find_containers(words, end, options)
    for name, value in _of_environment(call.exported).items():
        options.setdefault(name, []).insert(0, value) if name not in options else None
    unknown = [
        (name, texts[0]) for name, texts in options.items() if len(name) > 1 and name not in all_options()
    ]
    return Step(
        options,
        tuple(words[end:]),
        is_complete,
        at,
        {**call.exported, **(given_by(options["export"][-1]) if "export" in options else {})},
        call.folder,
        is_sure=call.depth == 0,
        is_folder_sure=call.is_surely_there,
        unknown=next(((name, text) for name, text in unknown if UNKNOWN not in name), None),
    )


def read_options(words: Sequence[Text]) -> tuple[dict[str, list[Text]], int, bool]:
    """The options behind `srun`, where the command begins, and whether all options before it are known."""
    options: dict[str, list[Text]] = {}
    index, is_complete = 0, True
    while index < len(words):
        word = words[index]
        if word.text.startswith(UNKNOWN):
            return options, index, False
        if word.text == "--":
            return options, index + 1, is_complete
        if not re.match(r"-.", word.text):
            return options, index, is_complete
        index += 1
        if word.text.startswith("--"):
            name, equals, value = word.text[2:].partition("=")
            name = meant(name, all_options()) or name
            kind = all_options().get(name)
            is_complete = is_complete and kind is not None
        else:
            name, equals, value = _short(word.text)
            kind = "value" if name[:1] in WITH_VALUE else "flag"
            name = _LETTERS.get(name[:1], name)
        if equals or kind != "value":
            found = Text(value if equals else word.text, word.line, word.column, word.is_sure)
        elif index < len(words):
            found, index = words[index], index + 1
        else:
            return options, index, is_complete
        options.setdefault(name, []).append(found)
    return options, index, is_complete


def _short(text: str) -> tuple[str, str, str]:
    """Letter, whether its value stands with it, and the value; of `-lN2` the last letter counts."""
    for position, letter in enumerate(text[1:], 1):
        if letter in WITH_VALUE:
            value = text[position + 1 :]
            return letter, value, value.removeprefix("=")
    return text[-1], "", ""


@cache
def all_options() -> Mapping[str, str]:
    """The long names of srun's options, each with `value` where one follows it and `flag` where none does."""
    of_slurm = {
        row: "value" if slurm_options()[row].argument == "required" else "flag" for row in slurm_options()
    }
    of_srun = dict.fromkeys(_FLAGS_OF_SRUN, "flag") | dict.fromkeys(_OF_SRUN, "value")
    return {**of_slurm, **of_srun, **{name: "value" if PYXIS[name] else "flag" for name in PYXIS}}


def _find_containers(words: Sequence[Text], begin: int, options: dict[str, list[Text]]) -> None:
    for index, word in enumerate(words[begin:], begin):
        name, equals, value = word.text.removeprefix("--").partition("=")
        if not word.text.startswith("--") or name not in PYXIS:
            continue
        following = words[index + 1] if index + 1 < len(words) else Text(UNKNOWN, word.line, word.column)
        own = Text(value if equals else word.text, word.line, word.column, word.is_sure)
        options.setdefault(name, []).append(following if PYXIS[name] and not equals else own)


def given_by(text: Text) -> dict[str, Text]:
    """The variables that an --export itself gives a value."""
    pairs = (part.partition("=") for part in text.text.split(","))
    return {name: replace(text, text=value) for name, equals, value in pairs if equals}


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
