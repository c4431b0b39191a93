"""What the Slurm of this site decides about a job's script."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpcai.errors import SlurmError, StageError
from hpcai.launch.resolve import preview
from hpcai.launch.script import SubmissionInterrupted, submit_run
from hpcai.render.resolved import resolve_job
from hpcai.runs.record import Run, create_run
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site

pytestmark = pytest.mark.programs

HOROVOD = JobSpec(name="a", command="true", launcher="horovod", ntasks_per_node=2)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that alone is on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def stand_in(programs: Path, name: str, body: str) -> SlurmClient:
    (programs / name).write_text(f"#!/bin/sh\n{body}\n")
    (programs / name).chmod(0o755)
    return SlurmClient({"PATH": f"{programs}:{os.environ['PATH']}"})


def controller(spec: JobSpec, runs_root: Path, **given: object) -> str:
    script = preview(spec, site=Site(runs_root), **given)  # type: ignore[arg-type]
    [line] = [line for line in script.splitlines() if line.startswith("export HOROVOD_CONTROLLER=")]
    return line.partition("=")[2]


@pytest.mark.parametrize(("plugins", "chosen"), [("none pmi2", "gloo"), ("none pmi2 pmix pmix_v4", "mpi")])
def test_horovod_goes_by_what_srun_has(programs: Path, tmp_path: Path, plugins: str, chosen: str) -> None:
    client = stand_in(programs, "srun", f'echo "MPI plugin types are..."; printf "\\t%s\\n" {plugins}')
    assert controller(HOROVOD, tmp_path, client=client) == chosen


def test_without_slurm_and_where_srun_cannot_be_asked_pmix_is_taken_for_granted(
    programs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert controller(HOROVOD, tmp_path) == "mpi"
    assert caplog.messages == []
    client = stand_in(programs, "srun", "echo srun: fatal: broken >&2; exit 1")
    assert controller(HOROVOD, tmp_path, client=client) == "mpi"
    assert caplog.messages == ["srun was not asked for PMIx: srun refused: broken."]


def test_srun_is_asked_only_when_the_answer_counts(programs: Path, tmp_path: Path) -> None:
    client = stand_in(programs, "srun", f"touch '{tmp_path}/asked'; exit 1")
    for fields in ({"launcher": "mpi"}, {"horovod_controller": "gloo"}, {"launcher": "srun"}):
        preview(HOROVOD.model_copy(update=fields), site=Site(tmp_path), client=client)
    assert not (tmp_path / "asked").exists()


def test_a_preview_needs_no_folder_that_is_not_there(tmp_path: Path) -> None:
    spec = JobSpec.model_validate(
        {"name": "a", "command": "true", "container": {"image": "i"}, "workdir": str(tmp_path)}
    )
    script = preview(spec, site=Site(tmp_path / "runs"))
    assert "#SBATCH --output=a-%j.out\n" in script
    assert str(tmp_path / "runs") not in script
    [mounts] = re.findall(r"--container-mounts=(.*)", script)
    assert f"{tmp_path}:{tmp_path}" in mounts and mounts.count(":") == 3  # with scratch and outputs


def test_a_preview_for_this_machine_runs_and_leaves_nothing(tmp_path: Path) -> None:
    spec = JobSpec(name="a", command='echo "$SLURM_PROCID $HPCAI_OUTPUTS"', workdir=tmp_path)
    folder = tmp_path / "it's here"
    folder.mkdir()
    script = preview(spec, where="local", site=Site(tmp_path / "runs"))
    done = subprocess.run(["bash"], cwd=folder, input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"0 {folder}/a-\d+/outputs\n", done.stdout)
    assert list(tmp_path.iterdir()) == [folder] and list(folder.iterdir()) == []


def test_on_this_machine_horovod_goes_by_mpi_where_there_is_mpirun(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(programs))
    assert controller(HOROVOD, tmp_path, where="local") == "gloo"
    stand_in(programs, "mpirun", "")
    assert controller(HOROVOD, tmp_path, where="local") == "mpi"


JOB = resolve_job(
    JobSpec(name="x", command="true"), Site(Path("/runs")), interpreter=Path("/usr/bin/python3")
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(tmp_path / "runs", "default", "x", spec_text="", resolved={}, script="")


def events_raise(monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int) -> None:
    """The first events that are to be written raise an error instead."""
    rest = [error] * times
    append = Run.append_event

    def raise_at_first(run: Run, name: str, **fields: Any) -> None:
        if rest:
            raise rest.pop()
        append(run, name, **fields)

    monkeypatch.setattr(Run, "append_event", raise_at_first)


def test_a_job_that_slurm_refuses_leaves_no_record(programs: Path, run: Run) -> None:
    with pytest.raises(SlurmError):
        submit_run(run, JOB, stand_in(programs, "sbatch", "echo sbatch: error: no >&2; exit 1"))
    assert not run.path.parent.exists()


def test_ctrl_c_after_slurm_has_accepted_the_job_leaves_it_known(
    programs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    events_raise(monkeypatch, KeyboardInterrupt(), 1)
    with pytest.raises(SubmissionInterrupted) as caught:
        submit_run(run, JOB, stand_in(programs, "sbatch", "echo 35"))
    assert str(caught.value) == f"{run.name} is job 35, which goes on.\nhpcai cancel 35"
    assert run.job_id == 35


@pytest.mark.parametrize(("sbatch", "said"), [("echo 35", "is job 35"), ("kill -INT $PPID", "was cut off")])
def test_a_second_ctrl_c_hides_no_job(
    programs: Path, run: Run, monkeypatch: pytest.MonkeyPatch, sbatch: str, said: str
) -> None:
    events_raise(monkeypatch, KeyboardInterrupt(), 2)
    with pytest.raises(SubmissionInterrupted, match=said):
        submit_run(run, JOB, stand_in(programs, "sbatch", sbatch))


def test_a_record_that_cannot_be_written_stays_with_its_accepted_job(
    programs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    events_raise(monkeypatch, StageError("The disk is full."), 1)
    with pytest.raises(StageError, match="is job 35, which its record does not tell: The disk is full"):
        submit_run(run, JOB, stand_in(programs, "sbatch", "echo 35"))
    assert run.paths.script.exists()
