"""Whether bash can read what it is given: a job's command, setup and teardown, or a script."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hpcai import shell
from hpcai.check.findings import Finding
from hpcai.errors import HpcaiError
from hpcai.specs.job import JobSpec

_TIMEOUT_S = 5.0
# Nothing in it has a meaning for a shell beyond words that stand side by side; a first word may have.
_PLAIN = re.compile(r"[\w./+@:,-][\w./+@:,=% -]*", re.ASCII)
_KEYWORD = re.compile(
    r"\s*(if|then|elif|else|fi|for|while|until|do|done|case|esac|select|function|in|time|coproc)\b"
)
_SAID = re.compile(r"line (\d+): (.*)")
_OPEN_DOCUMENT = re.compile(r"here-document at line (\d+) (?=delimited)(.*)")


def check_syntax(spec: JobSpec) -> Iterator[Finding]:
    """An error for each text that bash would refuse when the job has begun; runs `bash -n`."""
    for where, text in spec.commands:
        said = _refused(text)
        if said:
            line, words = said
            at = f", line {line}" if "\n" in text.strip() else ""
            yield _finding(where, f"Bash cannot read the command{at}: {words}.", text, line)
    yield from _of_lines("setup", spec.setup)
    yield from _of_lines("teardown", spec.teardown)


def check_text(text: str) -> Iterator[Finding]:
    """The same for a whole script."""
    said = _refused(text, is_followed=True)
    if said is not None:
        line, words = said
        finding = _finding("script", f"Bash cannot read the script: {words}.", text, line)
        # With what its last here-document has swallowed a script runs all the same.
        is_open = words.startswith("a here-document")
        yield replace(finding, severity="warning" if is_open else finding.severity, place=f"{line}:1")


def _of_lines(key: str, lines: Sequence[str]) -> Iterator[Finding]:
    """The entries are one text to bash, in which a word of the last one could swallow what comes behind."""
    said = _refused("\n".join(lines), is_followed=True)
    if said is None:
        return
    line, words = said
    ends, last = [], 0
    for entry in lines:
        last += entry.count("\n") + 1
        ends.append(last)
    index = next((number for number, end in enumerate(ends) if line <= end), len(lines) - 1)
    yield _finding(f"{key}[{index}]", f"Bash cannot read {key}: {words}.", "\n".join(lines), line)


def _finding(where: str, what: str, text: str, line: int) -> Finding:
    # Bash reads line by line: what stands behind an exit it may never see.
    before = text.splitlines()[: line - 1]
    is_sure = not any(re.match(r"\s*(exit|exec|return)\b", one) for one in before)
    fix = "Close what is open there."
    if where != "script":
        fix = "Close what is open there; quotes of YAML are not quotes of the shell."
    return Finding("shell-syntax", "error" if is_sure else "warning", where, what, fix)


def _refused(text: str, *, is_followed: bool = False) -> tuple[int, str] | None:
    """The line, and bash's words, for a text that it cannot read; None where it can, or is not there."""
    if not text.strip() or (_PLAIN.fullmatch(text) and not _KEYWORD.match(text)):
        return None
    # A pattern such as !(x) is read only where this is switched on, which -n does not do.
    option = ["-O", "extglob"] if "extglob" in text else []
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    try:
        # One word of a command is at most 128 KiB long.
        done = shell.run(["bash", *option, "-n"], timeout_s=_TIMEOUT_S, check=False, env=environ, stdin=text)
    except HpcaiError:
        return None
    is_open = _OPEN_DOCUMENT.search(done.stderr) if is_followed else None
    if is_open:
        return int(is_open[1]), f"a here-document is {is_open[2]}"
    said = _SAID.search(done.stderr) if done.status else None
    return (min(int(said[1]), text.count("\n") + 1), said[2]) if said else None
