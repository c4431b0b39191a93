"""Growing files: each byte once, truncated and replaced ones anew, and the ends of large ones alone."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.runs import growing
from hpcai.runs.growing import LONGEST_LINE, Growing


def read(file: Growing) -> bytes:
    return b"".join(file.news())


def test_what_is_not_there_yet_is_waited_for_and_each_byte_comes_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log"
    file = Growing(path)
    assert read(file) == b""
    path.parent.mkdir()
    path.write_bytes(b"one\ntw")
    assert read(file) == b"one\ntw"
    with path.open("ab") as more:
        more.write(b"o\n")
    assert (read(file), read(file)) == (b"o\n", b"")


def test_a_file_that_was_truncated_or_replaced_is_read_anew_and_told_once(tmp_path: Path) -> None:
    path, told = tmp_path / "log", []
    file = Growing(path, told.append)
    path.write_bytes(b"a long line\n")
    read(file)
    path.write_bytes(b"short\n")
    assert (read(file), read(file)) == (b"short\n", b"")
    other = tmp_path / "other"
    other.write_bytes(b"of the same length as before, or longer\n")
    other.rename(path)
    assert read(file).startswith(b"of the same")
    assert told == [
        f"{str(path)!r} was {what}; it is read on from its begin."
        for what in ("truncated", "replaced by another file")
    ]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        assert read(Growing(path)) == b"" and Growing(path).last_lines(3) == []


@given(st.lists(st.binary(max_size=9), max_size=40), st.integers(0, 12), st.integers(1, 7), st.booleans())
def test_the_last_lines_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], count: int, block: int, only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(b"\n".join(parts))
    *whole, last = path.read_bytes().split(b"\n")
    lines = [line + b"\n" for line in whole] + ([last] if last else [])

    def fits(line: bytes) -> bool:
        return not only or b"\x00" in line

    file = Growing(path)
    before, growing._CHUNK = growing._CHUNK, block
    try:
        found = file.last_lines(count, fits)
    finally:
        growing._CHUNK = before
    unfinished = [line for line in lines if not line.endswith(b"\n")]
    told = found + [line for line in unfinished if fits(line)]
    wanted = [line for line in lines if fits(line)]
    assert told == (wanted[-count:] if count else [line for line in wanted if line in unfinished])
    assert read(file) == b"".join(unfinished)


def test_the_end_of_ten_gigabytes_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.truncate(10 << 30)
        file.seek(0, 2)
        file.write(b"\n" + b"".join(b"line %d\n" % number for number in range(100_000)))
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert Growing(path).last_lines(2) == [b"line 99998\n", b"line 99999\n"]
    found = Growing(path).last_lines(1, lambda lines: b"line 7\n" in lines)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert found == [b"line 7\n"]
    assert after.ru_maxrss - before.ru_maxrss < 32 << 10, "KiB more than before"


def test_a_line_without_an_end_is_several(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (3 * LONGEST_LINE) + b"\nlast\n")
    first, *rest = Growing(path).last_lines(3)
    assert rest[-1] == b"last\n" and len(first) < 2 * LONGEST_LINE
