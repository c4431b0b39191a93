"""What a terminal is given of logs: nothing that moves its cursor, rings, or sets it up otherwise."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.cli.terminal import Screen, decoded, last_form, visible

# All that may change a terminal in what is printed: newlines, colors, and a line that is drawn anew.
ALLOWED = re.compile("\x1b\\[[0-9;:]*m|\r\x1b\\[K|[\t\n]")
HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f]")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain \xc3\xbc \xe7\x95\x8c\t.", "plain ü 界\t."),
        (b"bell \x07 null \x00 delete \x7f", "bell ^G null ^@ delete ^?"),
        (b"bytes \xff\xfe, C1 \xc2\x9b", "bytes \\xff\\xfe, C1 \\x9b"),
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        (b"\x1b[1;32mopen", "\x1b[1;32mopen\x1b[0m"),
        (b"\x1b[2J\x1b[Hcleared \x1b]0;title\x07\x1b]8;;http://x\x1b\\link", "cleared link"),
        (b"alone \x1b and \x1bc", "alone ^[ and ^[c"),
    ],
)
def test_a_line_as_a_terminal_may_show_it(data: bytes, shown: str) -> None:
    assert visible(decoded(data), color=True) == shown
    assert "\x1b" not in visible(decoded(data), color=False)


@pytest.mark.parametrize(
    ("line", "shown"), [("1%\r50%\r100%", "100%"), ("dos\r", "dos"), ("9%\r  \r", "  "), ("a", "a")]
)
def test_of_a_line_that_was_written_over_the_last_is_shown(line: str, shown: str) -> None:
    assert last_form(line) == shown


def test_a_progress_bar_is_drawn_over_as_it_comes() -> None:
    screen = Screen(color=True)
    steps = [b"loading\n 10%", b"\r 50%\r", b" 60%", b"\r100%\r\n", b"done"]
    drawn = [screen.feed(step) for step in steps]
    assert drawn == ["loading\n 10%", "\r\x1b[K 50%", "\r\x1b[K 60%", "\r\x1b[K100%\n", "done"]
    assert screen.finish() == "\n"


def test_a_character_and_a_color_may_come_in_parts() -> None:
    screen = Screen(color=True)
    drawn = "".join(screen.feed(bytes([byte])) for byte in b"\x1b[31m\xe7\x95\x8c\x1b[0m \x1b]0;x\x07\xff.\n")
    assert drawn + screen.finish() == "\x1b[31m界\x1b[0m \\xff.\n"


def test_no_color_reaches_into_the_next_line_or_behind_the_end() -> None:
    screen = Screen(color=True)
    assert screen.feed(b"\x1b[31mred\nplain \x1b[32mgreen") == "\x1b[31mred\x1b[0m\nplain \x1b[32mgreen"
    assert screen.finish() == "\x1b[0m\n"


@given(
    st.lists(st.binary(max_size=20) | st.sampled_from([b"\x1b[", b"\x1b]", b"\r", b"\n", b"m"]), max_size=20)
)
def test_whatever_the_bytes_nothing_but_colors_changes_a_terminal(parts: list[bytes]) -> None:
    screen = Screen(color=True)
    shown = "".join([*map(screen.feed, parts), screen.finish()])
    assert not HARMFUL.search(ALLOWED.sub("", shown))
