"""What a reader makes of the samples of a run's nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcai.runs import jsonl
from hpcai.runs.paths import RunPaths
from hpcai.runs.samples import read_uses, summary

START = 1_795_286_000.0


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path)
    made.samples_dir.mkdir()
    return made


def note(
    paths: RunPaths, node: str, count: int = 61, attempt: int = 0, every_s: float = 10.0, **fields: Any
) -> None:
    """A node's file with so many equal samples behind its first lines."""
    start = {
        "time": START,
        "attempt": attempt,
        "event": "started",
        "every_s": every_s,
        "total_memory_gib": 100.0,
    }
    jsonl.append(paths.samples(node), start | {"missing": {"infiniband": "no port"}})
    names = [f"{index} H200" for index in range(len(fields.get("gpu_busy_percent", ())))]
    if names:
        line = {"event": "gpus", "gpus": names, "gpu_total_memory_gib": [140.4] * len(names)}
        jsonl.append(paths.samples(node), {"time": START, "attempt": attempt} | line)
    lines = [
        jsonl.encode({"time": START + index * every_s, "attempt": attempt, **fields})
        for index in range(count)
    ]
    with paths.samples(node).open("ab") as file:
        file.write(b"".join(lines))


def told(
    paths: RunPaths, nodes: int = 2, until_s: float = START + 610, attempt: int = 0, **options: Any
) -> dict[str, Any]:
    return summary(read_uses(paths, attempt, **options), [f"n{index + 1}" for index in range(nodes)], until_s)


def test_the_median_of_all_cards_and_the_most_of_their_memory(paths: RunPaths) -> None:
    note(
        paths,
        "n1",
        gpu_busy_percent=[90.0, 3.0, 12.0, None],
        gpu_memory_gib=[70.5, 1, 1, 1],
        gpu_power_w=[600.0, 100.0, 100.0, 100.0],
    )
    note(paths, "n2", gpu_busy_percent=[14.0, 10.0], gpu_memory_gib=[1, 1], gpu_power_w=[None, 100.0])
    found = told(paths)
    assert (found["gpus"], found["gpu_busy_percent"], found["seconds"]) == (6, 12.0, 600.0)
    assert (found["gpu_memory_max_gib"], found["gpu_total_memory_gib"], found["gpu_power_w"]) == (
        70.5,
        140.4,
        200.0,
    )
    assert found["gpus_idle"] == ["n1:1"]
    assert found["missing"] == {"infiniband": "n1: no port"}


def test_no_card_is_idle_before_its_program_had_time_to_begin(paths: RunPaths) -> None:
    note(paths, "n1", count=20, gpu_busy_percent=[0.0])
    assert (told(paths)["gpu_busy_percent"], told(paths)["gpus_idle"]) == (0.0, [])


def test_ports_of_a_node_are_one_network_and_nodes_are_averaged(paths: RunPaths) -> None:
    note(
        paths,
        "n1",
        infiniband_in_gb_per_s=[10.0, 20.0],
        infiniband_out_gb_per_s=[1.0, None],
        cpu_percent=10.0,
        job_cpu_cores=2.0,
    )
    note(
        paths,
        "n2",
        infiniband_in_gb_per_s=[30.0, 40.0],
        infiniband_out_gb_per_s=[1.0, 1.0],
        cpu_percent=30.0,
        job_cpu_cores=3.0,
    )
    found = told(paths)
    assert [found[f"infiniband_{key}_gb_per_s"] for key in ("in", "out", "max")] == [50.0, 1.5, 70.0]
    assert (found["cpu_percent"], found["job_cpu_cores"]) == (20.0, 5.0)


def test_nodes_that_told_nothing_or_fell_silent_are_named(paths: RunPaths) -> None:
    note(paths, "n1", cpu_percent=1.0)
    note(paths, "n2", count=10, cpu_percent=1.0)
    note(paths, "n3", count=0)
    found = told(paths, nodes=4)
    assert (found["nodes"], found["nodes_without"], found["nodes_silent"]) == (2, ["n3", "n4"], ["n2"])


def test_attempts_are_told_apart(paths: RunPaths) -> None:
    note(paths, "n1", cpu_percent=10.0)
    note(paths, "n1", attempt=1, cpu_percent=90.0)
    assert [told(paths, attempt=number)["cpu_percent"] for number in (0, 1, 2)] == [10.0, 90.0, None]


def test_of_a_long_file_its_begin_and_its_last_part_are_read(paths: RunPaths) -> None:
    note(paths, "n1", count=2000, gpu_busy_percent=[1.0])
    with paths.samples("n1").open("ab") as file:
        for index in range(100):
            file.write(
                jsonl.encode({"time": START + 20_000 + index * 10, "attempt": 0, "gpu_busy_percent": [50.0]})
            )
    (use,) = read_uses(paths, 0, tail_bytes=5000)
    assert use.gpus == ("0 H200",) and 20 < len(use.samples) < 200
    found = summary([use], ["n1"], START + 21_000)
    assert found["seconds"] < 1000, "what lies between begin and end of the file was not read"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]\n",
        b'{"time": "x", "attempt": 0}\n',
        b'{"time": 1, "attempt": 0, "gpu_busy_percent": 3, "cpu_percent": "x"}\n',
        b'{"attempt": 0, "event": "started", "missing": null, "gpus": null}\n',
        b"\xff\xfe\n",
    ],
)
def test_damage_costs_its_line_only(paths: RunPaths, line: bytes) -> None:
    paths.samples("n1").write_bytes(line)
    note(paths, "n1", cpu_percent=10.0, gpu_busy_percent=[20.0])
    assert (told(paths)["cpu_percent"], told(paths)["gpu_busy_percent"]) == (10.0, 20.0)
