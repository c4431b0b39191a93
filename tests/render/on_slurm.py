"""Rendered scripts on the session's cluster, for the tests that run them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpcai import shell
from hpcai.render.job import render_job
from hpcai.render.resolved import ResolvedJob, resolve_job
from hpcai.runs import jsonl
from hpcai.specs.job import JobSpec
from hpcai.specs.site import load_site
from tests.waiting import until

# A program that takes its time to end well.
SAVES = """import signal, time
signal.signal(signal.SIGUSR1, lambda *_: exit("saved"))
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
asked = []
print("ready", flush=True)
while not asked:
    signal.pause()
time.sleep(2)
print("saved")
"""


class Slurm:
    """Submits rendered scripts to the session's cluster."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self.environ = environ
        self.folder = folder

    def command(self, *words: str | Path) -> str:
        return shell.run(words, timeout_s=60, env=self.environ, cwd=self.folder).stdout

    def run_folder(self, spec: JobSpec) -> Path:
        # Slurm cannot give each task of an array a file of its own in a folder with this sign.
        sign = "%t" if spec.array is None else ""
        return self.folder / f"run {spec.launcher}{sign}'s {spec.horovod_controller}"

    def submit(
        self, *, beside: str | None = None, args: Sequence[str] = (), **fields: Any
    ) -> tuple[str, Path]:
        """The job id and run folder of a job that is in the queue; a folder `beside` is in the run before."""
        resolved = self._resolved(**fields)
        run = self.run_folder(resolved.spec)
        (run / "logs").mkdir(parents=True)
        if beside is not None:
            (run / beside).mkdir(parents=True)
        (run / "script.sbatch").write_text(render_job(resolved, run), encoding="utf-8")
        return self.command("sbatch", "--parsable", *args, run / "script.sbatch").strip(), run

    def submit_by_hand(self, *, args: Sequence[str] = (), **fields: Any) -> tuple[str, Path]:
        """The job id and output file of a job that has no record."""
        script = self.folder / "by-hand.sbatch"
        script.write_text(render_job(self._resolved(**fields), None), encoding="utf-8")
        job_id = self.command("sbatch", "--parsable", *args, script).strip()
        return job_id, self.folder / f"real-{job_id}.out"

    def _resolved(self, **fields: Any) -> ResolvedJob:
        interpreter = fields.pop("interpreter", Path(sys.executable))
        spec = JobSpec(**({"name": "real", "workdir": self.folder, "time_min": 5} | fields))
        return resolve_job(spec, load_site(self.environ), interpreter=interpreter)

    def wait(self, job_id: str, *, is_there: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """What scontrol says of the job once it `is_there`."""

        def look() -> dict[str, str] | None:
            line = self.command("scontrol", "-o", "show", "job", job_id)
            job = dict(word.partition("=")[::2] for word in line.split())
            return job if is_there(job) else None

        return until(look, 90, f"job {job_id} got there")

    def run(self, **fields: Any) -> tuple[dict[str, str], Path]:
        """The job once it has ended, and its run folder."""
        job_id, run = self.submit(**fields)
        return self.wait(job_id, is_there=has_ended), run


class PlainSlurm(Slurm):
    """Runs lie in folders without a space: Pyxis 0.21 could not mount them."""

    def run_folder(self, spec: JobSpec) -> Path:
        return self.folder / f"run-{spec.name}"


def has_ended(job: dict[str, str]) -> bool:
    return job["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")


def logs(run: Path, attempt: int = 0) -> dict[str, str]:
    """What each rank printed, by file name; only files that hold something."""
    found = {path.name: path.read_text() for path in (run / "logs" / str(attempt)).iterdir()}
    return {name: text for name, text in sorted(found.items()) if text}


def events(run: Path) -> list[dict[str, Any]]:
    return jsonl.read(run / "attempts.jsonl")
