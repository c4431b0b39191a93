"""Records survive damage, kills and full disks, and are seen once by every reader."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcai.errors import StageError
from hpcai.runs import jsonl

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
records = st.dictionaries(st.text(), json_values, max_size=4)

# Appends numbers for ever and says after each that it is written.
WRITER = """
import sys
from pathlib import Path
from hpcai.runs import jsonl
from hpcai.runs.metrics import MetricWriter
path, how = Path(sys.argv[1]), sys.argv[2]
writer = MetricWriter(path) if how == "metrics" else None
number = 0
while True:
    if writer:
        writer.log("loss", 0.1, number)
    else:
        jsonl.append(path, {"step": number, "text": "x" * (number * 37 % 900)})
    print(number, flush=True)
    number += 1
"""


@given(st.lists(records, max_size=8))
def test_what_is_appended_is_read(
    tmp_path_factory: pytest.TempPathFactory, written: list[jsonl.Record]
) -> None:
    path = tmp_path_factory.mktemp("records") / "a.jsonl"
    for record in written:
        jsonl.append(path, record)
    assert jsonl.read(path) == written


@given(data=st.data(), written=st.lists(records, min_size=1, max_size=6))
def test_damage_to_a_line_costs_that_line_only(data: st.DataObject, written: list[jsonl.Record]) -> None:
    lines = [jsonl.encode(record)[:-1] for record in written]
    hit = data.draw(st.integers(0, len(lines) - 1))
    rubbish = data.draw(st.binary(max_size=40)).replace(b"\n", b" ")
    where = data.draw(st.integers(0, len(lines[hit])))
    lines[hit] = b"\xff" + lines[hit][:where] + rubbish
    assert jsonl._parse(b"\n".join(lines) + b"\n") == written[:hit] + written[hit + 1 :]


@pytest.mark.parametrize(
    "line", [b"42", b'"text"', b"[1]", b"nul", b"{", b"\x00" * 30, b"\xff\xfe{\x00}\x00", b"[" * 20_000]
)
def test_a_line_that_is_no_object_is_passed_over(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n\n  \n{"a": 2}\n')
    assert jsonl.read(path) == [{"a": 1}, {"a": 2}]


def test_a_line_torn_at_any_byte_is_healed_by_the_next_append(tmp_path: Path) -> None:
    whole = b"".join(jsonl.encode({"step": number, "text": "ü\n"}) for number in range(3))
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        # A line that lacks nothing but its newline lost nothing.
        complete = sum(1 for end in ends if end - 1 <= cut)
        assert len(jsonl.read(path)) == complete
        jsonl.append(path, {"step": 99})
        assert [record["step"] for record in jsonl.read(path)] == [*range(complete), 99], cut


@pytest.mark.programs
@pytest.mark.parametrize("how", ["jsonl", "metrics"])
def test_a_killed_writer_loses_nothing_that_it_had_returned_from(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.jsonl"
    rng = random.Random(3)
    for round_number in range(3):
        path.unlink(missing_ok=True)
        said = _killed_after(path, how, rng.randint(1, 400))
        steps = [record["step"] for record in jsonl.read(path)]
        assert steps == list(range(len(steps))), round_number
        assert len(steps) >= said
        jsonl.append(path, {"step": -1})
        assert [record["step"] for record in jsonl.read(path)] == [*steps, -1]


def _killed_after(path: Path, how: str, count: int) -> int:
    """How many appends the writer had returned from when it was killed in the middle of its work."""
    argv = [sys.executable, "-c", WRITER, str(path), how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(count):
            last = writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().splitlines()
    # The kill can cut the last number itself.
    whole = [line for line in rest[:-1] if line]
    return int(whole[-1] if whole else last) + 1


@pytest.mark.programs
def test_two_readers_see_every_record_once_while_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    readers = [jsonl.Follower(path), jsonl.Follower(path)]
    seen: list[list[int]] = [[], []]
    argv = [sys.executable, "-c", WRITER, str(path), "jsonl"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as writer:
        deadline = time.monotonic() + 30
        while min(map(len, seen)) < 500 and time.monotonic() < deadline:
            for reader, steps in zip(readers, seen, strict=True):
                steps += [record["step"] for record in reader.poll()]
        writer.kill()
    for reader, steps in zip(readers, seen, strict=True):
        steps += [record["step"] for record in reader.poll()]
        assert steps == list(range(len(steps)))
        assert len(steps) >= 500
    assert seen[0] == seen[1]


def test_a_reader_waits_for_a_line_that_is_still_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    reader = jsonl.Follower(path)
    assert reader.poll() == []
    path.write_bytes(b'{"a": 1}\n{"a":')
    assert reader.poll() == [{"a": 1}]
    assert reader.poll() == []
    path.write_bytes(b'{"a": 1}\n{"a": 2}')
    assert reader.poll() == [{"a": 2}]
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": 3}\n')
    assert reader.poll() == [{"a": 3}]


def test_a_reader_begins_again_in_a_file_that_was_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n')
    reader = jsonl.Follower(path)
    reader.poll()
    path.write_bytes(b'{"a": 3}\n')
    assert reader.poll() == [{"a": 3}]


def test_no_file_is_no_records(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert jsonl.read(tmp_path / "none.jsonl") == []
    assert jsonl.read(tmp_path / "file" / "none.jsonl") == []


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"cannot be read: Is a directory"):
        jsonl.read(tmp_path)


def test_a_full_disk_is_an_error_with_the_next_step() -> None:
    with pytest.raises(
        StageError, match=r"'/dev/full' cannot be written: No space left on device\.\n.*HPCAI_RUNS_ROOT"
    ):
        jsonl.append(Path("/dev/full"), {"a": 1})


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="No such file or directory"):
        jsonl.append(tmp_path / "gone" / "a.jsonl", {"a": 1})


# Takes a part of the second line, as a disk does that becomes full, and then the third in full.
HALF_WRITTEN = """
import resource, signal, sys
from pathlib import Path
from hpcai.errors import StageError
from hpcai.runs import jsonl
from hpcai.runs.metrics import MetricWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
writer = MetricWriter(path) if sys.argv[2] == "metrics" else None
def log(step):
    writer.log("loss", 0.5, step) if writer else jsonl.append(path, {"step": step})
log(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 7, resource.RLIM_INFINITY))
try:
    log(1)
except StageError as error:
    print(error.what)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log(2)
"""


@pytest.mark.programs
@pytest.mark.parametrize("how", ["jsonl", "metrics"])
def test_a_line_that_a_disk_takes_in_part_is_an_error_and_the_next_one_is_whole(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "a.jsonl"
    argv = [sys.executable, "-c", HALF_WRITTEN, str(path), how]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert "cannot be written: File too large" in said
    assert [record["step"] for record in jsonl.read(path)] == [0, 2]
    assert len(path.read_bytes().splitlines()) == 3


def test_numbers_that_json_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        jsonl.append(tmp_path / "a.jsonl", {"a": float("nan")})
    assert not (tmp_path / "a.jsonl").exists()


def test_lines_are_plain_ascii_json(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    jsonl.append(path, {"text": "größer\n\u2028"})
    line = path.read_text(encoding="ascii")
    assert line.count("\n") == 1
    assert json.loads(line) == {"text": "größer\n\u2028"}
