"""Rendered scripts whose tasks run in images, on the stand-in for Pyxis, with a real Slurm and a real MPI."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from hpcai import processes
from hpcai.errors import RenderError
from hpcai.launch.resolve import preview
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site
from hpcai.staging.pack import pack
from tests.container_cluster import Containers
from tests.render.on_slurm import PlainSlurm, Slurm, has_ended, logs
from tests.render.test_run_real import HOROVOD, MPI
from tests.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def slurm(containers: Containers, tmp_path: Path) -> Slurm:
    return PlainSlurm({**containers.environ, "HPCAI_IMAGE_CACHE": str(tmp_path / "images")}, tmp_path)


def host_programs() -> list[str]:
    """Mounts that bring this machine's Python, libraries and MPI into an image that has only a shell."""
    paths = ["/usr", "/etc/alternatives", "/etc/openmpi", "/opt", sys.base_prefix, sys.prefix]
    repository = str(Path(__file__).resolve().parents[2])
    wanted = [path for path in [*paths, repository] if Path(path).exists()]
    # The clusters' programs are linked to from within; /usr holds what lies below it.
    return [f"{path}:{path}:ro" for path in dict.fromkeys(wanted) if not path.startswith("/usr/")]


def test_a_job_in_a_file_of_an_image(containers: Containers, slurm: Slurm) -> None:
    shutil.copy(containers.squashfs, slurm.folder / "my.sqsh")
    (slurm.folder / "input").write_text("read\n")
    job, run = slurm.run(
        command='echo "$FROM_IMAGE $SHARED_VAR $PWD"; cat input; echo out > "$HPCAI_OUTPUTS/out"',
        container={"image": "my.sqsh"},
        env={"SHARED_VAR": "job"},
        nodes=2,
    )
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    told = f"image job {slurm.folder}\nread\n"
    assert logs(run) == {"0.out": told, "1.out": told}
    assert (run / "outputs/out").read_text() == "out\n"


# Holds an import until the test has seen both jobs at it.
HELD = """#!/bin/sh
echo "$SLURM_JOB_ID" >> "$HELD/imports"
until [ -e "$HELD/go" ]; do sleep 0.05; done
exec "$REAL_ENROOT" "$@"
"""


def jobs_with_open(file: Path) -> set[str]:
    """The jobs that have a process which has opened the file."""
    found = set()
    for seen in processes.everything():
        folder = Path(f"/proc/{seen.process.pid}/fd")
        with suppress(OSError):
            if any(link.readlink() == file for link in folder.iterdir()):
                found.add(seen.environ.get("SLURM_JOB_ID", ""))
    return found


def test_two_jobs_of_two_nodes_import_an_image_once(containers: Containers, slurm: Slurm) -> None:
    registry = containers.home / "registry/reg.example/ml"
    registry.mkdir(parents=True, exist_ok=True)
    shutil.copy(containers.squashfs, registry / "demo:1.0.sqsh")
    held = slurm.folder / "held"
    held.mkdir()
    (held / "enroot").write_text(HELD)
    (held / "enroot").chmod(0o755)
    slurm.environ |= {"HELD": str(held), "REAL_ENROOT": str(containers.home / "pyxis/enroot")}
    slurm.environ["PATH"] = f"{held}:{slurm.environ['PATH']}"
    fields = {"command": "echo $FROM_IMAGE", "nodes": 2, "container": {"image": "reg.example/ml/demo:1.0"}}
    jobs = [slurm.submit(**fields, experiment=name, name=name) for name in ("one", "two")]
    lock = slurm.folder / "images/reg.example+ml+demo+1.0.sqsh.lock"
    until(lambda: jobs_with_open(lock) == {job_id for job_id, _ in jobs}, 60, "both are at the lock")
    (held / "go").touch()
    for job_id, run in jobs:
        slurm.wait(job_id, is_there=has_ended)
        assert logs(run) == {"0.out": "image\n", "1.out": "image\n"}, (run / "logs/batch.out").read_text()
        assert "importing docker image" not in (run / "logs/batch.out").read_text(), "a node pulls by itself"
    assert len((held / "imports").read_text().split()) == 1
    files = sorted(file.name for file in (slurm.folder / "images").iterdir())
    assert files == ["reg.example+ml+demo+1.0.sqsh", "reg.example+ml+demo+1.0.sqsh.lock"]


