"""A resolved job rendered to what opens an interactive shell in its container and environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpcai.errors import RenderError
from hpcai.render import container, options
from hpcai.render.environment import render
from hpcai.render.job import contained, heredoc_of
from hpcai.render.resolved import ResolvedJob

# What of a job's options salloc does not have, or what an allocation that is waited for has no use of.
_NOT_OF_SALLOC = frozenset(
    (
        *("batch", "burst-buffer", "error", "export", "export-file", "input", "output", "open-mode"),
        *("propagate", "requeue", "no-requeue", "kill-on-invalid-dep", "hold", "signal", "dependency"),
    )
)
# One task with all that the job has on its node.
STEP = ("--overlap", "--nodes=1", "--ntasks=1", "--mpi=none", "--pty")


def salloc_options(job: ResolvedJob) -> list[str]:
    """The job's resources as words for salloc. Raises RenderError for a job that is several."""
    for key in ("components", "array"):
        if getattr(job.spec, key):
            raise RenderError(
                f"`{key}:` is several jobs at once, and a shell is one.",
                next_step=f"Add --set {key}=null.",
            )
    found = options.sbatch_options(job.spec, None)
    return [
        f"--{option}" if value is None else f"--{option}={value}"
        for option, value in found
        if option not in _NOT_OF_SALLOC
    ]


def render_shell(job: ResolvedJob, run_dir: Path | None, *, step: Sequence[str] = (), inside: bool) -> str:
    """The script that opens the shell, for bash; `inside` a job that runs and has brought its data.

    `step` are more words for its srun. Raises RenderError for what the script cannot carry.
    """
    spec = job.spec
    gloo = spec.launcher == "horovod" and spec.horovod_controller == "gloo"
    return render(
        "sbatch/shell.sh.j2",
        **contained(job, run_dir, steps=2 if gloo else 1, asks={}),
        job=spec.model_copy(update={"parameter_servers": None}),
        inside=inside,
        command="exec bash",
        step_words=[*step, *STEP],
        step="",
        recorded=False,
        needs_python=True,
        asks={},
        env=spec.env,
        run_dir=None if run_dir is None else str(run_dir),
        workdir=str(job.workdir),
        interpreter=str(job.interpreter),
        places=job.places,
        parts=spec.parts[:1],
        launcher="srun",
        signal=None,
        where="slurm",
        heredoc=heredoc_of(spec),
        acr_user=container.ACR_USER,
    )
