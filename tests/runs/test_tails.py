"""Last lines of logs: without what moves a cursor, without Slurm's own notice of an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.runs import tails


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("plain ünï", "plain ünï"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("10 %\r20 %\r30 %", "30 %"),
        ("30 %\r", "30 %"),
        ("a\tb\x07c", "a b c"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b[2J\x1b[Hwiped", "wiped"),
    ],
)
def test_printable_moves_no_cursor(line: str, text: str) -> None:
    assert tails.printable(line) == text


def test_slurm_s_notice_of_an_end_is_no_reason(tmp_path: Path) -> None:
    log = tmp_path / "0.err"
    notice = "slurmstepd: error: *** STEP 7.1 ON n1 CANCELLED AT 2026-11-21T10:00:00 ***"
    log.write_text(f"one\n\n\x1b[31mtwo\x1b[0m\n{notice}\n" + f"{notice}\n" * 3)
    assert tails.tail(log, 5) == ["two", *[notice] * 4]
    assert tails.reasons(log, 3) == ["one", "two"]
    assert tails.reasons(log, 1) == ["two"]
    assert tails.tail(tmp_path / "absent", 3) == []
