"""What `show` tells of how busy the nodes of a run were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcai.cli import show
from hpcai.cli.target import Target
from hpcai.cli.use import facts_of_use, lines_of_use, lines_of_warnings
from hpcai.runs import jsonl
from hpcai.runs.record import Run, create_run

START = 1_795_286_000.0


def make(folder: Path, lived_s: float | None = 840.0, on: str = "n[1-2]", **resolved: Any) -> Run:
    """A run whose one attempt ended after so long a time; None: goes on (since 2026)."""
    given = {"samples": True, "interpreter": "/opt/python", **resolved}
    run = create_run(folder, "default", "x", spec_text="", resolved=given, script="")
    line = {"attempt": 0, "job_id": 5, "node_list": on}
    jsonl.append(run.paths.attempts, {**line, "event": "start", "time": START})
    if lived_s is not None:
        end = {**line, "event": "end", "exit_status": 0, "time": START + lived_s}
        jsonl.append(run.paths.attempts, end)
    return run


def note(
    run: Run, node: str, seconds: int = 840, missing: dict[str, str] | None = None, **fields: Any
) -> None:
    run.paths.samples_dir.mkdir(exist_ok=True)
    start = {"event": "started", "every_s": 10.0, "total_memory_gib": 1900.0, "missing": missing or {}}
    jsonl.append(run.paths.samples(node), {"time": START, "attempt": 0, **start})
    if "gpu_busy_percent" in fields:
        names = [f"{index} H200" for index in range(len(fields["gpu_busy_percent"]))]
        gpus = {"event": "gpus", "gpus": names, "gpu_total_memory_gib": [140.4] * len(names)}
        jsonl.append(run.paths.samples(node), {"time": START, "attempt": 0, **gpus})
    for second in range(0, seconds + 1, 10):
        jsonl.append(run.paths.samples(node), {"time": START + second, "attempt": 0, **fields})


def test_a_sentence_for_each_kind_of_use(tmp_path: Path) -> None:
    run = make(tmp_path)
    for node in ("n1", "n2"):
        note(
            run,
            node,
            gpu_busy_percent=[12.0] * 4,
            gpu_memory_gib=[71.25] * 4,
            gpu_power_w=[310.0] * 4,
            infiniband_in_gb_per_s=[6.0, 6.5],
            infiniband_out_gb_per_s=[0.0, 0.002],
            cpu_percent=43.0,
            job_cpu_cores=6.0,
            memory_gib=120.0,
            disk_read_gb_per_s=0.25,
            disk_written_gb_per_s=0.0,
            scratch_full_percent=31.0,
        )
    shown = show._for_people(show._facts(Target(run, None)))
    lines = {key: shown[key] for key in ("GPUs", "InfiniBand", "CPU", "memory", "disk")}
    assert lines == {
        "GPUs": "12 % busy (median of 8 over 14 min), memory at most 71.2 of 140 GiB, 310 W each",
        "InfiniBand": "12.5 GB/s in, 2 MB/s out per node, at most 12.5 GB/s",
        "CPU": "43 % of the nodes' cores, 12.0 cores of the job's",
        "memory": "at most 120.0 of 1900 GiB on a node",
        "disk": "250 MB/s read, 0 MB/s written per node, scratch at most 31 % full",
    }
    assert not {"warning", "use", "without samples"} & shown.keys()


@pytest.mark.parametrize(
    ("busy", "warning"),
    [
        ([90.0, 1.0], "1 of 2 GPUs were idle over 14 min: n1:1."),
        ([0.0, 1.0], "All 2 GPUs were idle over 14 min."),
        ([90.0, 60.0], None),
    ],
)
def test_cards_that_idle_are_warned_of(tmp_path: Path, busy: list[float], warning: str | None) -> None:
    run = make(tmp_path, on="n1")
    note(run, "n1", gpu_busy_percent=busy)
    facts = facts_of_use(run)
    assert facts["warnings"] == ([warning] if warning else [])
    assert lines_of_warnings(facts).get("warning") == warning


def test_nodes_without_samples_and_those_that_fell_silent_are_told(tmp_path: Path) -> None:
    run = make(tmp_path, on="n[1-3]")
    note(run, "n1", cpu_percent=1.0)
    note(run, "n2", seconds=100, cpu_percent=1.0)
    facts = facts_of_use(run)
    assert lines_of_use(facts)["without samples"] == "1 of 3 nodes: n3"
    assert lines_of_warnings(facts)["warning"] == "No samples any more from n2."


@pytest.mark.parametrize(("gpus", "line"), [(8, "not measured: n1: no nvidia-smi"), (None, None)])
def test_only_a_job_with_gpus_is_told_that_they_were_not_measured(
    tmp_path: Path, gpus: int | None, line: str | None
) -> None:
    run = make(tmp_path, on="n1", gpus_per_node=gpus)
    note(run, "n1", missing={"gpus": "no nvidia-smi", "infiniband": "no port"}, cpu_percent=1.0)
    facts = facts_of_use(run)
    assert lines_of_use(facts).get("GPUs") == line
    assert facts["use"]["missing"].keys() == ({"gpus", "infiniband"} if gpus else {"infiniband"})


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"samples": False}, "`samples: false` says so"),
        ({"lived_s": 3.0}, "samples begin when a job has run for 8 s"),
        ({}, "no node began to take them; each needs '/opt/python'"),
    ],
)
def test_why_there_are_none_is_told(tmp_path: Path, made: dict[str, Any], why: str) -> None:
    facts = facts_of_use(make(tmp_path, **made))
    assert facts["use"]["why_none"] == why
    assert lines_of_use(facts) == {"use": f"no samples: {why}"}


def test_older_records_and_jobs_that_wait_are_no_fault(tmp_path: Path) -> None:
    run = create_run(tmp_path, "default", "x", spec_text="", resolved={}, script="")
    assert facts_of_use(run) == {} == lines_of_use({})
    jsonl.append(run.paths.attempts, {"attempt": 0, "job_id": 5, "event": "start", "time": START})
    assert facts_of_use(run)["use"]["why_none"] == "it was submitted by an hpcai that took no samples"


NCCL = "n1:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/{}\nNCCL version 2.21.5+cuda12.4\n"
SIZE = "Standard_ND96isr_H100_v5"


def facts_of(run: Run, log: str | None = None) -> dict[str, Any]:
    if log is not None:
        run.paths.log(0, 0).parent.mkdir(parents=True)
        run.paths.log(0, 0).write_text(log)
    return show._facts(Target(run, None))


def test_the_transport_is_told_by_the_logs_of_the_ranks(tmp_path: Path) -> None:
    run = make(tmp_path, profile=SIZE, nodes=2)
    facts = facts_of(run, NCCL.format("IB/0/GDRDMA"))
    assert show._for_people(facts)["transport"] == "NCCL 2.21.5+cuda12.4 by NET/IB/GDRDMA"
    (told,) = facts["transport"]["libraries"]
    assert (told["network"], told["within_a_node"], facts["warnings"]) == ("infiniband", [], [])


@pytest.mark.parametrize(
    ("resolved", "ports", "is_warned"),
    [
        ({"profile": SIZE, "nodes": 2}, 0, True),
        ({"profile": f"{SIZE.lower()}+sharp", "nodes": 2}, 0, True),
        # The nodes themselves tell it too.
        ({"nodes": 2}, 8, True),
        ({"profile": "Standard_NC24ads_A100_v4", "nodes": 2}, 0, False),
        ({"profile": SIZE, "nodes": 1}, 8, False),
        ({"profile": "Standard_of_nobody", "nodes": 2}, 0, False),
        ({"nodes": 2}, 0, False),
    ],
)
def test_sockets_are_warned_of_where_the_nodes_have_infiniband(
    tmp_path: Path, resolved: dict[str, Any], ports: int, is_warned: bool
) -> None:
    run = make(tmp_path, **resolved)
    run.paths.samples_dir.mkdir()
    names = [f"mlx5_ib{index}" for index in range(ports)]
    start = {"time": START, "attempt": 0, "event": "started", "infiniband_ports": names}
    jsonl.append(run.paths.samples("n1"), start)
    warning = "The nodes have InfiniBand, and NCCL ran on sockets (NET/Socket)."
    assert facts_of(run, NCCL.format("Socket/0"))["warnings"] == ([warning] if is_warned else [])


@pytest.mark.parametrize(
    ("infiniband", "ethernet", "is_warned"), [(0.0, 1.2, True), (6.0, 1.2, False), (0.0, 0.0, False)]
)
def test_counters_tell_of_sockets_where_no_log_does(
    tmp_path: Path, infiniband: float, ethernet: float, is_warned: bool
) -> None:
    run = make(tmp_path, profile=SIZE, nodes=2)
    rates = {f"infiniband_{way}_gb_per_s": [infiniband] for way in ("in", "out")}
    for node in ("n1", "n2"):
        note(run, node, ethernet_in_gb_per_s=ethernet, **rates)
    facts = facts_of(run)
    warning = "InfiniBand carried nothing, and Ethernet 1.2 GB/s into each node."
    assert facts["warnings"] == ([warning] if is_warned else [])
    line = "not told by the logs; `env: {NCCL_DEBUG: INFO}` lets NCCL tell it"
    assert show._for_people(facts)["transport"] == line


def test_notices_of_azure_are_told_in_their_last_state(tmp_path: Path) -> None:
    run = make(tmp_path, on="n[1-2]")
    run.paths.notices_dir.mkdir()
    notice = {"attempt": 0, "event": "notice", "id": "A", "type": "Preempt", "not_before": START + 30}
    for node in ("n1", "n2"):
        jsonl.append(run.paths.notices(node), {**notice, "time": START, "status": "Scheduled"})
    jsonl.append(run.paths.notices("n2"), {"attempt": 0, "event": "relayed", "id": "A", "time": START + 1})
    jsonl.append(run.paths.notices("n2"), {**notice, "time": START + 9, "status": "Started"})
    jsonl.append(run.paths.notices("n2"), {**notice, "time": START + 99, "status": "Scheduled", "id": "B"})
    facts = show._facts(Target(run, None))
    assert [(one["node"], one["id"], one["status"], one["job_was_told"]) for one in facts["notices"]] == [
        ("n1", "A", "Scheduled", True),
        ("n2", "A", "Started", True),
        ("n2", "B", "Scheduled", False),
    ]
    shown = show._for_people(facts)
    assert shown["notice"].startswith("n1: Preempt scheduled, seen 2026-")
    assert shown["notice"].endswith("ago), and the job was told")
    assert shown["notice 3"].endswith("ago)") and "notice 4" not in shown
