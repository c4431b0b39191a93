"""Which paths patterns in the form of .gitignore leave out (gitignore(5)), without git."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One line of an ignore file; `base` is the folder of the file, '' or 'src/'."""

    regex: re.Pattern[str]
    leaves_out: bool
    is_of_folders: bool
    base: str = ""

    def fits(self, path: str, *, is_folder: bool) -> bool:
        if self.is_of_folders and not is_folder:
            return False
        return path.startswith(self.base) and self.regex.fullmatch(path[len(self.base) :]) is not None


def rules(lines: Iterable[str], base: str = "") -> list[Rule]:
    """The rules of an ignore file, in its order."""
    return [rule for line in lines if (rule := _rule(line.rstrip("\r\n"), base)) is not None]


def verdict(path: str, ordered: Sequence[Rule], *, is_folder: bool) -> bool | None:
    """Whether the last rule that fits leaves it out; None where none fits."""
    for rule in reversed(ordered):
        if rule.fits(path, is_folder=is_folder):
            return rule.leaves_out
    return None


def _rule(line: str, base: str) -> Rule | None:
    text = re.sub(r"(?<!\\) +$", "", line)
    if not text or text.startswith("#"):
        return None
    leaves_out = not text.startswith("!")
    text = text if leaves_out else text[1:]
    is_of_folders = text.endswith("/")
    # Of several git takes one away, and what is left ends with a slash, as no path does.
    text = text.removesuffix("/")
    if not text:
        return None
    # A slash at the beginning or in the middle ties the pattern to the folder of its file.
    anchored = "/" in text
    regex = _regex(text.removeprefix("/"))
    return Rule(
        re.compile(regex if anchored else f"(?:.*/)?{regex}", re.DOTALL), leaves_out, is_of_folders, base
    )


@functools.cache
def _regex(pattern: str) -> str:
    found, index = "", 0
    while index < len(pattern):
        part, width = _part(pattern, index)
        found += part
        index += width
    return found


def _part(pattern: str, index: int) -> tuple[str, int]:
    """The regular expression of what stands at this place, and how many characters that was."""
    rest = pattern[index:]
    at_start = index == 0 or pattern[index - 1] == "/"
    if at_start and rest.startswith("**/"):
        return "(?:.*/)?", 3
    if at_start and rest == "**":
        return ".*", 2
    if run := re.match(r"\*+", rest):
        return "[^/]*", len(run[0])
    if rest[0] == "?":
        return "[^/]", 1
    if rest[0] == "\\" and len(rest) > 1:
        return re.escape(rest[1]), 2
    if rest[0] == "[" and (group := re.match(r"\[[!^]?\]?(?:\\.|[^\]\\])*\]", rest, re.DOTALL)):
        return _group(group[0]), len(group[0])
    return re.escape(rest[0]), 1


def _group(text: str) -> str:
    inside = text[1:-1]
    negated = inside[:1] in ("!", "^")
    inside = inside[1:] if negated else inside
    inside = inside.replace("[", r"\[").replace("&&", r"&\&").replace("~~", r"~\~")
    inside = re.sub(r"^\]", r"\\]", inside)
    return f"(?!/)[{'^' if negated else ''}{inside}]"