def test_a_tag_that_moves_is_imported_by_each_job_and_leaves_nothing(
    containers: Containers, slurm: Slurm
) -> None:
    registry = containers.home / "registry/moving.example"
    registry.mkdir(parents=True, exist_ok=True)
    shutil.copy(containers.squashfs, registry / "demo:latest.sqsh")
    job, run = slurm.run(command="echo $FROM_IMAGE", nodes=2, container={"image": "moving.example/demo"})
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    assert (run / "logs/batch.out").read_text().count("Querying registry") == 1
    assert list((slurm.folder / "images").iterdir()) == []
    job, run = slurm.run(command="true", name="none", nodes=2, container={"image": "moving.example/other"})
    assert job["JobState"] == "FAILED"
    assert list((slurm.folder / "images").iterdir()) == [], "nor where it could not be had"


def test_an_image_that_cannot_be_had_fails_the_job_before_any_step(slurm: Slurm) -> None:
    job, run = slurm.run(command="true", nodes=2, container={"image": "nobody.example/demo:1"})
    assert job["JobState"] == "FAILED"
    assert "curl: (6) Could not resolve host: nobody.example" in (run / "logs/batch.out").read_text()
    assert logs(run) == {}
    assert [file.suffix for file in (slurm.folder / "images").iterdir()] == [".lock"]


def test_what_a_container_has_become_is_saved_whole_or_the_job_fails(
    containers: Containers, slurm: Slurm
) -> None:
    fields = {
        "command": "echo new > /added",
        "container": {"image": str(containers.squashfs), "save": "out.sqsh"},
    }
    job, run = slurm.run(**fields)
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    assert containers.printed(f"--container-image={slurm.folder}/out.sqsh", "cat", "/added") == "new\n"
    fields = {
        "command": "rm -r made",
        "container": {"image": str(containers.squashfs), "save": "made/here/out.sqsh"},
        "name": "again",
    }
    job, run = slurm.run(**fields)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "1:0")
    said = (run / "logs/batch.out").read_text()
    assert f"the container was not saved to {slurm.folder}/made/here/out.sqsh" in said
    fields = {"container": {"image": str(containers.squashfs), "save": "failed/out.sqsh"}, "name": "failed"}
    job, _ = slurm.run(command="exit 3", **fields)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "3:0")
    assert list((slurm.folder / "failed").iterdir()) == []


def test_a_container_that_cannot_be_saved_fails_the_job_before_its_work(
    containers: Containers, slurm: Slurm
) -> None:
    job, run = slurm.run(
        command="true", container={"image": str(containers.squashfs), "save": "/proc/none/out.sqsh"}
    )
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "1:0")
    assert "/proc/none" in (run / "logs/batch.out").read_text()
    assert logs(run) == {}


@pytest.mark.usefixtures("checkout_in_containers")
def test_ranks_of_mpi_in_an_image_see_each_other(containers: Containers, slurm: Slurm) -> None:
    # Not imported: that initialises MPI, whose variables later programs would take for a launcher's.
    if find_spec("mpi4py") is None:
        pytest.skip("needs mpi4py")
    job, run = slurm.run(
        command=f"exec {shlex.quote(sys.executable)} -c '{MPI}'",
        launcher="mpi",
        nodes=2,
        ntasks_per_node=2,
        cpus_per_task=1,
        container={"image": str(containers.squashfs), "mounts": host_programs()},
    )
    told = "\n".join(logs(run).values()) + (run / "logs/batch.out").read_text()
    assert job["JobState"] == "COMPLETED", told
    assert sorted(logs(run).items()) == [(f"{rank}.out", f"{rank} 4 10\n") for rank in range(4)], told


