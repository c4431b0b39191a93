"""Which word of a command names the program that runs in the end. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hpcai.check.bash.words import UNKNOWN


@dataclass(frozen=True)
class _Wrapper:
    """A program that starts another one."""

    with_value: str = ""
    """A pattern of its options that take the next word."""
    own: int = 0
    """How many words of its own stand before the other program's name."""


_PLAIN = _Wrapper()
_WRAPPERS: Mapping[str, _Wrapper] = {
    **dict.fromkeys(("command", "nohup", "setsid", "catchsegv", "builtin"), _PLAIN),
    "exec": _Wrapper("-[cl]*a"),
    "time": _Wrapper("-[fo]|--format|--output"),
    "env": _Wrapper("-[uC]|--unset|--chdir"),
    "nice": _Wrapper("-n|--adjustment"),
    "ionice": _Wrapper("-[cn]|--class|--classdata"),
    "timeout": _Wrapper("-[ks]|--kill-after|--signal", 1),
    "stdbuf": _Wrapper("-[ioe]|--input|--output|--error"),
    "taskset": _Wrapper("", 1),
    "xargs": _Wrapper("-[adEILnPs]|--(arg-file|delimiter|max-lines|max-args|max-procs|max-chars)"),
    "chrt": _Wrapper("", 1),
    "numactl": _Wrapper(
        "-[NmCipP]|--(cpunodebind|membind|physcpubind|interleave|preferred|preferred-many|weighted-interleave)"
    ),
}
# These make no file that a later command could need, whatever they name.
MAKES_NO_FILE = frozenset(
    (
        *(".", ":", "[", "[[", "basename", "case", "cat", "cd", "date", "df", "dirname", "du", "echo"),
        *("exit", "export", "false", "file", "for", "free", "getopts", "grep", "head", "hostname"),
        *("ibstat", "id", "if", "let", "ls", "lscpu", "ml", "module", "nproc", "nvidia-smi", "printenv"),
        *("printf", "pwd", "read", "readlink", "realpath", "return", "rocm-smi", "scontrol", "select"),
        *("seq", "set", "shift", "shopt", "sinfo", "sleep", "source", "squeue", "stat", "test", "trap"),
        *("true", "ulimit", "umask", "uname", "unset", "wait", "wc", "which", "whoami"),
    )
)
# These make what they name, and nothing else.
_MAKES_WHAT_IT_NAMES = frozenset(("chmod", "chown", "enroot", "ln", "mkdir", "rm", "rmdir", "touch"))
# What another text does is only known of those that set up an environment.
_ACTIVATES = re.compile(r"activate|profile|modules?\b|conda|setvars|bashrc")
# These only say where a program is: `command -v srun`.
_ASKS = re.compile(r"-[pvV]*[vV]")


def begin_of_program(words: Sequence[str]) -> int:
    """How many words stand before the name of the program that runs in the end; all where none does."""
    at = 0
    while at < len(words):
        name = words[at].rpartition("/")[2]
        wrapper = _WRAPPERS.get(name)
        begin = at + 1
        if wrapper is None or (name == "command" and begin < len(words) and _ASKS.fullmatch(words[begin])):
            return at
        at = begin + _own_words(wrapper, words[begin:])
    return at


def makes_no_file(words: Sequence[str]) -> bool:
    """Whether a command surely makes no file, but by where its output goes."""
    name = words[0] if words else ""
    if name in ("source", "."):
        return len(words) > 1 and _ACTIVATES.search(words[1]) is not None
    return name in MAKES_NO_FILE or name == "conda"


def makes_what_it_names(words: Sequence[str]) -> bool:
    """Whether a command surely makes no file, but those that its words and its output name."""
    words = words[begin_of_program(words) :]
    return makes_no_file(words) or (bool(words) and words[0] in _MAKES_WHAT_IT_NAMES)


def told_to_shell(words: Sequence[str]) -> str | None:
    """The text that `bash -c` is given to run; None for another command."""
    if words and re.fullmatch(r"(ba|da|k|z)?sh", words[0].rpartition("/")[2]):
        for flag, told in pairwise(words[1:]):
            if re.fullmatch(r"-[a-z]*c", flag):
                return told
    return None


def _own_words(wrapper: _Wrapper, words: Sequence[str]) -> int:
    """How many of the words behind its name a wrapper takes for itself."""
    at, own = 0, wrapper.own
    while at < len(words):
        word = words[at]
        if word.startswith("-"):
            at += 1 + (re.fullmatch(wrapper.with_value, word) is not None)
        elif own:
            at, own = at + 1, own - 1
        # What a variable holds is taken for options, and what has = for a variable of env's.
        elif UNKNOWN in word or re.match(r"\w+=", word):
            at += 1
        else:
            return at
    return at
