"""Which lines of a growing file are printed, and how a stream gets them."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest

from hpcai.cli import pipes
from hpcai.cli.pipes import Chosen, Pipe, copy_all, finish_all
from hpcai.errors import ToolError


class Stream(io.TextIOWrapper):
    """A stream that keeps what it is given."""

    def __init__(self, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO())
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def taken(self) -> bytes:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        data = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return data


LOG = b"epoch 1\nloss 0.5 \xff\nepoch 2: 10%\repoch 2: 90%\rsaved\nepoch 3"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.out"
    path.write_bytes(LOG)
    return path


def printed(path: Path, chosen: Chosen | None = None, label: str = "", *, is_terminal: bool = False) -> bytes:
    stream = Stream(is_terminal)
    finish_all([Pipe(path, stream, chosen, label)])
    return stream.taken()


def test_a_pipe_gets_each_byte_and_a_terminal_what_it_can_show(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(log) == LOG
    assert printed(log, is_terminal=True) == b"epoch 1\nloss 0.5 \\xff\nsaved\nepoch 3\n"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("epoch", b"epoch 1\nepoch 2: 90%\nepoch 3\n"),
        (r"epoch \d$", b"epoch 1\nepoch 3\n"),
        ("^loss", b"loss 0.5 \xff\n"),
        ("(?i)SAVED", b"saved\n"),
        ("none", b""),
    ],
)
def test_lines_that_match(log: Path, pattern: str, found: bytes) -> None:
    assert printed(log, Chosen(re.compile(pattern))) == found


def test_each_line_tells_its_rank_also_the_last_without_a_newline(log: Path) -> None:
    lines = printed(log, label=" 3: ").split(b"\n")
    assert lines == [
        b" 3: epoch 1",
        b" 3: loss 0.5 \xff",
        b" 3: epoch 2: 10%\repoch 2: 90%\rsaved",
        b" 3: epoch 3",
        b"",
    ]
    assert printed(log, Chosen(re.compile("loss")), "3: ", is_terminal=True) == b"3: loss 0.5 \\xff\n"


@pytest.mark.parametrize(
    ("pattern", "tail", "found"),
    [
        (None, 1, b"epoch 3"),
        (None, 2, b"epoch 2: 10%\repoch 2: 90%\rsaved\nepoch 3"),
        (None, 0, b""),
        ("epoch", 2, b"epoch 2: 90%\nepoch 3\n"),
        ("loss", 5, b"loss 0.5 \xff\n"),
    ],
)
def test_the_last_lines_of_those_that_match(log: Path, pattern: str | None, tail: int, found: bytes) -> None:
    if tail == 0:
        log.write_bytes(LOG + b"\n")
    assert printed(log, Chosen(pattern and re.compile(pattern), tail)) == found


def test_a_line_that_comes_in_parts_is_one(tmp_path: Path) -> None:
    path, stream = tmp_path / "log", Stream()
    pipe = Pipe(path, stream, Chosen(re.compile("whole line")))
    for part, found in ((b"a who", b""), (b"le line\nanother whole", b"a whole line\n"), (b" line", b"")):
        with path.open("ab") as file:
            file.write(part)
        pipe.copy()
        assert stream.taken() == found
    finish_all([pipe])
    assert stream.taken() == b"another whole line\n"


def test_what_comes_after_the_tail_is_printed_whole(log: Path) -> None:
    stream = Stream()
    pipe = Pipe(log, stream, Chosen(tail=1))
    pipe.copy()
    with log.open("ab") as file:
        file.write(b" goes on\n1\n2\n3\n")
    pipe.copy()
    assert stream.taken() == b"epoch 3 goes on\n1\n2\n3\n"


def test_a_truncated_file_is_told_on_a_line_of_its_own(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = Stream(is_terminal=True)
    pipe = Pipe(log, stream)
    pipe.copy()
    assert stream.taken().endswith(b"\nepoch 3")
    log.write_bytes(b"anew\n")
    pipe.copy()
    assert stream.taken() == b"\nanew\n"
    assert capsys.readouterr().err == f"{str(log)!r} was truncated; it is read on from its begin.\n"


def test_what_may_not_be_read_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "log").touch()
    monkeypatch.setattr("hpcai.runs.growing.os.open", refuse)
    with pytest.raises(ToolError, match=r"'.*/log' may not be read by you: it belongs to '\w+'\."):
        Pipe(tmp_path / "log", Stream()).copy()


def test_many_files_are_looked_at_seldom_enough_and_often_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """128 files of 64 ranks over 10 s of looking every 0.2 s: each is opened twice a second at most."""
    opened = 0
    real_open = pipes.Growing.news

    def count(file: pipes.Growing) -> object:
        nonlocal opened
        opened += 1
        return real_open(file)

    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(pipes.Growing, "news", count)
    many = [Pipe(tmp_path / str(number), Stream()) for number in range(128)]
    for _ in range(50):
        copy_all(many)
        clock[0] += 0.2
    assert 128 * 10 <= opened <= 128 * 21


def test_one_line_in_a_file_of_many_is_found_quickly(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b"step 1 loss 0.123456 images/s 99.9 top-1 0.5 top-5 0.9\n" * 2_000_000 + b"CUDA error\n"
    )
    begin = time.perf_counter()
    assert printed(path, Chosen(re.compile("CUDA error"))) == b"CUDA error\n"
    # 110 MB: a second on a quiet machine is already long.
    assert time.perf_counter() - begin < 5
