"""How long `hpcai check` of a job takes, with a slurmctld that answers and with one that hangs.

Whole processes on an embedded cluster of its own, interleaved with submit --dry-run; median and spread of n:

    python benchmarks/check.py [--rounds 20] [--nodes 4] [--record benchmarks/records]

A slurmctld that hangs is one that was stopped (SIGSTOP): it takes connections and answers none.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hpcai.slurm.local import cluster

LIMIT_S = 3.0
NAME = f"bench-check-{os.getpid()}"
JOB = """kind: job
name: train
nodes: 2
ntasks_per_node: 1
time_min: 60
command: hostname
"""


def run_s(folder: Path, environ: dict[str, str], *words: str) -> float:
    """Seconds of one whole process; its findings are of no interest here."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "hpcai", *words], cwd=folder, env=environ, capture_output=True, check=False
    )
    return time.perf_counter() - begin


def one_round(folder: Path, environ: dict[str, str]) -> dict[str, float]:
    """Seconds of each command once; slurmctld hangs for the last two."""
    found = {
        "check FILE": run_s(folder, environ, "check", "job.yaml"),
        "check FILE of 5 steps": run_s(folder, environ, "check", "steps.yaml"),
        "submit FILE --dry-run": run_s(folder, environ, "submit", "job.yaml", "--dry-run"),
    }
    pid = cluster.status(NAME).pids["slurmctld"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found["check FILE, slurmctld hangs"] = run_s(folder, environ, "check", "job.yaml")
        found["check FILE of 5 steps, slurmctld hangs"] = run_s(folder, environ, "check", "steps.yaml")
    finally:
        os.kill(pid, signal.SIGCONT)
    return found


def write_files(folder: Path) -> None:
    (folder / "job.yaml").write_text(JOB)
    step = {"job": {"command": "hostname", "time_min": 5}}
    steps = {"kind": "steps", "name": "s", "steps": [{"name": f"s{i}", **step} for i in range(5)]}
    (folder / "steps.yaml").write_text(json.dumps(steps))


def machine() -> dict[str, object]:
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "command": " ".join(["python", *sys.argv]),
        "commit": commit,
        "date": datetime.date.today().isoformat(),
    }


def measure(rounds: int, nodes: int) -> dict[str, list[float]]:
    """Seconds by command, a value per round."""
    cluster.up(NAME, nodes=nodes)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_files(folder)
            own = {"HPCAI_RUNS_ROOT": str(folder / "runs"), "HPCAI_CONFIG_HOME": str(folder / "conf")}
            environ = {**os.environ, **cluster.environment(NAME), **own}
            one_round(folder, environ)
            found = [one_round(folder, environ) for _ in range(rounds)]
    finally:
        cluster.down(NAME, purge=True)
    return {key: [one[key] for one in found] for key in found[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--record", type=Path, help="A folder for the dated result.")
    arguments = parser.parse_args()
    record: dict[str, object] = {"schema_version": 1, "machine": machine(), "nodes": arguments.nodes}
    times = measure(arguments.rounds, arguments.nodes)
    print(f"| whole process, n={arguments.rounds} | median s | min | max |\n|---|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")
    if arguments.record is not None:
        name = f"check_{os.cpu_count()}cores_{datetime.date.today().isoformat()}.json"
        record["seconds"] = {key: [round(one, 3) for one in values] for key, values in times.items()}
        (arguments.record / name).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    slowest = max(statistics.median(values) for name, values in times.items() if name.startswith("check"))
    verdict = "ok" if slowest < LIMIT_S else "TOO SLOW"
    print(f"\nslowest median of a check: {slowest:.2f} s, limit {LIMIT_S:g} s: {verdict}")
    return 0 if slowest < LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
