"""A resolved job rendered to the script that sbatch runs, or bash on this machine."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcai.errors import RenderError
from hpcai.render import container, options
from hpcai.render.environment import quote, render
from hpcai.render.resolved import ResolvedJob, Where
from hpcai.render.secrets import needs_stash, secret_lines
from hpcai.specs.gpus import gpus_asked
from hpcai.specs.job import JobSpec
from hpcai.specs.secrets import parse_reference, stash_of
from hpcai.specs.slurm_fields import SIGNAL

# After so long a teardown is ended.
TEARDOWN_S = 60
# So long a job has lived before it is sampled; shorter ones, as of large arrays, cost no step more.
SAMPLES_AFTER_S = 5
# So many ports on each node are a job's; those of the next job are the next.
TENSORFLOW_PORTS = 64
_NOTHING: Mapping[str, str] = {}


def render_job(
    job: ResolvedJob, run_dir: Path | None, *, where: Where = "slurm", asks: Mapping[str, str] = _NOTHING
) -> str:
    """The whole script, for `sbatch` or, with where="local", for `bash` on this machine.

    `run_dir` is the folder of the job's record, None for a job that has none: its output, and what it
    leaves behind, then go to the folder that the script is started from.
    `asks` are variables that whoever submits it must set, each with what it is.
    Raises RenderError for what the script cannot carry.
    """
    spec = job.spec
    _check(job, run_dir, where)
    stash = stash_of_job(job, run_dir)
    gloo = spec.launcher == "horovod" and spec.horovod_controller == "gloo"
    inside = contained(job, run_dir, steps=2 if gloo else 1, asks=asks)
    recorded = run_dir is not None or where == "local"
    retry = spec.retry if recorded else None
    signal, told = _signal(spec, where)
    relayed = recorded or bool(spec.secrets) or told is not None
    return render(
        "sbatch/job.sh.j2",
        **inside,
        job=spec,
        recorded=recorded,
        retry=retry,
        relayed=relayed,
        signal=signal,
        told=told,
        told_number=signals.Signals[f"SIG{told}"].value if told else None,
        needs_here=recorded or bool(inside["pyxis"] or spec.data) or _names(spec, "HPCAI_SCRATCH"),
        needs_python=recorded or gloo or bool(spec.data) or _calls_python(spec),
        # One task of an array has the number of them all.
        this_job='"$SLURM_JOB_ID"' if spec.array is None else '"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"',
        step="hpcai_step " if relayed else "",
        ends=bool(spec.teardown or inside["leaves"] or inside["save"] or retry or stash),
        env=_env(spec),
        asks=asks,
        where=where,
        run_dir=None if run_dir is None else str(run_dir),
        workdir=str(job.workdir),
        interpreter=str(job.interpreter),
        places=job.places,
        options=list(options.sbatch_options(spec, run_dir)),
        parts=_parts(job),
        ntasks=sum(options.tasks(part) for part in spec.parts),
        log=_own_logs(spec),
        secrets=list(secret_lines(spec.secrets, stash)),
        stash=stash,
        launcher="gloo" if gloo else spec.launcher,
        mpi=spec.needs_pmix,
        heredoc=heredoc_of(spec),
        ports=TENSORFLOW_PORTS,
        acr_user=container.ACR_USER,
        teardown_s=TEARDOWN_S,
        samples=recorded and spec.samples,
        watched=recorded and spec.scheduled_events and where == "slurm",
        notice_signal=_notice_signal(spec),
        samples_after_s=SAMPLES_AFTER_S,
        workers=options.tasks(spec) - 1 - (spec.parameter_servers or 0),
    )


def _notice_signal(spec: JobSpec) -> str:
    """The words by which scancel sends what `signal` would, or USR1, to whom it would."""
    given = SIGNAL.fullmatch(spec.signal or "")
    if given is None:
        return "--signal=USR1"
    return ("--batch " if "B" in (given["to"] or "") else "") + f"--signal={given['name']}"


def _signal(spec: JobSpec, where: Where) -> tuple[str | None, str | None]:
    """The signal that the job asks for: where its tasks' shells would not survive it, and where none is told.

    srun passes on what the script alone gets, but for those by which it ends.
    """
    asked = SIGNAL.fullmatch(spec.signal or "")
    if asked is None or where == "local":
        return None, None
    name = asked["name"]
    name = signals.Signals(int(name)).name[3:] if name.isdecimal() else name
    if name in ("KILL", "STOP"):
        return None, None
    is_passed_on = name in ("USR1", "USR2")
    of_tasks = None if is_passed_on or name == "TERM" else name
    return of_tasks, name if "B" in (asked["to"] or "") and not is_passed_on else None


def _names(spec: JobSpec, *words: str) -> bool:
    """Whether what the job runs speaks of any of these, as far as it can be seen."""
    told = [spec.launcher, *(text for _, text in spec.commands), *spec.setup, *spec.teardown]
    return any(word in text for word in words for text in told)


def _calls_python(spec: JobSpec) -> bool:
    """Whether what the job runs, or what reads its secrets, may call hpcai's interpreter."""
    vaults = any(parse_reference(one).scheme == "keyvault" for one in spec.secrets.values())
    return vaults or _names(spec, "HPCAI_PYTHON", "torchrun")