@pytest.mark.usefixtures("checkout_in_containers")
def test_horovod_in_an_image_goes_by_gloo(containers: Containers, slurm: Slurm) -> None:
    pytest.importorskip("horovod.torch")
    (slurm.folder / "ranks.py").write_text(HOROVOD)
    slurm.environ["PATH"] = f"{Path(sys.executable).parent}:{slurm.environ['PATH']}"
    job, run = slurm.run(
        command=f"exec {shlex.quote(sys.executable)} ranks.py",
        launcher="horovod",
        horovod_controller="gloo",
        nodes=2,
        cpus_per_task=1,
        # The image's python3 is to be this machine's.
        container={"image": str(containers.squashfs), "mounts": host_programs(), "env": ["PATH"]},
    )
    told = "\n".join(logs(run).values()) + (run / "logs/batch.out").read_text()
    assert job["JobState"] == "COMPLETED", told
    # The rendezvous server's container is still running, with the same mounts.
    joined = {"0.err": "pyxis: ignoring --container-mounts when attaching to a running container\n"}
    assert logs(run) == joined | {f"{rank}.out": f"{rank} 2 0 1 {rank} 2 gloo 3\n" for rank in range(2)}
    assert list((containers.home / "containers").glob("n*/pyxis_hpcai-*")) == [], (
        "nothing is left on the nodes"
    )


