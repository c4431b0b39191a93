"""How long it takes from a job's file to its script, beside submitit and torchx.

Whole processes in interleaved rounds, and 1,000 different jobs in one process:

    python benchmarks/render.py [--rounds 20] [--torchx PATH]

Nothing is submitted, and no Slurm is needed; in the environment of one (`hpcai local exec -- python ...`) its
srun is asked too.  submitit is a dependency; torchx is measured when it is on PATH or named (see startup.py).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from _whole_processes import medians_ms

from hpcai.render.job import render_job
from hpcai.render.resolved import resolve_job
from hpcai.specs.job import JobSpec
from hpcai.specs.load import load_text
from hpcai.specs.site import load_site

LIMIT_MS = 300.0
LIMIT_S = 2.0
JOBS = 1000
JOB = """kind: job
name: train-{number}
nodes: 4
profile: Standard_ND96isr_H100_v5
partition: hpc
time_min: 240
launcher: torchrun
container: {{image: nvcr.io#nvidia/pytorch:25.09-py3}}
env: {{SEED: {number}}}
command: python train.py --seed {number}
"""
SUBMITIT = """
from submitit.slurm.slurm import _make_sbatch_string
_make_sbatch_string("python train.py", folder="/tmp", nodes=4, ntasks_per_node=8, time=240, partition="hpc")
"""


def commands(file: Path, torchx: str | None) -> dict[str, list[str]]:
    """What is measured, by name."""
    asks = ", srun asked" if shutil.which("srun") else ""
    found = {
        f"hpcai submit --dry-run{asks}": [sys.executable, "-m", "hpcai", "submit", "--dry-run", str(file)],
        "submitit's sbatch string": [sys.executable, "-c", SUBMITIT],
    }
    if torchx:
        component = ["dist.ddp", "-j", "4x8", "--script", "train.py"]
        found["torchx run --dryrun -s slurm"] = [torchx, "run", "--dryrun", "-s", "slurm", *component]
    return found


def thousand_jobs_s() -> float:
    """Seconds to load, resolve and render 1,000 jobs of which no two are alike."""
    site = load_site()
    begin = time.perf_counter()
    for number in range(JOBS):
        spec = load_text(JOB.format(number=number), "job.yaml")
        assert isinstance(spec, JobSpec)
        render_job(resolve_job(spec, site, interpreter=Path(sys.executable)), None)
    return time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--torchx", default=shutil.which("torchx"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Nobody's Slurm and settings: what is measured is the way from file to script.
        os.environ |= {"HPCAI_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder}
        os.environ.pop("HPCAI_LOCAL", None)
        os.chdir(folder)
        Path("train.py").touch()
        file = Path(folder) / "job.yaml"
        file.write_text(JOB.format(number=1), encoding="utf-8")
        return measure(commands(file, arguments.torchx), arguments.rounds)


def measure(programs: dict[str, list[str]], rounds: int) -> int:
    """Prints the figures; 0 where both limits are kept."""
    ours = next(iter(programs))
    dry_run = medians_ms(programs, rounds)[ours]
    many = [thousand_jobs_s() for _ in range(3)]
    verdicts = dry_run < LIMIT_MS, statistics.median(many) < LIMIT_S
    print(f"\n{ours}: {dry_run:.0f} ms, limit {LIMIT_MS:.0f} ms: {_word(verdicts[0])}")
    spread = f"{min(many):.2f} to {max(many):.2f}, n=3"
    print(
        f"{JOBS} jobs: {statistics.median(many):.2f} s ({spread}), limit {LIMIT_S:g} s: {_word(verdicts[1])}"
    )
    return 0 if all(verdicts) else 1


def _word(is_kept: bool) -> str:
    return "ok" if is_kept else "TOO SLOW"


if __name__ == "__main__":
    sys.exit(main())