def stash_of_job(job: ResolvedJob, run_dir: Path | None) -> Path | None:
    """The folder that keeps what the job takes from its submitter's environment; None: it takes nothing."""
    if run_dir is None or job.own_secrets is None or not needs_stash(job.spec.secrets):
        return None
    return stash_of(job.own_secrets, run_dir)


def _check(job: ResolvedJob, run_dir: Path | None, where: Where) -> None:
    for path in (run_dir, job.workdir, job.interpreter):
        if path is not None and not path.is_absolute():
            raise RenderError(f"{str(path)!r} is not an absolute path, and a script runs in many places.")
    tasks, servers = options.tasks(job.spec), job.spec.parameter_servers
    if servers is not None and tasks < servers + 2:
        raise RenderError(
            f"`parameter_servers: {servers}` of {tasks} tasks leaves no chief and worker.",
            allowed="One task is the chief, and at least one a worker.",
            key="parameter_servers",
        )
    if job.spec.launcher == "tensorflow" and (options.tasks_per_node(job.spec) or 0) > TENSORFLOW_PORTS:
        what = f"`launcher: tensorflow` takes at most {TENSORFLOW_PORTS} tasks per node."
        raise RenderError(what, key="ntasks_per_node")
    if where == "local" and job.spec.nodes > 1:
        raise RenderError(
            f"`nodes: {job.spec.nodes}` cannot run on this machine alone.",
            next_step="Add --set nodes=1, or leave out --where local.",
        )
    if where == "local" and job.spec.retry is not None:
        raise RenderError(
            "`retry:` needs Slurm, which puts jobs back into its queue.",
            next_step="Add --set retry=null, or leave out --where local.",
        )
    if where == "local" and job.spec.components:
        raise RenderError(
            "`components:` needs Slurm, which gives each part nodes of its own.",
            next_step="Add --set components=null, or leave out --where local.",
        )
    if where == "local" and job.spec.array is not None:
        raise RenderError(
            f"`array: {job.spec.array}` needs Slurm, which numbers its tasks and starts each.",
            next_step="Add --set array=null, or leave out --where local.",
        )
    if where == "local" and job.spec.container is not None:
        raise RenderError(
            "`container:` needs Slurm with Pyxis.",
            next_step="Add --set container=null, or leave out --where local.",
        )


@dataclass(frozen=True)
class _Part:
    """One part of a heterogeneous job, or the whole of another, as templates read it."""

    nodes: int
    command: str | None
    """None where it is the job's."""
    threads: int | None
    """OMP_NUM_THREADS, where parts differ; srun's --export of one part would reach those behind it too."""
    step: list[str]
    gpus: int | None
    """Of each of its nodes, for what runs beside it; None: none, or nobody knows how Slurm lays them out."""


