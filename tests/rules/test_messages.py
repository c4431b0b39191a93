"""Every message of an error is made of sentences, and a command to type stands alone, as typed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "hpcai").rglob("*.py"))
# Anything that is raised for a person; internal signals have no message.
SUFFIXES = ("Error", "Missing", "Refused", "TimedOut", "Timeout", "NoSuchBlob")
PYTHONS = (
    "ValueError",
    "TypeError",
    "AttributeError",
    "AssertionError",
    "OSError",
    "KeyError",
    "SpecFileError",
    "PydanticCustomError",
)
# Lines of these words are for a shell.
PROGRAMS = (
    "hpcai ",
    "./dev",
    "export ",
    "pip ",
    "chmod ",
    "mkdir ",
    "srun ",
    "sinfo ",
    "ps ",
    "python",
    "apt",
    "sudo ",
)
# Names of programs, keys and schemes are written as they are.
NAMES = (
    *("apt", "azure", "container", "hpcai", "memory_mib_per_node", "nodes", "npm", "pip", "pyproject"),
    *("sbatch", "scrontab", "slurmctld", "slurmdbd", "srun", "template"),
)
# Where a value stands in a message.
VALUE = "\0"


def text_of(node: ast.expr) -> str | None:
    """The text of a string, with a mark for every value in it; None for what is no string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = (text_of(part) if isinstance(part, ast.Constant) else VALUE for part in node.values)
        return "".join(part or "" for part in parts)
    return None


def messages(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, kind (what, allowed, next_step) and text of every message of an error."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if not name.endswith(SUFFIXES) or name in PYTHONS:
            continue
        given = [("what", arg) for arg in node.args]
        given += [(word.arg or "", word.value) for word in node.keywords]
        for kind, value in given:
            text = text_of(value)
            if text is not None and kind in ("what", "allowed", "next_step"):
                yield node.lineno, kind, text


def log_messages(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every message that is logged; what an error says is a `%s` in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("LOG."):
            yield node.lineno, text_of(node.args[0]) or ""


def is_command(text: str) -> bool:
    return text.startswith(PROGRAMS)


def fault(kind: str, text: str) -> str | None:
    if kind == "next_step" and is_command(text):
        return "a command has no period" if text.endswith(".") else None
    if text[:1].islower() and re.split(r"\W", text)[0] not in NAMES:
        return "begins with a small letter"
    if not text.endswith((".", "?", VALUE if kind == "next_step" else ".")):
        return "does not end with a period"
    return None


# What begins a command to type, and values in one whose letters are checked where they are given.
COMMAND = re.compile(r"(?:^|[\n`]|: )(?:(?:hpcai|chmod|mkdir|export|ps) |srun -)[^`]*")
PLAIN = re.compile(
    r"shlex\.(quote|join)\(.*\)"
    r"|\(?([\w.]+\.)?_?(name|ident|job_id|node|nodes|flag|again|key|stuck|packages)( if .*)?\)?"
)


def values_in_commands(path: Path) -> Iterator[tuple[int, str]]:
    """Line and expression of every value that stands in a command to type."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        values = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        text = text_of(node) or ""
        for command in COMMAND.finditer(text):
            before = text[: command.start()].count(VALUE)
            for value in values[before : before + command[0].count(VALUE)]:
                yield node.lineno, ast.unparse(value)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_command_to_type_has_its_paths_quoted(path: Path) -> None:
    raw = [f"{line}: {value}" for line, value in values_in_commands(path) if not PLAIN.fullmatch(value)]
    assert not raw, "\n".join(raw)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_messages_are_sentences(path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {kind} {found}: {text.replace(VALUE, '{}')!r}"
        for line, kind, text in messages(path)
        if (found := fault(kind, text)) is not None
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_logged_is_sentences_and_so_is_the_error_in_it(path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for line, text in log_messages(path)
        if not text.endswith((".", "%s")) or re.search(r"%s[.,;:]", text)
    ]
    assert not wrong, "\n".join(wrong)
