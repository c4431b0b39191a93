"""How long the command line takes to start, beside bare Python and its peers.

Whole processes, interleaved rounds, median and spread of n runs:

    python benchmarks/startup.py [--rounds 20] [--torchx PATH]

submitit is a dependency. torchx is measured when it is on PATH or named, for instance:

    python -m venv .hpcai/peers && .hpcai/peers/bin/pip install torchx
    python benchmarks/startup.py --torchx .hpcai/peers/bin/torchx
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMPLETION = "Tab after `hpcai show run19`, 2,000 runs"
SHOW = "hpcai vm show hb176rs_v4"
LIMITS_MS = {"import hpcai": 30.0, "hpcai --help": 100.0, COMPLETION: 100.0, SHOW: 120.0}


def make_runs(root: Path) -> None:
    """Folders of 2,000 runs, and the environment in which a shell asks for their names."""
    for number in range(2000):
        (root / f"e{number % 5}" / f"run{number}-20261101-{number:06d}").mkdir(parents=True)
    os.environ |= {"HPCAI_RUNS_ROOT": str(root), "COMP_WORDS": "hpcai show run19", "COMP_CWORD": "2"}


def commands(torchx: str | None) -> dict[str, list[str]]:
    here = Path(sys.executable).parent
    found = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import hpcai": [sys.executable, "-c", "import hpcai"],
        "import click": [sys.executable, "-c", "import click"],
        "hpcai --help": [str(here / "hpcai"), "--help"],
        COMPLETION: ["env", "_HPCAI_COMPLETE=bash_complete", str(here / "hpcai")],
        SHOW: [str(here / "hpcai"), *SHOW.split()[1:]],
        "import submitit": [sys.executable, "-c", "import submitit"],
    }
    if torchx:
        found["torchx --help"] = [torchx, "--help"]
    return found


def run_ms(argv: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begin) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--torchx", default=shutil.which("torchx"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        make_runs(Path(root))
        return measure(arguments.rounds, arguments.torchx)


def measure(rounds: int, torchx: str | None) -> int:
    """Prints the table; 0 where every limit is kept."""
    programs = commands(torchx)
    for argv in programs.values():
        run_ms(argv)
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, argv in programs.items():
            times[name].append(run_ms(argv))
    print(f"| whole process, n={rounds} | median ms | min | max |\n|---|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")
    reached = {name: statistics.median(times[name]) for name in LIMITS_MS}
    print()
    for name, value in reached.items():
        verdict = "ok" if value < LIMITS_MS[name] else "TOO SLOW"
        print(f"{name}: {value:.1f} ms, limit {LIMITS_MS[name]:.0f} ms: {verdict}")
    return 0 if all(reached[name] < limit for name, limit in LIMITS_MS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
