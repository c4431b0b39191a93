"""How much CPU `hpcai queue` takes for 10,000 jobs: a stand-in squeue prints them at once."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hpcai.slurm import parse

JOBS = 10_000
LIMIT_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        environ = stand_in(Path(folder))
        for form in ("table", "json"):
            cpu_s = [cpu_of(["queue", "-o", form], environ, Path(folder)) for _ in range(rounds)]
            median = statistics.median(cpu_s)
            print(
                f"hpcai queue -o {form} of {JOBS} jobs: {median:.2f} s of CPU "
                f"({min(cpu_s):.2f} to {max(cpu_s):.2f}, n={rounds}), "
                f"limit {LIMIT_S:g} s: {'ok' if median <= LIMIT_S else 'MISSED'}"
            )


def stand_in(folder: Path) -> dict[str, str]:
    """An environment whose squeue prints the jobs."""
    fields = dict.fromkeys(parse.JOB_FIELDS, "") | {
        "State": "PENDING",
        "Reason": "Priority",
        "Partition": "hpc",
        "UserName": "me",
        "SubmitTime": "2026-11-21T10:00:00",
        "Command": "/shared/home/me/runs/a/b/script.sbatch",
    }
    with (folder / "answer").open("w") as file:
        for number in range(1, JOBS + 1):
            one = fields | {"JobID": str(number), "ArrayJobID": str(number), "Name": f"job-{number}"}
            file.write("".join(value + parse.SEPARATOR for value in one.values()) + "\n")
    for name in ("squeue", "sbatch"):
        (folder / name).write_text(f'#!/bin/sh\nexec cat "{folder}/answer"\n')
        (folder / name).chmod(0o755)
    own = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_CONF": str(folder / "answer")}
    return {**os.environ, **own, "XDG_CACHE_HOME": str(folder / "cache"), "HPCAI_LOCAL": ""}


def cpu_of(words: list[str], environ: dict[str, str], folder: Path) -> float:
    """The CPU seconds of one command, squeue's among them; each asks anew."""
    for file in (folder / "cache").rglob("*"):
        if file.is_file():
            file.unlink()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-m", "hpcai", *words]
    subprocess.run(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
