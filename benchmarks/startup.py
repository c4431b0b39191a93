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
import sys
import tempfile
from pathlib import Path

from _whole_processes import medians_ms

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
    reached = medians_ms(commands(torchx), rounds)
    print()
    for name, limit in LIMITS_MS.items():
        verdict = "ok" if reached[name] < limit else "TOO SLOW"
        print(f"{name}: {reached[name]:.1f} ms, limit {limit:.0f} ms: {verdict}")
    return 0 if all(reached[name] < limit for name, limit in LIMITS_MS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
