"""How long a cluster takes from `hpcai local up` to the end of the first srun, and what it costs.

Warm: the programs are in the cache. Whole processes, each round a fresh cluster:

    python benchmarks/local_start.py [--rounds 20] [--nodes 2] [--record benchmarks/records]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from hpcai.slurm.local import cluster

LIMIT_S = 2.0
NAME = "bench-start"


def hpcai(*words: str) -> None:
    argv = [sys.executable, "-m", "hpcai", "local", *words]
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def one_round(nodes: int, blob: bool) -> dict[str, float]:
    """Seconds until up has ended, until the first srun has ended, and of down; memory of all daemons."""
    begin = time.perf_counter()
    hpcai("up", "--name", NAME, "--nodes", str(nodes), *(["--blob"] if blob else []))
    up = time.perf_counter()
    hpcai("exec", "--name", NAME, "--", "srun", f"-N{nodes}", "hostname")
    srun = time.perf_counter()
    memory_mib = sum(map(resident_mib, cluster.status(NAME).pids.values()))
    before_down = time.perf_counter()
    hpcai("down", "--name", NAME, "--purge")
    return {
        "up_s": round(up - begin, 3),
        "first_srun_s": round(srun - begin, 3),
        "down_s": round(time.perf_counter() - before_down, 3),
        "memory_mib": round(memory_mib, 1),
    }


def resident_mib(pid: int) -> float:
    """Memory of a process, what it shares with others counted in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:"))) / 1024


def machine() -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "command": " ".join(["python", *sys.argv]),
        "commit": commit.stdout.strip(),
        "date": datetime.date.today().isoformat(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--record", type=Path, help="Folder for a dated record.")
    arguments = parser.parse_args()
    record: dict[str, object] = {"schema_version": 1, "machine": machine(), "nodes": arguments.nodes}
    # The first round fetches what the cache lacks.
    one_round(arguments.nodes, blob=True)
    kinds = {"plain": False, "with --blob": True}
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(arguments.rounds):
        for kind, blob in kinds.items():
            rounds[kind].append(one_round(arguments.nodes, blob))
    print(f"| n={arguments.rounds}, {arguments.nodes} nodes | median | min | max |\n|---|---|---|---|")
    for kind, found in rounds.items():
        for figure in found[0]:
            values = [one[figure] for one in found]
            cells = (statistics.median(values), min(values), max(values))
            print(f"| {kind}: {figure} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    record["rounds"] = rounds
    if arguments.record:
        file = (
            arguments.record / f"local_start_{os.cpu_count()}cores_{datetime.date.today().isoformat()}.json"
        )
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    median = statistics.median(one["first_srun_s"] for one in rounds["plain"])
    print(
        f"\nfirst srun after {median:.2f} s, limit {LIMIT_S:g} s: {'ok' if median < LIMIT_S else 'TOO SLOW'}"
    )
    return 0 if median < LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
