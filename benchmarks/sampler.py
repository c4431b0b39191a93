"""What the process beside a job costs on a node of 64 tasks: processor time over wall time, bytes an hour.

Stand-in tools: an nvidia-smi of eight cards, eight ports of InfiniBand, the /proc of this machine with the
lines of 96 cores in it, and 64 tasks that wait. So many samplers at once, each a whole process; n of them,
median and spread:

    python benchmarks/sampler.py [--samplers 8] [--seconds 120]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

LIMIT_PERCENT = 0.5
LIMIT_BYTES_PER_H = 1_000_000
TASKS = 64
NVIDIA_SMI = """#!/bin/bash
while :; do
  for card in 0 1 2 3 4 5 6 7; do
    echo "$card, GPU-6c1f0d5a-0000-0000-0000-00000000000$card, NVIDIA H200, 143771, 97, 131072, 651.33"
  done
  sleep 10
done
"""


def make_node(root: Path) -> None:
    """A folder that looks like the node."""
    for index in range(8):
        port = root / f"sys/class/infiniband/mlx5_ib{index}/ports/1"
        (port / "counters").mkdir(parents=True)
        (port / "link_layer").write_text("InfiniBand\n")
        for counter in ("port_rcv_data", "port_xmit_data"):
            (port / "counters" / counter).write_text("123456789012345\n")
    (root / "sys/class/net").symlink_to("/sys/class/net")
    (root / "proc").mkdir()
    for name in ("meminfo", "diskstats", "net", "self"):
        (root / "proc" / name).symlink_to(f"/proc/{name}")
    lines = [f"cpu{core} 1234567 0 234567 123456789 1234 0 123 0 0 0" for core in ("", *range(96))]
    (root / "proc/stat").write_text("\n".join([*lines, "intr " + "0 " * 4000]) + "\n")
    tool = root / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(NVIDIA_SMI)
    tool.chmod(0o755)


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def start(root: Path, number: int) -> subprocess.Popen[bytes]:
    file = root / f"n{number}.jsonl"
    argv = [sys.executable, "-m", "hpcai.launch.sampler", str(file), "0", str(root)]
    environ = {"PATH": f"{root}/bin:/usr/bin:/bin", "HPCAI_SCRATCH": "/tmp", "PYTHONPATH": str(here())}
    return subprocess.Popen(argv, env=environ, stdin=subprocess.PIPE)


def here() -> Path:
    return Path(__file__).resolve().parents[1]


def measure(root: Path, samplers: int, seconds: float) -> tuple[list[float], list[float], list[float]]:
    """Start-up in ms, then percent of one core and bytes an hour of each sampler."""
    programs = [start(root, number) for number in range(samplers)]
    try:
        time.sleep(5)
        files = [root / f"n{number}.jsonl" for number in range(samplers)]
        begun, first, sizes = (
            time.monotonic(),
            [cpu_s(one.pid) for one in programs],
            [f.stat().st_size for f in files],
        )
        time.sleep(seconds)
        spent = time.monotonic() - begun
        last = [cpu_s(one.pid) for one in programs]
        grown = [file.stat().st_size - size for file, size in zip(files, sizes, strict=True)]
    finally:
        for one in programs:
            one.communicate(b"")
    percent = [100 * (after - before) / spent for before, after in zip(first, last, strict=True)]
    return [1000 * one for one in first], percent, [size * 3600 / spent for size in grown]


def row(name: str, values: Sequence[float], form: str) -> str:
    cells = (statistics.median(values), min(values), max(values))
    return f"| {name} | " + " | ".join(form.format(cell) for cell in cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_node(root)
        tasks = [subprocess.Popen(["sleep", "100000"]) for _ in range(TASKS)]
        try:
            begin_ms, percent, size = measure(root, arguments.samplers, arguments.seconds)
        finally:
            for task in tasks:
                task.kill()
                task.wait()
    print(f"| n={arguments.samplers}, {arguments.seconds:g} s | median | min | max |\n|---|---|---|---|")
    print(row("percent of one core", percent, "{:.3f}"))
    print(row("start and first sample, ms of processor", begin_ms, "{:.0f}"))
    print(row("bytes an hour", size, "{:.0f}"))
    good = max(percent) < LIMIT_PERCENT and max(size) < LIMIT_BYTES_PER_H
    print(f"\nat most {LIMIT_PERCENT} % and {LIMIT_BYTES_PER_H} bytes: {'ok' if good else 'TOO MUCH'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
