"""What programs printed, as a terminal may show it: in colors, but nothing else moves or changes it. Pure."""

from __future__ import annotations

import codecs
import re

_COLOR = r"\x1b\[[0-9;:]*m"
# The longest title or link of a terminal that is taken for one.
_SEQUENCE = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)"
_SPECIAL = re.compile(f"({_COLOR})|({_SEQUENCE})|([\x00-\x08\x0b-\x1f\x7f-\x9f\udc80-\udcff])")
# A part of one of them, or a carriage return whose newline may follow.
_UNFINISHED = re.compile(r"(?:\r|\x1b(?:\[[0-?]{0,100}[ -/]{0,10}|\][^\x07\x1b]{0,2000}\x1b?)?)\Z")
_ANEW = "\r\x1b[K"
_PLAIN = "\x1b[0m"


def visible(text: str, *, color: bool) -> str:
    """A line without its newline: control characters as `^G`, bytes that are no text as `\\xff`.

    Colors stay where `color` says so, and end with the line; other sequences of a terminal are left out.
    """
    return _visible(text, color=color) + (_PLAIN if color and is_colored(text) else "")


def _visible(text: str, *, color: bool) -> str:
    if text.isprintable():
        return text
    return _SPECIAL.sub(lambda found: _instead(found, color=color), text)


def is_colored(text: str, before: bool = False) -> bool:
    """Whether what follows the text would be colored; `before`: whether the text itself was."""
    found = re.findall(_COLOR, text) if "\x1b[" in text else []
    return found[-1] not in (_PLAIN, "\x1b[m") if found else before


def _instead(found: re.Match[str], *, color: bool) -> str:
    if found[1] is not None:
        return found[1] if color else ""
    if found[2] is not None:
        return ""
    code = ord(found[3])
    if code < 0x20:
        return f"^{chr(code + 64)}"
    return "^?" if code == 0x7F else f"\\x{code & 0xFF:02x}"


def decoded(data: bytes) -> str:
    """Text that keeps every byte: one that is no UTF-8 becomes a lone surrogate."""
    return data.decode(errors="surrogateescape")


def last_form(line: str) -> str:
    """What a terminal shows at last of a line that was written over, as a progress bar is."""
    return line.rstrip("\r").rpartition("\r")[2] if "\r" in line else line


class Screen:
    """A stream of bytes as a terminal may show it, also in the middle of a line."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = ""
        self._is_begun = False
        self._is_colored = False

    def feed(self, data: bytes) -> str:
        """What to show of these bytes; the begin of a character or a sequence waits for its end."""
        text = self._held + self._decoder.decode(data)
        unfinished = _UNFINISHED.search(text)
        self._held = unfinished[0] if unfinished else ""
        *lines, part = text[: len(text) - len(self._held)].split("\n")
        return "".join(self._piece(line) + self._end() for line in lines) + self._piece(part)

    def finish(self) -> str:
        """The rest, and the newline that the last line lacks."""
        text = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        rest = self._piece(text)
        return rest + self._end() if self._is_begun else rest

    def _piece(self, text: str) -> str:
        over, text = "\r" in text.rstrip("\r"), last_form(text)
        begin = _ANEW if over and self._is_begun else ""
        self._is_begun = bool(text) or (self._is_begun and not over)
        self._is_colored = self._color and is_colored(text, self._is_colored)
        return begin + _visible(text, color=self._color)

    def _end(self) -> str:
        end = f"{_PLAIN}\n" if self._is_colored else "\n"
        self._is_begun = self._is_colored = False
        return end
