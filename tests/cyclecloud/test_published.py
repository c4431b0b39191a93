"""The cluster status: read as docs/cluster-status.md says it, and never trusted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hpcai.cyclecloud.published import CODES, NotPublished, Quota, read_published

PAGE = Path(__file__).parents[2] / "docs/cluster-status.md"
NOW = 1795287600.0


def write(folder: Path, value: Any) -> Path:
    path = folder / "status.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    example = PAGE.read_text().partition("```json\n")[2].partition("```")[0]
    told = read_published(write(tmp_path, example))
    assert told.time == NOW and told.interval_s == 60
    assert told.nodes["gpu-7"].code == "boot-failure" and told.nodes["gpu-7"].nodearray == "gpu"
    [array] = told.of_partition("gpu")
    assert (array.code, array.state, array.vm_size) == ("quota", "blocked", "Standard_ND96isr_H100_v5")
    assert told.quotas == (Quota("Standard NDSH100v5 Family vCPUs", "southafricanorth", "vCPUs", 192, 192),)


def test_the_page_lists_every_code() -> None:
    assert [code for code in CODES if f"| `{code}` |" not in PAGE.read_text()] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"schema_version": 1, "time": 17952', "half-written or damaged"),
        ("", "half-written or damaged"),
        ("\x00\x01", "half-written or damaged"),
        ("[" * 100_000, "half-written or damaged"),
        ("[1, 2]", "holds no JSON object"),
        ('{"clusters": []}', "no schema_version and time"),
        ('{"schema_version": true, "time": 1}', "no schema_version and time"),
        ('{"schema_version": 1, "time": NaN}', "no schema_version and time"),
        ('{"schema_version": 1, "time": 1' + "0" * 400 + "}", "no schema_version and time"),
        ('{"schema_version": 2, "time": 1}', "schema_version 2; this hpcai reads 1"),
        (" " * (9 << 20), "larger than 8 MiB"),
    ],
)
def test_what_is_no_status_says_why(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(NotPublished, match=why):
        read_published(write(tmp_path, text))


def test_a_status_that_is_not_there_or_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("nothing", "pipe", ""):
        with pytest.raises(NotPublished, match="is not there"):
            read_published(tmp_path / name)


def test_entries_that_are_not_of_the_format_are_left_out(tmp_path: Path) -> None:
    odd = [None, 1, "x", {}, {"name": 3, "state": "x"}, {"name": "a"}, {"name": "b", "state": " "}]
    good = {
        "name": "n",
        "state": "Failed",
        "code": "new-code",
        "message": "a\x1b[2J\nb" + "x" * 900,
        "since": "now",
    }
    text = {
        "schema_version": 1,
        "time": NOW,
        "nodes": [*odd, good],
        "nodearrays": {"a": 1},
        "quotas": odd,
        "more": 1,
    }
    told = read_published(write(tmp_path, text))
    assert list(told.nodes) == ["n"] and told.nodearrays == () and told.quotas == ()
    node = told.nodes["n"]
    assert node.code == "unknown" and node.since is None
    assert node.message is not None and node.message.isprintable() and len(node.message) == 500


@pytest.mark.parametrize(
    ("interval_s", "age_s", "is_stale"),
    [
        (60, 599, False),
        (60, 601, True),
        (600, 2999, False),
        (600, 3001, True),
        (60, -299, False),
        (60, -301, True),
    ],
)
def test_an_old_status_is_stale_and_so_is_one_from_the_future(
    tmp_path: Path, interval_s: float, age_s: float, is_stale: bool
) -> None:
    path = write(tmp_path, {"schema_version": 1, "time": NOW - age_s, "interval_s": interval_s})
    assert read_published(path).is_stale(NOW) is is_stale