def test_staged_data_is_mounted_and_named(containers: Containers, slurm: Slurm) -> None:
    pictures = slurm.folder / "pictures"
    for name in ("cat", "dog"):
        (pictures / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(pictures / name / "1.png")
    pack(pictures, slurm.folder / "shards", name="pets")
    job, run = slurm.run(
        command='ls "$HPCAI_DATA_PETS"; echo $SLURMD_NODENAME > "$HPCAI_OUTPUTS/$SLURM_PROCID"',
        nodes=2,
        data=[{"name": "pets", "source": f"file://{slurm.folder}/shards"}],
        container={"image": str(containers.squashfs)},
    )
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    told = logs(run)
    assert "manifest.json" in told["0.out"]
    assert told["0.out"] == told["1.out"]
    assert sorted(file.name for file in (run / "outputs").iterdir()) == ["0", "1"]


def test_the_release_of_pyxis_is_told_by_srun_where_no_config_file_does(
    containers: Containers, slurm: Slurm
) -> None:
    container = {"image": str(containers.squashfs), "unshare": ["uts"]}
    spec = JobSpec(name="a", command="true", workdir=slurm.folder, container=container)
    with pytest.raises(RenderError, match=r"container\.unshare needs Pyxis 0\.24"):
        preview(spec, client=SlurmClient(slurm.environ))
    with containers.playing("0.24"):
        assert "--container-unshare=uts" in preview(spec, client=SlurmClient(slurm.environ))
    told = Site(slurm.folder, pyxis_version="0.23")
    with containers.playing("0.24"), pytest.raises(RenderError, match=r"is taken to have 0\.23"):
        preview(spec, site=told, client=SlurmClient(slurm.environ))


def test_tensorflow_in_an_image_with_parameter_servers_and_outputs(
    containers: Containers, slurm: Slurm
) -> None:
    command = (
        'echo "$TF_CONFIG" >"$HPCAI_OUTPUT_TOLD/$SLURM_PROCID"; [[ $SLURM_PROCID = 0 ]] || exec sleep 300'
    )
    job, run = slurm.run(
        command=command,
        container={"image": str(containers.squashfs)},
        launcher="tensorflow",
        parameter_servers=1,
        nodes=2,
        ntasks=4,
        outputs=[{"name": "told"}],
        setup=['echo "$FROM_IMAGE" >"$HPCAI_OUTPUT_TOLD/set-up-$SLURM_PROCID"'],
        teardown=['echo "$FROM_IMAGE" >"$HPCAI_OUTPUT_TOLD/host"'],
    )
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    told = [json.loads((run / f"outputs/told/{rank}").read_text())["task"] for rank in range(4)]
    assert [(one["type"], one["index"]) for one in told] == [
        *(("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0))
    ]
    assert [(run / f"outputs/told/set-up-{rank}").read_text() for rank in range(4)] == ["image\n"] * 4
    until(lambda: (run / "outputs/told/host").exists(), 10, "the teardown ran, outside the image")
    assert (run / "outputs/told/host").read_text() == "\n"


@pytest.mark.parametrize("parts", [[], [{}, {}]])
def test_a_teardown_keeps_no_named_container(
    containers: Containers, slurm: Slurm, parts: list[dict[str, object]]
) -> None:
    noting = slurm.folder / "noting"
    noting.mkdir()
    real = containers.home / "pyxis/enroot"
    (noting / "enroot").write_text(
        f'#!/bin/sh\necho "$SLURMD_NODENAME $*" >>{noting}/calls\nexec {real} "$@"\n'
    )
    (noting / "enroot").chmod(0o755)
    slurm.environ["PATH"] = f"{noting}:{slurm.environ['PATH']}"
    job_id, run = slurm.submit(
        command="echo in $FROM_IMAGE",
        container={"image": str(containers.squashfs), "name": "kept"},
        components=parts,
        nodes=1 if parts else 2,
        teardown=['echo "$HPCAI_EXIT_STATUS" >"$HPCAI_OUTPUTS/status"'],
    )
    slurm.wait(job_id, is_there=has_ended)
    assert logs(run) == {"0.out": "in image\n", "1.out": "in image\n"}, (run / "logs/batch.out").read_text()
    assert (run / "outputs/status").read_text() == "0\n"
    removed = f"remove --force pyxis_kept-{job_id}"
    assert sorted((noting / "calls").read_text().splitlines()) == [f"n1 {removed}", f"n2 {removed}"]


def test_the_parts_of_a_heterogeneous_job_run_in_the_image(containers: Containers, slurm: Slurm) -> None:
    job, run = slurm.run(
        command='echo "$SLURM_PROCID of $SLURM_NTASKS in $FROM_IMAGE, $OMP_NUM_THREADS"',
        container={"image": str(containers.squashfs)},
        components=[{"cpus_per_task": 1}, {"cpus_per_task": 2}],
    )
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    assert logs(run) == {"0.out": "0 of 2 in image, 1\n", "1.out": "1 of 2 in image, 2\n"}


def test_the_tasks_of_an_array_in_an_image_have_their_own_folders(
    containers: Containers, slurm: Slurm
) -> None:
    job_id, run = slurm.submit(
        command='echo "$FROM_IMAGE" >"$HPCAI_OUTPUTS/$SLURM_ARRAY_TASK_ID"',
        container={"image": str(containers.squashfs)},
        array="4-5",
    )
    until(lambda: all((run / f"tasks/{n}/outputs/{n}").exists() for n in (4, 5)), 60, "both tasks have run")
    slurm.wait(job_id, is_there=has_ended)
    assert [(run / f"tasks/{n}/outputs/{n}").read_text() for n in (4, 5)] == ["image\n"] * 2


def test_a_mount_within_the_scratch_is_not_hidden_by_it(containers: Containers, slurm: Slurm) -> None:
    scratch = slurm.folder / "scratch"
    (scratch / "data").mkdir(parents=True)
    given = slurm.folder / "given"
    given.mkdir()
    (given / "file").write_text("of the mount\n")
    slurm.environ["HPCAI_SCRATCH"] = str(scratch)
    mounts = [f"{given}:{scratch}/data:ro"]
    job, run = slurm.run(
        command='cat "$HPCAI_SCRATCH/data/file"',
        container={"image": str(containers.squashfs), "mounts": mounts},
    )
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    assert logs(run) == {"0.out": "of the mount\n"}


def test_without_a_record_outputs_outlive_the_container(containers: Containers, slurm: Slurm) -> None:
    (slurm.folder / "work").mkdir()
    job_id, out = slurm.submit_by_hand(
        command='echo kept >"$HPCAI_OUTPUTS/checkpoint"',
        workdir=slurm.folder / "work",
        container={"image": str(containers.squashfs)},
    )
    assert slurm.wait(job_id, is_there=has_ended)["JobState"] == "COMPLETED", out.read_text()
    assert (out.with_suffix("") / "outputs/checkpoint").read_text() == "kept\n"
