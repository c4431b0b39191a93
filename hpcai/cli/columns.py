"""Tables that fit a terminal: how wide text is, what gives way, and how it is cut. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# No column gets narrower for want of room.
_NARROWEST = 10
_BETWEEN = 2


@dataclass(frozen=True)
class Room:
    """What gives way where a terminal has no room for a table."""

    least: Mapping[str, int] = field(default_factory=dict)
    """The columns that are cut, each with the width that it keeps."""
    left_out: Sequence[str] = ()
    """The columns that are left out when cutting is not enough, the least important first."""
    extra: Sequence[str] = ()
    """Those that are shown only where nothing has to be cut for them."""


def cutting(*columns: str) -> Room:
    """That of a table in which these give way."""
    return Room(dict.fromkeys(columns, _NARROWEST))


def width_of(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_width_of_character, text))


def _width_of_character(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text in at most so many columns; three dots stand for a name's middle, or a sentence's end."""
    if width_of(text) <= width:
        return text
    tail = 0 if " " in text else (width - 3) // 2
    end = _begin(text[::-1], tail)[::-1]
    return _begin(f"{_begin(text, max(0, width - 3 - tail))}...{end}", width)


def _begin(text: str, width: int) -> str:
    """As much of the text's begin as fits."""
    taken = 0
    for index, character in enumerate(text):
        taken += _width_of_character(character)
        if taken > width:
            return text[:index]
    return text


def padded(text: str, width: int) -> str:
    """The text in exactly so many columns, unless it is wider."""
    return text + " " * (width - width_of(text))


def fitted(widths: Mapping[str, int], screen: int, room: Room) -> dict[str, int]:
    """The columns that a screen has room for, two spaces apart, and how wide each is."""
    kept = dict(widths)
    for column in room.extra:
        if _total(kept) > screen:
            kept.pop(column, None)
    for column in room.left_out:
        if _total({name: min(width, room.least.get(name, width)) for name, width in kept.items()}) > screen:
            kept.pop(column, None)
    # What may be cut gives way first, then whatever is widest.
    for least in (room.least, dict.fromkeys(kept, _NARROWEST)):
        while _total(kept) > screen:
            wide = [name for name, width in kept.items() if width > least.get(name, width)]
            if not wide:
                break
            kept[max(wide, key=lambda name: kept[name])] -= 1
    return kept


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _BETWEEN * (len(widths) - 1)


def wrapped(text: str, width: int, indent: int) -> str:
    """The text in lines of at most `width`, all but the first indented; a word stays whole, to be copied."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and width_of(line) + 1 + width_of(word) > width - indent:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return f"\n{' ' * indent}".join([*lines, line])
