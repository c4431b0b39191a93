"""Last lines of logs: without what moves a cursor, without Slurm's own notice of an end."""

from __future__ import annotations

import os
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


def test_the_end_of_a_log_knows_its_lines_numbers_wherever_it_begins(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(1, 1001)))
    for most_bytes in (10, 100, 4096, 1 << 20):
        end = tails.end_of(log, most_bytes)
        assert end is not None
        whole = [(index, line) for index, line in enumerate(end.lines) if line.startswith("line ")]
        assert whole
        for index, line in whole:
            assert end.place(index) == f"{log}:{line.removeprefix('line ')}"


def test_the_end_of_a_log_of_10_gb_is_read_at_once_and_counted_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(10 << 30)
        file.seek(0, 2)
        file.write(b"\nRuntimeError: x\n")
    end = tails.end_of(log)
    assert end is not None and end.lines[-2] == "RuntimeError: x"
    assert len(end.lines) == 3
    assert end.place(1) == f"{log} (line 2 from the end)"


def test_binary_bytes_and_endless_lines_disturb_nobody(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        bytes(range(256)) + b"\n" + b"x" * 100_000 + b"the end\n\xff\xfe\n5%\r10%\rValueError: y\n"
    )
    end = tails.end_of(log)
    assert end is not None
    assert end.lines[-2] == "ValueError: y"
    assert max(map(len, end.lines)) < 5000 and any(line.endswith("the end") for line in end.lines)


def test_a_pipe_a_folder_and_what_is_not_there_have_no_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "", "nothing"):
        assert tails.end_of(tmp_path / name) is None