def _parts(job: ResolvedJob) -> list[_Part]:
    spec, found = job.spec, []
    for number, part in enumerate(spec.parts):
        words = _step_words(part, job.cpu_binds[number])
        threads = part.cpus_per_task if spec.components and "OMP_NUM_THREADS" not in spec.env else None
        command = spec.components[number].command if spec.components else None
        found.append(_Part(part.nodes, command, threads, words, gpus_asked(part).per_node))
    return found


def _own_logs(spec: JobSpec) -> str:
    """What srun's own logs begin with, where each rank opens a log itself; else nothing.

    Torchrun's ranks are not Slurm's, and over the parts of a heterogeneous job Slurm's %t is not the rank.
    """
    if spec.components:
        return "part-"
    return "torchrun-" if spec.launcher == "torchrun" else ""


def _step_words(spec: JobSpec, cpu_bind: str | None) -> list[str]:
    """The words of the launching srun that do not change from site to site."""
    words = [f"--nodes={spec.nodes}", f"--ntasks={options.tasks(spec)}"]
    per_node = options.tasks_per_node(spec)
    if per_node is not None:
        words.append(f"--ntasks-per-node={per_node}")
    cpus = options.cpus_per_task(spec)
    if cpus is not None:
        # Slurm 22.05 and later do not pass the job's own value on to srun.
        words.append(f"--cpus-per-task={cpus}")
    if spec.launcher == "tensorflow" and spec.distribution is None:
        words.append("--distribution=block")
    words += ["--kill-on-bad-exit=1"]
    if cpu_bind is not None:
        words.append(f"--cpu-bind={quote(cpu_bind)}")
    return words


def _env(job: JobSpec) -> dict[str, str]:
    controller = job.horovod_controller
    if controller is None:
        return job.env
    # Left to itself Horovod takes what it was built with first, and mixing the two crashes it.
    return {"HOROVOD_CONTROLLER": controller, "HOROVOD_CPU_OPERATIONS": controller, **job.env}


def contained(
    job: ResolvedJob, run_dir: Path | None, *, steps: int, asks: Mapping[str, str]
) -> dict[str, Any]:
    """What the templates say of a container; `steps` of the job enter it."""
    spec = job.spec.container
    if spec is None:
        return {"pyxis": [], "image": None, "save": None, "kept": None, "leaves": False}
    # Pyxis mounts no folder that is not there.
    own = [container.bind(str(path)) for path in (run_dir, job.code or job.workdir) if path is not None]
    mounts = [*own, *job.mounts]
    container.refuse_what_pyxis_lacks(spec, mounts, job.pyxis_version or container.PYXIS, str(job.workdir))
    container.refuse_what_enroot_lacks(spec, job.enroot_version)
    nodes = sum(part.nodes for part in job.spec.parts)
    shared = container.shared_image(spec, nodes, job.images, is_array=job.spec.array is not None)
    kept = container.kept_name(spec, steps)
    pyxis = container.pyxis_words(
        spec,
        workdir=str(job.workdir),
        mounts=mounts,
        env_names=[*_env(job.spec), *asks, *job.places, *job.spec.secrets],
        steps_in_container=steps,
        imported=shared is not None,
        of_run=run_dir is None,
    )
    return {
        "pyxis": pyxis,
        "image": shared,
        "save": container.saved_file(spec, str(job.workdir)),
        "kept": kept,
        "leaves": kept is not None or (shared is not None and shared.moves),
    }


def heredoc_of(spec: JobSpec) -> str:
    """A word that ends a here-document and is no line of the text inside it."""
    lines = {line for command in (*spec.setup, *spec.teardown) for line in command.splitlines()}
    word = "END"
    while word in lines:
        word += "_"
    return word
